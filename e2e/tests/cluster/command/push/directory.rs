//! A directory of files as SOURCE: packaged as by `supercargo package`, and nothing of it stays on the machine.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::gate::Gate;

use super::{REACHED, check_no_leftovers, reach, start};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest, refused, run};

tests!(
    a_directory_is_pushed_with_the_digest_of_its_package_and_oras_reads_it,
    a_chart_is_pushed_under_the_tag_of_its_version,
    a_source_that_is_no_artifact_is_named,
    an_interrupted_push_ends_with_the_code_of_the_signal_and_leaves_nothing,
);

async fn a_directory_is_pushed_with_the_digest_of_its_package_and_oras_reads_it(case: &mut Case) -> Result<()> {
    let mut content = tree(&[("a.txt", "one"), ("b/c.txt", "two")]);
    let source = case.source(&content)?;
    fs_err::write(source.join(".ociignore"), "*.tmp\n.ociignore\n")?;
    fs_err::write(source.join("left-out.tmp"), "x")?;
    let (path, cache) = (source.to_string_lossy().into_owned(), case.directory.join("cache"));
    let options = ["--cache-dir", &cache.to_string_lossy(), "--plain-http"].map(str::to_owned);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let rows: [(&[&str], &[&str]); 3] = [
        (&[], &[]),
        (&["--package-format", "flux"], &["--package-format", "flux"]),
        (
            &["--artifact-type", "application/vnd.a", "--annotation", "k=v"],
            &["--artifact-type", "application/vnd.a", "--annotation", "k=v"],
        ),
    ];
    for (number, (more, of_package)) in rows.into_iter().enumerate() {
        let layout = case.directory.join(format!("layout-{number}")).to_string_lossy().into_owned();
        let packaged = answer(case, &[&["package", &path, "-o", &layout], of_package].concat()).await?;
        let image = case.reference(&format!("app:{number}"));
        let pushed = answer(case, &[&["push", &path, &image], &options[..], more].concat()).await?;
        assert_eq!(pushed.trim(), format!("{image}@{}", digest(&packaged)?), "{more:?}");
        check_no_leftovers(&cache)?;
        let into = case.directory.join(format!("pulled-{number}"));
        answer(case, &["pull", &image, "--plain-http", "-o", &into.to_string_lossy()]).await?;
        assert_eq!(files::read(&into)?, content, "{more:?}");
    }
    let into = case.directory.join("oras");
    let pulled = case.lab.clients.oras_pull(&case.reference("app:0"), &into, &[]).await?;
    ensure!(pulled.exit.success(), "{}", pulled.stderr);
    assert_eq!(files::read(&into)?, content);

    // The same tag with other content, which is not a version.
    content.insert("d.txt".to_owned(), files::Entry::text("three"));
    fs_err::write(source.join("d.txt"), "three")?;
    let image = case.reference("app:0");
    refused(&run(case, &[&["push", &path, &image], &options[..], &["--if-absent"]].concat()).await?, 1, "TagExists")?;
    let shown = answer(case, &[&["push", &path, &image], &options[..], &["--format", "json"]].concat()).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    ensure!(shown["uploadedBlobs"] == 1 && shown["presentBlobs"] == 1 && shown["signature"].is_null(), "{shown}");
    Ok(())
}

async fn a_chart_is_pushed_under_the_tag_of_its_version(case: &mut Case) -> Result<()> {
    let chart = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"),
        ("templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"),
    ]);
    let source = case.source(&chart)?.to_string_lossy().into_owned();
    let push = ["push", &source, "--plain-http", "--package-format", "helm"];
    for wrong in ["charts/app:latest", "charts/other:1.0.0"] {
        let output = run(case, &[&push[..], &[&case.reference(wrong)]].concat()).await?;
        refused(&output, 2, "InvalidSpec")?;
        ensure!(output.stderr.contains("1.0.0") || output.stderr.contains("app"), "{}", output.stderr);
    }
    let chart_reference = case.reference("charts/app");
    let pushed = answer(case, &[&push[..], &[&chart_reference]].concat()).await?;
    ensure!(pushed.starts_with(&format!("{chart_reference}:1.0.0@sha256:")), "{pushed}");
    let pulled = case.lab.clients.helm_pull(&chart_reference, "1.0.0", &case.directory.join("charts")).await?;
    let want: files::Tree = chart.into_iter().map(|(path, entry)| (format!("app/{path}"), entry)).collect();
    assert_eq!(pulled, want);
    Ok(())
}

