//! `supercargo pull`: one artifact into one directory, which is complete at any time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::archive::Archive;
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::ports;

use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};
use crate::support::pull_directory::PullDirectory;
use crate::support::revision;

tests!(
    pull_creates_a_directory_and_prints_the_digest,
    a_directory_that_is_not_empty_is_left_alone_unless_forced,
    a_reader_of_a_forced_directory_sees_only_whole_revisions,
    a_failed_pull_leaves_the_directory_unchanged_and_exits_by_class,
    an_interrupted_pull_leaves_the_directory_unchanged,
);

/// Bytes per file of large revisions: 40 files make an artifact of about 6 MiB.
const PADDING: usize = 150_000;

async fn pull_creates_a_directory_and_prints_the_digest(case: &mut Case) -> Result<()> {
    let content = tree(&[("a.txt", "one"), ("deep/er/b.txt", "two")]);
    let source = case.source(&content)?;
    let image = case.reference("app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let place = PullDirectory::new(case)?;
    let file = case.directory.join("digest");

    let file_name = file.to_string_lossy();
    let output = run(case, &["pull", &image, "--plain-http", "-o", &place.out, "--digest-file", &file_name]).await?;
    ensure!(output.exit.success(), "{}: {}", output.exit, output.stderr);
    assert_eq!(output.stdout, format!("{image}@{digest}\n"));
    assert_eq!(output.stderr, format!("{}: 2 files, 6 bytes\n", place.out));
    assert_eq!(fs_err::read_to_string(&file)?, digest);
    assert_eq!(place.content()?, content);
    place.nothing_beside()?;

    fs_err::remove_dir_all(&place.out)?;
    answer(case, &["pull", &image, "--plain-http", "-o", &place.out, "--sub-path", "deep/er"]).await?;
    assert_eq!(place.content()?, tree(&[("b.txt", "two")]));
    place.nothing_beside()
}

async fn a_directory_that_is_not_empty_is_left_alone_unless_forced(case: &mut Case) -> Result<()> {
    let content = tree(&[("file", "new")]);
    let source = case.source(&content)?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let place = PullDirectory::new(case)?;
    let old = tree(&[("mine", "old"), ("deep/mine", "old")]);
    files::write(Path::new(&place.out), &old)?;

    let pull = ["pull", &image, "--plain-http", "-o", &place.out];
    let output = run(case, &pull).await?;
    refused(&output, 1, "OutputConflict")?;
    ensure!(output.stderr.contains("--force"), "{}", output.stderr);
    assert_eq!(place.content()?, old);
    ensure!(case.lab.registry.requests(&case.repository("app"))?.is_empty(), "the registry was asked");

    answer(case, &[&pull[..], &["--force"]].concat()).await?;
    assert_eq!(place.content()?, content);
    place.nothing_beside()
}

async fn a_reader_of_a_forced_directory_sees_only_whole_revisions(case: &mut Case) -> Result<()> {
    const REVISIONS: u64 = 8;
    let place = PullDirectory::new(case)?;
    for number in 0..=REVISIONS {
        let source = case.source(&revision::tree(number, 2000))?;
        case.lab.publisher.oras(&source, &[&case.reference(&format!("app:{number}")), "."]).await?;
    }
    answer(case, &["pull", &case.reference("app:0"), "--plain-http", "-o", &place.out]).await?;
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (out, done) = (PathBuf::from(&place.out), Arc::clone(&done));
        move || read_until(&out, &done)
    });
    // Fast enough to see a moment without a directory, should there be one between two renames.
    let watcher = std::thread::spawn({
        let (out, done) = (PathBuf::from(&place.out), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                if !out.exists() {
                    return false;
                }
            }
            true
        }
    });
    for number in 1..=REVISIONS {
        let image = case.reference(&format!("app:{number}"));
        answer(case, &["pull", &image, "--plain-http", "-o", &place.out, "--force"]).await?;
    }
    done.store(true, Ordering::Relaxed);
    let seen = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(watcher.join().is_ok_and(|always| always), "there was a moment without a directory");
    ensure!(seen.last() == Some(&REVISIONS) && seen.is_sorted() && seen.len() > 4, "the reader saw {seen:?}");
    place.nothing_beside()
}

/// Opens the directory and reads all of it through that handle, repeatedly, until told to stop. The tree may be
/// incomplete only if another directory has its name by then.
fn read_until(out: &Path, done: &AtomicBool) -> Result<Vec<u64>> {
    use std::os::fd::AsRawFd;
    let mut seen = Vec::new();
    loop {
        let last_round = done.load(Ordering::Relaxed);
        let handle = fs_err::File::open(out).context("there is no directory")?;
        let inode = handle.metadata()?.ino();
        let tree = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        match revision::check(&tree, 2000) {
            Ok(found) if seen.last() == Some(&found) => {}
            Ok(found) => seen.push(found),
            Err(_) if fs_err::metadata(out)?.ino() != inode => {}
            Err(error) => return Err(error.context("a torn revision")),
        }
        if last_round {
            return Ok(seen);
        }
    }
}

