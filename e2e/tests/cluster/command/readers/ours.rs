//! Artifacts that `package` and `push` write, read by each client.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::hostile::artifact::digest as digest_of;

use super::site::{Kind, Site, Sites};
use super::{AT_A_TIME, below, catalog, chart, content, linked, same};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest};

tests!(each_client_reads_of_each_format_what_it_can, helm_installs_what_is_pushed_to_each_registry,);

/// Result of reading an artifact with a client.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// All files, with modes and links.
    Whole,
    /// All files, without symbolic links.
    NoLinks,
    /// Success and no file.
    Nothing,
    /// An error with this text.
    Not(&'static str),
}

use Reads::{NoLinks, Not, Nothing, Whole};

/// Artifact in a format, and the clients' results.
struct Row {
    /// Name of the repository.
    name: &'static str,
    source: Tree,
    /// Options of `package`.
    package: &'static [&'static str],
    /// Options of `push` for the directory; `None` if only `package` can make the artifact.
    push: Option<&'static [&'static str]>,
    /// Directory of the files in the artifact, such as `app/`.
    inside: &'static str,
    oras: Reads,
    helm: Reads,
    crane: Reads,
    flux: Reads,
    imgpkg: Reads,
    /// Text in the error of `crane validate`; empty if it accepts the artifact.
    invalid: &'static str,
}

/// Error of Helm for an artifact without a chart.
const NO_CHART: Reads = Not("manifest does not contain minimum number of descriptors");
/// Error of Flux's library for a first layer that is not compressed with gzip: it writes the bytes to the path.
const NO_GZIP: Reads = Not("is a directory");
/// Error of go-containerregistry for a file that is no archive.
const NO_TAR: Reads = Not("unexpected EOF");
/// Error of `crane validate` for a config that has no digests of layers, as that of oras.
const NO_DIFF_IDS: &str = "mismatched fs layers";

fn rows() -> Vec<Row> {
    let oras = || Row {
        name: "oras",
        source: linked(),
        package: &[],
        push: Some(&[]),
        inside: "",
        oras: Whole,
        helm: NO_CHART,
        crane: Whole,
        flux: NoLinks,
        imgpkg: NoLinks,
        invalid: NO_DIFF_IDS,
    };
    let model = tree(&[("config.json", "{}"), ("model.safetensors", "weights"), ("docs/README.md", "read")]);
    let files = tree(&[("a.txt", "one"), ("deep/b.txt", "two")]);
    let zstd = Not("gzip: invalid header");
    vec![
        oras(),
        Row {
            name: "zstd",
            package: &["--compression", "zstd"],
            push: None,
            oras: zstd,
            flux: NO_GZIP,
            invalid: "gzip: invalid header",
            ..oras()
        },
        Row { name: "image", package: &["--compat", "image"], push: None, ..oras() },
        Row {
            name: "aicr",
            package: &["--package-format", "aicr"],
            push: Some(&["--package-format", "aicr"]),
            ..oras()
        },
        Row {
            name: "flux",
            source: content(),
            package: &["--package-format", "flux"],
            push: Some(&["--package-format", "flux"]),
            oras: Nothing,
            flux: Whole,
            imgpkg: Whole,
            invalid: "",
            ..oras()
        },
        Row {
            name: "platform",
            source: catalog(),
            package: &["--package-format", "kubara"],
            push: Some(&["--package-format", "kubara"]),
            inside: "platform/",
            flux: Whole,
            imgpkg: Whole,
            invalid: "",
            ..oras()
        },
        Row {
            name: "app",
            source: chart(),
            package: &["--package-format", "helm"],
            push: Some(&["--package-format", "helm"]),
            inside: "app/",
            oras: Nothing,
            helm: Whole,
            flux: Whole,
            imgpkg: Whole,
            invalid: "",
            ..oras()
        },
        Row {
            name: "model",
            source: model,
            package: &["--package-format", "modelpack"],
            push: Some(&["--package-format", "modelpack"]),
            oras: Nothing,
            crane: NO_TAR,
            flux: NO_GZIP,
            imgpkg: NO_TAR,
            invalid: "",
            ..oras()
        },
        Row {
            name: "files",
            source: files,
            package: &["--layer", "a.txt:text/plain", "--layer", "deep"],
            push: None,
            crane: NO_TAR,
            flux: NO_GZIP,
            imgpkg: NO_TAR,
            ..oras()
        },
    ]
}

