//! `supercargo sync`: the same pass without a cluster.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::run::Output;

use crate::support::case::{Case, spec, tests};

tests!(sync_writes_the_files_and_prints_a_table, sync_fails_when_one_object_is_not_ready_and_does_the_others,);

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
    command.args(arguments).env("HOME", case.directory.to_string_lossy()).output().await
}

pub(crate) fn root(case: &Case) -> PathBuf {
    case.directory.join("out")
}

async fn sync_writes_the_files_and_prints_a_table(case: &mut Case) -> Result<()> {
    let content = tree(&[("a.txt", "one"), ("b/c.txt", "two")]);
    let source = case.source(&content)?;
    let image = case.reference("app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let from = objects(case, &[("app", spec(&image))])?;

    for round in ["first", "second"] {
        let output = sync(case, &from).await?;
        ensure!(
            output.exit.success(),
            "the {round} sync ended with {}: {}{}",
            output.exit,
            output.stdout,
            output.stderr
        );
        let short = &digest["sha256:".len()..][..12];
        for word in ["app", "True", "Succeeded", short] {
            ensure!(output.stdout.contains(word), "the {round} sync does not print {word}: {}", output.stdout);
        }
        assert_eq!(files::read(&root(case).join("team/app/current"))?, content);
    }
    Ok(())
}

async fn sync_fails_when_one_object_is_not_ready_and_does_the_others(case: &mut Case) -> Result<()> {
    let content = tree(&[("file", "content")]);
    let source = case.source(&content)?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let from = objects(case, &[("good", spec(&image)), ("wrong", spec(&case.reference("app:missing")))])?;

    let output = sync(case, &from).await?;
    ensure!(!output.exit.success(), "a missing tag is no failure: {}", output.stdout);
    ensure!(output.stdout.contains("ReferenceNotFound"), "no reason in: {}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/good/current"))?, content);
    Ok(())
}
