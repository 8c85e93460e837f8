//! One tenant's objects on everything hostile that there is, at once, beside another tenant whose tags move.
//!
//! ```text
//! SUPERCARGO_SIEGE_SECONDS=600   duration beside the hostile tenant     default 20
//! SUPERCARGO_SIEGE_OBJECTS=1000  objects of the hostile tenant          default 60
//! SUPERCARGO_RELEASE=1           test the operator as it is shipped, within the documented bounds
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use supercargo_e2e::corpus::bombs::{self, Bomb, ENTRIES, EXTRACTED_BYTES, LAYER_BYTES};
use supercargo_e2e::corpus::registry::{Registry, Revisions};
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::hostile::behaviours;
use supercargo_e2e::hostile::memory::Watch;
use supercargo_e2e::hostile::site::Site;
use supercargo_e2e::lab::note;
use supercargo_e2e::object::Space;

use crate::is_release;
use crate::registry::hostile::{at_a_time, check_operator_not_restarted, create_as, open_sites};
use crate::support::case::{Case, spec_with, tests};
use crate::support::neighbour::{NEIGHBOURLY, neighbourhood};
use crate::support::secret::{apply_secret, docker_config};

tests!(a_hostile_tenant_does_not_slow_other_namespaces,);

/// Private memory of the operator, the two tenants' work included.
const MEMORY: u64 = 256 << 20;
/// Objects of the quiet tenant.
const QUIET: usize = 20;
/// Moves of the tag while nobody else is there.
const ALONE: usize = 5;
/// Most that the worst time of the quiet tenant may grow.
const WORSE: Duration = Duration::from_secs(3);
/// Times shorter than this are the noise of the machine, of which a half is as good as another.
const NOISE: Duration = Duration::from_millis(500);
/// Reads of what objects refer to, per second.
const READS: f64 = 200.0;
/// Kinds that the operator reads by name.
const REFERRED: [&str; 4] = ["secrets", "configmaps", "serviceaccounts", "namespaces"];

/// A tenant whose objects share a tag that moves.
struct Quiet {
    space: Space,
    image: String,
    moves: usize,
}

impl Quiet {
    async fn move_in(case: &Case) -> Result<Self> {
        let space = Space::create(&case.lab.control_plane.client, &neighbourhood(case)).await?;
        let mut quiet = Self { space, image: case.reference("quiet:latest"), moves: 0 };
        let digest = quiet.push(case).await?;
        for number in 0..QUIET {
            quiet.space.apply(&Self::name(number), &spec_with(&quiet.image, &json!({"interval": "1h"}))).await?;
        }
        for number in 0..QUIET {
            quiet.space.ready_with(&Self::name(number), &digest).await?;
        }
        Ok(quiet)
    }

    fn name(number: usize) -> String {
        format!("app-{number}")
    }

    async fn push(&mut self, case: &Case) -> Result<String> {
        self.moves += 1;
        let source = case.directory.join(format!("quiet-{}", self.moves));
        files::write(&source, &tree(&[("revision", &self.moves.to_string())]))?;
        let digest = case.lab.publisher.oras(&source, &[&self.image, "."]).await?;
        fs_err::remove_dir_all(&source)?;
        Ok(digest)
    }

    /// Moves the tag; answers the time that each object took from there to Ready.
    async fn moves(&mut self, case: &Case) -> Result<Vec<Duration>> {
        let digest = self.push(case).await?;
        let (space, digest) = (&self.space, digest.as_str());
        try_join_all((0..QUIET).map(|number| async move {
            let (name, moved) = (Self::name(number), Instant::now());
            space.request_pass(&name).await?;
            space.ready_with(&name, digest).await?;
            anyhow::Ok(moved.elapsed())
        }))
        .await
    }
}

/// Median and worst.
fn summary(mut times: Vec<Duration>) -> Result<(Duration, Duration)> {
    times.sort_unstable();
    let worst = *times.last().context("no times")?;
    Ok((*times.get(times.len() / 2).context("no times")?, worst))
}

