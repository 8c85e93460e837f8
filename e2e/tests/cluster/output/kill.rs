//! SIGKILL during tag churn, at random moments and at each step of an update: no torn revision, converged within 30 s,
//! nothing left over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use supercargo_e2e::object::{artifact_digest, is_ready};
use supercargo_e2e::operator::{Operator, Settings};
use supercargo_e2e::registry::Options;
use supercargo_e2e::wait;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Tag, rounds};
use crate::support::case::{Case, spec_with, tests};
use crate::support::revision;

tests!(
    killed_at_random_during_tag_churn_it_tears_nothing_and_converges,
    killed_at_each_step_of_an_update_it_tears_nothing_and_converges,
);

/// Steps at which `SUPERCARGO_FAILPOINT` ends the operator (src/failpoint.rs).
const STEPS: &[&str] = &[
    "prepare-begin",
    "prepare-tree",
    "prepare-list",
    "prepare-dry-run",
    "prepare-end",
    "journal",
    "switch-config-map",
    "switch-volume",
    "switch-volume:2",
    "switch-between",
    "switch-between:2",
    "record",
    "prune",
];
/// Environment variable that names the step.
const FAILPOINT: &str = "SUPERCARGO_FAILPOINT";
const PADDING: usize = 500;
const CONVERGED: Duration = Duration::from_secs(30);

fn name(number: usize) -> String {
    format!("app-{number}")
}

/// Returns the outputs `a` and `b`, on two volumes, and `map`, to a ConfigMap of the object's own name.
fn three(name: &str) -> Value {
    json!({"outputs": [
        {"name": "a", "volume": {"name": "default"}},
        {"name": "b", "volume": {"name": "second"}},
        {"name": "map", "configMap": {"name": name}},
    ]})
}

fn second(case: &Case) -> Result<PathBuf> {
    let path = case.directory.join("second");
    fs_err::create_dir_all(&path)?;
    Ok(path)
}

fn settings(case: &Case) -> Result<Settings> {
    let mut settings = case.settings()?;
    settings.volumes.push(("second".to_owned(), second(case)?));
    Ok(settings)
}

/// Returns the directories of an object on both volumes.
fn directories(case: &Case, name: &str) -> Result<[PathBuf; 2]> {
    Ok([case.object_directory(name), second(case)?.join(&case.space.namespace).join(name)])
}

/// Publishes objects with revision 0, and leaves their operator running.
async fn published(case: &mut Case, objects: usize) -> Result<Tag> {
    let mut tag = Tag {
        registry: case.registry("own", &Options::default()).await?,
        name: "team/app:latest".to_owned(),
        digests: Vec::new(),
    };
    tag.push(case, &revision::tree(0, PADDING)).await?;
    case.start_operator_as(&settings(case)?).await?;
    for number in 0..objects {
        let name = name(number);
        case.space.apply(&name, &spec_with(&tag.image(), &three(&name))).await?;
    }
    for number in 0..objects {
        case.space.ready_with(&name(number), tag.last()?).await?;
    }
    Ok(tag)
}

/// Reads whole trees through `current`, one directory per tick. A tree may disappear during a read only if `current`
/// has moved on.
fn read_trees(directories: Vec<PathBuf>) -> (Arc<AtomicBool>, JoinHandle<Result<u64>>) {
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let reading = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reads = 0;
        for directory in directories.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            ticks.tick().await;
            let current = directory.join("current");
            let tree = fs_err::canonicalize(&current).context("current points at nothing")?;
            match revision::of(&tree) {
                Ok(_) => reads += 1,
                Err(_) if fs_err::canonicalize(&current)? != tree => {}
                Err(error) => return Err(error.context(format!("a torn revision in {}", tree.display()))),
            }
        }
        Ok(reads)
    });
    (done, reading)
}

async fn killed_at_random_during_tag_churn_it_tears_nothing_and_converges(case: &mut Case) -> Result<()> {
    let kills = rounds("SUPERCARGO_KILLS", 15)?;
    let objects = usize::try_from(rounds("SUPERCARGO_OBJECTS", 4)?)?;
    let mut tag = published(case, objects).await?;
    let mut all = Vec::new();
    for number in 0..objects {
        all.extend(directories(case, &name(number))?);
    }
    let (done, reading) = read_trees(all);
    for kill in 1..=kills {
        tag.push(case, &revision::tree(kill, PADDING)).await?;
        for number in 0..objects {
            case.space.request_pass(&name(number)).await?;
        }
        // The kill comes at a random moment of the objects' work, which differs from round to round.
        let moment = Instant::now() + Duration::from_millis(random_below(700)?);
        wait::until_true(Duration::from_secs(2), "the moment to kill", || Ok(Instant::now() >= moment)).await?;
        case.take_operator()?.kill().await?;
        let mut settings = settings(case)?;
        settings.log = format!("{}-{kill}", settings.log);
        case.start_operator_as(&settings).await?;
        ensure!(!reading.is_finished(), "the reader has ended: {:?}", reading.await);
    }
    converged(case, &tag, objects, kills).await?;
    done.store(true, Ordering::Relaxed);
    let reads = reading.await??;
    ensure!(reads > kills * 10, "only {reads} trees were read");
    Ok(())
}

