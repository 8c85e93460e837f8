//! Lists of referrers (distribution-spec, "Listing Referrers"): indexes to which any publisher with push access can
//! add.
//!
//! One malformed entry must not hide the others: an entry that does not parse could not be fetched either, and is
//! skipped.

use serde::Deserialize;
use serde_json::Value;

use super::descriptor::{Descriptor, annotation_bytes};
use super::digest::Digest;
use super::manifest::{ManifestError, agreed_type};
use super::strict_json;

/// Maximum size of an entry's annotations that are kept, in bytes. Annotations only affect the order in which
/// referrers are examined.
const MAX_ANNOTATION_BYTES: usize = 4 * 1024;

/// Returns the tag under which clients keep the list if a registry does not (distribution-spec, "Referrers Tag Schema").
pub fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Returns the digest that the tag of a list is about, or a tag such as `sha256-<hex>.sig`, under which clients before
/// OCI 1.1 store signatures, attestations and SBOMs.
pub fn subject_of(tag: &str) -> Option<Digest> {
    let hex = tag.strip_prefix("sha256-")?;
    let hex = hex.split_once('.').map_or(hex, |(hex, _)| hex);
    format!("sha256:{hex}").parse().ok()
}

/// An index of which only the entries are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    schema_version: u32,
    media_type: Option<String>,
    /// Go producers write `null` for an empty list.
    manifests: Option<Vec<Value>>,
    config: Option<Value>,
    layers: Option<Value>,
}

/// Parses the entries of a list that a registry sent as `content_type`. The caller limits their number. Returns
/// [`ManifestError::Type`] for a document of another type.
pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Vec<Descriptor>, ManifestError> {
    strict_json::check(bytes)?;
    let list: List = serde_json::from_slice(bytes)?;
    if list.schema_version != 2 {
        return Err(ManifestError::SchemaVersion(list.schema_version));
    }
    agreed_type(content_type, list.media_type.as_deref(), true)?;
    if list.config.is_some() || list.layers.is_some() {
        return Err(ManifestError::Ambiguous);
    }
    Ok(list.manifests.unwrap_or_default().into_iter().filter_map(entry).collect())
}

fn entry(value: Value) -> Option<Descriptor> {
    let mut entry: Descriptor = serde_json::from_value(value).ok().filter(|entry: &Descriptor| !entry.is_foreign())?;
    if annotation_bytes(&entry.annotations) > MAX_ANNOTATION_BYTES {
        entry.annotations.clear();
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::{Digest, media_type};

    #[test]
    fn an_invalid_entry_hides_no_valid_entry() {
        let entry = |digest: &str| json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 7});
        let good = entry(&Digest::of(b"good").to_string());
        let mut foreign = entry(&Digest::of(b"foreign").to_string());
        foreign["urls"] = json!(["https://elsewhere.example/blob"]);
        let mut talkative = entry(&Digest::of(b"talkative").to_string());
        talkative["annotations"] = json!({"a": "x".repeat(MAX_ANNOTATION_BYTES)});
        let others = [
            entry(&format!("sha512:{}", "0".repeat(128))),
            entry("sha256:short"),
            json!({"digest": 7}),
            json!("entry"),
            json!(null),
            foreign,
        ];
        let list =
            |entries: Vec<Value>| json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        let parsed = |list: &Value| parse(list.to_string().as_bytes(), Some(media_type::OCI_INDEX));
        let all = others.into_iter().chain([good.clone(), talkative]).collect();
        let entries = parsed(&list(all)).unwrap();
        assert_eq!(
            entries.iter().map(|entry| &entry.digest).collect::<Vec<_>>(),
            [&Digest::of(b"good"), &Digest::of(b"talkative")]
        );
        assert!(entries[1].annotations.is_empty());
        // More entries than an index of platforms may have.
        assert_eq!(parsed(&list(vec![good; 700])).unwrap().len(), 700);
        assert!(parsed(&json!({"schemaVersion": 2, "manifests": null})).unwrap().is_empty());
    }

    #[test]
    fn a_tag_of_signatures_names_its_subject() {
        let digest = Digest::of(b"subject");
        for suffix in ["", ".sig", ".att", ".sbom", ".imgpkg"] {
            assert_eq!(subject_of(&format!("{}{suffix}", tag(&digest))), Some(digest.clone()), "{suffix}");
        }
        for other in ["1.0", "sha256-12", &digest.hex(), "sha512-12.sig"] {
            assert_eq!(subject_of(other), None, "{other}");
        }
    }

    #[test]
    fn documents_that_are_not_lists_are_rejected() {
        let rows = [
            json!({"schemaVersion": 1, "manifests": []}),
            json!({"schemaVersion": 2, "manifests": [], "layers": []}),
            json!({"schemaVersion": 2, "manifests": [], "config": {}}),
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "manifests": []}),
            json!({"schemaVersion": 2, "manifests": {}}),
            json!([]),
        ];
        for row in rows {
            assert!(parse(row.to_string().as_bytes(), Some(media_type::OCI_INDEX)).is_err(), "{row}");
        }
        assert!(parse(br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#, None).is_err(), "a key twice");
    }
}
