//! Hundreds of archives through the real pull path: no file leaves its directory, and a refused archive changes
//! nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use supercargo_e2e::corpus::registry::{Registry, Revisions};
use supercargo_e2e::corpus::surroundings::Surroundings;
use supercargo_e2e::corpus::{self, Trial, Verdict};
use supercargo_e2e::files;
use supercargo_e2e::hostile::artifact::{Artifact, FILE};
use supercargo_e2e::lab::note;

use crate::support::case::{Case, tests};

tests!(
    every_tar_is_published_as_expected_or_refused_by_name,
    every_zip_is_published_as_expected_or_refused_by_name,
    every_title_is_published_as_expected_or_refused_by_name,
);

const NAMESPACE: &str = "team";

async fn every_tar_is_published_as_expected_or_refused_by_name(case: &mut Case) -> Result<()> {
    ensure!(corpus::tars()?.len() >= 600, "samples went missing");
    all_as_expected(case, corpus::tars()?, &json!({})).await
}

async fn every_zip_is_published_as_expected_or_refused_by_name(case: &mut Case) -> Result<()> {
    ensure!(corpus::zips::samples().len() >= 100, "samples went missing");
    all_as_expected(case, corpus::zips::samples(), &json!({"layers": {"mode": "Extract"}})).await
}

async fn every_title_is_published_as_expected_or_refused_by_name(case: &mut Case) -> Result<()> {
    ensure!(corpus::titles::trials().len() >= 90, "trials went missing");
    all_as_expected(case, corpus::titles::trials(), &json!({})).await
}

/// Publishes a good revision of each object, then the trial.
async fn all_as_expected<T: Into<Trial>>(case: &Case, trials: Vec<T>, more: &serde_json::Value) -> Result<()> {
    let trials: Vec<Trial> = trials.into_iter().map(Into::into).collect();
    let (started, surroundings) = (Instant::now(), Surroundings::make(&case.directory.join("surroundings"))?);
    let revisions =
        |trial: &Trial| Ok((trial.name.clone(), Revisions { good: good(trial)?, other: trial.artifact.clone() }));
    let registry = Registry::open(trials.iter().map(revisions).collect::<Result<BTreeMap<_, _>>>()?).await?;
    let file = case.directory.join("objects");
    write_objects(&file, &trials, |name| crate::support::case::spec_with(&registry.image(name), more))?;

    let made = started.elapsed();
    let first = sync(case, &file, &surroundings).await?;
    let wrong =
        trials.iter().find(|trial| !first.contains_key(&trial.name) || first[&trial.name].reason != "Succeeded");
    ensure!(wrong.is_none(), "before anything harmful: {:?}", wrong.map(|trial| first.get(&trial.name)));
    surroundings.check().context("after good revisions")?;

    let good_ones = started.elapsed();
    registry.turn();
    let rows = sync(case, &file, &surroundings).await?;
    let synced = started.elapsed();
    surroundings.check()?;
    check_no_leftovers(&surroundings.root())?;
    let mut problems = String::new();
    for trial in &trials {
        let current = surroundings.root().join(NAMESPACE).join(&trial.name).join("current");
        if let Err(problem) = as_expected(trial, &rows[&trial.name], &current) {
            let _ = writeln!(problems, "  {}: {problem:#}", trial.name);
        }
    }
    note(&format!(
        "{} archives: made in {:.1} s, good ones published in {:.1} s, these judged in {:.1} s, checked in {:.1} s",
        trials.len(),
        made.as_secs_f64(),
        good_ones.saturating_sub(made).as_secs_f64(),
        synced.saturating_sub(good_ones).as_secs_f64(),
        started.elapsed().saturating_sub(synced).as_secs_f64(),
    ));
    ensure!(problems.is_empty(), "{} of {} archives:\n{problems}", problems.lines().count(), trials.len());
    Ok(())
}

/// Writes the objects to as many files as needed: a file may have a thousand documents.
fn write_objects(directory: &Path, trials: &[Trial], spec: impl Fn(&str) -> serde_json::Value) -> Result<()> {
    fs_err::create_dir_all(directory)?;
    for (number, trials) in trials.chunks(500).enumerate() {
        let objects = trials.iter().fold(String::new(), |mut text, trial| {
            let object = json!({
                "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
                "metadata": {"name": trial.name, "namespace": NAMESPACE}, "spec": spec(&trial.name),
            });
            let _ = writeln!(text, "---\n{object}");
            text
        });
        fs_err::write(directory.join(format!("{number}.yaml")), objects)?;
    }
    Ok(())
}

