//! A hostile artifact, which supercargo does not make.

use anyhow::Result;
use aws_lc_rs::digest;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tar::{Builder, EntryType, Header};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Artifact with one layer.
pub(crate) struct Artifact {
    pub(crate) manifest: Vec<u8>,
    /// Layer and configuration.
    pub(crate) blobs: [Vec<u8>; 2],
}

impl Artifact {
    /// Packs one file under any name, also one that leads out of the directory. The `tar` crate refuses such names, so
    /// the name is written into the header.
    pub(crate) fn hostile(title: &str, name: &str, content: &[u8]) -> Result<Self> {
        let mut header = Header::new_gnu();
        for (slot, byte) in header.as_old_mut().name.iter_mut().zip(name.bytes()) {
            *slot = byte;
        }
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        archive.append(&header, content)?;
        let (layer, configuration) = (archive.into_inner()?.finish()?, b"{}".to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.unknown.artifact.v1",
            "config": {"mediaType": EMPTY, "digest": digest(&configuration), "size": configuration.len()},
            "layers": [{
                "mediaType": LAYER, "digest": digest(&layer), "size": layer.len(),
                "annotations": {"org.opencontainers.image.title": title, "io.deis.oras.content.unpack": "true"},
            }],
        });
        Ok(Self { manifest: serde_json::to_vec(&manifest)?, blobs: [layer, configuration] })
    }
}

/// Returns the SHA-256 digest of bytes, as in `sha256:0123...`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
