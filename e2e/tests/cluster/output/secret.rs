//! Secret outputs: content that stays off disks and out of logs, and rights that must be granted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::gate::Gate;
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::object::{condition, text};
use supercargo_e2e::operator::Settings;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::rights::Rights;

use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_secret_output_arrives_and_its_content_touches_no_disk_and_no_log,
    an_immutable_secret_has_a_name_for_its_content,
    a_restart_without_the_registry_forgets_no_secret,
    a_secret_output_without_the_right_names_the_value_of_the_chart,
    a_secret_output_beside_another_kind_is_refused_at_admission,
);

const CANARY: &str = "canary-7f3d9a51c2e84b06";
const TYPE: &str = "example.com/token";
const TITLE: &str = "org.opencontainers.image.title";
/// Flag of the memory-backed directory.
const WORK_FLAG: &str = "--secret-work-dir";

fn outputs(immutable: bool) -> Value {
    let secret = json!({"name": "tokens", "type": TYPE, "separator": "..", "immutable": immutable});
    json!({"outputs": [{"name": "tokens", "secret": secret}]})
}

/// A memory-backed directory of this test, removed on drop.
struct Memory(tempfile::TempDir);

impl Memory {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("supercargo-e2e-").tempdir_in("/dev/shm")?))
    }

    fn settings(&self, case: &Case, rights: &Rights) -> Result<Settings> {
        let mut settings = case.settings()?;
        settings.kubeconfig.clone_from(&rights.kubeconfig);
        settings.extra.extend([WORK_FLAG.to_owned(), self.0.path().display().to_string()]);
        "trace".clone_into(&mut settings.log_filter);
        Ok(settings)
    }
}

async fn rights(case: &Case) -> Result<Rights> {
    let rights = Rights::create(&case.lab, &case.space).await?;
    rights.add("", "secrets", &["get", "create", "update", "patch", "delete"]).await?;
    Ok(rights)
}

/// Pushes an artifact with one file, whose layer is this file byte for byte, so that a search finds every copy of it.
async fn push(case: &Case, registry: &Registry, content: &str) -> Result<String> {
    let fixture =
        Fixture::artifact("application/x.test").layer("text/plain", content.as_bytes(), &[(TITLE, "a/token")]);
    let image = registry.reference("team/tokens:1");
    case.lab.publisher.fixture(&case.directory.join("pushed"), &image, &fixture).await?;
    Ok(image)
}