/// A packaged row.
struct Packaged {
    row: Row,
    source: PathBuf,
    layout: PathBuf,
    manifest: Vec<u8>,
}

impl Packaged {
    async fn of(case: &mut Case, row: Row) -> Result<Self> {
        let (source, layout) = (case.source(&row.source)?, case.directory.join(row.name));
        let package = ["package", &source.to_string_lossy(), "-o", &layout.to_string_lossy()].map(str::to_owned);
        let package: Vec<&str> = package.iter().map(String::as_str).chain(row.package.iter().copied()).collect();
        let digest = digest(&answer(case, &package).await?)?.to_owned();
        let hex = digest.strip_prefix("sha256:").context("no digest")?;
        let manifest = fs_err::read(layout.join("blobs/sha256").join(hex))?;
        Ok(Self { row, source, layout, manifest })
    }

    /// Returns the files of the artifact.
    fn files(&self) -> Tree {
        below(self.row.inside, &self.row.source)
    }

    /// Pushes the directory, or else the layout, and returns the reference.
    async fn push(&self, case: &Case, sites: &Sites, site: &Site) -> Result<String> {
        let reference = site.reference(&case.repository(&format!("{}:1.0.0", self.row.name)));
        let source = if self.row.push.is_some() { &self.source } else { &self.layout };
        let push = ["push", &source.to_string_lossy(), &reference].map(str::to_owned);
        let push = push.iter().map(String::as_str).chain(self.row.push.iter().copied().flatten().copied());
        let pushed = sites.ours(case, site, &push.collect::<Vec<_>>()).stdout().await?;
        assert_eq!(digest(&pushed)?, digest_of(&self.manifest), "the directory and its package");
        Ok(reference)
    }

    /// Pushes the artifact and reads it with each client.
    async fn check(&self, case: &Case, sites: &Sites, site: &Site) -> Result<()> {
        let (reference, row) = (self.push(case, sites, site).await?, &self.row);
        let place = |client: &str| case.directory.join(format!("read/{:?}/{}/{client}", site.kind, row.name));
        let readings = [
            ("supercargo", Whole, ours(case, sites, site, &reference, &place("supercargo")).await),
            ("oras", row.oras, oras(case, sites, site, &reference, &place("oras")).await),
            ("helm", row.helm, helm(case, sites, site, &reference, &place("helm")).await),
            ("crane", row.crane, crane(case, sites, site, &reference, &place("crane")).await),
            ("flux", row.flux, self.flux(site, &reference, &place("flux")).await),
            ("imgpkg", row.imgpkg, self.imgpkg(site, &reference, &place("imgpkg")).await),
        ];
        for (client, expected, found) in readings {
            judge(expected, &self.files(), found).with_context(|| format!("{client}, {expected:?}"))?;
        }
        let bytes = sites.oras(case, site, &["manifest", "fetch", &reference]).stdout().await?;
        ensure!(bytes.as_bytes() == self.manifest, "oras manifest fetch: {bytes}");
        let bytes = sites.crane(case, site, &["manifest", &reference]).stdout().await?;
        ensure!(bytes.as_bytes() == self.manifest, "crane manifest: {bytes}");
        let valid = sites.crane(case, site, &["validate", "--remote", &reference]).output().await?;
        let fits = valid.exit.success() == row.invalid.is_empty() && valid.stderr.contains(row.invalid);
        ensure!(fits, "crane validate, {:?}: {}", row.invalid, valid.stderr);
        Ok(())
    }

    async fn flux(&self, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
        fs_err::create_dir_all(into)?;
        let digest = site.publisher.flux_pull(reference, into).await?;
        assert_eq!(digest, digest_of(&self.manifest), "flux");
        files::read(into)
    }

    async fn imgpkg(&self, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
        let digest = site.publisher.imgpkg_pull(reference, into).await?;
        assert_eq!(digest, digest_of(&self.manifest), "imgpkg");
        files::read(into)
    }
}

