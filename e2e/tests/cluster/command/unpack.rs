//! `supercargo unpack`: one layer from a file, as a user and a script run it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::{Archive, gzip, noise};
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::fixture::{tar, zstd};
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::run::Output;
use supercargo_e2e::wait;

use crate::support::case::{Case, tests};
use crate::support::command::run;
use crate::support::pull_directory::PullDirectory;

tests!(
    every_kind_of_layer_comes_out_of_a_file,
    what_is_refused_leaves_no_directory_and_says_why,
    every_limit_is_an_option_that_the_message_names,
    what_is_no_file_or_no_place_is_told_at_once,
    options_that_cannot_be_meant_end_with_two,
    what_ends_in_the_middle_leaves_nothing,
    a_file_that_changes_while_it_is_read_is_never_half_of_each,
);

const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const MARK: &str = "io.deis.oras.content.unpack=true";
/// Large enough to be read for seconds; a sparse file without bytes on the disk.
const LARGE: u64 = 32 << 30;

/// A refused layer: name, layer, options, reason, words of the message.
type Refused<'a> = (&'static str, &'a [u8], &'a [&'a str], &'static str, &'a [&'a str]);

/// Runs the command on a file of the test, into the test's place.
async fn unpack(case: &Case, place: &PullDirectory, file: &Path, options: &[&str]) -> Result<Output> {
    run(case, &[&["unpack", &file.to_string_lossy(), "-o", &place.out], options].concat()).await
}

fn write(case: &Case, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = case.directory.join(name);
    fs_err::write(&path, bytes)?;
    Ok(path)
}

