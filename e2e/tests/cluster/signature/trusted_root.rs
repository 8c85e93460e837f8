//! The default trusted root, from a repository of The Update Framework.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, ensure};
use rcgen::KeyPair;
use serde_json::{Value, json};
use supercargo_e2e::object::{condition, current_condition, is_ready};
use supercargo_e2e::signing::handmade::{self, Envelope, Signer};
use supercargo_e2e::signing::{Edition, HandmadeLog, Published, SIGN_PREDICATE, TufOwner, TufRepository};
use supercargo_e2e::wait;

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_fetched_trusted_root_applies_to_published_content_too,
    what_is_wrong_about_a_repository_changes_nothing,
    the_last_good_root_outlives_the_process,
    no_content_is_withdrawn_while_the_trusted_root_is_unavailable,
    only_objects_with_signature_requirements_wait_for_the_first_root,
    the_trusted_root_is_fetched_only_if_configured,
);

const SINCE: &str = "2026-01-01T00:00:00Z";

/// A change of the repository.
type Change<'a> = &'a dyn Fn() -> Result<()>;

/// A signed artifact whose log is in only one of two trusted roots.
struct World {
    owner: TufOwner,
    repository: TufRepository,
    /// The trusted root of the public good instance.
    without: Vec<u8>,
    /// The same root with the log of the signature added.
    with: Vec<u8>,
    spec: Value,
}

impl World {
    async fn new(case: &Case) -> Result<Self> {
        let (owner, repository, log) = (TufOwner::new()?, TufRepository::start().await?, HandmadeLog::new()?);
        repository.add_root(1, owner.root(1, None)?);
        let without = fs_err::read(Published::path("trusted_root.public.json"))?;
        let with = log.trusted_in(&without, SINCE, None)?.to_string().into_bytes();
        let key = KeyPair::generate()?;
        let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let envelope = Envelope::sign(&Signer::Key { pkcs8_pem: key.serialize_pem() }, &statement)?;
        let logged = envelope.logged(&log.entry(&envelope.log_body, UNIX_EPOCH.elapsed()?.as_secs())?);
        artifact.attach_bundle(case, &logged).await?;
        let verify = json!([{"name": "release", "cosign": {"keys": [{"inline": key.public_key_pem()}]}}]);
        let spec = spec_with(&case.reference("app:1"), &json!({"verify": verify}));
        Ok(Self { owner, repository, without, with, spec })
    }

    async fn start_operator(&self, case: &mut Case) -> Result<()> {
        self.start_operator_with(case, &[]).await
    }

    async fn start_operator_with(&self, case: &mut Case, more: &[&str]) -> Result<()> {
        let root = case.directory.join("root.json");
        fs_err::write(&root, self.owner.root(1, None)?)?;
        let mut settings = case.settings()?;
        settings.extra = vec![
            "--refresh-trusted-root=1s".to_owned(),
            format!("--tuf-mirror={}", self.repository.url),
            format!("--tuf-root={}", root.display()),
        ];
        settings.extra.extend(more.iter().map(|argument| (*argument).to_owned()));
        case.start_operator_as(&settings).await
    }

    /// Publishes a version that the owner signs and that does not expire.
    fn publish(&self, version: u64, trusted_root: &[u8]) -> Result<()> {
        self.repository.publish(&self.owner, &Edition::new(version, trusted_root))
    }
}

/// Returns a number from the page of metrics.
async fn metric(case: &Case, name: &str) -> Result<Option<u64>> {
    let page = case.operator()?.metrics().await?;
    Ok(page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()))
}

async fn failures(case: &Case) -> Result<u64> {
    Ok(metric(case, "supercargo_trusted_root_refresh_failures_total ").await?.unwrap_or_default())
}

/// Waits for `count` more failures than `before`.
async fn failed_again(case: &Case, before: u64, count: u64) -> Result<()> {
    wait::until(Duration::from_secs(30), "a refresh to fail", async || {
        Ok((failures(case).await? >= before + count).then_some(()))
    })
    .await
}

async fn a_fetched_trusted_root_applies_to_published_content_too(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    world.publish(1, &world.without)?;
    world.start_operator(case).await?;
    case.space.create_artifact("app", &world.spec).await?;
    case.space.refused("app", "SignatureInvalid").await?;

    world.publish(2, &world.with)?;
    case.space.ready("app").await?;
    ensure!(!case.published("app")?.is_empty(), "nothing was published");
    let age = metric(case, "supercargo_trusted_root_age_seconds ").await?;
    ensure!(age.is_some_and(|seconds| seconds < 60), "the root in use is {age:?} seconds old");
    assert_eq!(failures(case).await?, 0);

    // No reconcile is requested, and the object's tag is polled once an hour.
    world.publish(3, &world.without)?;
    case.space.refused("app", "SignatureInvalid").await?;
    ensure!(!case.published("app")?.is_empty(), "what consumers read was taken away");

    // A new owner of the repository is accepted only with a root that the earlier owner signed.
    let heir = TufOwner::new()?;
    world.repository.publish(&heir, &Edition::new(4, &world.with))?;
    failed_again(case, 0, 1).await?;
    world.repository.add_root(2, heir.root(2, Some(&world.owner))?);
    case.space.ready("app").await?;
    Ok(())
}

