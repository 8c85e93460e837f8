//! Bundles in files as the signatures of a digest in a registry.

use bytes::Bytes;
use futures::stream;

use crate::oci::{Descriptor, Digest, ManifestDraft, Repository, media_type};
use crate::registry::{Access, Begun, BlobBody, RawManifest, Registry, RegistryError, Sender};
use crate::sign::BUNDLE;

/// Place of the bundles in messages.
const PLACE: &str = "the recorded bundles";

/// A registry with the signatures of one digest.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    referrers: Vec<(Descriptor, Bytes)>,
    bundles: Vec<(Digest, Bytes)>,
}

impl Bundles {
    /// Adds a bundle as a referrer of the digest.
    pub(super) fn add(&mut self, subject: &Digest, bundle: Vec<u8>) -> Result<(), String> {
        let bundle = Bytes::from(bundle);
        let layer = Descriptor::of(BUNDLE, &bundle);
        // The verifier compares the digest of the subject, and does not fetch it.
        let about = Descriptor::new(media_type::OCI_MANIFEST, subject.clone(), 0);
        let digest = layer.digest.clone();
        let draft =
            ManifestDraft { subject: Some(Box::new(about)), ..ManifestDraft::artifact(BUNDLE.to_owned(), vec![layer]) };
        let manifest = Bytes::from(draft.to_bytes().map_err(|error| error.to_string())?);
        let mut referrer = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        referrer.artifact_type = Some(BUNDLE.to_owned());
        self.referrers.push((referrer, manifest));
        self.bundles.push((digest, bundle));
        Ok(())
    }
}

impl Registry for Bundles {
    async fn referrers(
        &self,
        _: &Access,
        _: &Repository,
        _: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        Ok(Some(self.referrers.iter().map(|(descriptor, _)| descriptor.clone()).collect()))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        _: &Repository,
        digest: &Digest,
        _: u64,
    ) -> Result<RawManifest, RegistryError> {
        let found = self.referrers.iter().find(|(descriptor, _)| descriptor.digest == *digest);
        let (_, bytes) = found.ok_or_else(|| RegistryError::NotFound(format!("manifest {}", digest.short())))?;
        Ok(RawManifest { bytes: bytes.clone(), sender: Sender::local(PLACE), content_type: None, room: None })
    }

    async fn blob(
        &self,
        _: &Access,
        _: &Repository,
        descriptor: &Descriptor,
        _: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        let found = self.bundles.iter().find(|(digest, _)| *digest == descriptor.digest);
        let (_, bytes) = found.ok_or_else(|| RegistryError::NotFound(format!("blob {}", descriptor.digest.short())))?;
        let whole = stream::iter([Ok(bytes.clone())]);
        Ok(BlobBody { from: 0, sender: Sender::local(PLACE), stream: Box::pin(whole) })
    }
}
