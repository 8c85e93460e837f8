//! Pushing with the real client libraries, through the program in `tools/push`, and with Helm itself.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::chart;
use crate::fixture::Fixture;
use crate::registry::{Auth, PASSWORD, Registry, Tls, USERNAME};
use crate::run::{Invocation, Run};
use crate::tools::Tools;

/// Pushes as somebody, from some directory. Over plain HTTP, unless [`Publisher::to`] says otherwise.
#[derive(Debug, Clone)]
pub struct Publisher {
    run: Run,
    tools: Tools,
    login: bool,
    tls: Option<Tls>,
}

impl Publisher {
    pub fn new(run: &Run, tools: &Tools) -> Self {
        Self { run: run.clone(), tools: tools.clone(), login: false, tls: None }
    }

    /// The same with the user name and password of a private registry.
    #[must_use]
    pub fn with_credentials(&self) -> Self {
        Self { login: true, ..self.clone() }
    }

    /// The same with whatever that registry wants: its authority, a client certificate, a user and a password.
    #[must_use]
    pub fn to(&self, registry: &Registry) -> Self {
        Self { login: registry.auth != Auth::Open, tls: registry.tls.clone(), ..self.clone() }
    }

    /// `oras push` from inside a directory; `arguments` are its flags, the reference and the paths.
    pub async fn oras(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("oras", directory, arguments).await
    }

    /// The flow that Kapitan documents: an empty file as config, and the directory itself as the only layer.
    pub async fn kapitan(&self, directory: &Path, reference: &str) -> Result<String> {
        let config = "/dev/null:application/vnd.oci.image.config.v1+json";
        self.publish("oras", directory, &["--config", config, reference, "."]).await
    }

    /// `flux push artifact`. Its library asks no token service at a loopback address.
    pub async fn flux(&self, directory: &Path, reference: &str) -> Result<String> {
        self.publish("flux", directory, &[reference, "."]).await
    }

    /// `kubara catalog push`, to `<base>/<name>:<version>`.
    pub async fn kubara(&self, directory: &Path, base: &str, name: &str, version: &str) -> Result<String> {
        self.publish("kubara", directory, &["--name", name, "--version", version, base, "."]).await
    }

    /// Layers byte for byte; `arguments` as of `publish raw`.
    pub async fn raw(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("raw", directory, arguments).await
    }

