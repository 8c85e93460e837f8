//! `supercargo sync`: the same pass without a cluster.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::run::Output;

use super::push::{REACHED, reach, start};
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::command::{command, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    sync_writes_the_files_and_prints_a_table,
    sync_fails_when_one_object_is_not_ready_and_does_the_others,
    sync_reads_concatenated_documents_from_standard_input,
    the_exit_code_is_the_class_of_all_failures,
    a_dry_run_writes_nothing_and_foretells_each_change,
    only_some_artifacts_are_processed_and_others_are_pruned,
    an_interrupted_sync_gives_up_what_is_not_published,
);

/// Returns the options for the files and the root of a case.
fn options(case: &Case) -> [String; 4] {
    let (from, root) = (case.directory.join("objects"), root(case));
    ["-f".to_owned(), from.display().to_string(), "--root".to_owned(), root.display().to_string()]
}

/// Runs `sync` over the files of a case, with further options.
async fn sync_with(case: &Case, more: &[&str]) -> Result<Output> {
    let options = options(case);
    let arguments: Vec<&str> = ["sync"].into_iter().chain(options.iter().map(String::as_str)).collect();
    run(case, &[&arguments[..], more].concat()).await
}

/// Returns the artifacts of a JSON report, after a check of the exit code.
fn artifacts(output: &Output, code: i32) -> Result<Vec<Value>> {
    ensure!(output.exit.code == Some(code), "not {code}, but {}: {}{}", output.exit, output.stdout, output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| output.stdout.clone())?;
    Ok(report["artifacts"].as_array().context("no artifacts")?.clone())
}

/// Returns the name and the change of each artifact.
fn changes(output: &Output) -> Result<Vec<(String, String)>> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    Ok(artifacts(output, 0)?.iter().map(|row| (text(row, "name"), text(row, "change"))).collect())
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, change)| ((*name).to_owned(), (*change).to_owned())).collect()
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
    assert_eq!(output.exit.code, Some(5), "{}{}", output.stdout, output.stderr);
    ensure!(output.stdout.contains("ReferenceNotFound"), "no reason in: {}{}", output.stdout, output.stderr);
    let error = output.stderr.lines().next().unwrap_or_default();
    let fits = error.starts_with("error: ReferenceNotFound: ") && error.contains("team/wrong");
    ensure!(fits && output.stderr.lines().count() == 1, "{}", output.stderr);
    assert_eq!(files::read(&root(case).join("team/good/current"))?, content);
    Ok(())
}

async fn sync_reads_concatenated_documents_from_standard_input(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = case.reference("app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let object = |name: &str, image: &str| {
        format!(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata:\n  name: {name}\nspec:\n  image: {image}\n  \
             registry:\n    plainHTTP: true\n"
        )
    };
    let policy = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata:\n  name: closed\nspec:\n  images:\n  \
                  - '**/denied'\n  action: Deny\n";
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n";
    let documents =
        [policy, other, &object("app", &image), &object("denied", &case.reference("denied:1"))].join("---\n");
    let root = root(case).display().to_string();
    let arguments = ["sync", "-f", "-", "--root", &root, "-n", "team", "--format", "json"];
    // Neither the log nor its format has a part in the result.
    for environment in [("RUST_LOG", "off"), ("SUPERCARGO_LOG_FORMAT", "json")] {
        let invocation = command(case, &arguments).env(environment.0, environment.1);
        let output = invocation.input(documents.clone()).output().await?;
        let rows = artifacts(&output, 6)?;
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!((&rows[0]["namespace"], &rows[0]["ready"]), (&json!("team"), &json!(true)));
        assert_eq!((&rows[0]["digest"], &rows[0]["files"]), (&json!(digest), &json!(1)));
        assert_eq!((&rows[1]["reason"], &rows[1]["ready"]), (&json!("PolicyDenied"), &json!(false)));
        let error = output.stderr.lines().last().unwrap_or_default();
        ensure!(error.starts_with("error: PolicyDenied: "), "{}", output.stderr);
    }
    let twice = command(case, &["sync", "-f", "-", "-f", "-", "--root", &root]).input("").output().await?;
    refused(&twice, 2, "InvalidSpec")?;
    let none = command(case, &["sync", "-f", "-", "--root", &root]).input(other).output().await?;
    refused(&none, 4, "FileInvalid")
}

