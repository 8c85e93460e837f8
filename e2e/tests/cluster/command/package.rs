//! `supercargo package`: compared with what the producers of each format push, and read by their clients.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde_json::Value;
use supercargo_e2e::files::{self, Entry, Tree, tree};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

tests!(
    archives_and_manifests_are_those_of_oras_flux_and_kubara,
    layouts_are_read_by_oras_and_charts_by_helm,
    a_refused_directory_names_the_entry_and_leaves_no_name,
);

/// Annotation that fixes the time of creation, for producers that write the current one.
const CREATED: &str = "org.opencontainers.image.created=1970-01-01T00:00:00Z";
/// Layer that is compressed in another way by Go.
const LAYER: &str = "/layers/0";

/// Returns a tree with names of every form of a header.
pub(super) fn names() -> Tree {
    let mut all = tree(&[
        (
            "Catalog.yaml",
            "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata:\n  name: platform\nspec:\n  version: 1.4.0\n",
        ),
        ("a/one.txt", "one"),
        ("a.txt", "two"),
        ("empty.txt", ""),
        ("ä/ü.txt", "not ASCII"),
    ]);
    all.insert(format!("{}long.txt", "deep/".repeat(20)), Entry::text("split at a slash"));
    all.insert(format!("{}.txt", "n".repeat(150)), Entry::text("no slash to split at"));
    all.insert(format!("{}end.txt", "deeper-than-that/".repeat(20)), Entry::text("longer than a header"));
    all.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    all.insert("nothing".to_owned(), Entry::EmptyDirectory);
    all
}

/// Sets the times of a directory and everything in it to the epoch, as they are in our archives.
fn touch(directory: &Path) -> Result<()> {
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            touch(&entry.path())?;
        } else {
            let times = Timestamps { last_access: epoch, last_modification: epoch };
            rustix::fs::utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    let times = Timestamps { last_access: epoch, last_modification: epoch };
    Ok(rustix::fs::utimensat(CWD, directory, &times, AtFlags::empty())?)
}

fn layout(case: &Case, name: &str) -> PathBuf {
    case.directory.join(name)
}

/// Packages a directory, and returns the manifest.
async fn package(case: &Case, source: &Path, name: &str, options: &[&str]) -> Result<Value> {
    let (source, output) = (source.to_string_lossy(), layout(case, name));
    let output = output.to_string_lossy();
    let text = answer(case, &[&["package", &source, "-o", &output, "--format", "json"], options].concat()).await?;
    let digest: Value = serde_json::from_str(&text)?;
    let digest = digest["digest"].as_str().context("no digest")?;
    Ok(serde_json::from_slice(&blob(case, name, digest)?)?)
}

fn blob(case: &Case, name: &str, digest: &str) -> Result<Vec<u8>> {
    let hex = digest.strip_prefix("sha256:").context("no digest")?;
    Ok(fs_err::read(layout(case, name).join("blobs/sha256").join(hex))?)
}

/// Replaces the digest and the size of the compressed layer, which are those of another implementation of deflate.
fn with_layer_of(mut ours: Value, theirs: &Value) -> Result<Value> {
    for field in ["digest", "size"] {
        let theirs = theirs.pointer(LAYER).context("no layer")?[field].clone();
        ours.pointer_mut(LAYER).context("no layer")?[field] = theirs;
    }
    Ok(ours)
}

