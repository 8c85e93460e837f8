//! Artifacts of each client, read by `pull`, `unpackage`, `unpack` and `promote`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use supercargo_e2e::files::{self, Tree, tree};

use super::site::{Kind, Site, Sites};
use super::{AT_A_TIME, below, catalog, chart, content, linked, same};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest};

tests!(what_each_client_pushes_is_read_whole_and_promoted,);

/// Client that pushes.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// `oras push` of the directory.
    Oras,
    /// `oras push` of files.
    OrasFiles,
    /// `helm push` of a packaged chart.
    Helm,
    /// Flux's library.
    Flux,
    /// imgpkg's library.
    Imgpkg,
    /// kubara's format, by oras-go.
    Kubara,
    /// `crane append` of an archive of GNU tar to an empty image.
    CraneAppend,
    /// `crane push` of a layout that `supercargo package` wrote.
    CranePush,
}

impl Client {
    const ALL: [Self; 8] = [
        Self::Oras,
        Self::OrasFiles,
        Self::Helm,
        Self::Flux,
        Self::Imgpkg,
        Self::Kubara,
        Self::CraneAppend,
        Self::CranePush,
    ];

    fn source(self) -> Tree {
        match self {
            Self::Oras | Self::CraneAppend | Self::CranePush => linked(),
            Self::OrasFiles => tree(&[("a.txt", "one"), ("deep/er/b.txt", "two")]),
            Self::Helm => chart(),
            Self::Flux | Self::Imgpkg => content(),
            Self::Kubara => catalog(),
        }
    }

    /// Returns the directory of the files in the artifact.
    fn inside(self) -> &'static str {
        match self {
            Self::Helm => "app/",
            Self::Kubara => "platform/",
            Self::Oras | Self::OrasFiles | Self::Flux | Self::Imgpkg | Self::CraneAppend | Self::CranePush => "",
        }
    }

    /// Returns the repository without the base.
    fn name(self) -> String {
        match self {
            Self::Helm => "app".to_owned(),
            Self::Kubara => "platform".to_owned(),
            Self::Oras | Self::OrasFiles | Self::Flux | Self::Imgpkg | Self::CraneAppend | Self::CranePush => {
                format!("{self:?}").to_lowercase()
            }
        }
    }

    /// Returns the options of `unpack` for the first layer, if this layer has all files.
    fn unpack(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Oras | Self::CranePush => Some(&["--title", ".", "--annotation", "io.deis.oras.content.unpack=true"]),
            Self::OrasFiles => None,
            Self::Helm => Some(&["--media-type", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"]),
            Self::Flux => Some(&["--media-type", "application/vnd.cncf.flux.content.v1.tar+gzip"]),
            Self::Imgpkg | Self::CraneAppend => {
                Some(&["--media-type", "application/vnd.docker.image.rootfs.diff.tar.gzip"])
            }
            Self::Kubara => Some(&["--title", "platform", "--annotation", "io.deis.oras.content.unpack=true"]),
        }
    }
}

/// Source of a client's push: a directory, and the files that are made of it beforehand.
struct Parcel {
    client: Client,
    source: PathBuf,
    /// Archive of GNU tar, or a layout.
    made: PathBuf,
}

impl Parcel {
    async fn of(case: &mut Case, client: Client) -> Result<Self> {
        let (source, made) = (case.source(&client.source())?, case.directory.join(format!("made-{client:?}")));
        let (from, to) = (source.to_string_lossy(), made.to_string_lossy());
        match client {
            Client::CraneAppend => {
                let tar = ["--create", "--file", &to, "--directory", &from, "."];
                case.lab.run.command(Path::new("tar")).args(tar).stdout().await?;
            }
            Client::CranePush => {
                answer(case, &["package", &from, "-o", &to]).await?;
            }
            Client::Oras | Client::OrasFiles | Client::Helm | Client::Flux | Client::Imgpkg | Client::Kubara => {}
        }
        Ok(Self { client, source, made })
    }

    fn files(&self) -> Tree {
        below(self.client.inside(), &self.client.source())
    }

    /// Pushes with the client, and returns the digest that oras resolves.
    async fn push(&self, case: &Case, sites: &Sites, site: &Site, base: &str) -> Result<String> {
        let (publisher, reference) = (&site.publisher, format!("{base}/{}:1.0.0", self.client.name()));
        let made = self.made.to_string_lossy();
        match self.client {
            Client::Oras => {
                let push = ["push", "--no-tty", "--artifact-type", "application/vnd.example.files", &reference, "."];
                sites.oras(case, site, &push).directory(&self.source).stdout().await?;
            }
            Client::OrasFiles => {
                let push = ["push", "--no-tty", &reference, "a.txt:text/plain", "deep/er/b.txt:text/plain"];
                sites.oras(case, site, &push).directory(&self.source).stdout().await?;
            }
            Client::Helm => drop(publisher.helm(&self.source, base).await?),
            Client::Flux => drop(publisher.flux(&self.source, &reference).await?),
            Client::Imgpkg => drop(publisher.imgpkg(&self.source, &reference, false).await?),
            Client::Kubara => drop(publisher.kubara(&self.source, base, "platform", "1.0.0").await?),
            Client::CraneAppend => {
                let append = ["append", "--new_layer", &made, "--new_tag", &reference];
                sites.crane(case, site, &append).stdout().await?;
            }
            Client::CranePush => drop(sites.crane(case, site, &["push", &made, &reference]).stdout().await?),
        }
        sites.resolve(case, site, &reference).await
    }

