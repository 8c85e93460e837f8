//! Manifests and indexes, parsed strictly.

use serde::Deserialize;

use super::descriptor::{Annotations, Descriptor, MAX_MEDIA_TYPE, annotation_bytes, null_as_default};
use super::digest::Digest;
use super::index::{Index, MAX_MANIFESTS, PlatformError};
use super::{media_type, strict_json};

/// Maximum size of a manifest, in bytes (the minimum that the distribution-spec requires registries to accept).
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of layers in a manifest. The limit on the layers of an artifact is a separate one.
pub const MAX_LAYERS: usize = 10_000;
/// Maximum size of all annotations of a document together, in bytes. They stay in memory for the whole pass.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// Replacement in messages for an invalid media type.
const NO_MEDIA_TYPE: &str = "an invalid media type";

/// An image manifest, OCI or Docker schema 2 (image-spec manifest.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The manifest's own media type.
    pub media_type: String,
    /// Type of the artifact: `artifactType`, or else the config's media type (image-spec rule).
    pub artifact_type: String,
    /// Descriptor of the config; no format of the config is assumed.
    pub config: Descriptor,
    /// Layers in application order.
    pub layers: Vec<Descriptor>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
    /// Manifest that this one refers to (image-spec manifest.md, `subject`).
    pub subject: Option<Box<Descriptor>>,
    /// Digest of this manifest if it was selected from an index, and so differs from the resolved digest.
    pub platform_digest: Option<Digest>,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// A manifest.
    Manifest(Box<Manifest>),
    /// An index.
    Index(Index),
}

/// Reason why bytes are not an acceptable [`Document`].
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not valid JSON of a manifest.
    #[error("invalid manifest: not valid JSON of its type: {0}")]
    Json(#[from] serde_json::Error),
    /// No manifest of an index could be selected.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Index nesting deeper than one level.
    #[error("the image index contains further indexes more than one level deep; expected manifests")]
    Nested,
    /// A child's media type or size differs from its entry in the index.
    #[error("manifest {digest} is \"{is}\" of {bytes} bytes, but the index lists \"{entry}\" of {size}")]
    ChildDisagrees {
        /// Short digest of the child.
        digest: String,
        /// Media type in the index.
        entry: String,
        /// Size in the index.
        size: u64,
        /// Its own media type.
        is: String,
        /// Its own size.
        bytes: u64,
    },
    /// The media types of the response and of the document disagree (CVE-2021-41190).
    #[error("media type mismatch: the registry sent \"{header}\", the document contains \"{body}\"")]
    TypeDisagrees {
        /// Content-Type of the response.
        header: String,
        /// `mediaType` of the document.
        body: String,
    },
    /// Both an image and an index (CVE-2021-41190).
    #[error("the document has both \"layers\" and \"manifests\"")]
    Ambiguous,
    /// A media type that is neither a manifest's nor an index's, or that does not fit the document's fields.
    #[error("media type \"{0}\" does not fit the document")]
    Type(String),
    /// A layer with alternative download locations.
    #[error("layer {0} has download locations in \"urls\", which are not supported")]
    ForeignUrls(String),
    /// Too many layers.
    #[error("the manifest has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// Too many manifests.
    #[error("the index has {0} manifests, more than {MAX_MANIFESTS}")]
    TooManyManifests(usize),
    /// Too many annotations.
    #[error("the annotations have more than {MAX_ANNOTATION_BYTES} bytes")]
    Annotations,
    /// Schema version 1, which is not content-addressed.
    #[error("unsupported schemaVersion {0}; expected 2")]
    SchemaVersion(u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "null_as_empty")]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: Annotations,
}

impl RawDocument {
    fn check_annotations(&self) -> Result<(), ManifestError> {
        let layers = self.layers.iter().flatten().chain(self.manifests.iter().flatten());
        let all = layers.map(|descriptor| &descriptor.annotations).chain([&self.annotations]);
        let bytes: usize = all.map(annotation_bytes).sum();
        if bytes > MAX_ANNOTATION_BYTES { Err(ManifestError::Annotations) } else { Ok(()) }
    }
}