async fn what_is_wrong_about_a_repository_changes_nothing(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    let (stranger, repository) = (TufOwner::new()?, &world.repository);
    world.publish(5, &world.with)?;
    world.start_operator(case).await?;
    case.space.create_artifact("app", &world.spec).await?;
    case.space.ready("app").await?;

    let expired = Edition { expires: "2026-01-01T00:00:00Z", ..Edition::new(6, &world.without) };
    let rows: [(&str, Change<'_>, &str); 7] = [
        ("older", &|| world.publish(4, &world.without), "rollback detected for timestamp"),
        ("expired", &|| repository.publish(&world.owner, &expired), "timestamp metadata expired"),
        ("by a stranger", &|| repository.publish(&stranger, &Edition::new(6, &world.without)), "threshold not met"),
        (
            "a root by a stranger",
            &|| {
                repository.add_root(2, stranger.root(2, None)?);
                repository.publish(&stranger, &Edition::new(6, &world.without))
            },
            "threshold not met for role root",
        ),
        (
            "another target than is signed",
            &|| {
                repository.remove_root(2);
                world.publish(7, &world.without)?;
                repository.replace_target(&world.without, b"{}");
                Ok(())
            },
            "integrity check failed",
        ),
        ("no trusted root", &|| world.publish(8, b"{}"), "not a valid trusted root"),
        (
            "an answer that is none",
            &|| {
                repository.set_down(true);
                Ok(())
            },
            "500",
        ),
    ];
    for (number, (label, change, want)) in rows.into_iter().enumerate() {
        change()?;
        // The first failed refresh may have begun before the change.
        failed_again(case, failures(case).await?, 2).await?;
        let log = fs_err::read_to_string(case.operator()?.log())?;
        let told = log.lines().rev().find(|line| line.contains("the trusted root could not be refreshed"));
        ensure!(told.is_some_and(|line| line.contains(want)), "{label}: {told:?} does not say {want:?}");
        let object = case.space.poll("app").await?;
        ensure!(is_ready(&object), "{label}: {:?}", current_condition(&object, "Ready"));
        // An object that was never judged before depends on the root alone.
        let name = format!("new-{number}");
        case.space.create_artifact(&name, &world.spec).await?;
        case.space.ready(&name).await?;
    }
    repository.set_down(false);
    world.publish(9, &world.without)?;
    case.space.refused("app", "SignatureInvalid").await?;
    Ok(())
}

async fn the_last_good_root_outlives_the_process(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    world.publish(5, &world.with)?;
    world.start_operator(case).await?;
    case.space.create_artifact("app", &world.spec).await?;
    case.space.ready("app").await?;
    case.take_operator()?.kill().await?;

    world.repository.set_down(true);
    world.start_operator(case).await?;
    case.space.create_artifact("new", &world.spec).await?;
    case.space.ready("new").await?;
    ensure!(is_ready(&case.space.poll("app").await?), "the old one was judged by another root");
    failed_again(case, 0, 1).await?;

    // The version seen last is not forgotten either: an older root is refused.
    world.repository.set_down(false);
    world.publish(4, &world.without)?;
    failed_again(case, failures(case).await?, 2).await?;
    ensure!(is_ready(&case.space.poll("app").await?), "an older root was taken");
    Ok(())
}

async fn no_content_is_withdrawn_while_the_trusted_root_is_unavailable(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    world.publish(1, &world.with)?;
    let withdraw = ["--on-revoked=withdraw"];
    world.start_operator_with(case, &withdraw).await?;
    case.space.create_artifact("app", &world.spec).await?;
    case.space.ready("app").await?;
    let content = case.published("app")?;
    case.take_operator()?.kill().await?;

    // As in a new pod, where the stored state of the repository is lost.
    fs_err::remove_dir_all(case.settings()?.work_directory)?;
    world.repository.set_down(true);
    world.start_operator_with(case, &withdraw).await?;
    case.space.refused("app", "SignatureInvalid").await?;
    assert_eq!(case.published("app")?, content);
    world.repository.set_down(false);
    case.space.ready("app").await?;
    assert_eq!(case.published("app")?, content);

    // A refreshed root can withdraw content again.
    world.publish(2, &world.without)?;
    case.space.refused("app", "SignatureInvalid").await?;
    wait::until_true(Duration::from_secs(20), "the files to be withdrawn", || Ok(!case.current("app").exists())).await
}

async fn only_objects_with_signature_requirements_wait_for_the_first_root(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    world.publish(1, &world.with)?;
    world.repository.set_silent(true);
    world.start_operator(case).await?;
    case.space.create_artifact("signed", &world.spec).await?;
    case.space.create_artifact("unsigned", &spec(&case.reference("app:1"))).await?;
    case.space.ready("unsigned").await?;
    case.space.delete("unsigned").await?;
    case.space.gone("unsigned").await?;
    let signed = case.space.get("signed").await?;
    let ready = condition(&signed, "Ready");
    ensure!(ready.is_none(), "it was judged by a root that may be an old one: {ready:?}");
    world.repository.set_silent(false);
    case.space.ready("signed").await?;
    let events = case.space.events("signed").await?;
    ensure!(events.iter().all(|(_, reason, _)| reason == "Published"), "it was refused before: {events:?}");
    Ok(())
}

async fn the_trusted_root_is_fetched_only_if_configured(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    world.publish(1, &world.with)?;
    let mut settings = case.settings()?;
    settings.extra = vec![format!("--tuf-mirror={}", world.repository.url)];
    case.start_operator_as(&settings).await?;
    case.space.create_artifact("app", &world.spec).await?;
    case.space.refused("app", "SignatureInvalid").await?;
    assert_eq!(world.repository.asked(), Vec::<String>::new());
    let age = metric(case, "supercargo_trusted_root_age_seconds ").await?;
    ensure!(age.is_some_and(|seconds| seconds > 24 * 3600), "the root of this version is {age:?} seconds old");
    Ok(())
}
