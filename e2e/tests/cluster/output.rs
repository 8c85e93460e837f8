//! Outputs over time: switched together, reported truthfully, complete after every fault, and no obstacle to a
//! deletion.
//!
//! Obstacles come and go while tags move. No test requests a pass after an obstacle is gone: recovery needs no
//! annotation.
//!
//! ```text
//! SUPERCARGO_MOVES=20           moves of the tag while a ConfigMap is refused      default 6
//! SUPERCARGO_RACES=300          objects deleted at some step of their first pass   default 30
//! SUPERCARGO_KILLS=300          SIGKILL during tag churn                           default 15
//! SUPERCARGO_OBJECTS=20         objects with three outputs each, beside the kills  default 4
//! SUPERCARGO_DENIED_SECONDS=60  time in which status is refused                    default 15
//! SUPERCARGO_LAYER_MIB=100      size of the artifact whose status is refused       default 8
//! SUPERCARGO_FROZEN=600         objects on a volume that hangs                     default 20
//! SUPERCARGO_TEST_DEADLINE=3600 seconds for a test, which the full proofs need     default 240
//! ```

mod combinations;
mod config_map;
mod conflict;
mod deletion;
mod frozen;
mod immutable;
mod installation;
mod integrity;
mod keys;
mod kill;
pub(crate) mod race;
mod reuse;
mod secret;
mod slow;
mod small;
mod status;
mod timeout;
mod together;
mod transition;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::object::{Space, artifact_digest, text};
use supercargo_e2e::operator::Operator;
use supercargo_e2e::reader::REVISION;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::wait;

use crate::support::case::{Case, Test};

/// Longest time from the end of an obstacle to Ready.
const HEALED: Duration = Duration::from_secs(10);
/// Longest time from a deletion to the end of the object, and to the end of its files where they can be removed.
const GONE: Duration = Duration::from_secs(5);

pub(crate) fn tests() -> Vec<Test> {
    [
        config_map::tests(),
        together::tests(),
        combinations::tests(),
        conflict::tests(),
        keys::tests(),
        deletion::tests(),
        frozen::tests(),
        reuse::tests(),
        installation::tests(),
        status::tests(),
        timeout::tests(),
        kill::tests(),
        immutable::tests(),
        secret::tests(),
        small::tests(),
        transition::tests(),
        integrity::tests(),
        race::tests(),
    ]
    .concat()
}

/// Returns a number of rounds from the environment: few by default, many for the full proof.
pub(crate) fn rounds(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(default),
    }
}

/// Starts an operator that ends itself at a step of src/failpoint.rs, and waits for its end.
pub(crate) async fn end_operator_at(case: &Case, step: &str) -> Result<()> {
    let mut settings = case.settings()?;
    settings.environment.push(("SUPERCARGO_FAILPOINT".to_owned(), step.to_owned()));
    settings.log = format!("{}-until-{step}", settings.log);
    let operator = Operator::spawn(&case.lab.run, &settings).await?;
    let exit = || Ok(operator.service.process.exit().is_some());
    wait::until_true(Duration::from_secs(30), "the operator to end itself", exit).await?;
    operator.kill().await
}

/// Returns the outputs `files`, on the volume `default`, and `rules`, to the ConfigMap `rules`.
pub(crate) fn both() -> Value {
    json!({"outputs": [
        {"name": "files", "volume": {"name": "default"}},
        {"name": "rules", "configMap": {"name": "rules"}},
    ]})
}

/// Returns the output `rules`, to the ConfigMap `rules`.
fn config_map() -> Value {
    json!({"outputs": [{"name": "rules", "configMap": {"name": "rules"}}]})
}

/// Returns files with the number of their revision; other field managers take over the key of the second file.
fn content(revision: u64) -> Tree {
    let revision = revision.to_string();
    tree(&[(REVISION, &revision), ("rule", &format!("rule of {revision}"))])
}

/// A tag in a registry of this test alone, and the digests that it pointed to, by revision.
struct Tag {
    registry: Registry,
    name: String,
    digests: Vec<String>,
}

impl Tag {
    /// Starts a registry and pushes revision 0.
    async fn start(case: &mut Case) -> Result<Self> {
        Self::start_at(case, "team/app:latest").await
    }