impl Document {
    /// Parses bytes that the registry sent as `content_type`. The caller has already verified their digest.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        strict_json::check(bytes)?;
        let document: RawDocument = serde_json::from_slice(bytes)?;
        if document.schema_version != 2 {
            return Err(ManifestError::SchemaVersion(document.schema_version));
        }
        document.check_annotations()?;
        // A single field of the other kind of document is as ambiguous as a whole one (CVE-2021-41190).
        let is_index = document.manifests.is_some();
        if is_index && (document.layers.is_some() || document.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = agreed_type(content_type, document.media_type.as_deref(), is_index)?;
        match document.manifests {
            Some(manifests) if manifests.len() > MAX_MANIFESTS => Err(ManifestError::TooManyManifests(manifests.len())),
            Some(manifests) => {
                refuse_foreign(&manifests)?;
                Ok(Self::Index(Index { media_type, manifests }))
            }
            None => Manifest::from_document(document, media_type).map(Box::new).map(Self::Manifest),
        }
    }

    /// The document's own media type.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => &manifest.media_type,
            Self::Index(index) => &index.media_type,
        }
    }
}

impl Manifest {
    fn from_document(document: RawDocument, media_type: String) -> Result<Self, ManifestError> {
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return Err(ManifestError::Json(serde::de::Error::custom("\"config\" and \"layers\" are required")));
        };
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        refuse_foreign(&layers)?;
        let artifact_type =
            document.artifact_type.filter(|text| !text.is_empty()).unwrap_or_else(|| config.media_type.clone());
        let (annotations, subject) = (document.annotations, document.subject.map(Box::new));
        Ok(Self { media_type, artifact_type, config, layers, annotations, subject, platform_digest: None })
    }

    /// Returns the total size of all layers, in bytes.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Rejects descriptors with `urls`: a document must not be able to direct requests to arbitrary hosts.
fn refuse_foreign(descriptors: &[Descriptor]) -> Result<(), ManifestError> {
    let foreign = descriptors.iter().find(|descriptor| descriptor.is_foreign());
    foreign.map_or(Ok(()), |foreign| Err(ManifestError::ForeignUrls(foreign.digest.short())))
}

/// Returns the media type on which header and document agree. conftest omits the document's type; some file-backed
/// registries send a generic header.
pub(super) fn agreed_type(header: Option<&str>, body: Option<&str>, is_index: bool) -> Result<String, ManifestError> {
    let header = header
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .filter(|text| !text.is_empty())
        // An invalid value would be repeated in messages, and a registry could put credentials it received there.
        .map(|text| if is_media_type(text) { text } else { NO_MEDIA_TYPE })
        .filter(|text| !matches!(*text, "application/json" | "application/octet-stream"));
    let body = body.map(|text| if is_media_type(text) { text } else { NO_MEDIA_TYPE });
    let media_type = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(ManifestError::TypeDisagrees { header: header.to_owned(), body: body.to_owned() });
        }
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) if is_index => media_type::OCI_INDEX,
        (None, None) => media_type::OCI_MANIFEST,
    };
    let is_one = match media_type {
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => !is_index,
        media_type::OCI_INDEX | media_type::DOCKER_LIST => is_index,
        _ => false,
    };
    // A type that does not fit the fields is rejected like a type that is not a manifest's.
    is_one.then(|| media_type.to_owned()).ok_or_else(|| ManifestError::Type(media_type.to_owned()))
}

/// Returns true for `type/subtype` with the characters allowed in names (RFC 6838 section 4.2).
fn is_media_type(text: &str) -> bool {
    let name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    text.len() <= MAX_MEDIA_TYPE && text.split_once('/').is_some_and(|(kind, sub)| name(kind) && name(sub))
}

