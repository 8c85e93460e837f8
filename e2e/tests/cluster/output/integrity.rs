//! Published content that another writer of the volume changes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::Archive;
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::object::{LIMIT, is_ready};
use supercargo_e2e::registry::{Options, Registry, Request};
use supercargo_e2e::wait;

use crate::support::case::{Case, current_tree, spec, spec_with, tests};

tests!(
    files_changed_by_another_writer_are_repaired_within_the_interval,
    a_damaged_tree_stays_while_the_registry_is_down_and_is_repaired_when_it_is_back,
    published_content_is_repaired_while_a_new_revision_is_refused,
    every_byte_is_read_at_the_longer_interval_and_after_a_restart_when_due,
    touched_files_are_read_and_left,
);

fn content() -> Tree {
    let mut content = tree(&[("a.txt", "one"), ("d/b.txt", "two"), ("d/e/c.txt", "three"), ("run", "#!")]);
    content.insert("link".to_owned(), files::Entry::Link("d/b.txt".to_owned()));
    content
}

/// Publishes an object with a digest, so that no poll resolves a tag, from a registry of its own, and a second object
/// beside it.
async fn published(case: &mut Case, interval: &str) -> Result<(Registry, String)> {
    let registry = case.registry("own", &Options { durable: true, ..Options::default() }).await?;
    let source = case.source(&content())?;
    let image = registry.reference("team/app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let image = format!("{image}@{digest}");
    case.space.apply("app", &spec_with(&image, &json!({"interval": interval}))).await?;
    case.space.ready_with("app", &digest).await?;
    case.space.apply("other", &spec(&image)).await?;
    case.space.ready("other").await?;
    Ok((registry, digest))
}

fn downloads(registry: &Registry) -> Result<usize> {
    let is_download = |request: &&Request| request.method == "GET" && request.path.contains("/blobs/");
    Ok(registry.all_requests()?.iter().filter(is_download).count())
}

/// Waits until another tree than `before` is current, and checks that it holds the pushed content.
async fn repaired(case: &Case, before: &str) -> Result<()> {
    let directory = case.object_directory("app");
    wait::until_true(LIMIT, "a fresh tree", || Ok(current_tree(&directory)? != before)).await?;
    assert_eq!(case.published("app")?, content());
    Ok(())
}

/// Returns the number of Events of one kind and reason whose note contains `part`.
async fn told(case: &Case, kind: &str, reason: &str, part: &str) -> Result<usize> {
    let events = case.space.events("app").await?;
    Ok(events.iter().filter(|(is, why, note)| is == kind && why == reason && note.contains(part)).count())
}

async fn wait_told(case: &Case, kind: &str, reason: &str, part: &str, count: usize) -> Result<()> {
    wait::until(LIMIT, &format!("{count} {kind} Events with {part:?}"), || async {
        Ok((told(case, kind, reason, part).await? == count).then_some(()))
    })
    .await
}

/// A change to the published tree, and the text that reports its first path.
type Harm = (fn(&Path) -> Result<()>, &'static str);

async fn files_changed_by_another_writer_are_repaired_within_the_interval(case: &mut Case) -> Result<()> {
    let harm: [Harm; 6] = [
        (|tree| Ok(fs_err::write(tree.join("a.txt"), "two")?), "\"a.txt\" has different content"),
        (|tree| Ok(fs_err::write(tree.join("d/new"), "x")?), "\"d/new\" was added"),
        (|tree| Ok(fs_err::remove_dir_all(tree.join("d/e"))?), "\"d/e\" was removed"),
        (
            |tree| {
                fs_err::rename(tree.join("d"), tree.join("..").join("moved"))?;
                Ok(fs_err::os::unix::fs::symlink("../moved", tree.join("d"))?)
            },
            "\"d\" was replaced",
        ),
        (
            |tree| {
                fs_err::remove_file(tree.join("run"))?;
                let kind = rustix::fs::FileType::Fifo;
                Ok(rustix::fs::mknodat(
                    rustix::fs::CWD,
                    tree.join("run").as_os_str().as_bytes(),
                    kind,
                    0o644.into(),
                    0,
                )?)
            },
            "\"run\" was replaced",
        ),
        (
            |tree| {
                fs_err::remove_file(tree.join("link"))?;
                Ok(fs_err::os::unix::fs::symlink("/etc/passwd", tree.join("link"))?)
            },
            "\"link\" has a different link target",
        ),
    ];
    let mut settings = case.settings()?;
    settings.extra = ["--keep-revisions-for", "0s"].map(str::to_owned).to_vec();
    case.start_operator_as(&settings).await?;
    let (registry, digest) = published(case, "10s").await?;
    let other =
        (current_tree(&case.object_directory("other"))?, case.space.get("other").await?.metadata.resource_version);
    let before = downloads(&registry)?;
    for (number, (change, what)) in harm.into_iter().enumerate() {
        let tree = current_tree(&case.object_directory("app"))?;
        change(&case.object_directory("app").join("trees").join(&tree))?;
        if number > 0 {
            // The first change is found without a request, which proves that the interval is enough.
            case.space.request_pass("app").await?;
        }
        repaired(case, &tree).await.with_context(|| what.to_owned())?;
        wait_told(case, "Warning", "Damaged", what, 1).await?;
        wait_told(case, "Normal", "Repaired", "", number + 1).await?;
        case.space.ready_with("app", &digest).await?;
    }
    assert_eq!(downloads(&registry)?, before, "a layer was downloaded again");
    assert_eq!(current_tree(&case.object_directory("other"))?, other.0);
    assert_eq!(case.space.get("other").await?.metadata.resource_version, other.1, "the other object was written to");
    let trees = fs_err::read_dir(case.object_directory("app").join("trees"))?.count();
    ensure!(trees <= 4, "{trees} trees: those that were damaged pile up");
    let metrics = case.operator()?.metrics().await?;
    for line in ["supercargo_damaged_total 6", "supercargo_repairs_total 6"] {
        ensure!(metrics.contains(line), "no {line}: {metrics}");
    }
    Ok(())
}

async fn a_damaged_tree_stays_while_the_registry_is_down_and_is_repaired_when_it_is_back(
    case: &mut Case,
) -> Result<()> {
    case.start_operator().await?;
    let (mut registry, digest) = published(case, "1h").await?;
    registry.stop().await?;
    let tree = current_tree(&case.object_directory("app"))?;
    fs_err::write(case.current("app").join("a.txt"), "longer than it was")?;
    case.space.request_pass("app").await?;
    let object = case.space.refused("app", "RegistryUnavailable").await?;
    let message = object.data.pointer("/status/conditions/0/message").and_then(Value::as_str).context("no message")?;
    ensure!(message.contains("\"a.txt\" has a different size"), "{message}");
    assert_eq!(object.data.pointer("/status/artifact/digest"), Some(&json!(digest)));
    assert_eq!(current_tree(&case.object_directory("app"))?, tree);
    case.space.poll("app").await?;
    assert_eq!(told(case, "Warning", "Damaged", "different size").await?, 1, "told again and again");
    registry.resume().await?;
    repaired(case, &tree).await?;
    case.space.ready_with("app", &digest).await?;
    wait_told(case, "Normal", "Repaired", "", 1).await
}

async fn published_content_is_repaired_while_a_new_revision_is_refused(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&content())?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &digest).await?;
    refused_revision(case, &image).await?;
    case.space.request_pass("app").await?;
    case.space.refused("app", "UnsafeArchive").await?;
    let tree = current_tree(&case.object_directory("app"))?;
    fs_err::write(case.current("app").join("d/new"), "x")?;
    case.space.request_pass("app").await?;
    repaired(case, &tree).await?;
    wait_told(case, "Normal", "Repaired", "", 1).await?;
    let object = case.space.get("app").await?;
    ensure!(!is_ready(&object), "the new revision is refused all the same: {}", object.data);
    assert_eq!(object.data.pointer("/status/artifact/digest"), Some(&json!(digest)));
    Ok(())
}

