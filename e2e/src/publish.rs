//! Publishing with the real client libraries, through the program in `tools/push`, and with Helm itself.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::chart;
use crate::fixture::Fixture;
use crate::registry::{Auth, PASSWORD, Registry, Tls, USERNAME};
use crate::run::{Invocation, Run};
use crate::tools::Tools;

/// Publishing client. Uses plain HTTP without credentials, unless [`Publisher::to`] or
/// [`Publisher::with_credentials`] sets something else.
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

    /// Returns a copy with the user name and password of a private registry.
    #[must_use]
    pub fn with_credentials(&self) -> Self {
        Self { login: true, ..self.clone() }
    }

    /// Returns a copy for a registry, with the authority, client certificate, user and password that it requires.
    #[must_use]
    pub fn to(&self, registry: &Registry) -> Self {
        Self { login: registry.auth != Auth::Open, tls: registry.tls.clone(), ..self.clone() }
    }

    /// Pushes like `oras push` inside a directory; `arguments` are its flags, the reference and the paths.
    pub async fn oras(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("oras", directory, arguments).await
    }

    /// Pushes as Kapitan documents it: an empty file as config, and the directory itself as the only layer.
    pub async fn kapitan(&self, directory: &Path, reference: &str) -> Result<String> {
        let config = "/dev/null:application/vnd.oci.image.config.v1+json";
        self.publish("oras", directory, &["--config", config, reference, "."]).await
    }

    /// Pushes like `flux push artifact`. A registry with tokens needs a
    /// [named](crate::registry::Options::named_token_service) token service.
    pub async fn flux(&self, directory: &Path, reference: &str) -> Result<String> {
        self.publish("flux", directory, &[reference, "."]).await
    }

    /// As [`Self::flux`], with a fixed time of creation as `key=value`.
    pub async fn flux_created(&self, directory: &Path, reference: &str, created: &str) -> Result<String> {
        self.publish("flux", directory, &["--annotation", created, reference, "."]).await
    }

    /// Pushes like `kubara catalog push` to `<base>/<name>:<version>`.
    pub async fn kubara(&self, directory: &Path, base: &str, name: &str, version: &str) -> Result<String> {
        self.publish("kubara", directory, &["--name", name, "--version", version, base, "."]).await
    }

    /// Pushes layers byte for byte; `arguments` are those of `publish raw`.
    pub async fn raw(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("raw", directory, arguments).await
    }

    /// Pushes a handmade artifact; its files are written to a directory, which is created.
    pub async fn fixture(&self, directory: &Path, reference: &str, fixture: &Fixture) -> Result<String> {
        let (manifest, blobs) = fixture.write(directory)?;
        let mut arguments = vec!["--manifest".to_owned(), manifest.display().to_string()];
        arguments.extend(blobs.iter().flat_map(|blob| ["--blob".to_owned(), blob.display().to_string()]));
        arguments.push(reference.to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.publish("put", directory, &arguments).await
    }

    /// Pushes an image made with go-containerregistry; `arguments` are those of `publish image`.
    pub async fn image(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("image", directory, arguments).await
    }

    /// Pushes an image or a bundle like `imgpkg push`.
    pub async fn imgpkg(&self, directory: &Path, reference: &str, bundle: bool) -> Result<String> {
        let flags: &[&str] = if bundle { &["--bundle"] } else { &[] };
        self.publish("imgpkg", directory, &[flags, &[reference, "."]].concat()).await
    }

    /// Pushes one file as a static layer with Flux's library, under Flux's media type with this extension.
    pub async fn flux_file(&self, file: &Path, reference: &str, extension: &str) -> Result<String> {
        let arguments = ["--static", "--extension", extension, reference, &file.to_string_lossy()];
        self.publish("flux", self.run.directory(), &arguments).await
    }

    /// Returns a zip of a directory, as Go writes it.
    pub async fn zip(&self, directory: &Path, file: &Path) -> Result<Vec<u8>> {
        self.publish("zip", directory, &[&file.to_string_lossy(), "."]).await?;
        Ok(fs_err::read(file)?)
    }

    /// Writes the flattened filesystem of an image to a tar file.
    pub async fn export(&self, reference: &str, file: &Path) -> Result<String> {
        self.publish("export", self.run.directory(), &[reference, &file.to_string_lossy()]).await
    }

    /// Pulls an artifact like `flux pull artifact` into a directory, which has to exist; returns the digest.
    pub async fn flux_pull(&self, reference: &str, directory: &Path) -> Result<String> {
        self.publish("flux-pull", self.run.directory(), &[reference, &directory.to_string_lossy()]).await
    }

    /// Pulls an image like `imgpkg pull -i`; returns the digest.
    pub async fn imgpkg_pull(&self, reference: &str, directory: &Path) -> Result<String> {
        self.publish("imgpkg-pull", self.run.directory(), &[reference, &directory.to_string_lossy()]).await
    }

    /// Pushes the manifest in a file byte for byte; `arguments` are those of `publish put`.
    pub async fn put(&self, directory: &Path, arguments: &[&str]) -> Result<String> {
        self.publish("put", directory, arguments).await
    }

    /// Pushes an index of manifests in the repository; the format of an entry is
    /// `[os/arch[/variant]=]digest[,key=value]...`.
    pub async fn index(&self, reference: &str, entries: &[&str]) -> Result<String> {
        self.publish("index", self.run.directory(), &[&[reference], entries].concat()).await
    }

    /// Returns the bytes of a manifest.
    pub async fn manifest(&self, reference: &str) -> Result<String> {
        self.command("manifest").arg(reference).stdout().await
    }

    /// Points another tag to the manifest that `reference` names.
    pub async fn tag(&self, reference: &str, tag: &str) -> Result<String> {
        self.tags(reference, &[tag]).await
    }

    /// Points several tags to the manifest that `reference` names.
    pub async fn tags(&self, reference: &str, tags: &[&str]) -> Result<String> {
        self.publish("tag", self.run.directory(), &[&[reference], tags].concat()).await
    }

    /// Resolves a reference to its digest with a client other than the operator.
    pub async fn resolve(&self, reference: &str) -> Result<String> {
        self.publish("resolve", self.run.directory(), &[reference]).await
    }

    pub async fn delete(&self, reference: &str) -> Result<String> {
        self.publish("delete", self.run.directory(), &[reference]).await
    }

    /// Packages and pushes a chart directory with Helm to `oci://<base>/<chart>:<version>`; returns the digest.
    pub async fn helm(&self, chart: &Path, base: &str) -> Result<String> {
        self.helm_signed(chart, base, None).await
    }

    /// Pushes a chart with a provenance file, which Helm pushes with the chart if it is beside the package.
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

    /// Returns credentials and trust as arguments; `flags` are a program's flags for user, password, authority,
    /// certificate and key.
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
