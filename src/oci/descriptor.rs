//! Descriptors of blobs and manifests (image-spec descriptor.md), and annotations.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::digest::Digest;
use super::media_type;
use super::platform::Platform;

/// Maximum size of a descriptor's inline data that is kept, in bytes; larger data is fetched like any blob.
const MAX_DATA: usize = 4 * 1024;
/// Maximum length of a media type (RFC 6838 section 4.2, both names).
pub(super) const MAX_MEDIA_TYPE: usize = 255;
/// Content of the empty descriptor.
pub const EMPTY: &[u8] = b"{}";
/// Annotations of a document or descriptor.
pub type Annotations = BTreeMap<String, String>;

/// Descriptor of a blob or manifest (image-spec descriptor.md).
///
/// A descriptor that was read keeps only the fields below, so a document of another producer is not rewritten from its
/// descriptors but from its JSON.
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
    /// Returns a descriptor without annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            annotations: Annotations::new(),
            data: None,
            artifact_type: None,
            platform: None,
            has_unknown_platform: false,
            urls: Vec::new(),
        }
    }

    /// Returns the descriptor of bytes in memory.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Returns the empty descriptor with its inline content (image-spec manifest.md, "Guidance for an Empty
    /// Descriptor").
    pub fn empty() -> Self {
        Self { data: Some(Bytes::from_static(EMPTY)), ..Self::of(media_type::OCI_EMPTY, EMPTY) }
    }

    /// Returns the descriptor with an annotation added or replaced.
    #[must_use]
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Returns true if the descriptor lists alternative download locations.
    pub(super) fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        InOrder(self, FieldOrder::ImageSpec).serialize(serializer)
    }
}

/// Order of the fields of descriptors and manifests to write. It is part of their digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldOrder {
    /// Order of the image-spec's Go types, which oras and Helm write.
    #[default]
    ImageSpec,
    /// Order of go-containerregistry, which Flux writes: a descriptor's size before its digest.
    SizeFirst,
}

/// A descriptor in an order.
pub(super) struct InOrder<'a>(pub(super) &'a Descriptor, pub(super) FieldOrder);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(of, order) = *self;
        let is_size_first = order == FieldOrder::SizeFirst;
        let data = of.data.as_ref().map(|data| STANDARD.encode(data));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("mediaType", &of.media_type)?;
        if is_size_first {
            map.serialize_entry("size", &of.size)?;
        }
        map.serialize_entry("digest", &of.digest)?;
        if !is_size_first {
            map.serialize_entry("size", &of.size)?;
        }
        if let Some(data) = data.as_ref().filter(|_| is_size_first) {
            map.serialize_entry("data", data)?;
        }
        if !of.urls.is_empty() {
            map.serialize_entry("urls", &of.urls)?;
        }
        if !of.annotations.is_empty() {
            map.serialize_entry("annotations", &of.annotations)?;
        }
        if let Some(data) = data.as_ref().filter(|_| !is_size_first) {
            map.serialize_entry("data", data)?;
        }
        if let Some(platform) = &of.platform {
            map.serialize_entry("platform", platform)?;
        }
        if let Some(artifact_type) = &of.artifact_type {
            map.serialize_entry("artifactType", artifact_type)?;
        }
        map.end()
    }
}

/// A descriptor as read.
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
