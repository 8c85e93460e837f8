//! `supercargo diff -f`: a lock compared with the digests that tags have now.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::{Invocation, Output};

use crate::support::case::Case;
use crate::support::command::{command, refused};

const LOCK: &str = "supercargo.lock.yaml";

/// Runs a command in the directory of the files.
fn at(case: &Case, arguments: &[&str]) -> Invocation {
    command(case, arguments).directory(&case.directory)
}

async fn diff(case: &Case, more: &[&str]) -> Result<Output> {
    at(case, &[&["diff", "-f", "set.yaml"], more].concat()).output().await
}

async fn lock(case: &Case, more: &[&str]) -> Result<()> {
    at(case, &[&["lock", "-f", "set.yaml"], more].concat()).stdout().await.map(drop)
}

async fn push(case: &mut Case, registry: &Registry, image: &str, text: &str) -> Result<String> {
    let source = case.source(&tree(&[("rules.yaml", text), ("same", "s")]))?;
    case.lab.publisher.to(registry).oras(&source, &[&registry.reference(image), "."]).await
}

/// Writes a set of directories with their images.
fn set(case: &Case, registry: &Registry, entries: &[(&str, &str)]) -> Result<()> {
    let entry = |(directory, image): &(&str, &str)| {
        let entry = json!({
            "directory": directory,
            "image": registry.reference(image),
            "registry": {"plainHTTP": true},
            "files": {"include": ["rules.yaml"]},
            // Nothing is signed: the differences are shown before a signature is required.
            "verify": [{"name": "release", "cosign": {"keys": [{"secretRef": {"name": "missing"}}]}}],
        });
        format!("- {entry}\n")
    };
    let head = "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts:\n";
    let entries: String = entries.iter().map(entry).collect();
    Ok(fs_err::write(case.directory.join("set.yaml"), format!("{head}{entries}"))?)
}

/// Locks a set whose signatures are not required.
async fn lock_unsigned(case: &Case) -> Result<()> {
    let path = case.directory.join("set.yaml");
    let text = fs_err::read_to_string(&path)?;
    let unsigned: String = text.split_inclusive('\n').map(without_verify).collect::<Result<_>>()?;
    fs_err::write(&path, unsigned)?;
    lock(case, &[]).await?;
    Ok(fs_err::write(&path, text)?)
}

fn without_verify(line: &str) -> Result<String> {
    let Some(entry) = line.strip_prefix("- ") else { return Ok(line.to_owned()) };
    let mut entry: Value = serde_json::from_str(entry)?;
    entry.as_object_mut().map(|fields| fields.remove("verify"));
    Ok(format!("- {entry}\n"))
}

