//! Several processes on one cache at once, and processes that are killed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use supercargo_e2e::files::tree;

use super::{pull, push, unpackaged};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, run};

tests!(processes_on_one_cache_lose_nothing, a_killed_pull_leaves_a_whole_cache);

async fn processes_on_one_cache_lose_nothing(case: &mut Case) -> Result<()> {
    const TAGS: usize = 6;
    let cache = case.directory.join("cache");
    let mut images = Vec::new();
    // Two tags of each content, so that processes write the same blobs.
    for (number, text) in ["x", "y", "z"].into_iter().enumerate() {
        let content = tree(&[("a", text)]);
        let (image, _) = push(case, &format!("app:{number}"), &content).await?;
        case.lab.publisher.tag(&image, &(number + 3).to_string()).await?;
        images.extend([(image, content.clone()), (case.reference(&format!("app:{}", number + 3)), content)]);
    }
    let dir = cache.to_string_lossy().into_owned();
    let case = &*case;
    // Each tag three times, while other processes try to prune.
    let pulls = (0..3 * TAGS).map(async |number| pull(case, &cache, &images[number % TAGS].0).await.map(drop));
    let prunes = (0..6).map(async |_| {
        let output = run(case, &["cache", "prune", "--cache-dir", &dir]).await?;
        let is_busy = output.exit.code == Some(1) && output.stderr.contains("OutputConflict");
        ensure!(output.exit.success() || is_busy, "{}: {}", output.exit, output.stderr);
        Ok(())
    });
    tokio::try_join!(try_join_all(pulls), try_join_all(prunes))?;
    assert_eq!(tags(case, &cache).await?, (0..TAGS).map(|number| number.to_string()).collect());
    answer(case, &["cache", "prune", "--cache-dir", &dir]).await?;
    for (image, content) in &images {
        assert_eq!(unpackaged(case, &cache, image).await?, *content);
    }
    // Manifest and layer of each content, and the empty config.
    assert_eq!(fs_err::read_dir(cache.join("blobs/sha256"))?.count(), 2 * 3 + 1);
    Ok(())
}

async fn a_killed_pull_leaves_a_whole_cache(case: &mut Case) -> Result<()> {
    let cache = case.directory.join("cache");
    let (first, first_content) = (push(case, "app:1", &tree(&[("a", "1")])).await?.0, tree(&[("a", "1")]));
    pull(case, &cache, &first).await?;
    let (second, second_content) = (push(case, "app:2", &tree(&[("a", "2")])).await?.0, tree(&[("a", "2")]));
    let (dir, before) = (cache.to_string_lossy().into_owned(), case.directory.join("before"));
    copy(&cache, &before)?;
    let mut killed = 0;
    for step in ["layout-before-blob", "layout-after-blob", "layout-before-index"] {
        for number in 1.. {
            fs_err::remove_dir_all(&cache)?;
            copy(&before, &cache)?;
            let pull = command(case, &["pull", &second, "--plain-http", "--cache-dir", &dir]);
            let output = pull.env("SUPERCARGO_FAILPOINT", format!("{step}:{number}")).output().await?;
            if output.exit.success() {
                break;
            }
            ensure!(output.exit.signal == Some(9), "{step}:{number}: {}: {}", output.exit, output.stderr);
            killed += 1;
            assert_eq!(tags(case, &cache).await?, BTreeSet::from(["1".to_owned()]), "{step}:{number}");
            assert_eq!(unpackaged(case, &cache, &first).await?, first_content);
            super::pull(case, &cache, &second).await?;
            assert_eq!(unpackaged(case, &cache, &second).await?, second_content);
            ensure!(
                fs_err::read_dir(cache.join(".supercargo/ingest"))?.count() == 0,
                "{step}:{number}: a file is left"
            );
        }
    }
    ensure!(killed >= 5, "only {killed} kills");
    Ok(())
}

/// Returns the tags in a cache.
async fn tags(case: &Case, cache: &Path) -> Result<BTreeSet<String>> {
    let listed = answer(case, &["list", "--format", "json", "--cache-dir", &cache.to_string_lossy()]).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    let tag = |row: &Value| row["tag"].as_str().map(str::to_owned);
    Ok(listed["artifacts"].as_array().context("no list")?.iter().filter_map(tag).collect())
}

/// Copies a directory of files and directories.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs_err::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
