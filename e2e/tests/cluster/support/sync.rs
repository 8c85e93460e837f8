//! Runs of `supercargo sync` over objects in files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::run::Output;

use crate::support::case::Case;

/// Writes objects to files, as `kubectl apply -f` accepts them.
pub(crate) fn objects(case: &Case, specs: &[(&str, Value)]) -> Result<PathBuf> {
    let directory = case.directory.join("objects");
    fs_err::create_dir_all(&directory)?;
    for (name, spec) in specs {
        let object = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": name, "namespace": "team"}, "spec": spec,
        });
        fs_err::write(directory.join(format!("{name}.yaml")), object.to_string())?;
    }
    Ok(directory)
}

pub(crate) async fn sync(case: &Case, from: &Path) -> Result<Output> {
    let command = case.lab.run.command(&case.lab.operator_binary).arg("sync");
    let arguments =
        ["-f".to_owned(), from.display().to_string(), "--root".to_owned(), root(case).display().to_string()];
    // The configuration of the user who runs the tests must have no effect.
    let command = command.args(arguments).env("HOME", case.directory.to_string_lossy());
    command.env("DOCKER_CONFIG", "").env("REGISTRY_AUTH_FILE", "").output().await
}

pub(crate) fn root(case: &Case) -> PathBuf {
    case.directory.join("out")
}