    /// Pushes with the client, and reads with each of our commands.
    async fn check(&self, case: &Case, sites: &Sites, [site, next]: [&Site; 2]) -> Result<()> {
        let base = site.reference(&case.repository("theirs"));
        let pushed = self.push(case, sites, site, &base).await?;
        let reference = format!("{base}/{}:1.0.0", self.client.name());
        let place = |name: &str| case.directory.join(format!("{:?}/{:?}/{name}", site.kind, self.client));
        fs_err::create_dir_all(place(""))?;

        let out = place("pulled");
        let printed = sites.ours(case, site, &["pull", &reference, "-o", &out.to_string_lossy()]).stdout().await?;
        assert_eq!(digest(&printed)?, pushed);
        same(&files::read(&out)?, &self.files()).context("pull")?;

        let cache = place("cache").to_string_lossy().into_owned();
        sites.ours(case, site, &["pull", &reference, "--cache-dir", &cache]).stdout().await?;
        let listed = answer(case, &["list", "--format", "json", "--cache-dir", &cache]).await?;
        let listed: Value = serde_json::from_str(&listed)?;
        let listed = listed["artifacts"].as_array().context("no list")?;
        ensure!(listed.len() == 1 && listed[0]["digest"] == *pushed, "{listed:?}");
        let out = place("unpackaged");
        answer(case, &["unpackage", &reference, &out.to_string_lossy(), "--cache-dir", &cache]).await?;
        // A catalog is unpacked without its folder.
        let unpackaged = if matches!(self.client, Client::Kubara) { self.client.source() } else { self.files() };
        same(&files::read(&out)?, &unpackaged).context("unpackage")?;

        let there = next.reference(&case.repository(&format!("promoted-{}:1.0.0", self.client.name())));
        sites.promote(case, [site, next], &[&reference, &there]).stdout().await?;
        assert_eq!(sites.resolve(case, next, &there).await?, pushed, "promoted");
        // crane compares the digest of each blob.
        let layout = place("layout").to_string_lossy().into_owned();
        sites.crane(case, next, &["pull", "--format=oci", &there, &layout]).stdout().await.context("promoted")?;
        self.unpack(case, sites, site, &base, &pushed).await.context("unpack")
    }

    /// Fetches the first layer with oras, and unpacks the file.
    async fn unpack(&self, case: &Case, sites: &Sites, site: &Site, base: &str, manifest: &str) -> Result<()> {
        let Some(options) = self.client.unpack() else { return Ok(()) };
        let repository = format!("{base}/{}", self.client.name());
        let manifest = format!("{repository}@{manifest}");
        let manifest: Value =
            serde_json::from_str(&sites.oras(case, site, &["manifest", "fetch", &manifest]).stdout().await?)?;
        let layer = manifest["layers"][0]["digest"].as_str().context("no layer")?;
        let place = case.directory.join(format!("{:?}/{:?}", site.kind, self.client));
        let [file, out] = ["layer", "unpacked"].map(|name| place.join(name).to_string_lossy().into_owned());
        let fetch = ["blob", "fetch", "--no-tty", "--output", &file, &format!("{repository}@{layer}")];
        sites.oras(case, site, &fetch).stdout().await?;
        answer(case, &[&["unpack", &file, "-o", &out], options].concat()).await?;
        same(&files::read(Path::new(&out))?, &self.files())
    }
}

async fn what_each_client_pushes_is_read_whole_and_promoted(case: &mut Case) -> Result<()> {
    let mut parcels = Vec::new();
    for client in Client::ALL {
        parcels.push(Parcel::of(case, client).await?);
    }
    let (case, parcels) = (&*case, &parcels);
    let sites = &Sites::open(case, &[Kind::Open, Kind::Tokens, Kind::TlsAndTokens, Kind::Referrers]).await?;
    let all = sites.all.iter().enumerate();
    let all = all.flat_map(|(number, site)| parcels.iter().map(move |parcel| (number, site, parcel)));
    let checks = stream::iter(all).map(|(number, site, parcel)| async move {
        let checked = parcel.check(case, sites, [site, sites.next(number)]).await;
        checked.with_context(|| format!("{:?}, {:?}", site.kind, parcel.client))
    });
    checks.buffer_unordered(AT_A_TIME).try_collect().await
}