    /// An artifact that was written down by hand; its files go to a directory, which is made.
    pub async fn fixture(&self, directory: &Path, reference: &str, fixture: &Fixture) -> Result<String> {
        let (manifest, blobs) = fixture.write(directory)?;
        let mut arguments = vec!["--manifest".to_owned(), manifest.display().to_string()];
        arguments.extend(blobs.iter().flat_map(|blob| ["--blob".to_owned(), blob.display().to_string()]));
        arguments.push(reference.to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.publish("put", directory, &arguments).await
    }

    /// An image made with go-containerregistry; `arguments` as of `publish image`.
    pub async fn image(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("image", directory, arguments).await
    }

    /// `imgpkg push`, of an image or of a bundle.
    pub async fn imgpkg(&self, directory: &Path, reference: &str, bundle: bool) -> Result<String> {
        let flags: &[&str] = if bundle { &["--bundle"] } else { &[] };
        self.publish("imgpkg", directory, &[flags, &[reference, "."]].concat()).await
    }

    /// One file as Flux's library pushes it on demand, under its media type with this end.
    pub async fn flux_file(&self, file: &Path, reference: &str, extension: &str) -> Result<String> {
        let arguments = ["--static", "--extension", extension, reference, &file.to_string_lossy()];
        self.publish("flux", self.run.directory(), &arguments).await
    }

    /// A zip of a directory, as Go writes it.
    pub async fn zip(&self, directory: &Path, file: &Path) -> Result<Vec<u8>> {
        self.publish("zip", directory, &[&file.to_string_lossy(), "."]).await?;
        Ok(fs_err::read(file)?)
    }

    /// The flattened filesystem of an image, as a tar.
    pub(crate) async fn export(&self, reference: &str, file: &Path) -> Result<String> {
        self.publish("export", self.run.directory(), &[reference, &file.to_string_lossy()]).await
    }

    /// What `imgpkg pull -i` makes of an image.
    pub(crate) async fn imgpkg_pull(&self, reference: &str, directory: &Path) -> Result<String> {
        self.publish("imgpkg-pull", self.run.directory(), &[reference, &directory.to_string_lossy()]).await
    }

    /// A manifest exactly as it stands in a file; `arguments` as of `publish put`.
    pub async fn put(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("put", directory, arguments).await
    }

    /// An index over what is in the repository already; an entry reads `[os/arch[/variant]=]digest[,key=value]...`.
    pub async fn index(&self, reference: &str, entries: &[&str]) -> Result<String> {
        self.publish("index", self.run.directory(), &[&[reference], entries].concat()).await
    }

    /// The bytes of a manifest.
    pub async fn manifest(&self, reference: &str) -> Result<String> {
        self.command("manifest").arg(reference).stdout().await
    }

    /// Points another tag at what `reference` names.
    pub async fn tag(&self, reference: &str, tag: &str) -> Result<String> {
        self.tags(reference, &[tag]).await
    }

    /// Points so many tags at what `reference` names.
    pub async fn tags(&self, reference: &str, tags: &[&str]) -> Result<String> {
        self.publish("tag", self.run.directory(), &[&[reference], tags].concat()).await
    }

    /// The digest that a client other than the operator resolves.
    pub async fn resolve(&self, reference: &str) -> Result<String> {
        self.publish("resolve", self.run.directory(), &[reference]).await
    }

    pub async fn delete(&self, reference: &str) -> Result<String> {
        self.publish("delete", self.run.directory(), &[reference]).await
    }

    /// `helm package` and `helm push` of a chart directory to `oci://<base>/<chart>:<version>`; answers the digest.
    pub async fn helm(&self, chart: &Path, base: &str) -> Result<String> {
        self.helm_signed(chart, base, None).await
    }

    /// The same with a provenance file, which Helm pushes with the chart if there is one beside it.
    pub async fn helm_signed(&self, chart: &Path, base: &str, provenance: Option<&str>) -> Result<String> {
        let out = self.run.subdirectory(&format!("helm/packages/{}", base.replace(['/', ':'], "-")))?;
        let packaged = chart::helm(&self.run, &self.tools).arg("package").arg(chart.to_string_lossy());
        let said = packaged.arg("--destination").arg(out.to_string_lossy()).stdout().await?;
        let package = said.rsplit(": ").next().unwrap_or_default().trim().to_owned();
        if let Some(provenance) = provenance {
            fs_err::write(format!("{package}.prov"), provenance)?;
        }
        let push = chart::helm(&self.run, &self.tools).args(["push", &package, &format!("oci://{base}")]);
        let push = push.args(self.connection(["--username", "--password", "--ca-file", "--cert-file", "--key-file"]));
        let push = if self.tls.is_none() { push.arg("--plain-http") } else { push };
        let output = push.output().await?;
        ensure!(output.exit.success(), "helm push failed: {}", output.stderr);
        let printed = format!("{}{}", output.stdout, output.stderr);
        let digest = printed.lines().find_map(|line| line.strip_prefix("Digest: ")).unwrap_or_default();
        digest_of(digest)
    }

    async fn publish(&self, what: &str, directory: &Path, arguments: &[&str]) -> Result<String> {
        digest_of(&self.command(what).directory(directory).args(arguments).stdout().await?)
    }

    fn command(&self, what: &str) -> Invocation {
        let connection = self.connection(["--username", "--password", "--ca-file", "--certificate", "--key"]);
        self.run.command(&self.tools.publish).arg(what).args(connection)
    }

    /// Who we are and whom we trust, as the flags that a program has for user, password, authority, certificate and key.
    fn connection(&self, flags: [&str; 5]) -> Vec<String> {
        let [username, password, authority, certificate, key] = flags;
        let mut arguments = Vec::new();
        let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        if self.login {
            add(username, USERNAME);
            add(password, PASSWORD);
        }
        if let Some(tls) = &self.tls {
            add(authority, &tls.authority.to_string_lossy());
            if let Some(identity) = &tls.identity {
                add(certificate, &identity.certificate.to_string_lossy());
                add(key, &identity.key.to_string_lossy());
            }
        }
        arguments
    }
}

fn digest_of(printed: &str) -> Result<String> {
    let digest = printed.trim();
    ensure!(digest.starts_with("sha256:") && digest.len() == 71, "no digest: {printed:?}");
    Ok(digest.to_owned())
}