fn random_below(limit: u64) -> Result<u64> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(random) % limit)
}

/// Waits until outputs and status have the last revision, and nothing is left in the private directories.
async fn converged(case: &Case, tag: &Tag, objects: usize, last: u64) -> Result<()> {
    let digest = tag.last()?;
    let deadline = Instant::now() + CONVERGED;
    for number in 0..objects {
        let name = name(number);
        let ready = tokio::time::timeout_at(deadline, case.space.ready_with(&name, digest)).await;
        ready.with_context(|| format!("{name} has not converged within {CONVERGED:?}"))??;
        for directory in directories(case, &name)? {
            let found = revision::check(&directory.join("current"), PADDING)?;
            ensure!(found == last, "{} has revision {found}, not {last}", directory.display());
            // Earlier trees may be kept for a while, or be in the course of removal.
            let whole = || {
                let torn = trees(&directory)?.into_iter().find(|tree| revision::of(tree).is_err());
                ensure!(torn.is_none(), "{torn:?} is there in part");
                Ok(true)
            };
            wait::until_true(CONVERGED, "every tree to be whole or gone", whole).await?;
        }
        let map = case.space.config_maps().get(&name).await?;
        let named = map.metadata.annotations.unwrap_or_default().values().any(|value| value.contains(digest));
        ensure!(named, "the ConfigMap {name} is not of {digest}");
        let object = case.space.get(&name).await?;
        ensure!(is_ready(&object) && artifact_digest(&object) == Some(digest), "status: {}", object.data);
        ensure!(object.data.pointer("/status/switching").is_none(), "a journal is left: {}", object.data);
    }
    let roots = [case.volume.clone(), second(case)?, case.directory.join("work")];
    let left = || -> Result<Vec<PathBuf>> {
        let entries = |root: &PathBuf| fs_err::read_dir(root.join(".supercargo/staging")).into_iter().flatten();
        roots.iter().flat_map(entries).map(|entry| Ok(entry?.path())).collect()
    };
    wait::until_true(CONVERGED, "staging to be empty", || Ok(left()?.is_empty())).await
}

fn trees(directory: &Path) -> Result<Vec<PathBuf>> {
    fs_err::read_dir(directory.join("trees"))?.map(|entry| Ok(entry?.path())).collect()
}

/// Starts an operator that ends itself at the step of an update; returns `false` if the update succeeded without
/// reaching the step.
async fn kill_at(case: &mut Case, tag: &Tag, step: &str) -> Result<bool> {
    let mut settings = settings(case)?;
    settings.environment.push((FAILPOINT.to_owned(), step.to_owned()));
    settings.log = format!("{}-{step}", settings.log);
    let operator = Operator::spawn(&case.lab.run, &settings).await?;
    let ended = wait::until(CONVERGED, "the operator to end itself or the object to be Ready", async || {
        if operator.service.process.exit().is_some() {
            return Ok(Some(true));
        }
        let object = case.space.get(&name(0)).await?;
        Ok((is_ready(&object) && artifact_digest(&object) == Some(tag.last()?)).then_some(false))
    });
    let mut ended = ended.await?;
    if !ended {
        // The last steps come after the status is written.
        let exit = || Ok(operator.service.process.exit().is_some());
        ended = wait::until_true(Duration::from_secs(3), "a late end", exit).await.is_ok();
    }
    operator.kill().await?;
    Ok(ended)
}

async fn killed_at_each_step_of_an_update_it_tears_nothing_and_converges(case: &mut Case) -> Result<()> {
    let mut tag = published(case, 1).await?;
    let all = directories(case, &name(0))?;
    let (done, reading) = read_trees(all.to_vec());
    let mut missed = Vec::new();
    for (round, step) in (1..).zip(STEPS) {
        case.take_operator()?.stop().await?;
        tag.push(case, &revision::tree(round, PADDING)).await?;
        if !kill_at(case, &tag, step).await? {
            missed.push(*step);
        }
        for directory in &all {
            let found = revision::check(&directory.join("current"), PADDING).with_context(|| (*step).to_owned())?;
            ensure!(found == round || found + 1 == round, "{step}: {} has {found}", directory.display());
        }
        let mut settings = settings(case)?;
        settings.log = format!("{}-after-{step}", settings.log);
        case.start_operator_as(&settings).await?;
        converged(case, &tag, 1, round).await.with_context(|| format!("after a kill at {step}"))?;
    }
    done.store(true, Ordering::Relaxed);
    reading.await??;
    if !missed.is_empty() {
        bail!("no kill happened at {missed:?}: is the operator built with the feature failpoints?");
    }
    Ok(())
}
