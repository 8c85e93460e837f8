//! Descriptors of blobs and manifests (image-spec descriptor.md), and annotations.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::digest::Digest;
use super::platform::Platform;

/// Maximum size of a descriptor's inline data that is kept, in bytes; larger data is fetched like any blob.
const MAX_DATA: usize = 4 * 1024;
/// Maximum length of a media type (RFC 6838 section 4.2, both names).
pub(super) const MAX_MEDIA_TYPE: usize = 255;
/// Annotations of a document or descriptor.
pub type Annotations = BTreeMap<String, String>;

/// Descriptor of a blob or manifest (image-spec descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawDescriptor")]
pub struct Descriptor {
    /// Type of the bytes.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// Annotations set by producers: title, unpack, ...
    pub annotations: Annotations,
    /// Inline content, if the document carries it; its size and digest have been checked.
    pub data: Option<Bytes>,
    /// In an index or a list of referrers: the manifest's `artifactType`. Registries differ in the value they write
    /// here.
    pub artifact_type: Option<String>,
    /// In an index: the platform of the manifest.
    pub(super) platform: Option<Platform>,
    /// In an index: true if the entry's platform is `unknown/unknown`, as for attestations, or invalid.
    pub(super) has_unknown_platform: bool,
    /// Alternative download locations; a manifest that uses them is rejected.
    urls: Vec<String>,
}

impl Descriptor {
    /// Returns true if the descriptor lists alternative download locations.
    pub(super) fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
    }
}

/// A descriptor as serialized.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: Annotations,
    #[serde(default, deserialize_with = "null_as_default")]
    urls: Vec<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = String;

    fn try_from(raw: RawDescriptor) -> Result<Self, String> {
        let RawDescriptor { media_type, digest, size, annotations, urls, data, artifact_type, platform } = raw;
        if media_type.len().max(artifact_type.as_ref().map_or(0, String::len)) > MAX_MEDIA_TYPE {
            return Err(format!("the media type of {} is too long", digest.short()));
        }
        let data = data.map(|text| carried(&text, &digest, size)).transpose()?.filter(|data| data.len() <= MAX_DATA);
        let parsed = platform.as_ref().and_then(|p| Platform::new(&p.os, &p.architecture, p.variant.as_deref()));
        let has_unknown_platform = platform.is_some() && parsed.is_none();
        let platform = parsed;
        Ok(Self { media_type, digest, size, annotations, data, artifact_type, platform, has_unknown_platform, urls })
    }
}

/// Decodes inline `data` (image-spec descriptor.md) and checks it against the descriptor's size and digest.
fn carried(text: &str, digest: &Digest, size: u64) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(text).map_err(|_| format!("invalid \"data\" of {}: not base64", digest.short()))?;
    if bytes.len() as u64 != size || Digest::of(&bytes) != *digest {
        return Err(format!("invalid \"data\" of {}: size or digest mismatch", digest.short()));
    }
    Ok(bytes.into())
}

/// Returns the size of all keys and values, in bytes.
pub(super) fn annotation_bytes(annotations: &Annotations) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// Deserializes `null` as the default: Go producers write `null` for an empty list or map.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
