//! Resolution of tags and digests to files, and the requests that a poll costs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use supercargo_e2e::files::tree;
use supercargo_e2e::object::{artifact_digest, text};
use supercargo_e2e::registry::{Options, Request};
use supercargo_e2e::wait;

use crate::support::case::{Case, current_tree, short, spec, spec_with, tests};
use crate::support::revision;

tests!(
    a_tag_becomes_ready_with_the_digest_that_another_client_resolves,
    a_moved_tag_brings_its_content_and_one_event_from_old_to_new,
    a_range_chooses_the_highest_version_and_follows_it,
    a_reader_of_current_sees_only_whole_revisions,
    a_digest_is_fetched_once_and_never_polled,
    an_unchanged_poll_is_one_head_and_no_write,
);

async fn a_tag_becomes_ready_with_the_digest_that_another_client_resolves(case: &mut Case) -> Result<()> {
    let content = tree(&[("a.txt", "one\n"), ("deep/er/b.txt", "two\n")]);
    let source = case.source(&content)?;
    let image = case.reference("app:1.0.0");
    let pushed = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;

    let namespace = case.space.namespace.clone();
    let wait = ["wait", "ociart/app", "--for=condition=Ready", "--timeout=40s", "--namespace", &namespace];
    case.lab.kubectl().args(wait).stdout().await?;

    let object = case.space.get("app").await?;
    let resolved = case.lab.publisher.resolve(&image).await?;
    ensure!(resolved == pushed, "the registry moved the tag by itself");
    assert_eq!(artifact_digest(&object), Some(resolved.as_str()));
    assert_eq!(text(&object, "/status/artifact/tag"), Some("1.0.0"));
    assert_eq!(object.data.pointer("/status/observedGeneration"), Some(&json!(1)));
    assert_eq!(case.published("app")?, content);

    let directory = case.object_directory("app");
    ensure!(current_tree(&directory)?.starts_with(resolved.trim_start_matches("sha256:")), "the tree has another name");
    let marker: serde_json::Value = serde_json::from_slice(&fs_err::read(directory.join(".artifact.json"))?)?;
    ensure!(marker.to_string().contains(&resolved), "{marker} does not name the digest");
    Ok(())
}

async fn a_moved_tag_brings_its_content_and_one_event_from_old_to_new(case: &mut Case) -> Result<()> {
    let image = case.reference("app:latest");
    let first = case.source(&tree(&[("only-in-the-first", "1"), ("both", "1")]))?;
    let old = case.lab.publisher.oras(&first, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &old).await?;

    let content = tree(&[("only-in-the-second", "2"), ("both", "2")]);
    let second = case.source(&content)?;
    let new = case.lab.publisher.oras(&second, &[&image, "."]).await?;
    case.space.request_pass("app").await?;
    case.space.ready_with("app", &new).await?;
    assert_eq!(case.published("app")?, content);

    // Two more passes without a change must cause no Event.
    case.space.poll("app").await?;
    case.space.poll("app").await?;
    let moved = |note: &str| note.contains(short(&old).trim_start_matches("sha256:")) && note.contains(short(&new));
    let about = || async {
        let events = case.space.events("app").await?;
        let count = events.iter().filter(|(_, reason, note)| reason == "Published" && moved(note)).count();
        if count > 1 {
            bail!("{count} Events tell of one move: {events:?}");
        }
        Ok((count == 1).then_some(()))
    };
    wait::until(Duration::from_secs(10), "an Event that names the old and the new digest", about).await
}

async fn a_range_chooses_the_highest_version_and_follows_it(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let push = async |case: &mut Case, tag: &str| -> Result<String> {
        let source = case.source(&tree(&[("version", tag)]))?;
        case.lab.publisher.oras(&source, &[&registry.reference(&format!("app:{tag}")), "."]).await
    };
    for tag in ["1.0.0", "1.9.0", "latest", "2.0.0-rc.1", "2.0.0", "20250203"] {
        push(case, tag).await?;
    }
    let wanted = push(case, "v1.10.0_build.7").await?;
    case.start_operator().await?;
    let spec = |range: &str| spec_with(&registry.reference("app"), &json!({"semver": {"range": range}}));
    case.space.apply("app", &spec(">=1.2.0 <2.0.0")).await?;
    let object = case.space.ready_with("app", &wanted).await?;
    assert_eq!(text(&object, "/status/artifact/tag"), Some("v1.10.0_build.7"));

    let asked = registry.all_requests()?.len();
    case.space.poll("app").await?;
    let polled: Vec<String> = registry.all_requests()?[asked..].iter().map(|one| one.method.clone()).collect();
    assert_eq!(polled, ["GET", "HEAD"], "a list of tags and one digest");

    let newer = push(case, "1.11.0").await?;
    case.space.request_pass("app").await?;
    let object = case.space.ready_with("app", &newer).await?;
    assert_eq!(case.published("app")?, tree(&[("version", "1.11.0")]));
    assert_eq!(text(&object, "/status/artifact/tag"), Some("1.11.0"));

    case.space.apply("app", &spec("^7")).await?;
    let object = case.space.refused("app", "NoMatchingTag").await?;
    assert_eq!(artifact_digest(&object), Some(newer.as_str()), "what was published stays");
    Ok(())
}

