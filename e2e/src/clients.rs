//! Reference clients: oras, Helm, crane, imgpkg and GNU tar.
//!
//! Tests compare published files with the files these clients write. All clients use plain HTTP without credentials.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::chart;
use crate::files::{self, Tree};
use crate::publish::Publisher;
use crate::run::{Invocation, Output, Run};
use crate::tools::Tools;

/// Reference clients; most methods return the files that the client writes for a reference.
#[derive(Debug, Clone)]
pub struct Clients {
    run: Run,
    tools: Tools,
    publisher: Publisher,
}

impl Clients {
    pub fn new(run: &Run, tools: &Tools) -> Self {
        Self { run: run.clone(), tools: tools.clone(), publisher: Publisher::new(run, tools) }
    }

    /// Returns an `oras` command that ignores the configuration in the user's home directory.
    pub fn oras(&self, arguments: &[&str]) -> Invocation {
        self.run.command(&self.tools.oras).args(arguments).env("HOME", self.run.directory().to_string_lossy())
    }

    /// Runs `oras pull` into a directory, which is created.
    pub async fn oras_pull(&self, reference: &str, into: &Path, more: &[&str]) -> Result<Output> {
        fs_err::create_dir_all(into)?;
        let pull = self.oras(&["pull", "--plain-http", "--no-tty", "--output"]).arg(into.to_string_lossy());
        pull.arg(reference).args(more).output().await
    }

    /// Runs `helm pull --untar` for the chart `oci://<chart>`.
    pub async fn helm_pull(&self, chart: &str, version: &str, into: &Path) -> Result<Tree> {
        fs_err::create_dir_all(into)?;
        let pull = chart::helm(&self.run, &self.tools).args(["pull", "--plain-http", "--untar", "--untardir"]);
        let pull = pull.arg(into.to_string_lossy()).arg(format!("oci://{chart}")).args(["--version", version]);
        pull.directory(into).stdout().await?;
        // Helm leaves the package beside its extracted content.
        for package in packages(into)? {
            fs_err::remove_file(package)?;
        }
        files::read(into)
    }

    /// Returns the package that `helm pull` without --untar writes for the chart `oci://<chart>`.
    pub async fn helm_package(&self, chart: &str, version: &str) -> Result<Vec<u8>> {
        let into = self.run.subdirectory(&format!("helm/pulled/{}", chart.replace(['/', ':'], "-")))?;
        let pull = chart::helm(&self.run, &self.tools).args(["pull", "--plain-http", "--destination"]);
        let pull = pull.arg(into.to_string_lossy()).arg(format!("oci://{chart}")).args(["--version", version]);
        pull.stdout().await?;
        let package = packages(&into)?.into_iter().find(|path| path.extension().is_some_and(|end| end == "tgz"));
        Ok(fs_err::read(package.context("Helm wrote no package")?)?)
    }

    /// Runs `crane export`, and extracts its archive with GNU tar.
    pub async fn crane_export(&self, reference: &str, into: &Path) -> Result<Tree> {
        fs_err::create_dir_all(into)?;
        let flat = into.join("flat.tar");
        self.publisher.export(reference, &flat).await?;
        self.tar(&flat, &into.join("root")).await
    }

    /// Pulls an image like `imgpkg pull -i`.
    pub async fn imgpkg_pull(&self, reference: &str, into: &Path) -> Result<Tree> {
        self.publisher.imgpkg_pull(reference, into).await?;
        files::read(into)
    }

    /// Extracts all layers of an artifact into one directory with GNU tar, in order.
    pub async fn tar_layers(&self, reference: &str, into: &Path) -> Result<Tree> {
        let manifest: Value = serde_json::from_str(&self.publisher.manifest(reference).await?)?;
        let repository = reference.rsplit_once(':').map_or(reference, |(repository, _)| repository);
        fs_err::create_dir_all(into)?;
        let mut files = Tree::new();
        for layer in manifest.pointer("/layers").and_then(Value::as_array).into_iter().flatten() {
            let digest = layer.pointer("/digest").and_then(Value::as_str).context("a layer without a digest")?;
            let blob = into.with_extension("layer");
            let fetch = self.oras(&["blob", "fetch", "--plain-http", "--output"]).arg(blob.to_string_lossy());
            fetch.arg(format!("{repository}@{digest}")).stdout().await?;
            files = self.tar(&blob, into).await?;
        }
        Ok(files)
    }

    /// Extracts an archive, compressed or not, with `tar -x`.
    async fn tar(&self, archive: &Path, into: &Path) -> Result<Tree> {
        fs_err::create_dir_all(into)?;
        let tar = self.run.command(Path::new("tar")).args(["--extract", "--file"]).arg(archive.to_string_lossy());
        tar.arg("--directory").arg(into.to_string_lossy()).stdout().await.context("GNU tar")?;
        files::read(into)
    }
}

fn packages(directory: &Path) -> Result<Vec<PathBuf>> {
    let found = fs_err::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(found.filter(|path| path.extension().is_some_and(|end| end == "tgz" || end == "prov")).collect())
}
