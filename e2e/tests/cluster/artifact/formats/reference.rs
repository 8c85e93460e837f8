//! Other clients that read the artifacts of the tables, and the files that each writes.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use supercargo_e2e::files::{self, Tree};

use crate::support::case::Case;

/// Another client that reads the artifact.
pub(super) enum Reference {
    /// `oras pull` writes these files.
    Oras(Tree),
    /// `oras pull` for a platform writes these files.
    OrasFor(&'static str, Tree),
    /// `oras pull` fails.
    OrasRefuses,
    /// `helm pull --untar` of this version of the chart at this place writes these files.
    Helm(String, &'static str, Tree),
    /// `crane export` has these files.
    Crane(Tree),
    /// `imgpkg pull` writes the same files.
    Imgpkg,
    /// GNU tar, given all layers one over the other, has the same files.
    Tar,
}

impl Reference {
    /// Compares the files of the client with the expected ones; `ours` are those of supercargo.
    pub(super) async fn compare(&self, case: &Case, image: &str, ours: &Tree, into: &Path) -> Result<()> {
        let clients = &case.lab.clients;
        match self {
            Self::Oras(files) => same("the files of oras", &oras(case, image, into, &[]).await?, files),
            Self::OrasFor(platform, files) => {
                same("the files of oras", &oras(case, image, into, &["--platform", platform]).await?, files)
            }
            Self::OrasRefuses => {
                let output = clients.oras_pull(image, into, &[]).await?;
                ensure!(!output.exit.success(), "oras takes it: {}", output.stdout);
                Ok(())
            }
            Self::Helm(chart, version, files) => {
                same("the files of Helm", &clients.helm_pull(chart, version, into).await?, files)
            }
            Self::Crane(files) => same("the files of crane", &clients.crane_export(image, into).await?, files),
            Self::Imgpkg => same("the files of imgpkg", &clients.imgpkg_pull(image, into).await?, ours),
            Self::Tar => same("the files of GNU tar", &clients.tar_layers(image, into).await?, ours),
        }
    }
}

async fn oras(case: &Case, image: &str, into: &Path, more: &[&str]) -> Result<Tree> {
    let output = case.lab.clients.oras_pull(image, into, more).await?;
    ensure!(output.exit.success(), "oras pull: {}{}", output.stdout, output.stderr);
    files::read(into)
}

/// Compares two trees entry by entry: path, kind, content, executable bit, target of a link.
pub(super) fn same(whose: &str, found: &Tree, want: &Tree) -> Result<()> {
    let mut wrong = String::new();
    for path in found.keys().chain(want.keys().filter(|path| !found.contains_key(*path))) {
        let (found, want) = (found.get(path), want.get(path));
        if found != want {
            let _ = write!(wrong, "\n    {path}: {found:?}, expected {want:?}");
        }
    }
    ensure!(wrong.is_empty(), "{whose} differ:{wrong}");
    Ok(())
}