/// Returns the files below these directories that hold the canary.
fn search(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = directories.to_vec();
    while let Some(path) = open.pop() {
        // Entries may disappear during the search.
        let Ok(kind) = fs_err::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            open.extend(fs_err::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if kind.is_file() && fs_err::read(&path).is_ok_and(|bytes| contains(&bytes, CANARY.as_bytes())) {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn a_secret_output_arrives_and_its_content_touches_no_disk_and_no_log(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let content = format!("{CANARY}\n").repeat(20_000);
    push(case, &registry, &content).await?;
    ensure!(!search(&[case.directory.join("pushed")]).is_empty(), "the search does not find what is there");
    // About three seconds, so that a file that exists only during the download is seen.
    let gate = Gate::open(&registry.address).await?;
    gate.throttle(160 << 10);
    let (rights, memory) = (rights(case).await?, Memory::new()?);
    case.start_operator_as(&memory.settings(case, &rights)?).await?;

    let (done, places) = (Arc::new(AtomicBool::new(false)), vec![case.volume.clone(), case.directory.join("work")]);
    let stop = Arc::clone(&done);
    let searching = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        while !stop.load(Ordering::Relaxed) && found.is_empty() {
            found = search(&places);
        }
        found
    });
    case.space.apply("app", &spec_with(&format!("{}/team/tokens:1", gate.address), &outputs(false))).await?;
    let ready = case.space.ready("app").await;
    done.store(true, Ordering::Relaxed);
    let found = searching.await?;
    let object = ready?;
    ensure!(found.is_empty(), "the content is in {found:?}");
    assert_eq!(text(&object, "/status/outputs/0/kind"), Some("Secret"));
    assert_eq!(text(&object, "/status/outputs/0/location"), Some("tokens"));

    let secret = case.space.secrets().get("tokens").await?;
    assert_eq!(secret.type_.as_deref(), Some(TYPE));
    let data = secret.data.clone().unwrap_or_default();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["a..token"]);
    ensure!(data.values().all(|value| value.0 == content.as_bytes()), "other content");
    no_plain_digest(&secret, &content)?;
    let log = fs_err::read(case.operator()?.log())?;
    ensure!(contains(&log, b"TRACE"), "the log has no trace level");
    ensure!(!contains(&log, CANARY.as_bytes()), "the content is in the log");
    ensure!(!object.data.to_string().contains(CANARY), "the content is in status");

    case.space.delete("app").await?;
    case.space.gone("app").await?;
    let gone = async || Ok(case.space.secrets().get_opt("tokens").await?.is_none().then_some(()));
    supercargo_e2e::wait::until(Duration::from_secs(20), "the Secret to go with its owner", gone).await
}

/// Checks that the metadata has no plain digest: low-entropy content could be guessed from it.
fn no_plain_digest(secret: &Secret, content: &str) -> Result<()> {
    let plain = digest(content.as_bytes());
    let hex = plain.trim_start_matches("sha256:");
    let short = hex.get(..10).unwrap_or(hex);
    let metadata = json!({"annotations": secret.metadata.annotations, "labels": secret.metadata.labels}).to_string();
    ensure!(!metadata.contains(short), "a plain digest of the content is in {metadata}");
    Ok(())
}

async fn an_immutable_secret_has_a_name_for_its_content(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let (rights, memory) = (rights(case).await?, Memory::new()?);
    case.start_operator_as(&memory.settings(case, &rights)?).await?;
    let mut names = Vec::new();
    for content in ["first", "second"] {
        let image = push(case, &registry, content).await?;
        case.space.apply("app", &spec_with(&image, &outputs(true))).await?;
        case.space.request_pass("app").await?;
        let wanted = |object: &DynamicObject| {
            let location = text(object, "/status/outputs/0/location").unwrap_or_default();
            supercargo_e2e::object::is_ready(object) && !names.iter().any(|name| name == location)
        };
        let object = case.space.wait("app", "be Ready under another name", wanted).await?;
        let name = text(&object, "/status/outputs/0/location").context("no location")?.to_owned();
        let digits = name.strip_prefix("tokens-").with_context(|| format!("the location is {name}"))?;
        ensure!(digits.len() == 10, "the location is {name}");
        // The name is public, as annotations are.
        let plain = digest(content.as_bytes());
        ensure!(!plain.contains(digits), "the name is a plain digest of the content");
        let secret = case.space.secrets().get(&name).await?;
        ensure!(secret.immutable == Some(true), "{name} is not immutable");
        let data = secret.data.unwrap_or_default();
        ensure!(data.values().all(|value| value.0 == content.as_bytes()), "{name} has other content");
        names.push(name);
    }
    ensure!(case.space.secrets().get_opt(&names[0]).await?.is_some(), "{} went at once", names[0]);
    Ok(())
}

async fn a_secret_output_without_the_right_names_the_value_of_the_chart(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let image = push(case, &registry, CANARY).await?;
    let (rights, memory) = (Rights::create(&case.lab, &case.space).await?, Memory::new()?);
    case.start_operator_as(&memory.settings(case, &rights)?).await?;
    case.space.apply("app", &spec_with(&image, &outputs(false))).await?;
    let named = |object: &DynamicObject| {
        condition(object, "Ready")
            .is_some_and(|ready| ready.status == "False" && ready.message.contains("rbac.secretOutputs"))
    };
    case.space.wait("app", "name rbac.secretOutputs", named).await?;
    ensure!(case.space.secrets().get_opt("tokens").await?.is_none(), "the Secret was made");
    // Once granted, the right is used without an annotation.
    rights.add("", "secrets", &["get", "create", "update", "patch", "delete"]).await?;
    super::within(super::HEALED, "Ready with the right", case.space.ready("app")).await?;
    Ok(())
}

async fn a_secret_output_beside_another_kind_is_refused_at_admission(case: &mut Case) -> Result<()> {
    let secret = json!({"name": "tokens", "secret": {"name": "tokens"}});
    let rows = [
        ("alone", json!([secret]), true),
        ("two Secrets", json!([secret, {"name": "more", "secret": {"name": "more"}}]), true),
        ("a volume", json!([secret, {"name": "files", "volume": {"name": "default"}}]), false),
        ("a ConfigMap", json!([secret, {"name": "rules", "configMap": {"name": "rules"}}]), false),
    ];
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for (label, outputs, accepted) in rows {
        let mut spec = spec("registry.example.com/app:1");
        spec["outputs"] = outputs;
        let document = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact", "metadata": {"name": "app"}, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(document)?;
        match case.space.artifacts().create(&dry, &object).await {
            Ok(created) => {
                ensure!(accepted, "{label}: accepted");
                let kept = created.data.pointer("/spec/outputs/0/secret").is_some();
                ensure!(kept, "{label}: the schema does not know `secret`: {}", created.data);
            }
            Err(kube::Error::Api(status)) if status.code == 422 => {
                ensure!(!accepted && status.message.contains("spec.outputs"), "{label}: {}", status.message);
            }
            Err(error) => return Err(error).context(label),
        }
    }
    Ok(())
}

async fn a_restart_without_the_registry_forgets_no_secret(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("own", &Options::default()).await?;
    let (rights, memory) = (rights(case).await?, Memory::new()?);
    case.start_operator_as(&memory.settings(case, &rights)?).await?;
    let image = push(case, &registry, "first").await?;
    case.space.apply("app", &spec_with(&image, &outputs(true))).await?;
    let object = case.space.ready("app").await?;
    let name = text(&object, "/status/outputs/0/location").context("no location")?.to_owned();
    case.take_operator()?.stop().await?;
    registry.stop().await?;
    case.start_operator_as(&memory.settings(case, &rights)?).await?;
    let object = case.space.refused("app", "RegistryUnavailable").await?;
    ensure!(case.space.secrets().get_opt(&name).await?.is_some(), "the Secret went");
    let said = text(&object, "/status/outputs/0/location");
    ensure!(said == Some(name.as_str()), "consumers read {name}, and status names {said:?}");
    Ok(())
}
