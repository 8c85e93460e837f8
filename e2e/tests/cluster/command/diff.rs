//! `supercargo diff`: artifacts of a real registry, the cache and directories.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Entry, tree};
use supercargo_e2e::registry::{Auth, Options, PASSWORD, USERNAME};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

mod locked;

use locked::{diff_of_a_lock_fails_by_class, diff_shows_what_an_update_of_a_lock_brings};

tests!(
    diff_names_the_files_that_differ,
    diff_reads_the_cache_without_a_request,
    diff_uses_the_credentials_of_each_registry,
    diff_fails_by_class_and_leaves_nothing,
    diff_shows_what_an_update_of_a_lock_brings,
    diff_of_a_lock_fails_by_class,
);

async fn diff_names_the_files_that_differ(case: &mut Case) -> Result<()> {
    let mut content = tree(&[("gone.txt", "g"), ("rules/a.yaml", "a: 1\nb: 2\n"), ("same", "s"), ("\u{1f600}", "x")]);
    content.insert("run.sh".to_owned(), Entry::text("#!/bin/sh\n"));
    let mut digests = Vec::new();
    let old = case.source(&content)?;
    let images = ["app:1", "app:2"].map(|name| case.reference(name));
    digests.push(case.lab.publisher.oras(&old, &[&images[0], "."]).await?);
    content.remove("gone.txt");
    content.insert("rules/a.yaml".to_owned(), Entry::text("a: 1\nb: 3\n"));
    content.insert("bin".to_owned(), Entry::File { content: vec![0, 1, 2], executable: false });
    content.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    let new = case.source(&content)?;
    digests.push(case.lab.publisher.oras(&new, &[&images[1], "."]).await?);

    let diff = ["diff", &images[0], &images[1], "--plain-http"];
    let output = run(case, &diff).await?;
    let want = format!(
        "--- {}@{}\n+++ {}@{}\n\
         CHANGE    MODE           SIZE   PATH\n\
         added     0644           3      bin\n\
         removed   0644           1      gone.txt\n\
         changed   0644           10     rules/a.yaml\n\
         changed   0644 -> 0755   10     run.sh\n\
         1 added, 1 removed, 2 changed, 2 unchanged\n",
        images[0], digests[0], images[1], digests[1]
    );
    assert_eq!((output.exit.code, output.stdout), (Some(1), want), "{}", output.stderr);

    let output = run(case, &[&diff[..], &["--content"]].concat()).await?;
    for lines in ["--- a/rules/a.yaml\n+++ b/rules/a.yaml\n", "\n-b: 2\n+b: 3\n", "bin: not text\n", "+++ /dev/null\n"]
    {
        ensure!(output.stdout.contains(lines), "{lines:?}: {}", output.stdout);
    }

    // A directory with the same files, and one with others.
    let path = case.directory.join("vendored").to_string_lossy().into_owned();
    let json = ["--plain-http", "--format", "json"];
    answer(case, &["pull", &images[1], "-o", &path, "--plain-http"]).await?;
    let equal: Value = serde_json::from_str(&answer(case, &[&["diff", &path, &images[1]], &json[..]].concat()).await?)?;
    assert_eq!((&equal["equal"], &equal["changes"]), (&json!(true), &json!([])));
    assert_eq!(equal["old"]["filesDigest"], equal["new"]["filesDigest"]);
    assert_eq!(equal["old"]["directory"], path);
    let pinned = format!("{}@{}", case.reference("app"), digests[0]);
    let other = run(case, &[&["diff", &pinned, &path], &json[..], &["--content"]].concat()).await?;
    let other: Value = serde_json::from_str(&other.stdout)?;
    assert_eq!(other["old"]["reference"], pinned);
    assert_eq!([&other["added"], &other["removed"], &other["changed"], &other["unchanged"]], [1, 1, 2, 2]);
    assert_eq!(other["changes"][0]["content"], json!({"kind": "binary"}));
    assert_eq!(other["changes"][3]["old"]["mode"], "0644");
    // A part of the artifacts.
    let part = [&diff[..], &["--include", "rules/**"]].concat();
    let output = run(case, &part).await?;
    ensure!(output.stdout.ends_with("0 added, 0 removed, 1 changed, 0 unchanged\n"), "{}", output.stdout);
    answer(case, &[&diff[..], &["--include", "same"]].concat()).await?;
    Ok(())
}

