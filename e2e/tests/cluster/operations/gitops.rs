//! Files in `config` for kustomize and Argo CD, run by those programs over our objects.
//!
//! `tests/renovate.rs` in the root has the same for Renovate, which needs no cluster.

mod argocd;
mod kustomize;

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use supercargo_e2e::chart;

use crate::support::case::{Case, Test};

pub(crate) fn tests() -> Vec<Test> {
    [kustomize::tests(), argocd::tests()].concat()
}

/// Returns the objects that `kubectl kustomize` renders from a directory.
async fn render(case: &Case, directory: &Path) -> Result<Vec<Value>> {
    let text = case.lab.kubectl().arg("kustomize").arg(directory.to_string_lossy()).stdout().await?;
    let objects = text.split("\n---\n").map(|text| Ok(serde_saphyr::from_str(text)?));
    objects.collect::<Result<_>>().context(text.clone())
}

/// Copies a directory of `config`: kustomize takes no absolute paths.
fn copy(directory: &str, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(chart::workspace().join("config").join(directory))? {
        let path = entry?.path();
        fs_err::copy(&path, to.join(path.file_name().context("a file without a name")?))?;
    }
    Ok(())
}
