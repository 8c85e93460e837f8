//! Kept layers: one download for all objects that may read the layer, and none for others. Requests are taken from the
//! registry's own access log.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::http;
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::Operator;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Registry, Request, USERNAME};

use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::revision;

tests!(
    a_hundred_objects_on_one_digest_cost_one_download,
    a_wrong_pull_secret_opens_nothing_that_another_namespace_fetched,
    a_repository_without_the_blob_does_not_get_it_from_another,
    a_layer_that_was_changed_on_the_volume_is_not_published,
    a_download_that_breaks_goes_on_where_it_broke,
);

/// Returns the requests for blobs, as method and status, in order.
fn about_blobs(registry: &Registry) -> Result<Vec<(String, u16)>> {
    let is_blob = |request: &Request| request.path.contains("/blobs/");
    let asked = registry.all_requests()?.into_iter().filter(is_blob);
    Ok(asked.map(|request| (request.method, request.status)).collect())
}

fn count(asked: &[(String, u16)], method: &str, status: u16) -> usize {
    asked.iter().filter(|(asked, answered)| asked == method && *answered == status).count()
}

async fn a_hundred_objects_on_one_digest_cost_one_download(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    // The layer takes about a second: enough time for other objects to arrive during the download.
    let gate = Gate::open(&registry.address).await?;
    gate.throttle(1 << 20);
    let content = revision::tree(1, 25_000);
    let source = case.source(&content)?;
    let digest = case.lab.publisher.oras(&source, &[&registry.reference("team/app:1"), "."]).await?;
    let names: Vec<String> = (0..100).map(|number| format!("app-{number}")).collect();
    let spec = spec(&format!("{}/team/app:1", gate.address));
    try_join_all(names.iter().map(|name| case.space.apply(name, &spec))).await?;
    // All objects exist before the operator starts, so their requests arrive at once.
    case.start_operator().await?;
    for name in &names {
        case.space.ready_with(name, &digest).await?;
        assert_eq!(case.published(name)?, content, "{name}");
    }
    let asked = about_blobs(&registry)?;
    assert_eq!((count(&asked, "GET", 200), count(&asked, "HEAD", 200), asked.len()), (1, 99, 100));

    let metrics = case.operator()?.metrics().await?;
    ensure!(metrics.contains("supercargo_cache_lookups_total{result=\"hit\"} 99"), "{metrics}");
    Ok(())
}

async fn a_wrong_pull_secret_opens_nothing_that_another_namespace_fetched(case: &mut Case) -> Result<()> {
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let content = tree(&[("file", "for those who may")]);
    let source = case.source(&content)?;
    let image = registry.reference("team/app:1");
    let digest = case.lab.publisher.with_credentials().oras(&source, &[&image, "."]).await?;
    let other = Space::create(&case.space.client, &format!("{}-other", case.space.namespace)).await?;
    let mut settings = case.settings()?;
    settings.namespaces.push(other.namespace.clone());
    let _operator = Operator::start(&case.lab.run, &settings).await?;

    // By digest, so that the first request is for the content.
    let spec = spec_with(&format!("{image}@{digest}"), &json!({"registry": {"pullSecrets": [{"name": "login"}]}}));
    case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    case.space.apply("app", &spec).await?;
    case.space.ready_with("app", &digest).await?;
    other.pull_secret("login", &registry.address, USERNAME, "wrong").await?;
    other.apply("app", &spec).await?;
    other.refused("app", "Unauthorized").await?;
    let directory = case.volume.join(&other.namespace);
    ensure!(!directory.join("app/current").exists(), "it was published all the same");

    other.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    other.ready_with("app", &digest).await?;
    assert_eq!(files::read(&directory.join("app/current"))?, content);
    let asked = about_blobs(&registry)?;
    assert_eq!((count(&asked, "GET", 200), count(&asked, "HEAD", 200)), (1, 1), "{asked:?}");
    Ok(())
}

/// The manifest is readable in both repositories; the blob was deleted from one of them.
async fn a_repository_without_the_blob_does_not_get_it_from_another(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let source = case.source(&tree(&[("file", "content")]))?;
    let (with, without) = (registry.reference("team/with:1"), registry.reference("team/without:1"));
    let digest = case.lab.publisher.oras(&source, &[&with, "."]).await?;
    case.lab.publisher.oras(&source, &[&without, "."]).await?;
    let manifest: serde_json::Value = serde_json::from_str(&case.lab.publisher.manifest(&with).await?)?;
    let blob = manifest.pointer("/layers/0/digest").and_then(serde_json::Value::as_str).context("no layer")?;
    let deleted = http::delete(&registry.address, &format!("/v2/team/without/blobs/{blob}")).await?;
    ensure!(deleted.status == 202, "deleting the blob: {deleted:?}");

    case.start_operator().await?;
    case.space.apply("with", &spec(&with)).await?;
    case.space.ready_with("with", &digest).await?;
    let without = without.replace(":1", &format!("@{}", case.lab.publisher.resolve(&without).await?));
    case.space.apply("without", &spec(&without)).await?;
    case.space.refused("without", "ReferenceNotFound").await?;
    ensure!(!case.current("without").exists(), "it was published all the same");
    assert_eq!(about_blobs(&registry)?, [("GET".to_owned(), 200), ("HEAD".to_owned(), 404)]);
    Ok(())
}

async fn a_layer_that_was_changed_on_the_volume_is_not_published(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let content = tree(&[("file", "content")]);
    let source = case.source(&content)?;
    let image = registry.reference("team/app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("first", &spec(&image)).await?;
    case.space.ready_with("first", &digest).await?;

    let kept = files::read(&case.volume.join(".supercargo/blobs"))?;
    ensure!(kept.len() == 1, "kept: {:?}", kept.keys());
    for name in kept.keys() {
        let path = case.volume.join(".supercargo/blobs").join(name);
        let mut bytes = fs_err::read(&path)?;
        *bytes.last_mut().context("an empty layer")? ^= 1;
        fs_err::write(&path, bytes)?;
    }
    case.space.apply("second", &spec(&image)).await?;
    case.space.ready_with("second", &digest).await?;
    assert_eq!(case.published("second")?, content);
    assert_eq!(about_blobs(&registry)?, [("GET".to_owned(), 200), ("HEAD".to_owned(), 200), ("GET".to_owned(), 200)]);
    assert_eq!(files::read(&case.volume.join(".supercargo/blobs"))?, kept, "the layer was not replaced");
    Ok(())
}

async fn a_download_that_breaks_goes_on_where_it_broke(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let gate = Gate::open(&registry.address).await?;
    let source = case.source(&revision::tree(1, 150_000))?;
    let digest = case.lab.publisher.oras(&source, &[&registry.reference("team/app:1"), "."]).await?;
    gate.cut_at(2 << 20);
    case.start_operator().await?;
    case.space.apply("app", &spec(&format!("{}/team/app:1", gate.address))).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(revision::check(&case.current("app"), 150_000)?, 1);
    let asked = about_blobs(&registry)?;
    assert_eq!((count(&asked, "GET", 206), asked.len()), (1, 2), "{asked:?}");
    ensure!(gate.passed() < 8 << 20, "{} bytes went through for a layer of 6 MB", gate.passed());
    Ok(())
}