async fn archives_and_manifests_are_those_of_oras_flux_and_kubara(case: &mut Case) -> Result<()> {
    let source = case.source(&names())?;
    touch(&source)?;
    let publisher = &case.lab.publisher;
    let (oras, flux) = (case.reference("oras:1"), case.reference("flux:1"));
    publisher.oras(&source, &["--annotation", CREATED, &oras, "."]).await?;
    publisher
        .oras(
            &source,
            &[
                "--artifact-type",
                "application/vnd.nvidia.aicr.artifact",
                "--annotation",
                CREATED,
                &case.reference("aicr:1"),
                ".",
            ],
        )
        .await?;
    publisher.flux_created(&source, &flux, CREATED).await?;
    publisher.kubara(&source, &case.reference("catalogs"), "platform", "1.4.0").await?;
    let origin = ["--source", "https://git.example.com/team/app.git", "--revision"];
    let flux_options =
        [&["--package-format", "flux"], origin.as_slice(), &["main@sha1:0000000000000000000000000000000000000000"]]
            .concat();
    let rows: [(&str, String, &[&str]); 4] = [
        ("oras", oras, &[]),
        ("aicr", case.reference("aicr:1"), &["--package-format", "aicr"]),
        ("flux", flux, &flux_options),
        ("kubara", case.reference("catalogs/platform:1.4.0"), &["--package-format", "kubara"]),
    ];
    for (format, reference, options) in rows {
        let ours = package(case, &source, format, options).await?;
        let theirs = case.lab.publisher.manifest(&reference).await?;
        // With the digest of the archive before compression, in an annotation or in Flux's config.
        let ours = with_layer_of(ours, &serde_json::from_str(&theirs)?)?;
        assert_eq!(ours, serde_json::from_str::<Value>(&theirs)?, "{format}");
    }
    Ok(())
}

async fn layouts_are_read_by_oras_and_charts_by_helm(case: &mut Case) -> Result<()> {
    let files = names();
    let source = case.source(&files)?;
    package(case, &source, "files", &["--ref", "registry.example.com/app:1.0.0"]).await?;
    let copy = async |case: &Case, name: &str, tag: &str, to: &str| {
        let from = format!("{}:{tag}", layout(case, name).display());
        let copy = ["copy", "--no-tty", "--from-oci-layout", &from, "--to-plain-http", to];
        case.lab.clients.oras(&copy).stdout().await
    };
    copy(case, "files", "1.0.0", &case.reference("files:1.0.0")).await?;
    let into = case.directory.join("pulled");
    let pulled = case.lab.clients.oras_pull(&case.reference("files:1.0.0"), &into, &[]).await?;
    ensure!(pulled.exit.success(), "{}", pulled.stderr);
    assert_eq!(files::read(&into)?, files);

    let chart = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"),
        ("values.yaml", "a: 1\n"),
        ("templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"),
    ]);
    let source = case.source(&chart)?;
    package(case, &source, "chart", &["--package-format", "helm", "--ref", "oci://registry.example.com/charts/"])
        .await?;
    copy(case, "chart", "1.0.0", &case.reference("charts/app:1.0.0")).await?;
    let pulled =
        case.lab.clients.helm_pull(&case.reference("charts/app"), "1.0.0", &case.directory.join("charts")).await?;
    let want: Tree = chart.into_iter().map(|(path, entry)| (format!("app/{path}"), entry)).collect();
    assert_eq!(pulled, want);
    Ok(())
}

async fn a_refused_directory_names_the_entry_and_leaves_no_name(case: &mut Case) -> Result<()> {
    let mut files = tree(&[("a.txt", "one")]);
    files.insert("out".to_owned(), Entry::Link("../../secret".to_owned()));
    let source = case.source(&files)?;
    let output = layout(case, "refused");
    let arguments = ["package", &source.to_string_lossy(), "-o", &output.to_string_lossy()];
    let failed = run(case, &arguments).await?;
    refused(&failed, 7, "UnsafeArchive")?;
    ensure!(failed.stderr.contains("\"out\""), "{}", failed.stderr);
    let index: Value = serde_json::from_slice(&fs_err::read(output.join("index.json"))?)?;
    assert_eq!(index["manifests"], Value::Array(Vec::new()));
    let inside = source.join("layout");
    refused(&run(case, &["package", arguments[1], "-o", &inside.to_string_lossy()]).await?, 2, "InvalidSpec")?;
    ensure!(!inside.exists(), "a layout was created in the source");
    fs_err::remove_file(source.join("out"))?;
    let packaged = command(case, &arguments).env("SOURCE_DATE_EPOCH", "yesterday").output().await?;
    refused(&packaged, 2, "InvalidSpec")
}
