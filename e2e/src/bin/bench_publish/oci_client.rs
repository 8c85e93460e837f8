//! A push with oci-client, in a process of its own so that its memory is measured.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use futures::TryStreamExt;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::OciImageManifest;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

/// Bytes that are read from a file at a time: the size of the parts that oci-client sends.
const PART: u64 = 4 << 20;

/// Competitor that the benchmark starts as a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Competitor {
    /// Push the artifact of an image layout with oci-client.
    #[command(hide = true)]
    OciClient {
        layout: PathBuf,
        reference: String,
        /// Send each layer from its file; by default it is read into memory, as the push of an image requires.
        #[arg(long)]
        streamed: bool,
    },
}

impl Competitor {
    pub(crate) async fn run(&self) -> Result<()> {
        let Self::OciClient { layout, reference, streamed } = self;
        let reference: Reference = reference.parse()?;
        let client = Client::try_from(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })?;
        let index: serde_json::Value = serde_json::from_slice(&fs_err::read(layout.join("index.json"))?)?;
        let digest = index.pointer("/manifests/0/digest").and_then(serde_json::Value::as_str);
        let bytes = fs_err::read(blob(layout, digest.context("an empty layout")?)?)?;
        let manifest: OciImageManifest = serde_json::from_slice(&bytes)?;
        if *streamed {
            stream(&client, layout, &reference, manifest).await
        } else {
            push(&client, layout, &reference, manifest).await
        }
    }
}

fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let Some(hex) = digest.strip_prefix("sha256:") else { bail!("{digest} is no SHA-256 digest") };
    Ok(layout.join("blobs/sha256").join(hex))
}

/// Pushes the way that oci-client documents for images: each layer is in memory.
async fn push(client: &Client, layout: &Path, reference: &Reference, manifest: OciImageManifest) -> Result<()> {
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        let data = fs_err::read(blob(layout, &layer.digest)?)?;
        layers.push(ImageLayer::new(data, layer.media_type.clone(), layer.annotations.clone()));
    }
    let config = fs_err::read(blob(layout, &manifest.config.digest)?)?;
    let config = Config::new(config, manifest.config.media_type.clone(), None);
    client.push(reference, &layers, config, &RegistryAuth::Anonymous, Some(manifest)).await?;
    Ok(())
}

/// Pushes each blob from its file.
async fn stream(client: &Client, layout: &Path, reference: &Reference, manifest: OciImageManifest) -> Result<()> {
    client.store_auth_if_needed(reference.resolve_registry(), &RegistryAuth::Anonymous).await;
    for descriptor in manifest.layers.iter().chain([&manifest.config]) {
        let file = fs_err::File::open(blob(layout, &descriptor.digest)?)?;
        let parts = futures::stream::try_unfold(file, |mut file| async move {
            let mut part = Vec::new();
            (&mut file).take(PART).read_to_end(&mut part)?;
            Ok::<_, std::io::Error>((!part.is_empty()).then(|| (part.into(), file)))
        });
        let size = u64::try_from(descriptor.size)?;
        client.push_blob_stream(reference, parts.map_err(Into::into), &descriptor.digest, Some(size)).await?;
    }
    client.push_manifest(reference, &manifest.into()).await?;
    Ok(())
}