async fn the_exit_code_is_the_class_of_all_failures(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let verify =
        json!({"verify": [{"name": "a", "cosign": {"keyless": [{"issuer": "https://a.example", "subject": "b"}]}}]});
    let rows = [
        ("invalid", spec_with(&image, &json!({"files": {"subPath": "../x"}})), 4, "FileInvalid"),
        ("secret", spec_with(&image, &json!({"registry": {"pullSecrets": [{"name": "none"}]}})), 4, "SecretNotFound"),
        ("missing", spec(&case.reference("app:missing")), 5, "ReferenceNotFound"),
        ("unsigned", spec_with(&image, &verify), 6, "SignatureMissing"),
        ("type", spec_with(&image, &json!({"artifactTypes": ["a/b"]})), 7, "UnexpectedArtifactType"),
        ("tls", spec_with(&image, &json!({"registry": {"plainHTTP": false}})), 8, "TLSFailed"),
    ];
    objects(case, &rows.clone().map(|(name, spec, ..)| (name, spec)))?;
    objects(case, &[("good", spec(&image))])?;
    for (name, _, code, reason) in &rows {
        let output = sync_with(case, &["--format", "json", "--only", name, "--only", "good"]).await?;
        let found = artifacts(&output, *code)?;
        let row = found.iter().find(|row| row["name"] == *name).context("no row")?;
        ensure!(row["reason"] == *reason && row["remedy"].is_string(), "{row}");
        ensure!(found.iter().any(|row| row["name"] == "good" && row["ready"] == true), "{found:?}");
        ensure!(output.stderr.starts_with(&format!("error: {reason}: ")), "{}", output.stderr);
    }
    let all = artifacts(&sync_with(case, &["--format", "json"]).await?, 1)?;
    assert_eq!(all.len(), rows.len() + 1);
    // Nothing is printed if nothing was processed.
    refused(&sync_with(case, &["--only", "none"]).await?, 2, "InvalidSpec")?;
    let [_, from, ..] = options(case);
    refused(&run(case, &["sync", "-f", &from]).await?, 2, "InvalidSpec")
}

async fn a_dry_run_writes_nothing_and_foretells_each_change(case: &mut Case) -> Result<()> {
    let mut digests = Vec::new();
    let image = case.reference("app:1");
    for content in ["one", "two"] {
        let source = case.source(&tree(&[("file", content)]))?;
        digests.push(case.lab.publisher.oras(&source, &[&image, "."]).await?);
    }
    let first = format!("{}@{}", case.reference("app"), digests[0]);
    let map = json!({"outputs": [{"name": "files", "volume": {}}, {"name": "map", "configMap": {"name": "rules"}}]});
    objects(case, &[("app", spec_with(&first, &map))])?;
    let dry = ["--dry-run", "--format", "json"];

    assert_eq!(changes(&sync_with(case, &dry).await?)?, pairs(&[("app", "published")]));
    ensure!(!root(case).exists(), "a dry run created the root");
    assert_eq!(changes(&sync_with(case, &dry[1..]).await?)?, pairs(&[("app", "published")]));
    assert_eq!(changes(&sync_with(case, &dry).await?)?, pairs(&[("app", "unchanged")]));

    objects(case, &[("app", spec_with(&image, &map))])?;
    let before = files::read(&root(case))?;
    let output = sync_with(case, &dry).await?;
    let row = &artifacts(&output, 0)?[0];
    let found = (&row["change"], &row["digest"], &row["previous"]);
    assert_eq!(found, (&json!("published"), &json!(digests[1]), &json!(digests[0])));
    ensure!(output.stdout.contains("\"dryRun\":true"), "{}", output.stdout);
    assert_eq!(files::read(&root(case))?, before, "a dry run changed the root");
    let table = sync_with(case, &["--dry-run"]).await?.stdout;
    ensure!(table.contains("would be published"), "{table}");

    assert_eq!(changes(&sync_with(case, &dry[1..]).await?)?, pairs(&[("app", "published")]));
    let file = root(case).join("team/app/current/file");
    fs_err::remove_file(&file)?;
    assert_eq!(changes(&sync_with(case, &dry).await?)?, pairs(&[("app", "repaired")]));
    ensure!(!file.exists(), "a dry run repaired the content");
    let output = sync_with(case, &dry[1..]).await?;
    assert_eq!(changes(&output)?, pairs(&[("app", "repaired")]));
    let warnings = output.stderr.lines().filter(|line| line.starts_with("warning: team/app: ")).count();
    ensure!(warnings == 1 && !output.stderr.contains("WARN"), "{}", output.stderr);
    assert_eq!(fs_err::read_to_string(&file)?, "two");
    Ok(())
}

