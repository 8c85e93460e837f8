//! Every single failure: the reason is the API's, the earlier published content stays, and the object recovers by
//! itself, in the same operator process, once the cause is gone.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::Archive;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::object::{artifact_digest, condition, text};
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Registry, USERNAME};

use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_missing_tag_is_found_once_it_is_pushed,
    wrong_credentials_are_noticed_and_so_is_their_correction,
    a_secret_that_does_not_exist_is_waited_for,
    a_registry_that_is_down_is_tried_again,
    an_archive_that_would_escape_is_refused_whole,
    an_archive_with_an_escaping_link_is_refused_whole,
    two_layers_that_disagree_are_refused,
    a_layer_of_another_size_than_declared_is_refused,
);

/// Publishes `content` through a new object and returns its digest.
async fn good_start(case: &mut Case, image: &str, content: &Tree, spec: &Value) -> Result<String> {
    let source = case.source(content)?;
    let digest = case.lab.publisher.with_credentials().oras(&source, &[image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", spec).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(&case.published("app")?, content);
    Ok(digest)
}

/// Waits for the reason, then checks that the earlier content is still served and reported.
async fn refused_with(case: &Case, reason: &str, class: &str, digest: &str, content: &Tree) -> Result<()> {
    let object = case.space.refused("app", reason).await?;
    assert_eq!(artifact_digest(&object), Some(digest), "status names other content than is served");
    assert_eq!(&case.published("app")?, content, "earlier content was touched");
    let classes = ["Reconciling", "Stalled"].map(|kind| condition(&object, kind).map(|found| found.status));
    let wanted = ["Reconciling", "Stalled"].map(|kind| (kind == class).then(|| "True".to_owned()));
    assert_eq!(classes, wanted, "{reason} is of class {class}");
    let ready = condition(&object, "Ready").context("no Ready condition")?;
    ensure!(!ready.message.is_empty(), "{reason} has no message");
    ensure!(!ready.message.contains(PASSWORD), "the message shows a password: {}", ready.message);
    Ok(())
}

async fn a_missing_tag_is_found_once_it_is_pushed(case: &mut Case) -> Result<()> {
    let (image, missing) = (case.reference("app:1"), case.reference("app:2"));
    let content = tree(&[("file", "first")]);
    let old = good_start(case, &image, &content, &spec(&image)).await?;

    case.space.apply("app", &spec(&missing)).await?;
    refused_with(case, "ReferenceNotFound", "Reconciling", &old, &content).await?;

    let content = tree(&[("file", "second")]);
    let source = case.source(&content)?;
    let new = case.lab.publisher.oras(&source, &[&missing, "."]).await?;
    // No pass is requested here: the operator polls a missing tag by itself.
    case.space.ready_with("app", &new).await?;
    assert_eq!(case.published("app")?, content);
    Ok(())
}

/// Starts a registry that requires a login, and returns a spec that uses the Secret `login` for it.
async fn private(case: &Case) -> Result<(Registry, String, Value)> {
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let image = registry.reference("team/app:1");
    let spec = spec_with(&image, &json!({"registry": {"pullSecrets": [{"name": "login"}]}}));
    Ok((registry, image, spec))
}

async fn wrong_credentials_are_noticed_and_so_is_their_correction(case: &mut Case) -> Result<()> {
    let (registry, image, spec) = private(case).await?;
    case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    let content = tree(&[("file", "first")]);
    let old = good_start(case, &image, &content, &spec).await?;

    let next = tree(&[("file", "second")]);
    let source = case.source(&next)?;
    let new = case.lab.publisher.with_credentials().oras(&source, &[&image, "."]).await?;
    case.space.pull_secret("login", &registry.address, USERNAME, "wrong").await?;
    case.space.request_pass("app").await?;
    refused_with(case, "Unauthorized", "Reconciling", &old, &content).await?;

    // No pass is requested here: the operator notices the change of the Secret.
    case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    case.space.ready_with("app", &new).await?;
    assert_eq!(case.published("app")?, next);
    Ok(())
}

async fn a_secret_that_does_not_exist_is_waited_for(case: &mut Case) -> Result<()> {
    let (registry, image, spec) = private(case).await?;
    case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    let content = tree(&[("file", "first")]);
    let digest = good_start(case, &image, &content, &spec).await?;

    let other = spec_with(&image, &json!({"registry": {"pullSecrets": [{"name": "not-yet"}]}}));
    case.space.apply("app", &other).await?;
    refused_with(case, "SecretNotFound", "Reconciling", &digest, &content).await?;

    case.space.pull_secret("not-yet", &registry.address, USERNAME, PASSWORD).await?;
    case.space.ready_with("app", &digest).await?;
    Ok(())
}

async fn a_registry_that_is_down_is_tried_again(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("fragile", &Options { durable: true, ..Options::default() }).await?;
    let image = registry.reference("team/app:latest");
    let content = tree(&[("file", "first")]);
    let old = good_start(case, &image, &content, &spec(&image)).await?;
    let next = tree(&[("file", "second")]);
    let source = case.source(&next)?;
    let new = case.lab.publisher.oras(&source, &[&image, "."]).await?;

    registry.stop().await?;
    case.space.request_pass("app").await?;
    refused_with(case, "RegistryUnavailable", "Reconciling", &old, &content).await?;

    registry.resume().await?;
    case.space.ready_with("app", &new).await?;
    assert_eq!(case.published("app")?, next);
    Ok(())
}

async fn an_archive_that_would_escape_is_refused_whole(case: &mut Case) -> Result<()> {
    let hostile = Archive::default().file("harmless", b"1")?.file("../../escaped", b"2")?;
    refuse_archive(case, hostile).await
}

async fn an_archive_with_an_escaping_link_is_refused_whole(case: &mut Case) -> Result<()> {
    let hostile = Archive::default().link("out", "../../../../..")?.file("out/escaped", b"2")?;
    refuse_archive(case, hostile).await
}

/// Publishes a good revision, then the hostile one under the same tag, then a good one again.
async fn refuse_archive(case: &mut Case, hostile: Archive) -> Result<()> {
    let image = case.reference("app:latest");
    let content = tree(&[("file", "first")]);
    let old = good_start(case, &image, &content, &spec(&image)).await?;

    fs_err::write(case.directory.join("hostile.tgz"), hostile.gzip()?)?;
    let layer = "hostile.tgz:application/vnd.oci.image.layer.v1.tar+gzip";
    let arguments = ["--artifact-type", "application/x.test", "--layer", layer, &image];
    let bad = case.lab.publisher.raw(&case.directory, &arguments).await?;
    case.space.request_pass("app").await?;
    refused_with(case, "UnsafeArchive", "Stalled", &old, &content).await?;
    let object = case.space.get("app").await?;
    assert_eq!(text(&object, "/status/candidate/digest"), Some(bad.as_str()));
    assert_eq!(text(&object, "/status/candidate/reason"), Some("UnsafeArchive"));
    let written = supercargo_e2e::files::read(&case.directory)?;
    ensure!(!written.keys().any(|path| path.ends_with("escaped")), "the entry was written: {:?}", written.keys());

    let events = case.space.events("app").await?;
    ensure!(events.iter().any(|(kind, _, _)| kind == "Warning"), "no warning: {events:?}");

    let next = tree(&[("file", "third")]);
    let source = case.source(&next)?;
    let new = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.space.request_pass("app").await?;
    let object = case.space.ready_with("app", &new).await?;
    assert_eq!(text(&object, "/status/candidate/digest"), None);
    assert_eq!(case.published("app")?, next);
    Ok(())
}

async fn two_layers_that_disagree_are_refused(case: &mut Case) -> Result<()> {
    let image = case.reference("app:latest");
    push_layers(case, &image, ["1", "2"]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.refused("app", "LayerConflict").await?;
    ensure!(!case.current("app").exists(), "something was published");

    push_layers(case, &image, ["1", "1"]).await?;
    case.space.request_pass("app").await?;
    case.space.ready("app").await?;
    assert_eq!(case.published("app")?, tree(&[("file", "1")]));
    Ok(())
}

/// Pushes two layers with one file of the same name each.
async fn push_layers(case: &Case, image: &str, contents: [&str; 2]) -> Result<String> {
    let mut arguments = vec!["--artifact-type".to_owned(), "application/x.test".to_owned()];
    for (number, content) in contents.into_iter().enumerate() {
        let archive = Archive::default().file("file", content.as_bytes())?;
        fs_err::write(case.directory.join(format!("{number}.tar")), archive.finish())?;
        arguments.extend(["--layer".to_owned(), format!("{number}.tar:application/vnd.oci.image.layer.v1.tar")]);
    }
    arguments.push(image.to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    case.lab.publisher.raw(&case.directory, &arguments).await
}

async fn a_layer_of_another_size_than_declared_is_refused(case: &mut Case) -> Result<()> {
    let image = case.reference("app:latest");
    let content = tree(&[("file", "first")]);
    let old = good_start(case, &image, &content, &spec(&image)).await?;

    let archive = Archive::default().file("file", b"second")?.finish();
    fs_err::write(case.directory.join("layer.tar"), &archive)?;
    let layer = "layer.tar:application/vnd.oci.image.layer.v1.tar";
    let honest = ["--artifact-type", "application/x.test", "--layer", layer, &case.reference("app:honest")];
    case.lab.publisher.raw(&case.directory, &honest).await?;
    let manifest = case.lab.publisher.manifest(&case.reference("app:honest")).await?;
    let size = format!("\"size\":{}", archive.len());
    let lie = manifest.replace(&size, &format!("\"size\":{}", archive.len() - 512));
    ensure!(lie != manifest, "{manifest} does not say {size}");
    fs_err::write(case.directory.join("manifest.json"), lie)?;
    case.lab.publisher.put(&case.directory, &["--manifest", "manifest.json", &image]).await?;

    case.space.request_pass("app").await?;
    let object = case.space.refused("app", "DigestMismatch").await?;
    assert_eq!(artifact_digest(&object), Some(old.as_str()));
    assert_eq!(case.published("app")?, content);
    Ok(())
}