/// Moves the tag to an archive with an entry outside its directory.
async fn refused_revision(case: &mut Case, image: &str) -> Result<()> {
    let hostile = Archive::default().file("../evil", b"x")?;
    fs_err::write(case.directory.join("hostile.tgz"), hostile.gzip()?)?;
    let layer = "hostile.tgz:application/vnd.oci.image.layer.v1.tar+gzip";
    let arguments = ["--artifact-type", "application/x.test", "--layer", layer, image];
    case.lab.publisher.raw(&case.directory, &arguments).await?;
    Ok(())
}

/// Changes a file's bytes and forges the list so that it has the file's new times: a comparison of times cannot detect
/// this.
fn change_below_the_filesystem(case: &Case) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let file = case.current("app").join("a.txt");
    fs_err::write(&file, "two")?;
    let now = fs_err::metadata(&file)?;
    let mut lists = Vec::new();
    for object in fs_err::read_dir(case.volume.join(".supercargo/lists"))? {
        lists.extend(fs_err::read_dir(object?.path())?);
    }
    for list in lists {
        let list = list?.path();
        let time = fs_err::metadata(&list)?.modified()?;
        let text = fs_err::read_to_string(&list)?;
        let forged: Result<Vec<String>> = text
            .lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line)?;
                if line.get(0).is_some_and(|path| path == "a.txt")
                    && line[1]["file"]["seen"]["inode"] == json!(now.ino())
                {
                    line[1]["file"]["seen"]["modified"] = json!([now.mtime(), now.mtime_nsec()]);
                    line[1]["file"]["seen"]["changed"] = json!([now.ctime(), now.ctime_nsec()]);
                }
                Ok(line.to_string() + "\n")
            })
            .collect();
        fs_err::write(&list, forged?.concat())?;
        fs_err::OpenOptions::new().write(true).open(&list)?.file().set_modified(time)?;
    }
    Ok(())
}