fn judge(expected: Reads, want: &Tree, found: Result<Tree>) -> Result<()> {
    let no_links = || want.iter().filter(|(_, entry)| !matches!(entry, Entry::Link(_)));
    match (expected, found) {
        (Whole, Ok(found)) => same(&found, want),
        (NoLinks, Ok(found)) => same(&found, &no_links().map(|(path, entry)| (path.clone(), entry.clone())).collect()),
        (Nothing, Ok(found)) => same(&found, &Tree::new()),
        (Not(text), Err(error)) => {
            let error = format!("{error:#}");
            ensure!(error.contains(text), "another error: {error}");
            Ok(())
        }
        (Not(_), Ok(found)) => bail!("the client reads it now: {found:?}"),
        (_, Err(error)) => Err(error),
    }
}

async fn ours(case: &Case, sites: &Sites, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
    fs_err::create_dir_all(into)?;
    sites.ours(case, site, &["pull", reference, "-o", &into.to_string_lossy()]).stdout().await?;
    files::read(into)
}

async fn oras(case: &Case, sites: &Sites, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
    sites.oras_pull(case, site, reference, into).await?;
    files::read(into)
}

async fn helm(case: &Case, sites: &Sites, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
    fs_err::create_dir_all(into)?;
    let chart = format!("oci://{}", reference.trim_end_matches(":1.0.0"));
    let pull =
        ["pull", &chart, "--version", "1.0.0", "--untar", "--untardir", &into.to_string_lossy()].map(str::to_owned);
    let pull: Vec<&str> = pull.iter().map(String::as_str).collect();
    sites.helm(case, site, &pull).directory(into).stdout().await?;
    files::read(into)
}

async fn crane(case: &Case, sites: &Sites, site: &Site, reference: &str, into: &Path) -> Result<Tree> {
    fs_err::create_dir_all(into)?;
    let archive = into.with_extension("tar").to_string_lossy().into_owned();
    sites.crane(case, site, &["export", reference, &archive]).stdout().await?;
    let into_text = into.to_string_lossy();
    let extract = ["--extract", "--file", &archive, "--directory", &into_text];
    case.lab.run.command(Path::new("tar")).args(extract).stdout().await?;
    files::read(into)
}

async fn each_client_reads_of_each_format_what_it_can(case: &mut Case) -> Result<()> {
    let mut packaged = Vec::new();
    for row in rows() {
        packaged.push(Packaged::of(case, row).await?);
    }
    let (case, packaged) = (&*case, &packaged);
    let sites = &Sites::open(case, &[Kind::Open, Kind::Tokens, Kind::TlsAndTokens, Kind::Referrers]).await?;
    let all = sites.all.iter().flat_map(|site| packaged.iter().map(move |one| (site, one)));
    let checks = stream::iter(all).map(|(site, one)| async move {
        one.check(case, sites, site).await.with_context(|| format!("{:?}, {}", site.kind, one.row.name))
    });
    checks.buffer_unordered(AT_A_TIME).try_collect().await
}

async fn helm_installs_what_is_pushed_to_each_registry(case: &mut Case) -> Result<()> {
    let source = case.source(&chart())?.to_string_lossy().into_owned();
    let sites = Sites::open(case, &[Kind::Open, Kind::Tokens, Kind::TlsAndTokens, Kind::Referrers]).await?;
    let kubeconfig = case.lab.control_plane.kubeconfig.to_string_lossy().into_owned();
    for site in &sites.all {
        let base = format!("oci://{}", site.reference(&case.repository("charts")));
        sites.ours(case, site, &["helm-push", &source, &base]).stdout().await?;
        let name = format!("{base}/app");
        let shown = sites.helm(case, site, &["show", "chart", &name, "--version", "1.0.0"]).stdout().await?;
        let shown: Value = serde_saphyr::from_str(&shown)?;
        assert_eq!((&shown["name"], &shown["version"]), (&"app".into(), &"1.0.0".into()), "{:?}", site.kind);
        let (release, namespace) = (format!("{:?}", site.kind).to_lowercase(), ["--namespace", &case.space.namespace]);
        let install = ["install", &release, &name, "--version", "1.0.0", "--set", "a=5"];
        let install = sites.helm(case, site, &[&install[..], &namespace].concat());
        install.env("KUBECONFIG", &kubeconfig).stdout().await?;
        let get = [&["get", "configmap", &release, "-o", "jsonpath={.data.a}"], &namespace[..]].concat();
        assert_eq!(case.lab.kubectl().args(get).stdout().await?, "5", "{:?}", site.kind);
    }
    Ok(())
}