/// Returns the good artifact that is published before the trial; each trial has its own content.
fn good(trial: &Trial) -> Result<Artifact> {
    Artifact::good(&format!("good content of {}", trial.name))
}

/// An object's row in the output of `sync`.
#[derive(Debug)]
struct Row {
    reason: String,
    /// Text behind the reason.
    message: String,
}

async fn sync(case: &Case, objects: &Path, surroundings: &Surroundings) -> Result<BTreeMap<String, Row>> {
    let command = case.lab.run.command(&case.lab.operator_binary).arg("sync");
    let limits = [
        format!("--max-extracted-bytes={}", corpus::EXTRACTED_BYTES),
        format!("--max-entries={}", corpus::ENTRIES),
        "--registry-rate=100000".to_owned(),
    ];
    let paths = ["-f".to_owned(), objects.display().to_string(), "--root".to_owned()];
    let command = command.args(paths).arg(surroundings.root().display().to_string()).args(limits);
    let command = command.env("HOME", case.directory.to_string_lossy()).directory(&surroundings.working_directory());
    let output = command.output().await?;
    ensure!(!output.stderr.contains("panicked"), "it panicked: {}", output.stderr);
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (namespace, name, _ready, reason) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let message = line.split_once(reason)?.1.trim().to_owned();
        (namespace == NAMESPACE).then(|| (name.to_owned(), Row { reason: reason.to_owned(), message }))
    };
    let rows: BTreeMap<_, _> = output.stdout.lines().filter_map(row).collect();
    ensure!(!rows.is_empty(), "sync printed no table: {}{}", output.stdout, output.stderr);
    Ok(rows)
}

fn as_expected(trial: &Trial, row: &Row, current: &Path) -> Result<()> {
    let published = files::read(current)?;
    match &trial.verdict {
        Verdict::Accepted(tree) => {
            ensure!(row.reason == "Succeeded", "{} {}", row.reason, row.message);
            ensure!(published == *tree, "published {published:?}");
            check_owners_and_modes(current)
        }
        Verdict::Refused { reasons, says } => {
            ensure!(reasons.contains(&&*row.reason), "{}, not {reasons:?}: {}", row.reason, row.message);
            let silent = says.iter().find(|says| !row.message.contains(*says));
            ensure!(silent.is_none(), "does not say {silent:?}: {}", row.message);
            let good = files::tree(&[(FILE, &format!("good content of {}", trial.name))]);
            ensure!(published == good, "the good revision is gone, and this is there: {published:?}");
            Ok(())
        }
    }
}

/// Checks that all modes are 0644 or 0755, independent of the archive, and that no file has a second link, another
/// owner or extended attributes of the archive.
fn check_owners_and_modes(path: &Path) -> Result<()> {
    for entry in fs_err::read_dir(path)? {
        let path = entry?.path();
        let found = fs_err::symlink_metadata(&path)?;
        let process = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        ensure!((found.uid(), found.gid()) == process, "{} is of {}:{}", path.display(), found.uid(), found.gid());
        if found.is_symlink() {
            continue;
        }
        let mode = found.mode() & 0o7777;
        let modes: &[u32] = if found.is_dir() { &[0o755] } else { &[0o644, 0o755] };
        ensure!(modes.contains(&mode), "{} has the mode {mode:o}", path.display());
        ensure!(found.is_dir() || found.nlink() == 1, "{} has {} names", path.display(), found.nlink());
        let mut names = [0_u8; 512];
        let length = rustix::fs::llistxattr(&path, &mut names[..])?;
        let marks = String::from_utf8_lossy(&names[..length]).into_owned();
        ensure!(!marks.contains("user.") && !marks.contains("capability"), "{} has {marks}", path.display());
        if found.is_dir() {
            check_owners_and_modes(&path)?;
        }
    }
    Ok(())
}

/// Checks that no stage is left and that the root holds only the expected entries.
fn check_no_leftovers(root: &Path) -> Result<()> {
    let names = |path: &Path| -> Result<Vec<String>> {
        let mut names = fs_err::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    ensure!(names(root)? == [".supercargo", "foreign", NAMESPACE], "in the root: {:?}", names(root)?);
    let stages = names(&root.join(".supercargo/staging"))?;
    ensure!(stages.is_empty(), "left behind: {stages:?}");
    Ok(())
}
