//! Exchange with oci-client, a Rust client that shares no code with supercargo's.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::hostile::artifact::digest as digest_of;
use supercargo_e2e::registry::{Auth, PASSWORD, USERNAME};

use super::site::{Kind, Site, Sites};
use super::{linked, same};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest};

tests!(oci_client_reads_each_byte_that_is_pushed_and_the_reverse,);

const TITLE: &str = "org.opencontainers.image.title";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn client(site: &Site) -> Result<(Client, RegistryAuth)> {
    let mut config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    if let Some(tls) = &site.registry.tls {
        config.protocol = ClientProtocol::Https;
        let data = fs_err::read(&tls.authority)?;
        config.tls_certs_only = vec![Certificate { encoding: CertificateEncoding::Pem, data }];
    }
    let auth = match site.registry.auth {
        Auth::Open => RegistryAuth::Anonymous,
        Auth::Password | Auth::Token => RegistryAuth::Basic(USERNAME.to_owned(), PASSWORD.to_owned()),
    };
    Ok((Client::try_from(config)?, auth))
}

async fn oci_client_reads_each_byte_that_is_pushed_and_the_reverse(case: &mut Case) -> Result<()> {
    let source = case.source(&linked())?.to_string_lossy().into_owned();
    let layout = case.directory.join("layout");
    let packaged = digest(&answer(case, &["package", &source, "-o", &layout.to_string_lossy()]).await?)?.to_owned();
    let sites = Sites::open(case, &Kind::ALL).await?;
    for site in &sites.all {
        let name = site.reference(&case.repository("ours:1.0.0"));
        sites.ours(case, site, &["push", &layout.to_string_lossy(), &name]).stdout().await?;
        reads(site, &name, &layout, &packaged).await.with_context(|| format!("{:?}, oci-client reads", site.kind))?;
        writes(case, &sites, site).await.with_context(|| format!("{:?}, oci-client writes", site.kind))?;
    }
    Ok(())
}

/// Compares the manifest and each blob with the layout.
async fn reads(site: &Site, name: &str, layout: &Path, packaged: &str) -> Result<()> {
    let (client, auth) = client(site)?;
    let reference: Reference = name.parse()?;
    let (manifest, digest) = client.pull_manifest_raw(&reference, &auth, &[MANIFEST]).await?;
    assert_eq!((digest.as_str(), digest_of(&manifest).as_str()), (packaged, packaged));
    let (manifest, _) = client.pull_image_manifest(&reference, &auth).await?;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        let mut bytes = Vec::new();
        client.pull_blob(&reference, blob, &mut bytes).await?;
        let hex = blob.digest.strip_prefix("sha256:").context("no digest")?;
        assert!(bytes == fs_err::read(layout.join("blobs/sha256").join(hex))?, "{} differs", blob.digest);
    }
    Ok(())
}

/// Pushes files with oci-client, and pulls them.
async fn writes(case: &Case, sites: &Sites, site: &Site) -> Result<()> {
    let (client, auth) = client(site)?;
    let (name, content) = (site.reference(&case.repository("theirs:1.0.0")), [("a.txt", "one"), ("b/c.txt", "two")]);
    let layer = |(path, text): &(&str, &'static str)| {
        let title = [(TITLE.to_owned(), (*path).to_owned())].into();
        ImageLayer::new(text.as_bytes(), "text/plain".to_owned(), Some(title))
    };
    let layers: Vec<_> = content.iter().map(layer).collect();
    let config = Config::new("{}", "application/vnd.example.config.v1+json".to_owned(), None);
    let reference: Reference = name.parse()?;
    let result = client.push(&reference, &layers, config, &auth, None).await;
    if site.kind == Kind::Quirky {
        // This registry answers a part of an upload without Location, which oci-client requires.
        let error = result.err().context("oci-client pushes there now")?;
        ensure!(error.to_string().contains("location header"), "another error: {error}");
        return Ok(());
    }
    result?;
    let pushed = client.fetch_manifest_digest(&reference, &auth).await?;
    let out = case.directory.join(format!("oci-client-{:?}", site.kind));
    let printed = sites.ours(case, site, &["pull", &name, "-o", &out.to_string_lossy()]).stdout().await?;
    assert_eq!(digest(&printed)?, pushed);
    same(&files::read(&out)?, &tree(&content))
}