async fn only_some_artifacts_are_processed_and_others_are_pruned(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let other = json!({"outputs": [{"name": "a", "volume": {"name": "other"}}, {"name": "b", "volume": {}}]});
    let map = json!({"outputs": [{"name": "map", "configMap": {"name": "rules"}}]});
    let from = objects(case, &[("a", spec(&image)), ("b", spec_with(&image, &other)), ("c", spec_with(&image, &map))])?;
    let json = ["--format", "json"];

    let only = sync_with(case, &[&json[..], &["--only", "team/a"]].concat()).await?;
    assert_eq!(changes(&only)?, pairs(&[("a", "published")]));
    ensure!(!root(case).join("team/b").exists(), "another artifact was published");
    let all = pairs(&[("a", "unchanged"), ("b", "published"), ("c", "published")]);
    assert_eq!(changes(&sync_with(case, &json).await?)?, all);

    // Directories of others and suspended objects stay.
    let foreign = [root(case).join("team/foreign"), root(case).join("_configmaps/team/c/foreign.yaml")];
    fs_err::create_dir_all(&foreign[0])?;
    fs_err::write(foreign[0].join("file"), "foreign")?;
    fs_err::write(&foreign[1], "kind: ConfigMap\nmetadata: {name: foreign}\n")?;
    objects(case, &[("a", spec_with(&image, &json!({"suspend": true}))), ("b", spec(&image))])?;
    fs_err::remove_file(from.join("c.yaml"))?;
    let places = [
        root(case).join("_volumes/other/team/b"),
        root(case).join("_configmaps/team/c/rules.yaml"),
        root(case).join("team/a/current/file"),
        root(case).join("team/b/current/file"),
    ];
    let there = || places.each_ref().map(|place| place.exists());
    let want = [("a", "suspended"), ("b", "published"), ("b", "pruned"), ("c", "pruned")];
    for (options, left) in [(&["--dry-run"][..], [true; 4]), (&[], [false, false, true, true])] {
        let output = sync_with(case, &[&json[..], &["--prune"], options].concat()).await?;
        assert_eq!(changes(&output)?, pairs(&want));
        assert_eq!(there(), left, "{options:?}");
    }
    ensure!(foreign.iter().all(|path| path.exists()), "files of others were removed");
    let again = sync_with(case, &[&json[..], &["--prune"]].concat()).await?;
    assert_eq!(changes(&again)?, pairs(&[("a", "suspended"), ("b", "unchanged")]));
    let both = sync_with(case, &["--prune", "--only", "a"]).await?;
    assert_eq!(both.exit.code, Some(2), "{}", both.stderr);
    Ok(())
}

async fn an_interrupted_sync_gives_up_what_is_not_published(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", &"x".repeat(100_000))]))?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let gate = Gate::open(&case.lab.registry.address).await?;
    let through = format!("{}/{}:1", gate.address, case.repository("app"));
    objects(case, &[("app", spec(&through)), ("good", spec(&image))])?;
    let options = options(case);
    let arguments: Vec<&str> = ["sync"].into_iter().chain(options.iter().map(String::as_str)).collect();
    let cache = case.directory.join("cache");
    for (number, bytes) in [1, 1000, 2000].into_iter().enumerate() {
        for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
            gate.hold_after(bytes);
            let mut service = start(case, &format!("sync-{number}-{code}"), &arguments, &cache).await?;
            reach(&gate, &service).await?;
            let pid = i32::try_from(service.process.pid()).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.context("no process")?, signal)?;
            let exit = service.process.wait(REACHED).await?.context("the signal did not end it")?;
            assert_eq!(exit.code, Some(code), "{bytes} bytes");
            let said = fs_err::read_to_string(&service.log)?;
            assert_eq!(said.lines().last(), Some("error: interrupted"), "{said}");
            ensure!(!said.contains("NAMESPACE"), "a table was printed: {said}");
            ensure!(!root(case).join("team/app/current").exists(), "{bytes} bytes: published");
            gate.release();
            let staging = fs_err::read_dir(root(case).join(".supercargo/staging"))?.count();
            assert_eq!(staging, 0, "{bytes} bytes: left in staging");
        }
    }
    let output = sync_with(case, &[]).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/app/current"))?, tree(&[("file", &"x".repeat(100_000))]));
    Ok(())
}