async fn diff_reads_the_cache_without_a_request(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("own", &Options::default()).await?;
    let images = ["app:1", "app:2"].map(|name| registry.reference(name));
    for (image, text) in images.iter().zip(["one\n", "two\n"]) {
        let source = case.source(&tree(&[("file", text)]))?;
        case.lab.publisher.to(&registry).oras(&source, &[image, "."]).await?;
        answer(case, &["pull", image, "--plain-http"]).await?;
    }
    registry.stop().await?;
    let output = run(case, &["diff", &images[0], &images[1], "--cached", "--content"]).await?;
    ensure!(output.exit.code == Some(1) && output.stdout.contains("\n-one\n+two\n"), "{output:?}");
    refused(&run(case, &["diff", &images[0], &registry.reference("app:3"), "--cached"]).await?, 5, "ReferenceNotFound")
}

async fn diff_uses_the_credentials_of_each_registry(case: &mut Case) -> Result<()> {
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let source = case.source(&tree(&[("file", "x")]))?;
    let [private, open] = [registry.reference("app:1"), case.reference("app:1")];
    case.lab.publisher.to(&registry).oras(&source, &[&private, "."]).await?;
    case.lab.publisher.oras(&source, &[&open, "."]).await?;
    let diff = ["diff", &open, &private, "--plain-http"];
    refused(&run(case, &diff).await?, 4, "Unauthorized")?;
    let login = ["login", &registry.address, "--plain-http", "--username", USERNAME, "--password-stdin"];
    command(case, &login).input(PASSWORD).stdout().await?;
    answer(case, &diff).await?;
    // A password is for one registry.
    let options = ["--username", USERNAME, "--password-stdin"];
    let two = command(case, &[&diff[..], &options].concat()).input(PASSWORD).output().await?;
    refused(&two, 2, "InvalidSpec")?;
    let same = ["diff", &private, &private, "--plain-http"];
    command(case, &[&same[..], &options].concat()).input(PASSWORD).stdout().await?;
    Ok(())
}

async fn diff_fails_by_class_and_leaves_nothing(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("a\u{301}/file", "x"), ("b", "yy")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let [temporary, source] = [case.directory.join("tmp"), source].map(|path| path.to_string_lossy().into_owned());
    fs_err::create_dir_all(&temporary)?;
    let missing = case.reference("missing:1");
    let rows: [(&[&str], i32, &str); 7] = [
        (&[&image, &missing], 5, "ReferenceNotFound"),
        (&[&image, "./missing"], 4, "FileNotFound"),
        (&[&image, "short"], 2, "InvalidSpec"),
        (&[&source, &source, "--include", "a"], 2, "InvalidSpec"),
        (&[&image, &source, "--sub-path", "none"], 5, "SubPathNotFound"),
        (&[&image, &source, "--max-entries", "1"], 7, "LimitExceeded"),
        (&[&source, &source, "--max-file-bytes", "1"], 7, "LimitExceeded"),
    ];
    for (arguments, code, reason) in rows {
        let diff = [&["diff"][..], arguments, &["--plain-http"]].concat();
        let output = command(case, &diff).env("TMPDIR", temporary.as_str()).output().await?;
        refused(&output, code, reason)?;
        ensure!(files::read(temporary.as_ref())?.is_empty(), "{arguments:?} left something");
    }
    let equal = command(case, &["diff", &image, &source, "--plain-http"]).env("TMPDIR", temporary.as_str());
    ensure!(equal.stdout().await?.ends_with("0 added, 0 removed, 0 changed, 2 unchanged\n"));
    ensure!(files::read(temporary.as_ref())?.is_empty());
    Ok(())
}
