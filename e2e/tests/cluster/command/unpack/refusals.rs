//! Refused layers, limits, files and options: each message names the cause, and nothing is left behind.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::archive::{Archive, gzip, noise};
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::fixture::{tar, zstd};

use super::{LARGE, MARK, failed, nothing_there, unpack, write};
use crate::support::case::{Case, tests};
use crate::support::command::run;
use crate::support::pull_directory::PullDirectory;

tests!(
    a_refused_layer_leaves_no_directory_and_names_the_cause,
    every_limit_is_an_option_that_the_message_names,
    an_invalid_file_or_directory_is_reported_at_once,
    invalid_options_exit_with_code_two,
);

/// A refused layer: name, layer, options, reason, words of the message.
type Refused<'a> = (&'static str, &'a [u8], &'a [&'a str], &'static str, &'a [&'a str]);

async fn a_refused_layer_leaves_no_directory_and_names_the_cause(case: &mut Case) -> Result<()> {
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
        ("up", &up, &[], "UnsafeArchive", &["../../escaped"]),
        ("out", &out, &[], "UnsafeArchive", &["\"etc\""]),
        ("link", &inside, &["--symlinks", "reject"], "UnsafeArchive", &["\"b\""]),
        ("whiteout", &whiteout, &[], "UnsafeArchive", &[".wh.a"]),
        ("crc", &broken, &extract, "UnsafeArchive", &[]),
        ("no-zip", b"PK\x03\x04 and no more", &extract, "UnsafeArchive", &[]),
        ("no-archive", &noise(5000, 1), &extract, "UnsafeArchive", &["checksum"]),
        ("said-to-be-a-tar", &noise(5000, 1), &[], "UnsafeArchive", &["checksum"]),
        ("cut", plain.get(..700).unwrap_or_default(), &[], "UnsafeArchive", &["truncated"]),
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
        failed(&output, 7, reason, words).context(name)?;
        nothing_there(&place).context(name)?;
    }
    ensure!(!case.directory.join("escaped").exists(), "the entry was written");
    // With --force too, existing content stays.
    let old = tree(&[("mine", "old")]);
    files::write(Path::new(&place.out), &old)?;
    let output = unpack(case, &place, &case.directory.join("up"), &["--force"]).await?;
    failed(&output, 7, "UnsafeArchive", &[])?;
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
        failed(&output, 7, "LimitExceeded", &[words, &format!("({named})")]).context(option)?;
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

async fn an_invalid_file_or_directory_is_reported_at_once(case: &mut Case) -> Result<()> {
    let layer = write(case, "layer.tar", &tar(&tree(&[("a", "1")]), "")?)?;
    let (pipe, mode) = (case.directory.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)?;
    let large = case.directory.join("large");
    fs_err::File::create(&large)?.set_len(LARGE)?;
    let place = PullDirectory::new(case)?;
    let rows: [(&Path, i32, &str, &[&str]); 7] = [
        (&case.directory.join("missing"), 4, "FileNotFound", &["missing"]),
        (&layer.join("below"), 4, "FileNotFound", &["layer.tar/below"]),
        (&case.directory, 2, "InvalidSpec", &["is a directory"]),
        (&pipe, 2, "InvalidSpec", &["Write it to a file first"]),
        (Path::new("/dev/null"), 2, "InvalidSpec", &["Write it to a file first"]),
        (Path::new("-"), 2, "InvalidSpec", &["standard input", "Write it to a file first"]),
        (&large, 7, "LimitExceeded", &["large has", "--max-layer-bytes"]),
    ];
    for (file, code, reason, words) in rows {
        let started = std::time::Instant::now();
        let output = unpack(case, &place, file, &[]).await?;
        failed(&output, code, reason, words).with_context(|| file.display().to_string())?;
        ensure!(started.elapsed() < Duration::from_secs(10), "{} took its time", file.display());
        nothing_there(&place)?;
    }
    let old = tree(&[("mine", "old")]);
    files::write(Path::new(&place.out), &old)?;
    // Refused before the file is read: reading would take longer than this timeout.
    let whole = ["--max-layer-bytes", "64Gi", "--timeout", "1s"];
    failed(&unpack(case, &place, &large, &whole).await?, 1, "OutputConflict", &["is not empty", "--force"])?;
    assert_eq!(place.content()?, old);
    let output = unpack(case, &place, &layer, &["--force"]).await?;
    ensure!(output.exit.success(), "{}: {}", output.exit, output.stderr);
    assert_eq!(place.content()?, tree(&[("a", "1")]));
    place.nothing_beside()?;
    let nowhere = case.directory.join("no/where").to_string_lossy().into_owned();
    let output = run(case, &["unpack", &layer.to_string_lossy(), "-o", &nowhere]).await?;
    failed(&output, 1, "StorageFailed", &["no"])
}

async fn invalid_options_exit_with_code_two(case: &mut Case) -> Result<()> {
    let layer = write(case, "layer.tar", &tar(&tree(&[("a", "1")]), "")?)?;
    let place = PullDirectory::new(case)?;
    // Refused by the parser of options.
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
        failed(&output, 2, "InvalidSpec", &[word]).context(option)?;
        nothing_there(&place)?;
    }
    for (options, word) in [(["--sub-path", "no"], "at its top: a"), (["--include", "*.json"], "at its top: a")] {
        let output = unpack(case, &place, &layer, &options).await?;
        failed(&output, 5, "SubPathNotFound", &[word])?;
        nothing_there(&place)?;
    }
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let output = unpack(case, &place, &layer, &["--media-type", bundle]).await?;
    failed(&output, 5, "NoMatchingLayer", &["nothing but signatures", bundle])?;
    nothing_there(&place)?;
    Ok(())
}
