//! The cache of artifacts: `pull` without a directory, `list`, `unpackage`, `export`, `import`, `cache prune`.

mod exchange;
mod offline;
mod processes;

use std::path::Path;

use anyhow::Result;
use supercargo_e2e::files::Tree;

use crate::support::case::{Case, Test};
use crate::support::command::answer;

pub(crate) fn tests() -> Vec<Test> {
    [offline::tests(), exchange::tests(), processes::tests()].concat()
}

/// Pushes files with oras in one layer; returns the reference and the digest.
async fn push(case: &mut Case, name: &str, content: &Tree) -> Result<(String, String)> {
    let (source, image) = (case.source(content)?, case.reference(name));
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    Ok((image, digest))
}

/// Pulls an artifact into a cache.
async fn pull(case: &Case, cache: &Path, image: &str) -> Result<String> {
    answer(case, &["pull", image, "--plain-http", "--cache-dir", &cache.to_string_lossy()]).await
}

/// Unpacks an artifact of a cache, and returns its files.
async fn unpackaged(case: &Case, cache: &Path, image: &str) -> Result<Tree> {
    let out = case.directory.join("unpackaged");
    answer(case, &["unpackage", image, &out.to_string_lossy(), "--cache-dir", &cache.to_string_lossy()]).await?;
    let content = supercargo_e2e::files::read(&out)?;
    fs_err::remove_dir_all(&out)?;
    Ok(content)
}
