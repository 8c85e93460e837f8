//! `supercargo package`, `push` and `pull`: random directories come back from a real registry unchanged.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use supercargo_e2e::files;
use supercargo_e2e::lab::note;
use supercargo_e2e::random_tree::{self, Kind};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest};

tests!(random_trees_come_back_from_a_registry_unchanged,);

/// Number of trees, unless `SUPERCARGO_TREES` sets another one.
const TREES: u64 = 24;
/// Number of trees at a time.
const AT_A_TIME: usize = 3;
const COMPRESSIONS: [&str; 3] = ["gzip", "zstd", "none"];

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Packages, pushes and pulls the tree of a seed, and compares it. Returns its kinds of entries and its size.
async fn round_trip(case: &Case, seed: u64) -> Result<(Vec<Kind>, usize)> {
    let directory = case.directory.join(format!("tree-{seed}"));
    let place = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (source, layout, out) = (place("source"), place("layout"), place("out"));
    let kinds = random_tree::write(&directory.join("source"), seed)?;
    let before = files::read(&directory.join("source"))?;
    let index = usize::try_from(seed)? % COMPRESSIONS.len();
    let image = case.reference(&format!("tree-{seed}:1"));
    let packaged = answer(case, &["package", &source, "-o", &layout, "--compression", COMPRESSIONS[index]]).await?;
    let pushed = answer(case, &["push", &layout, &image, "--plain-http"]).await?;
    ensure!(digest(&packaged)? == digest(&pushed)?, "{packaged} was pushed as {pushed}");
    // Sparse files are compressed to a thousandth.
    let pull = ["pull", &image, "--plain-http", "-o", &out, "--max-ratio", "100000"];
    let pulled = answer(case, &pull).await?;
    ensure!(digest(&packaged)? == digest(&pulled)?, "{packaged} was pulled as {pulled}");
    let after = files::read(&directory.join("out"))?;
    let differs = before.iter().find(|(path, entry)| after.get(*path) != Some(entry));
    let differs = differs.map(|(path, _)| path).or_else(|| after.keys().find(|path| !before.contains_key(*path)));
    ensure!(differs.is_none(), "{differs:?} differs: {:?}", differs.map(|path| (before.get(path), after.get(path))));
    ensure!(files::read(&directory.join("source"))? == before, "the source was changed");
    fs_err::remove_dir_all(&directory)?;
    Ok((kinds.into_iter().collect(), before.len()))
}

async fn random_trees_come_back_from_a_registry_unchanged(case: &mut Case) -> Result<()> {
    let (first, trees) = (setting("SUPERCARGO_TREES_FROM").unwrap_or(0), setting("SUPERCARGO_TREES").unwrap_or(TREES));
    let (case, started) = (&*case, Instant::now());
    let trips = stream::iter(first..first + trees)
        .map(|seed| async move { round_trip(case, seed).await.with_context(|| format!("seed {seed}")) });
    let trips: Vec<_> = trips.buffer_unordered(AT_A_TIME).try_collect().await?;
    let mut counts = BTreeMap::<Kind, usize>::new();
    for kind in trips.iter().flat_map(|(kinds, _)| kinds) {
        *counts.entry(*kind).or_default() += 1;
    }
    let (entries, seconds) = (trips.iter().map(|(_, entries)| entries).sum::<usize>(), started.elapsed().as_secs_f64());
    note(&format!("{trees} random trees with {entries} entries came back unchanged in {seconds:.0} s: {counts:?}"));
    let missing: Vec<_> = Kind::ALL.into_iter().filter(|kind| !counts.contains_key(kind)).collect();
    ensure!(missing.is_empty() || trees < TREES, "no tree has {missing:?}; choose other seeds");
    Ok(())
}
