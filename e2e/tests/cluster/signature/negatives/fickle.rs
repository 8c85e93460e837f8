//! S12: the answers of a registry change from one request to the next; every published revision had a verdict of its
//! own.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::hostile::artifact::FILE;
use supercargo_e2e::hostile::fickle::{Fickle, Revision, Signed};
use supercargo_e2e::lab::note;

use crate::support::case::{Case, spec_with};
use crate::support::sync::{objects, root, sync};

/// Objects reconciled at once, and number of runs: a thousand rounds.
const OBJECTS: usize = 16;
const RUNS: usize = 63;
const SEED: u64 = 12;

pub(super) async fn an_inconsistent_registry_gets_only_signed_content_published(case: &mut Case) -> Result<()> {
    let started = Instant::now();
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("object-{number}")).collect();
    let fickle = Fickle::open(&names, SEED).await?;
    let verify =
        json!([{"name": "release", "cosign": {"keys": [{"inline": fickle.public_pem}], "transparencyLog": "Ignored"}}]);
    let specs: Vec<_> = names
        .iter()
        .map(|name| {
            let image = format!("{}/{name}:1", fickle.server.address);
            (name.as_str(), spec_with(&image, &json!({"verify": verify})))
        })
        .collect();
    let from = objects(case, &specs)?;
    let mut outcomes = Outcomes::default();
    for run in 0..RUNS {
        let before = published(case, &names)?;
        let output = sync(case, &from).await?;
        let after = published(case, &names)?;
        for name in &names {
            let line = output.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
            let line =
                line.with_context(|| format!("run {run} says nothing of {name}: {}{}", output.stdout, output.stderr))?;
            let revisions = fickle.revisions.get(name).context("no revisions")?;
            outcomes.add(line, &before[name], &after[name], revisions).with_context(|| format!("run {run}: {line}"))?;
        }
    }
    note(&format!("{outcomes} in {:.0} s, with seed {SEED}", started.elapsed().as_secs_f64()));
    outcomes.check()
}

/// Returns the published tree of each object.
fn published(case: &Case, names: &[String]) -> Result<BTreeMap<String, Tree>> {
    let current = |name: &String| {
        let directory = root(case).join("team").join(name).join("current");
        if directory.exists() { files::read(&directory) } else { Ok(Tree::new()) }
    };
    names.iter().map(|name| Ok((name.clone(), current(name)?))).collect()
}

/// Number of rounds by outcome.
#[derive(Default)]
struct Outcomes {
    published: usize,
    kept: usize,
    refused: BTreeMap<String, usize>,
}

impl Outcomes {
    /// Adds one line of the table: namespace, name, ready, reason, tag, digest.
    fn add(&mut self, line: &str, before: &Tree, after: &Tree, revisions: &[Revision]) -> Result<()> {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [_, _, ready, reason, ..] = cells[..] else { anyhow::bail!("no row") };
        if ready != "True" {
            ensure!(before == after, "refused, and {before:?} became {after:?}");
            *self.refused.entry(reason.to_owned()).or_default() += 1;
            return Ok(());
        }
        let of = |revision: &&Revision| *after == tree(&[(FILE, &revision.artifact.content)]);
        let revision = revisions.iter().find(of).with_context(|| format!("no revision is {after:?}"))?;
        ensure!(revision.signed == Signed::Well, "published what is signed {:?}: {after:?}", revision.signed);
        let digest = revision.artifact.digest().replace("sha256:", "");
        ensure!(
            cells.iter().any(|cell| cell.len() >= 12 && digest.starts_with(cell.trim_start_matches("sha256:"))),
            "not of {digest}"
        );
        if before == after {
            self.kept += 1;
        } else {
            self.published += 1;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let refused: usize = self.refused.values().sum();
        let all = self.published + self.kept + refused;
        ensure!(all >= 1000, "only {all} rounds");
        for (what, count) in [("published", self.published), ("refused", refused)] {
            ensure!(count * 10 > all, "only {count} of {all} were {what}");
        }
        for reason in ["SignatureMissing", "SignatureInvalid", "IdentityMismatch", "DigestMismatch"] {
            ensure!(self.refused.contains_key(reason), "none was refused for {reason}");
        }
        Ok(())
    }
}

impl std::fmt::Display for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "published anew {}, found published {}, refused {:?}", self.published, self.kept, self.refused)
    }
}