async fn a_hostile_tenant_does_not_slow_other_namespaces(case: &mut Case) -> Result<()> {
    let objects = usize::try_from(crate::output::rounds("SUPERCARGO_SIEGE_OBJECTS", 60)?)?;
    let seconds = crate::output::rounds("SUPERCARGO_SIEGE_SECONDS", 20)?;
    let bombs = bombs::all()?;
    let revisions =
        |bomb: &Bomb| (bomb.name.to_owned(), Revisions { good: bomb.artifact.clone(), other: bomb.artifact.clone() });
    let bomb_registry = Registry::open(bombs.iter().map(revisions).collect()).await?;
    let (sites, mut settings) = open_sites(case, behaviours::all()?).await?;
    "info".clone_into(&mut settings.log_filter);
    settings.extra.extend([
        format!("--max-extracted-bytes={EXTRACTED_BYTES}"),
        format!("--max-layer-bytes={LAYER_BYTES}"),
        format!("--max-entries={ENTRIES}"),
    ]);
    case.start_operator_as(&settings).await?;
    let mut quiet = Quiet::move_in(case).await?;
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        alone.extend(quiet.moves(case).await?);
    }
    let alone = summary(alone)?;

    let memory = Watch::start(case.operator()?.pid())?;
    for (name, secret) in broken_secrets() {
        apply_secret(&case.space, name, secret).await?;
    }
    let references = references();
    let weapons = weapons(&sites, &bombs, &references, objects);
    at_a_time(&weapons, |weapon| aim(case, weapon, &bomb_registry, &quiet.image)).await?;
    let (started, before) = (Instant::now(), reads(case).await?);
    let mut beside = Vec::new();
    while started.elapsed() < Duration::from_secs(seconds) || beside.is_empty() {
        beside.extend(quiet.moves(case).await?);
    }
    let moves = beside.len() / QUIET;
    let beside = summary(beside)?;
    let per_second = (reads(case).await? - before) / started.elapsed().as_secs_f64();
    note(&format!(
        "{objects} hostile objects for {:.0} s, {moves} moves of a tag of {QUIET} objects beside them: median {:?} (alone {:?}), \
         worst {:?} (alone {:?}); private memory {} MiB at most; {per_second:.1} reads a second of what objects refer to",
        started.elapsed().as_secs_f64(),
        beside.0,
        alone.0,
        beside.1,
        alone.1,
        memory.most() >> 20,
    ));
    check_operator_not_restarted(case)?;
    ensure!(memory.most() < MEMORY, "private memory rose to {} KiB", memory.most() >> 10);
    ensure!(per_second < READS, "{per_second:.1} reads a second");
    // A debug build unpacks about ten times slower, which others notice for a moment.
    if !is_release() {
        ensure!(beside.1 < NEIGHBOURLY, "the worst is {:?}", beside.1);
        return Ok(());
    }
    ensure!(beside.0 < (alone.0 * 3 / 2).max(NOISE), "the median is {:?}, and {:?} alone", beside.0, alone.0);
    ensure!(beside.1 < alone.1 + WORSE, "the worst is {:?}, and {:?} alone", beside.1, alone.1);
    Ok(())
}

/// An object of the hostile tenant.
enum Weapon<'a> {
    Site(&'a Site, String),
    Bomb(&'a Bomb, String),
    /// An object of the quiet tenant's registry that refers to what it cannot have.
    Reference(&'a Value, String),
}

/// Sites, bombs and broken references by turns, until there are enough objects.
fn weapons<'a>(sites: &'a [Site], bombs: &'a [Bomb], references: &'a [Value], objects: usize) -> Vec<Weapon<'a>> {
    let (mut sites, mut bombs, mut references) =
        (sites.iter().cycle(), bombs.iter().cycle(), references.iter().cycle());
    let weapon = |number: usize| match number % 8 {
        0 | 4 => bombs.next().map(|bomb| Weapon::Bomb(bomb, format!("{}-{number}", bomb.name))),
        2 => references.next().map(|spec| Weapon::Reference(spec, format!("reference-{number}"))),
        _ => sites.next().map(|site| Weapon::Site(site, format!("{}-{number}", site.behaviour.name))),
    };
    (0..objects).map_while(weapon).collect()
}

/// Parts of a spec that name what is missing, or is something else than it should be.
fn references() -> Vec<Value> {
    let secret = |name: &str| json!({"registry": {"pullSecrets": [{"name": name}]}});
    let keys = |name: &str| json!({"verify": [{"name": "key", "cosign": {"keys": [{"secretRef": {"name": name}}]}}]});
    let mut all: Vec<Value> = broken_secrets().iter().flat_map(|(name, _)| [secret(name), keys(name)]).collect();
    all.extend([secret("missing"), keys("missing"), json!({"registry": {"serviceAccountName": "missing"}})]);
    all
}

fn broken_secrets() -> [(&'static str, Value); 3] {
    let basic = json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "a", "password": "b"}});
    let opaque = json!({"type": "Opaque", "stringData": {"cosign.pub": "no key"}});
    [("no-registry", docker_config(&json!({"auths": ["not", "an", "object"]}))), ("no-host", basic), ("no-key", opaque)]
}

async fn aim(case: &Case, weapon: &Weapon<'_>, bomb_registry: &Registry, quiet: &str) -> Result<()> {
    match weapon {
        Weapon::Site(site, name) => create_as(case, site, name, "10s").await,
        Weapon::Bomb(bomb, name) => often(case, name, spec_with(&bomb_registry.image(bomb.name), &bomb.spec)).await,
        Weapon::Reference(part, name) => often(case, name, spec_with(quiet, part)).await,
    }
}

/// Creates an object with the shortest interval.
async fn often(case: &Case, name: &str, mut spec: Value) -> Result<()> {
    spec["interval"] = Value::from("10s");
    case.space.create_artifact(name, &spec).await.map(drop)
}

/// Reads of what objects refer to, as the API server counts them.
async fn reads(case: &Case) -> Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = case.space.client.request_text(request).await?;
    let counted = text.lines().filter(|line| {
        let is = |name: &str, value: &str| line.contains(&format!("{name}=\"{value}\""));
        line.starts_with("apiserver_request_total{")
            && is("verb", "GET")
            && REFERRED.iter().any(|resource| is("resource", resource))
    });
    Ok(counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