async fn a_reader_of_current_sees_only_whole_revisions(case: &mut Case) -> Result<()> {
    const REVISIONS: u64 = 12;
    let image = case.reference("app:latest");
    let mut digests = Vec::new();
    for number in 1..=REVISIONS {
        let source = case.source(&revision::tree(number, 2000))?;
        digests.push(case.lab.publisher.oras(&source, &[&case.reference(&format!("app:{number}")), "."]).await?);
    }
    case.lab.publisher.tag(&case.reference("app:1"), "latest").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &digests[0]).await?;

    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (current, done) = (case.current("app"), Arc::clone(&done));
        move || read_until(&current, &done)
    });
    for number in 2..=REVISIONS {
        case.lab.publisher.tag(&case.reference(&format!("app:{number}")), "latest").await?;
        case.space.request_pass("app").await?;
        case.space.ready_with("app", &digests[usize::try_from(number - 1)?]).await?;
    }
    done.store(true, Ordering::Relaxed);
    let seen = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(seen.last() == Some(&REVISIONS), "the last revision read is {:?}", seen.last());
    ensure!(seen.is_sorted(), "the reader went back in time: {seen:?}");
    ensure!(seen.len() > 5, "the reader saw only {seen:?}; it read nothing while revisions changed");
    Ok(())
}

/// Reads whole trees through `current` until told to stop, and returns the revisions in the order seen. A tree may
/// disappear during a read only if `current` has moved on from it.
fn read_until(current: &PathBuf, done: &AtomicBool) -> Result<Vec<u64>> {
    let mut seen = Vec::new();
    loop {
        let last_round = done.load(Ordering::Relaxed);
        let tree = fs_err::canonicalize(current).context("current points at nothing")?;
        match revision::check(&tree, 2000) {
            Ok(found) if seen.last() == Some(&found) => {}
            Ok(found) => seen.push(found),
            Err(_) if fs_err::canonicalize(current)? != tree => {}
            Err(error) => return Err(error.context("a torn revision")),
        }
        if last_round {
            return Ok(seen);
        }
    }
}

/// A second object that is polled is the clock: while it was polled twice, the pinned objects were not resolved once.
async fn a_digest_is_fetched_once_and_never_polled(case: &mut Case) -> Result<()> {
    let content = tree(&[("file", "first")]);
    let source = case.source(&content)?;
    let mut digests = Vec::new();
    for name in ["alone", "tagged", "clock"] {
        digests.push(case.lab.publisher.oras(&source, &[&case.reference(&format!("{name}:1")), "."]).await?);
    }
    case.start_operator().await?;
    let often = json!({"interval": "10s"});
    let alone = format!("{}@{}", case.reference("alone"), digests[0]);
    let tagged = format!("{}@{}", case.reference("tagged:1"), digests[1]);
    case.space.apply("alone", &spec_with(&alone, &often)).await?;
    case.space.apply("tagged", &spec_with(&tagged, &often)).await?;
    case.space.ready_with("alone", &digests[0]).await?;
    let object = case.space.ready_with("tagged", &digests[1]).await?;
    assert_eq!(text(&object, "/status/artifact/tag"), Some("1"));

    let other = case.source(&tree(&[("file", "second")]))?;
    case.lab.publisher.oras(&other, &[&case.reference("tagged:1"), "."]).await?;
    let requests = |case: &Case| -> Result<(Vec<Request>, Vec<Request>)> {
        let registry = &case.lab.registry;
        Ok((registry.requests(&case.repository("alone"))?, registry.requests(&case.repository("tagged"))?))
    };
    let before = requests(case)?;
    case.space.apply("clock", &spec_with(&case.reference("clock:1"), &often)).await?;
    case.space.ready("clock").await?;
    case.space.poll("alone").await?;
    case.space.poll("tagged").await?;
    wait_for_heads(case, "clock", 3).await?;

    assert_eq!(requests(case)?, before, "a digest was looked up again");
    for name in ["alone", "tagged"] {
        assert_eq!(case.published(name)?, content);
    }
    Ok(())
}

async fn an_unchanged_poll_is_one_head_and_no_write(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = registry.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&image, &json!({"interval": "10s"}))).await?;
    case.space.ready("app").await?;

    let first_pass = registry.all_requests()?;
    let version = case.space.get("app").await?.metadata.resource_version;
    let polls = || registry.all_requests().map(|requests| requests.len() - first_pass.len());
    wait::until_true(Duration::from_secs(60), "two polls", || Ok(polls()? >= 2)).await?;

    let all = registry.all_requests()?;
    for request in &all[first_pass.len()..] {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("HEAD", "/v2/app/manifests/1"), "{all:?}");
    }
    ensure!(all.len() - first_pass.len() == 2, "more requests than polls: {all:?}");
    // The second poll begins after the first has ended, so the first at least could have written.
    assert_eq!(case.space.get("app").await?.metadata.resource_version, version);
    Ok(())
}

/// Waits until the number of HEAD requests for a tag reaches `count`.
async fn wait_for_heads(case: &Case, name: &str, count: usize) -> Result<()> {
    let repository = case.repository(name);
    wait::until_true(Duration::from_secs(90), &format!("{count} looks at {repository}"), || {
        let requests = case.lab.registry.requests(&repository)?;
        Ok(requests.iter().filter(|request| request.method == "HEAD").count() >= count)
    })
    .await
}