async fn a_source_that_is_no_artifact_is_named(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a.txt", "one")]))?;
    let at = |name: &str| case.directory.join(name).to_string_lossy().into_owned();
    let [empty, ignored, no_mark, missing] = ["empty", "ignored", "no-mark", "missing"].map(at);
    fs_err::create_dir_all(&empty)?;
    fs_err::create_dir_all(&ignored)?;
    fs_err::write(Path::new(&ignored).join(".ociignore"), "*\n")?;
    fs_err::create_dir_all(Path::new(&no_mark).join("blobs"))?;
    fs_err::write(Path::new(&no_mark).join("index.json"), "{}")?;
    let file = source.join("a.txt").to_string_lossy().into_owned();
    let directory = source.to_string_lossy().into_owned();
    let inside = source.join("cache").to_string_lossy().into_owned();
    let (layout, image) = (at("layout"), case.reference("app:1"));
    answer(case, &["package", &directory, "-o", &layout]).await?;
    let cache = at("cache");
    // Arguments; exit code, reason, noun.
    let rows: [(Vec<&str>, i32, &str, &str); 10] = [
        (vec![&empty, &image], 5, "SubPathNotFound", &empty),
        (vec![&ignored, &image], 5, "SubPathNotFound", ".ociignore"),
        (vec![&no_mark, &image], 5, "ReferenceNotFound", "oci-layout"),
        (vec![&missing, &image], 2, "InvalidSpec", &missing),
        (vec!["./rulez", &image], 2, "InvalidSpec", "./rulez"),
        (vec!["rulez", &image], 2, "InvalidSpec", "rulez"),
        (vec![&file, &image], 2, "InvalidSpec", &file),
        (vec![&directory], 2, "InvalidSpec", "DESTINATION"),
        (vec![&layout, &image, "--artifact-type", "a/b"], 2, "InvalidSpec", "--artifact-type"),
        (vec![&directory, &image, "--name", "x"], 2, "InvalidSpec", "--name"),
    ];
    for (arguments, code, reason, noun) in rows {
        let push = [&["push"], &arguments[..], &["--plain-http", "--cache-dir", &cache]].concat();
        let output = run(case, &push).await?;
        refused(&output, code, reason).with_context(|| format!("{arguments:?}"))?;
        ensure!(output.stderr.contains(noun), "{arguments:?}: {}", output.stderr);
    }
    let output = run(case, &["push", &directory, &image, "--plain-http", "--cache-dir", &inside]).await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(!Path::new(&inside).exists(), "a cache was created in the source");
    refused(&run(case, &["resolve", &image, "--plain-http"]).await?, 5, "ReferenceNotFound")
}

async fn an_interrupted_push_ends_with_the_code_of_the_signal_and_leaves_nothing(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a.txt", &"x".repeat(1000))]))?.to_string_lossy().into_owned();
    let gate = Gate::open(&case.lab.registry.address).await?;
    let repository = case.repository("app");
    let (through, cache) = (format!("{}/{repository}:1", gate.address), case.directory.join("cache"));
    for (number, bytes) in [1, 500, 1500].into_iter().enumerate() {
        gate.hold_after(bytes);
        let arguments = ["push", &source, &through, "--plain-http"];
        let mut push = start(case, &format!("signal-{number}"), &arguments, &cache).await?;
        reach(&gate, &push).await?;
        push.process.terminate()?;
        let exit = push.process.wait(REACHED).await?.context("the push did not end")?;
        assert_eq!(exit.code, Some(143), "{bytes} bytes");
        gate.release();
        check_no_leftovers(&cache)?;
        let resolved = run(case, &["resolve", &case.reference("app:1"), "--plain-http"]).await?;
        refused(&resolved, 5, "ReferenceNotFound")?;
    }
    Ok(())
}