    async fn start_at(case: &mut Case, name: &str) -> Result<Self> {
        let registry = case.registry("own", &Options { durable: true, ..Options::default() }).await?;
        let mut tag = Self { registry, name: name.to_owned(), digests: Vec::new() };
        tag.push(case, &content(0)).await?;
        Ok(tag)
    }

    fn image(&self) -> String {
        self.registry.reference(&self.name)
    }

    /// Pushes the next revision and returns its digest.
    async fn next(&mut self, case: &mut Case) -> Result<String> {
        self.push(case, &content(self.digests.len() as u64)).await
    }

    async fn push(&mut self, case: &mut Case, tree: &Tree) -> Result<String> {
        let source = case.source(tree)?;
        let digest = case.lab.publisher.oras(&source, &[&self.image(), "."]).await?;
        self.digests.push(digest.clone());
        Ok(digest)
    }

    fn last(&self) -> Result<&str> {
        self.digests.last().map(String::as_str).context("nothing was pushed")
    }

    /// Returns the revision of a digest; any other text is returned unchanged.
    fn revision(&self, digest: &str) -> String {
        let number = self.digests.iter().position(|known| known == digest);
        number.map_or_else(|| digest.to_owned(), |number| number.to_string())
    }

    /// Returns the number of manifests fetched.
    fn manifests(&self) -> Result<usize> {
        self.count("GET", "/manifests/")
    }

    /// Returns the number of layers and configs fetched.
    fn blobs(&self) -> Result<usize> {
        self.count("GET", "/blobs/")
    }

    fn count(&self, method: &str, part: &str) -> Result<usize> {
        let requests = self.registry.all_requests()?;
        Ok(requests.iter().filter(|one| one.method == method && one.path.contains(part)).count())
    }
}

/// Limits the time of an action that must not wait.
async fn within<T>(limit: Duration, what: &str, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, waiting).await.with_context(|| format!("not within {limit:?}: {what}"))?
}

/// Checks that `current`, the ConfigMap `rules` and status name this revision.
async fn agrees(case: &Case, tag: &Tag, name: &str, revision: u64) -> Result<()> {
    let (object, wanted) = (case.space.get(name).await?, revision.to_string());
    let digest = artifact_digest(&object).map(|digest| tag.revision(digest));
    ensure!(digest.as_ref() == Some(&wanted), "status.artifact is of {digest:?}, not of {wanted}");
    let outputs = object.data.pointer("/status/outputs").and_then(Value::as_array).context("no outputs in status")?;
    for output in outputs {
        let digest = output.get("digest").and_then(Value::as_str).map(|digest| tag.revision(digest));
        ensure!(digest.as_ref() == Some(&wanted), "status says {digest:?} of the output {output}, not {wanted}");
        if output.get("kind") == Some(&json!("Volume")) {
            let there = fs_err::read_to_string(case.current(name).join(REVISION))?;
            ensure!(there == wanted, "current has revision {there}, not {wanted}");
        } else {
            let there = value(case, "rules", REVISION).await?;
            ensure!(there.as_ref() == Some(&wanted), "the ConfigMap has revision {there:?}, not {wanted}");
        }
    }
    Ok(())
}

/// Returns a key of a ConfigMap; `None` without the key or the ConfigMap.
async fn value(case: &Case, map: &str, key: &str) -> Result<Option<String>> {
    Ok(case.space.config_maps().get_opt(map).await?.and_then(|map| map.data?.remove(key)))
}

/// Makes another field manager the owner of keys of the ConfigMap `rules`; without keys the manager gives them up.
async fn hold(space: &Space, data: &Value) -> Result<()> {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rules"}, "data": data});
    let params = PatchParams::apply("another-manager").force();
    space.config_maps().patch("rules", &params, &Patch::Apply(map)).await?;
    Ok(())
}

/// Waits until status names the digest as the refused candidate.
async fn candidate(case: &Case, name: &str, digest: &str) -> Result<DynamicObject> {
    let wanted = |object: &DynamicObject| text(object, "/status/candidate/digest") == Some(digest);
    case.space.wait(name, &format!("have the candidate {digest}"), wanted).await
}