/// Deserializes `null` as an empty list, but keeps a missing field as `None`: an index without the list is not an
/// index.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Descriptor>>, D::Error> {
    null_as_default(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

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
        match Document::parse(value.to_string().as_bytes(), content_type)? {
            Document::Manifest(manifest) => Ok(*manifest),
            Document::Index(_) => panic!("an index"),
        }
    }

    #[test]
    fn effective_artifact_type_is_the_config_type_unless_one_is_given() {
        let mut value = document();
        assert_eq!(parse(&value, None).unwrap().artifact_type, "application/vnd.x.config");
        value["artifactType"] = json!("application/vnd.y");
        assert_eq!(parse(&value, None).unwrap().artifact_type, "application/vnd.y");
    }

    #[test]
    fn an_index_is_recognized_by_its_fields_and_media_type() {
        let digest = Digest::of(b"x").to_string();
        let entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1});
        let index = |media_type: &str| json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
        let parse = |value: &Value, header| Document::parse(value.to_string().as_bytes(), header);
        for right in [media_type::OCI_INDEX, media_type::DOCKER_LIST] {
            assert!(matches!(parse(&index(right), Some(right)), Ok(Document::Index(_))), "{right}");
        }
        assert!(matches!(parse(&index(media_type::OCI_MANIFEST), None), Err(ManifestError::Type(_))));
        assert!(matches!(parse(&document(), Some(media_type::OCI_INDEX)), Err(ManifestError::TypeDisagrees { .. })));
        // Registries written in Go return this as the list of referrers of a manifest without referrers.
        let empty = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": null});
        assert!(matches!(parse(&empty, None), Ok(Document::Index(index)) if index.manifests.is_empty()));
        let many = json!({"schemaVersion": 2, "manifests": vec![entry.clone(); MAX_MANIFESTS + 1]});
        assert!(matches!(parse(&many, None), Err(ManifestError::TooManyManifests(_))));
    }

    #[test]
    fn inline_data_is_kept_if_it_matches_the_digest() {
        let mut value = document();
        value["layers"][0]["data"] = json!(STANDARD.encode("x"));
        assert_eq!(parse(&value, None).unwrap().layers[0].data.as_deref(), Some(b"x".as_slice()));
    }

    #[test]
    fn a_missing_media_type_is_taken_from_the_header() {
        let mut value = document();
        value.as_object_mut().unwrap().remove("mediaType");
        let parsed = parse(&value, Some(media_type::DOCKER_MANIFEST)).unwrap();
        assert_eq!(parsed.media_type, media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn ambiguous_documents_are_rejected() {
        let change = |f: &dyn Fn(&mut Value)| {
            let mut value = document();
            f(&mut value);
            value
        };
        let digest = Digest::of(b"x").to_string();
        let rows = [
            ("layers and manifests", change(&|v| v["manifests"] = json!([]))),
            ("layers and no manifests", change(&|v| v["manifests"] = Value::Null)),
            (
                "config and manifests",
                change(&|v| {
                    v["manifests"] = json!([]);
                    v.as_object_mut().unwrap().remove("layers");
                }),
            ),
            ("data that is other bytes", change(&|v| v["layers"][0]["data"] = json!(STANDARD.encode("y")))),
            ("a long media type", change(&|v| v["layers"][0]["mediaType"] = json!("a/".to_owned() + &"b".repeat(255)))),
            ("annotations without end", change(&|v| v["annotations"] = json!({"a": "b".repeat(300_000)}))),
            ("data that is no base64", change(&|v| v["layers"][0]["data"] = json!("x%"))),
            (
                "data of another size",
                change(&|v| {
                    v["layers"][0]["data"] = json!(STANDARD.encode("x"));
                    v["layers"][0]["size"] = json!(2);
                }),
            ),
            ("index type", change(&|v| v["mediaType"] = json!(media_type::OCI_INDEX))),
            ("schema 1", change(&|v| v["schemaVersion"] = json!(1))),
            ("foreign urls", change(&|v| v["layers"][0]["urls"] = json!(["https://evil.example/x"]))),
            ("negative size", change(&|v| v["layers"][0]["size"] = json!(-1))),
            ("huge size", change(&|v| v["layers"][0]["size"] = json!(1e30))),
            ("sha512", change(&|v| v["layers"][0]["digest"] = json!("sha512:00"))),
            (
                "too many layers",
                change(&|v| {
                    v["layers"] =
                        json!(vec![json!({"mediaType": "a", "digest": digest.clone(), "size": 1}); MAX_LAYERS + 1]);
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
        let echoed = parse(&document(), Some("hunter2 hunter2")).unwrap_err();
        assert!(!echoed.to_string().contains("hunter2"), "{echoed}");
        let twice = document().to_string().replacen("\"schemaVersion\"", "\"layers\":[],\"schemaVersion\"", 1);
        assert!(matches!(Document::parse(twice.as_bytes(), None), Err(ManifestError::Json(_))), "duplicate key");
    }
}