async fn a_failed_pull_leaves_the_directory_unchanged_and_exits_by_class(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", "content")]))?;
    let good = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&good, "."]).await?;
    let escaping = Archive::default().file("harmless", b"1")?.file("../../escaped", b"2")?;
    fs_err::write(case.directory.join("hostile.tgz"), escaping.gzip()?)?;
    let layer = "hostile.tgz:application/vnd.oci.image.layer.v1.tar+gzip";
    let hostile = case.reference("app:hostile");
    let arguments = ["--artifact-type", "application/x.test", "--layer", layer, &hostile];
    case.lab.publisher.raw(&case.directory, &arguments).await?;
    let unused_port = format!("127.0.0.1:{}/app:1", ports::free()?);

    let missing = case.reference("app:missing");
    let rows: [(&str, &[&str], i32, &str); 8] = [
        (&missing, &[], 5, "ReferenceNotFound"),
        (&good, &["--sub-path", "no"], 5, "SubPathNotFound"),
        (&unused_port, &[], 3, "RegistryUnavailable"),
        (&hostile, &[], 7, "UnsafeArchive"),
        (&good, &["--max-extracted-bytes", "1"], 7, "LimitExceeded"),
        (&good, &["--allow-cidr", "10.0.0.0/8"], 8, "AddressDenied"),
        ("app:1", &[], 2, "InvalidSpec"),
        (&good, &["--docker-config", "/missing"], 4, "FileNotFound"),
    ];
    let place = PullDirectory::new(case)?;
    let old = tree(&[("mine", "old")]);
    let file = case.directory.join("digest").to_string_lossy().into_owned();
    for there in [false, true] {
        if there {
            files::write(Path::new(&place.out), &old)?;
        }
        for (image, more, code, reason) in rows {
            let pull = ["pull", image, "--plain-http", "--force", "-o", &place.out, "--digest-file", &file];
            refused(&run(case, &[&pull[..], more].concat()).await?, code, reason)?;
            place.nothing_beside()?;
            assert_eq!(Path::new(&place.out).exists(), there, "{reason}");
            if there {
                assert_eq!(place.content()?, old, "{reason}");
            }
        }
    }
    ensure!(!Path::new(&file).exists(), "a digest was written for what was not pulled");
    // Plain HTTP needs its option; there is no fallback to it.
    let output = run(case, &["pull", &good, "-o", &place.out, "--force"]).await?;
    refused(&output, 8, "TLSFailed")?;
    ensure!(output.stderr.contains("--plain-http"), "{}", output.stderr);
    let written = files::read(&case.directory)?;
    ensure!(!written.keys().any(|path| path.ends_with("escaped")), "the entry was written: {:?}", written.keys());
    Ok(())
}

async fn an_interrupted_pull_leaves_the_directory_unchanged(case: &mut Case) -> Result<()> {
    let gate = Gate::open(&case.lab.registry.address).await?;
    let source = case.source(&revision::tree(1, PADDING))?;
    case.lab.publisher.oras(&source, &[&case.reference("app:1"), "."]).await?;
    let image = format!("{}/{}", gate.address, case.repository("app:1"));
    let place = PullDirectory::new(case)?;
    let old = tree(&[("mine", "old")]);
    files::write(Path::new(&place.out), &old)?;

    let arguments = ["pull", &image, "--plain-http", "--force", "-o", &place.out].map(str::to_owned);
    let home = [("HOME".to_owned(), case.directory.to_string_lossy().into_owned())];
    for kill in [false, true] {
        gate.throttle(1 << 20);
        let before = gate.passed();
        let log = format!("{}-pull-{kill}", case.space.namespace);
        let mut pull = case.lab.run.service(&log, &case.lab.operator_binary, &arguments, &home).await?;
        gate.wait_passed(before + (1 << 20), Duration::from_secs(60)).await?;
        assert_eq!(place.names()?.len(), 2, "a stage beside the directory");
        if kill {
            pull.process.kill().await?;
            assert_eq!(place.names()?.len(), 2, "nobody could remove the stage");
        } else {
            pull.process.terminate()?;
            let exit = pull.process.wait(Duration::from_secs(10)).await?.context("SIGTERM did not end it")?;
            assert_eq!(exit.code, Some(143));
            place.nothing_beside()?;
        }
        assert_eq!(place.content()?, old);
    }
    gate.throttle(0);
    answer(case, &arguments.each_ref().map(String::as_str)).await?;
    assert_eq!(revision::check(Path::new(&place.out), PADDING)?, 1);
    place.nothing_beside()
}
