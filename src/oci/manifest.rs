//! Manifests: the document that names the layers, parsed strictly.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::Digest;
use super::{media_type, strict_json};

/// Most bytes of a manifest (the floor that the distribution-spec asks registries to accept).
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Most layers of a manifest.
pub const MAX_LAYERS: usize = 128;

/// Annotations of a document or descriptor.
pub type Annotations = BTreeMap<String, String>;

/// Points to a blob (image-spec descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the bytes.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// What producers add: title, unpack, ...
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: Annotations,
    /// Other places to fetch the bytes from; a manifest that has some is refused.
    #[serde(default, deserialize_with = "null_as_default")]
    urls: Vec<String>,
}

/// An image manifest, OCI or Docker schema 2 (image-spec manifest.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The manifest's own media type.
    pub media_type: String,
    /// What the artifact is: `artifactType`, else the config's media type (image-spec rule).
    pub artifact_type: String,
    /// Layers in application order.
    pub layers: Vec<Descriptor>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
}

/// Why bytes are not a [`Manifest`] that we accept.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of a manifest.
    #[error("the manifest is not valid JSON of its type: {0}")]
    Json(#[from] serde_json::Error),
    /// An index where one manifest was expected.
    #[error("the reference names an index of several manifests; push a single manifest, or name one by its digest")]
    Index,
    /// The media types of the answer and of the document disagree (CVE-2021-41190).
    #[error("the registry calls the document \"{header}\" but it calls itself \"{body}\"")]
    TypeDisagrees {
        /// Content-Type of the answer.
        header: String,
        /// `mediaType` of the document.
        body: String,
    },
    /// Both an image and an index (CVE-2021-41190).
    #[error("the document has both \"layers\" and \"manifests\"")]
    Ambiguous,
    /// A type that is no manifest.
    #[error("\"{0}\" is not a manifest type")]
    Type(String),
    /// A layer to be fetched from elsewhere.
    #[error("layer {0} names other hosts in \"urls\", which is refused")]
    ForeignUrls(String),
    /// Too many layers.
    #[error("the manifest has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// Schema version 1, which has no content addresses.
    #[error("schemaVersion is {0}, only 2 is accepted")]
    SchemaVersion(u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: Annotations,
}

impl Manifest {
    /// Parses the bytes that a registry sent as `content_type`. The bytes' digest is the caller's
    /// business and was checked before.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        strict_json::check(bytes)?;
        let document: Document = serde_json::from_slice(bytes)?;
        if document.schema_version != 2 {
            return Err(ManifestError::SchemaVersion(document.schema_version));
        }
        if document.manifests.is_some() {
            return Err(if document.layers.is_some() { ManifestError::Ambiguous } else { ManifestError::Index });
        }
        let media_type = agreed_type(content_type, document.media_type.as_deref())?;
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return Err(ManifestError::Json(serde::de::Error::custom("\"config\" and \"layers\" are required")));
        };
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        if let Some(foreign) = layers.iter().find(|layer| !layer.urls.is_empty()) {
            return Err(ManifestError::ForeignUrls(foreign.digest.short()));
        }
        let artifact_type =
            document.artifact_type.filter(|text| !text.is_empty()).unwrap_or_else(|| config.media_type.clone());
        Ok(Self { media_type, artifact_type, layers, annotations: document.annotations })
    }

    /// Bytes of all layers together.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// The one type that header and document agree on. conftest leaves the document's out; some
/// file-backed registries send a generic header.
fn agreed_type(header: Option<&str>, body: Option<&str>) -> Result<String, ManifestError> {
    let header = header
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .filter(|text| !matches!(*text, "" | "application/json" | "application/octet-stream"));
    let media_type = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(ManifestError::TypeDisagrees { header: header.to_owned(), body: body.to_owned() });
        }
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => media_type::OCI_MANIFEST,
    };
    match media_type {
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Ok(media_type.to_owned()),
        media_type::OCI_INDEX | media_type::DOCKER_LIST => Err(ManifestError::Index),
        other => Err(ManifestError::Type(other.to_owned())),
    }
}

/// Go producers write `null` for an empty list or map.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document() -> Value {
        let digest = Digest::of(b"x").to_string();
        json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.x.config", "digest": digest, "size": 0},
            "layers": [{"mediaType": "text/plain", "digest": digest, "size": 1, "annotations": null}],
        })
    }

    fn parse(value: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(value.to_string().as_bytes(), content_type)
    }

    #[test]
    fn effective_artifact_type_is_the_config_type_unless_one_is_given() {
        let mut value = document();
        assert_eq!(parse(&value, None).unwrap().artifact_type, "application/vnd.x.config");
        value["artifactType"] = json!("application/vnd.y");
        assert_eq!(parse(&value, None).unwrap().artifact_type, "application/vnd.y");
    }

    #[test]
    fn a_missing_media_type_is_taken_from_the_header() {
        let mut value = document();
        value.as_object_mut().unwrap().remove("mediaType");
        let parsed = parse(&value, Some(media_type::DOCKER_MANIFEST)).unwrap();
        assert_eq!(parsed.media_type, media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn confusing_documents_are_refused() {
        let change = |f: &dyn Fn(&mut Value)| {
            let mut value = document();
            f(&mut value);
            value
        };
        let digest = Digest::of(b"x").to_string();
        let rows = [
            ("layers and manifests", change(&|v| v["manifests"] = json!([]))),
            ("index type", change(&|v| v["mediaType"] = json!(media_type::OCI_INDEX))),
            ("schema 1", change(&|v| v["schemaVersion"] = json!(1))),
            ("foreign urls", change(&|v| v["layers"][0]["urls"] = json!(["https://evil.example/x"]))),
            ("negative size", change(&|v| v["layers"][0]["size"] = json!(-1))),
            ("huge size", change(&|v| v["layers"][0]["size"] = json!(1e30))),
            ("sha512", change(&|v| v["layers"][0]["digest"] = json!("sha512:00"))),
            (
                "129 layers",
                change(&|v| {
                    v["layers"] = json!(vec![json!({"mediaType": "a", "digest": digest.clone(), "size": 1}); 129]);
                }),
            ),
            ("no layers", change(&|v| drop(v.as_object_mut().unwrap().remove("layers")))),
        ];
        for (label, value) in rows {
            assert!(parse(&value, None).is_err(), "{label}");
        }
        assert!(matches!(
            parse(&document(), Some(media_type::DOCKER_MANIFEST)),
            Err(ManifestError::TypeDisagrees { .. })
        ));
        let mut other_case = document();
        other_case["Manifests"] = json!([]);
        assert!(matches!(parse(&other_case, None), Err(ManifestError::Json(_))), "another case");
        let twice = document().to_string().replacen("\"schemaVersion\"", "\"layers\":[],\"schemaVersion\"", 1);
        assert!(matches!(Manifest::parse(twice.as_bytes(), None), Err(ManifestError::Json(_))), "duplicate key");
    }
}