async fn every_byte_is_read_at_the_longer_interval_and_after_a_restart_when_due(case: &mut Case) -> Result<()> {
    let mut settings = case.settings()?;
    settings.extra = ["--full-scan-interval", "8s"].map(str::to_owned).to_vec();
    case.start_operator_as(&settings).await?;
    let (_registry, _) = published(case, "1h").await?;
    let tree = current_tree(&case.object_directory("app"))?;
    change_below_the_filesystem(case)?;
    repaired(case, &tree).await.context("by the interval")?;
    wait_told(case, "Warning", "Damaged", "\"a.txt\" has different content", 1).await?;

    // With the usual interval no full scan is due after a restart, and the change stays unnoticed; with a short one it
    // is found.
    case.take_operator()?.stop().await?;
    let tree = current_tree(&case.object_directory("app"))?;
    change_below_the_filesystem(case)?;
    case.start_operator().await?;
    case.space.poll("app").await?;
    assert_eq!(current_tree(&case.object_directory("app"))?, tree, "read although it was not due");
    let metrics = case.operator()?.metrics().await?;
    ensure!(!metrics.contains("kind=\"everything\""), "{metrics}");
    case.take_operator()?.stop().await?;
    settings.extra = ["--full-scan-interval", "1s"].map(str::to_owned).to_vec();
    case.start_operator_as(&settings).await?;
    repaired(case, &tree).await.context("after a restart")
}

async fn touched_files_are_read_and_left(case: &mut Case) -> Result<()> {
    case.start_operator().await?;
    let (_registry, _) = published(case, "1h").await?;
    let tree = current_tree(&case.object_directory("app"))?;
    let file = fs_err::OpenOptions::new().write(true).open(case.current("app").join("a.txt"))?;
    file.file().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1))?;
    let read = "supercargo_scans_total{kind=\"doubtful\",result=\"whole\"} 1";
    case.space.request_pass("app").await?;
    wait::until(LIMIT, "the file to be read", || async {
        Ok(case.operator()?.metrics().await?.contains(read).then_some(()))
    })
    .await?;
    case.space.poll("app").await?;
    case.space.poll("app").await?;
    ensure!(case.operator()?.metrics().await?.contains(read), "it is read each time");
    assert_eq!(current_tree(&case.object_directory("app"))?, tree);
    assert_eq!(told(case, "Warning", "Damaged", "").await?, 0);
    Ok(())
}