/// Returns the verdict: all of standard output is one line of JSON.
fn verdict(output: &Output) -> Result<Value> {
    let is_line = output.stdout.ends_with('\n') && output.stdout.lines().count() == 1;
    ensure!(is_line, "ended with {}, not one line: {:?}, {:?}", output.exit, output.stdout, output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

/// Checks for a failure with this code, verdict and reason, whose message has these words and is repeated on standard
/// error.
fn failed(output: &Output, code: i32, kind: &str, reason: &str, words: &[&str]) -> Result<()> {
    let found = verdict(output)?;
    let message = found["message"].as_str().context("no message")?;
    ensure!(
        output.exit.code == Some(code) && found["verdict"] == kind && found["reason"] == reason,
        "not {code}, {kind}, {reason}, but {} and {found}",
        output.exit
    );
    let told = output.stderr.starts_with(&format!("error: {reason}: {message}")) && output.stderr.lines().count() == 1;
    ensure!(told, "standard error says {:?}, not {message:?}", output.stderr);
    for word in words {
        ensure!(output.stderr.contains(word), "{word:?} is not in {:?}", output.stderr);
    }
    Ok(())
}

/// Checks that neither the directory nor anything beside it exists.
fn nothing_there(place: &PullDirectory) -> Result<()> {
    ensure!(!Path::new(&place.out).exists(), "there is a directory");
    place.nothing_beside()
}

/// Returns the content of one tar in three forms.
fn content() -> Tree {
    let mut content = tree(&[("a.txt", "one"), ("deep/er/b.json", "{}")]);
    content.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    content.insert("deep/link".to_owned(), Entry::Link("../a.txt".to_owned()));
    content
}

async fn every_kind_of_layer_comes_out_of_a_file(case: &mut Case) -> Result<()> {
    let content = content();
    let plain = tar(&content, "")?;
    let (first, rest) = plain.split_at(700);
    let below: Tree = content.iter().map(|(path, entry)| (format!("dir/{path}"), entry.clone())).collect();
    let titled = gzip(&tar(&content, "dir/")?)?;
    let source = case.source(&tree(&[("main.tf", "a"), ("modules/b.tf", "b")]))?;
    let zip = case.lab.publisher.zip(&source, &case.directory.join("made.zip")).await?;
    // Within one image layer a whiteout hides nothing, and is not a file.
    let image = Archive::default().file("dir/.wh.gone", b"")?.file("dir/kept", b"kept")?.gzip()?;
    let raw = noise(100_000, 1);
    let named = format!("{}.bin", &digest(&raw)["sha256:".len()..][..12]);
    let bytes = |path: &str, content: &[u8]| {
        Tree::from([(path.to_owned(), Entry::File { content: content.to_vec(), executable: false })])
    };
    let rows: [(&str, &[u8], &[&str], Tree); 12] = [
        ("tar", &plain, &[], content.clone()),
        ("members", &[gzip(first)?, gzip(rest)?].concat(), &[], content.clone()),
        ("frames", &[zstd(first)?, zstd(rest)?].concat(), &[], content.clone()),
        ("zip", &zip, &["--media-type", "archive/zip", "--layer-mode", "extract"], files::read(&source)?),
        ("raw", &raw, &["--media-type", "application/octet-stream"], bytes(&named, &raw)),
        ("titled-file", &titled, &["--title", "x/y.tgz"], bytes("x/y.tgz", &titled)),
        ("titled-dir", &titled, &["--title", "dir", "--annotation", MARK], below),
        ("whiteouts", &image, &["--media-type", DOCKER], tree(&[("dir/kept", "kept")])),
        ("sub-path", &plain, &["--sub-path", "deep/er"], tree(&[("b.json", "{}")])),
        (
            "include",
            &plain,
            &["--include", "**/*.json", "--include", "a.txt", "--exclude", "deep"],
            tree(&[("a.txt", "one")]),
        ),
        ("file-mode", &plain, &["--layer-mode", "File", "--title", "t.tar"], bytes("t.tar", &plain)),
        ("empty", b"{}", &["--media-type", "application/vnd.oci.empty.v1+json"], Tree::new()),
    ];
    let place = PullDirectory::new(case)?;
    for (name, layer, options, want) in rows {
        let file = write(case, name, layer)?;
        let output = unpack(case, &place, &file, options).await?;
        let regular = |entry: &Entry| match entry {
            Entry::File { content, .. } => Some(content.len()),
            Entry::Link(_) | Entry::EmptyDirectory => None,
        };
        let sizes: Vec<usize> = want.values().filter_map(regular).collect();
        let wanted = json!({
            "verdict": "unpacked", "directory": place.out, "files": sizes.len(), "bytes": sizes.iter().sum::<usize>(),
            "skipped": usize::from(name == "empty"),
        });
        ensure!(output.exit.code == Some(0), "{name}: {} {}", output.exit, output.stderr);
        assert_eq!(verdict(&output)?, wanted, "{name}");
        let told = output.stderr.lines().last().unwrap_or_default();
        ensure!(told.starts_with(&format!("{}: {} file", place.out, sizes.len())), "{name}: {told}");
        assert_eq!(place.content()?, want, "{name}");
        assert_eq!(fs_err::read(&file)?, layer, "{name}: the file was changed");
        place.nothing_beside()?;
        fs_err::remove_dir_all(&place.out)?;
    }
    Ok(())
}

async fn what_is_refused_leaves_no_directory_and_says_why(case: &mut Case) -> Result<()> {
    let up = Archive::default().file("fine", b"1")?.file("../../escaped", b"2")?.gzip()?;
    let out = Archive::default().link("etc", "/etc")?.finish();
    let inside = Archive::default().file("a", b"1")?.link("b", "a")?.finish();
    let whiteout = Archive::default().file(".wh.a", b"")?.finish();
    let plain = tar(&tree(&[("a", "1")]), "")?;
    let mut broken = gzip(&plain)?;
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    let no_digest =
        "io.deis.oras.content.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let extract = ["--layer-mode", "extract"];
    let rows: [Refused<'_>; 12] = [
        ("up", &up, &[], "UnsafeArchive", &["../../escaped", "Make the archive without"]),
        ("out", &out, &[], "UnsafeArchive", &["\"etc\""]),
        ("link", &inside, &["--symlinks", "reject"], "UnsafeArchive", &["\"b\""]),
        ("whiteout", &whiteout, &[], "UnsafeArchive", &[".wh.a"]),
        ("crc", &broken, &extract, "UnsafeArchive", &[]),
        ("no-zip", b"PK\x03\x04 and no more", &extract, "UnsafeArchive", &[]),
        ("no-archive", &noise(5000, 1), &extract, "UnsafeArchive", &["no tar archive"]),
        ("said-to-be-a-tar", &noise(5000, 1), &[], "UnsafeArchive", &["no tar archive"]),
        ("cut", plain.get(..700).unwrap_or_default(), &[], "UnsafeArchive", &["it ends in the middle"]),
        ("outside", &plain, &["--title", "dir", "--annotation", MARK], "UnsafeArchive", &["title \"dir\""]),
        ("title", &plain, &["--title", "../x"], "UnsafeArchive", &["\"../x\""]),
        (
            "digest",
            &plain,
            &["--title", "a", "--annotation", MARK, "--annotation", no_digest],
            "DigestMismatch",
            &["FILE"],
        ),
    ];
    let place = PullDirectory::new(case)?;
    for (name, layer, options, reason, words) in rows {
        let file = write(case, name, layer)?;
        let output = unpack(case, &place, &file, options).await?;
        failed(&output, 6, "refused", reason, words).context(name)?;
        nothing_there(&place).context(name)?;
    }
    ensure!(!case.directory.join("escaped").exists(), "the entry was written");
    // With --force too, existing content stays.
    let old = tree(&[("mine", "old")]);
    files::write(Path::new(&place.out), &old)?;
    let output = unpack(case, &place, &case.directory.join("up"), &["--force"]).await?;
    failed(&output, 6, "refused", "UnsafeArchive", &[])?;
    assert_eq!(place.content()?, old);
    place.nothing_beside()
}

async fn every_limit_is_an_option_that_the_message_names(case: &mut Case) -> Result<()> {
    let plain = tar(&tree(&[("a.txt", "one"), ("deep/b.txt", "two")]), "")?;
    let zeros = vec![0; 4 << 20];
    let bomb = gzip(&Archive::default().file("zeros", &zeros)?.finish())?;
    let window = zstd(&Archive::default().file("zeros", &zeros)?.finish())?;
    let mut long = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(0);
    long.append_data(&mut header, "x/".repeat(100), &b""[..])?;
    let long = long.into_inner()?;
    let many: Tree = (0..90_000).map(|number| (format!("{number}"), Entry::text(""))).collect();
    let many = gzip(&tar(&many, "")?)?;
    let rows: [(&[u8], &str, &str); 12] = [
        (&plain, "--max-layer-bytes=1000", "has more than 1000 bytes in a layer"),
        (&plain, "--max-manifest-bytes=10", "more than 10 bytes in a manifest"),
        (&plain, "--max-extracted-bytes=5", "\"deep/b.txt\""),
        (&plain, "--max-file-bytes=2", "\"a.txt\""),
        (&plain, "--max-entries=2", "\"deep/b.txt\""),
        (&plain, "--max-depth=1", "\"deep/b.txt\""),
        (&plain, "--max-path-bytes=8", "\"deep/b.txt\""),
        (&plain, "--max-name-bytes=4", "\"a.txt\""),
        (&long, "--max-header-bytes=100", "more than 100 bytes in an extended header"),
        (&bomb, "--max-ratio=10", "more than 10 bytes for each byte"),
        (&window, "--max-zstd-window=1Mi", "--max-zstd-window=1048576"),
        (&many, "--max-unpack-time=1s", "more than 1 seconds of unpacking"),
    ];
    let place = PullDirectory::new(case)?;
    for (layer, option, words) in rows {
        let file = write(case, "layer", layer)?;
        let output = unpack(case, &place, &file, &[option]).await?;
        let named = option.replace("1Mi", "1048576");
        failed(&output, 6, "refused", "LimitExceeded", &[words, &format!("({named})")]).context(option)?;
        nothing_there(&place).context(option)?;
    }
    // Limits that equal the content are sufficient.
    let file = write(case, "layer", &plain)?;
    let exact = [format!("--max-layer-bytes={}", plain.len()), "--max-extracted-bytes=6".to_owned()];
    let exact = [&exact[0], &*exact[1], "--max-entries=3", "--max-file-bytes=3", "--max-depth=2", "--max-layers=1"];
    let output = unpack(case, &place, &file, &exact).await?;
    ensure!(output.exit.success(), "{}: {}", output.exit, output.stderr);
    Ok(())
}

async fn what_is_no_file_or_no_place_is_told_at_once(case: &mut Case) -> Result<()> {
    let layer = write(case, "layer.tar", &tar(&tree(&[("a", "1")]), "")?)?;
    let (pipe, mode) = (case.directory.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)?;
    let large = case.directory.join("large");
    fs_err::File::create(&large)?.set_len(LARGE)?;
    let place = PullDirectory::new(case)?;
    let rows: [(&Path, i32, &str, &str, &[&str]); 7] = [
        (&case.directory.join("missing"), 5, "failed", "ReferenceNotFound", &["there is no file", "missing"]),
        (&layer.join("below"), 5, "failed", "ReferenceNotFound", &["there is no file"]),
        (&case.directory, 2, "failed", "InvalidSpec", &["is a directory"]),
        (&pipe, 2, "failed", "InvalidSpec", &["Write it to a file first"]),
        (Path::new("/dev/null"), 2, "failed", "InvalidSpec", &["Write it to a file first"]),
        (Path::new("-"), 2, "failed", "InvalidSpec", &["standard input", "Write it to a file first"]),
        (&large, 6, "refused", "LimitExceeded", &["large has", "--max-layer-bytes"]),
    ];
    for (file, code, kind, reason, words) in rows {
        let started = std::time::Instant::now();
        let output = unpack(case, &place, file, &[]).await?;
        failed(&output, code, kind, reason, words).with_context(|| file.display().to_string())?;
        ensure!(started.elapsed() < Duration::from_secs(10), "{} took its time", file.display());
        nothing_there(&place)?;
    }
    let old = tree(&[("mine", "old")]);
    files::write(Path::new(&place.out), &old)?;
    // Refused before the file is read: reading would take longer than this timeout.
    let whole = ["--max-layer-bytes", "64Gi", "--timeout", "1s"];
    failed(&unpack(case, &place, &large, &whole).await?, 1, "failed", "OutputConflict", &["is not empty", "--force"])?;
    assert_eq!(place.content()?, old);
    let output = unpack(case, &place, &layer, &["--force"]).await?;
    ensure!(output.exit.success(), "{}: {}", output.exit, output.stderr);
    assert_eq!(place.content()?, tree(&[("a", "1")]));
    place.nothing_beside()?;
    let nowhere = case.directory.join("no/where").to_string_lossy().into_owned();
    let output = run(case, &["unpack", &layer.to_string_lossy(), "-o", &nowhere]).await?;
    failed(&output, 1, "failed", "StorageFailed", &["no"])
}

async fn options_that_cannot_be_meant_end_with_two(case: &mut Case) -> Result<()> {
    let layer = write(case, "layer.tar", &tar(&tree(&[("a", "1")]), "")?)?;
    let place = PullDirectory::new(case)?;
    // An option that the parser refuses gives no verdict on the file.
    for option in [
        "--max-layers=0",
        "--max-entries=0",
        "--max-file-bytes=some",
        "--max-file-bytes=1.5Gi",
        "--max-depth=257",
        "--max-path-bytes=4097",
        "--max-name-bytes=256",
        "--max-manifest-bytes=1Gi",
        "--max-ratio=-1",
        "--max-zstd-window=1",
        "--max-unpack-time=1ms",
        "--max-unpack-time=10",
        "--layer-mode=zip",
        "--symlinks=maybe",
        // With a single layer there is nothing to choose.
        "--layer-title=a",
        "--artifact-type=a",
        "--on-conflict=fail",
    ] {
        let output = unpack(case, &place, &layer, &[option]).await?;
        let fits = output.exit.code == Some(2) && output.stdout.is_empty() && output.stderr.starts_with("error: ");
        ensure!(fits, "{option}: {}, {:?}, {:?}", output.exit, output.stdout, output.stderr);
        let name = option.split('=').next().unwrap_or_default();
        ensure!(output.stderr.contains(name), "{option}: {}", output.stderr);
        nothing_there(&place)?;
    }
    for (option, word) in [
        ("--annotation=no", "KEY=VALUE"),
        ("--timeout=5", "duration"),
        ("--include={", "--include"),
        ("--sub-path=../x", "--sub-path"),
    ] {
        let output = unpack(case, &place, &layer, &[option]).await?;
        failed(&output, 2, "failed", "InvalidSpec", &[word]).context(option)?;
        nothing_there(&place)?;
    }
    for (options, word) in [(["--sub-path", "no"], "it has a"), (["--include", "*.json"], "it has a")] {
        let output = unpack(case, &place, &layer, &options).await?;
        failed(&output, 5, "failed", "SubPathNotFound", &[word])?;
        nothing_there(&place)?;
    }
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let output = unpack(case, &place, &layer, &["--media-type", bundle]).await?;
    failed(&output, 5, "failed", "NoMatchingLayer", &["nothing but signatures", bundle])?;
    nothing_there(&place)?;
    Ok(())
}

async fn what_ends_in_the_middle_leaves_nothing(case: &mut Case) -> Result<()> {
    let large = case.directory.join("large");
    fs_err::File::create(&large)?.set_len(LARGE)?;
    let place = PullDirectory::new(case)?;
    let whole = ["--max-layer-bytes", "64Gi"];
    let output = unpack(case, &place, &large, &[&whole[..], &["--timeout", "1s"]].concat()).await?;
    failed(&output, 3, "failed", "Timeout", &["--timeout of 1s", "reading FILE"])?;
    nothing_there(&place)?;

    let file = large.to_string_lossy();
    let arguments = [&["unpack", &file, "-o", &place.out], &whole[..]].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let log = format!("{}-unpack-{code}", case.space.namespace);
        let mut unpack = case.lab.run.service(&log, &case.lab.operator_binary, &arguments, &[]).await?;
        wait::until_true(Duration::from_secs(20), "a stage beside the directory", || Ok(place.names()?.len() == 1))
            .await?;
        let pid = i32::try_from(unpack.process.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no process")?, signal)?;
        let exit = unpack.process.wait(Duration::from_secs(10)).await?.context("the signal did not end it")?;
        assert_eq!(exit.code, Some(code));
        let said = fs_err::read_to_string(&unpack.log)?;
        assert_eq!(said, "error: interrupted\n");
        nothing_there(&place)?;
    }
    Ok(())
}

async fn a_file_that_changes_while_it_is_read_is_never_half_of_each(case: &mut Case) -> Result<()> {
    const SIZE: u64 = 32 << 20;
    let layer = write(case, "layer", &noise(usize::try_from(SIZE)?, 1))?;
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (done, file) = (Arc::clone(&done), fs_err::OpenOptions::new().write(true).open(&layer)?);
        move || -> std::io::Result<()> {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for at in (0..SIZE).step_by(1 << 20) {
                    file.file().write_all_at(&round.to_le_bytes(), at)?;
                }
                round += 1;
            }
            Ok(())
        }
    });
    let place = PullDirectory::new(case)?;
    let output = unpack(case, &place, &layer, &["--title", "layer"]).await;
    done.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    failed(&output?, 6, "refused", "DigestMismatch", &["FILE was changed while it was read"])?;
    nothing_there(&place)
}