pub(super) async fn diff_shows_what_an_update_of_a_lock_brings(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    let old = push(case, &registry, "rules:1", "a: 1\n").await?;
    push(case, &registry, "charts:1", "c: 1\n").await?;
    set(case, &registry, &[("vendor/rules", "rules:1"), ("vendor/charts", "charts:1")])?;
    lock_unsigned(case).await?;
    let before = fs_err::read_to_string(case.directory.join(LOCK))?;

    // Nothing has moved.
    let output = diff(case, &[]).await?;
    assert_eq!((output.exit.code, output.stdout.as_str()), (Some(0), "artifacts: 0 changed, 2 unchanged\n"));

    let new = push(case, &registry, "rules:1", "a: 2\n").await?;
    let rules = registry.reference("rules:1");
    let output = diff(case, &["--content"]).await?;
    let want = format!(
        "vendor/rules\n--- {rules}@{old}\n+++ {rules}@{new}\n\
         CHANGE    MODE   SIZE   PATH\nchanged   0644   5      rules.yaml\n\
         --- a/rules.yaml\n+++ b/rules.yaml\n@@ -1 +1 @@\n-a: 1\n+a: 2\n\
         0 added, 0 removed, 1 changed, 0 unchanged\n\nartifacts: 1 changed, 1 unchanged\n"
    );
    assert_eq!((output.exit.code, output.stdout), (Some(1), want), "{}", output.stderr);
    assert_eq!(fs_err::read_to_string(case.directory.join(LOCK))?, before, "the lock is unchanged");

    let output = diff(case, &["--lock", LOCK, "--format", "json"]).await?;
    let found: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!([&found["changed"], &found["unchanged"]], [1, 1]);
    assert_eq!((&found["equal"], &found["lock"]), (&json!(false), &json!(LOCK)));
    let artifact = &found["artifacts"][0];
    assert_eq!((&artifact["name"], &artifact["changes"][0]["path"]), (&json!("vendor/rules"), &json!("rules.yaml")));
    assert_eq!(artifact["old"]["reference"], format!("{rules}@{old}"));
    ensure!(before.contains(artifact["old"]["filesDigest"].as_str().unwrap_or("none")), "{artifact}");

    // One artifact alone, by its directory.
    let output = diff(case, &["--only", "vendor/charts"]).await?;
    assert_eq!((output.exit.code, output.stdout.as_str()), (Some(0), "artifacts: 0 changed, 1 unchanged\n"));
    // Without the cache, the old digest comes from the registry; with the cache alone, tags are those of `pull`.
    let other = case.directory.join("other").to_string_lossy().into_owned();
    let output = diff(case, &["--cache-dir", &other]).await?;
    ensure!(output.exit.code == Some(1) && output.stdout.contains("rules.yaml"), "{output:?}");
    refused(&diff(case, &["--cached", "--only", "vendor/rules"]).await?, 5, "ReferenceNotFound")?;
    at(case, &["pull", &rules, "--plain-http"]).stdout().await?;
    let output = diff(case, &["--cached", "--only", "vendor/rules"]).await?;
    ensure!(output.exit.code == Some(1) && output.stdout.contains("rules.yaml"), "{output:?}");
    // A file that names another tag by now is compared with what was locked.
    push(case, &registry, "rules:2", "a: 3\nb: 4\n").await?;
    set(case, &registry, &[("vendor/rules", "rules:2")])?;
    let output = diff(case, &[]).await?;
    let sides = format!("--- {rules}@{old}\n+++ {}@sha256:", registry.reference("rules:2"));
    ensure!(output.exit.code == Some(1) && output.stdout.contains(&sides), "{output:?}");
    ensure!(output.stderr.contains("vendor/charts: in supercargo.lock.yaml"), "{}", output.stderr);
    Ok(())
}

pub(super) async fn diff_of_a_lock_fails_by_class(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    push(case, &registry, "rules:1", "a: 1\n").await?;
    set(case, &registry, &[("vendor/rules", "rules:1")])?;
    let temporary = case.directory.join("tmp");
    fs_err::create_dir_all(&temporary)?;
    let fails = async |case: &Case, more: &[&str], code: i32, words: &[&str]| {
        let arguments = [&["diff", "-f", "set.yaml"], more].concat();
        let output = at(case, &arguments).env("TMPDIR", temporary.to_string_lossy()).output().await?;
        let fits = words.iter().all(|word| output.stderr.contains(word));
        ensure!(output.exit.code == Some(code) && fits && output.stdout.is_empty(), "{more:?}: {output:?}");
        ensure!(fs_err::read_dir(&temporary)?.next().is_none(), "{more:?} left something");
        Ok(())
    };
    fails(case, &[], 4, &["FileNotFound", LOCK, "supercargo lock"]).await?;
    lock_unsigned(case).await?;
    fails(case, &["--only", "vendor/none"], 2, &["InvalidSpec", "--only", "vendor/rules"]).await?;
    fails(case, &["--plain-http"], 2, &["InvalidSpec", "--plain-http"]).await?;
    // Not in the lock, in no registry, and both: the classes differ.
    set(case, &registry, &[("vendor/rules", "rules:1"), ("vendor/new", "rules:1")])?;
    fails(case, &[], 4, &["FileInvalid", "set.yaml", "vendor/new", LOCK]).await?;
    set(case, &registry, &[("vendor/rules", "rules:none")])?;
    fails(case, &[], 5, &["ReferenceNotFound", "vendor/rules"]).await?;
    set(case, &registry, &[("vendor/rules", "rules:none"), ("vendor/new", "rules:1")])?;
    fails(case, &[], 1, &["ReferenceNotFound", "FileInvalid"]).await?;
    for (arguments, word) in [("--only a b c", "--only"), ("a b -f set.yaml", "--filename"), ("a", "<NEW>")] {
        let arguments: Vec<_> = ["diff"].into_iter().chain(arguments.split(' ')).collect();
        let output = at(case, &arguments).output().await?;
        ensure!(output.exit.code == Some(2) && output.stderr.contains(word), "{arguments:?}: {output:?}");
    }
    Ok(())
}
