//! `supercargo sync`: the same pass without a cluster.

use anyhow::{Result, ensure};
use supercargo_e2e::files::{self, tree};

use crate::support::case::{Case, spec, tests};
use crate::support::sync::{objects, root, sync};

tests!(sync_writes_the_files_and_prints_a_table, sync_fails_when_one_object_is_not_ready_and_does_the_others,);

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
