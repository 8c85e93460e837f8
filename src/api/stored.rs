//! Objects as the API server delivers them.
//!
//! One malformed object must not end the watch or the list of all others (kube-rs/kube#774), and it must still be
//! possible to delete it and to report on it. So metadata, spec and status are parsed separately.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{OCIArtifact, OCIArtifactSpec, OCIArtifactStatus};

/// An `OCIArtifact` of which any part may be unreadable.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The metadata, without unreadable parts.
    pub metadata: ObjectMeta,
    /// The spec, or its parse error.
    pub spec: Result<OCIArtifactSpec, String>,
    /// The status, without unreadable parts.
    pub status: OCIArtifactStatus,
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = match Value::deserialize(deserializer)? {
            Value::Object(object) => object,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        let mut part = |name: &str| object.remove(name).unwrap_or_default();
        Ok(Self {
            metadata: metadata(&part("metadata")),
            spec: spec(&part("spec")),
            status: OCIArtifactStatus::lenient(part("status")),
        })
    }
}

/// Parses metadata, which the API server validates for every kind. If a later version of it adds fields that do not
/// parse here, the object keeps its identity.
fn metadata(value: &Value) -> ObjectMeta {
    ObjectMeta::deserialize(value).unwrap_or_else(|_| {
        fn field<T: serde::de::DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
            value.get(name).and_then(|field| T::deserialize(field).ok())
        }
        ObjectMeta {
            name: field(value, "name"),
            namespace: field(value, "namespace"),
            uid: field(value, "uid"),
            resource_version: field(value, "resourceVersion"),
            generation: field(value, "generation"),
            deletion_timestamp: field(value, "deletionTimestamp"),
            finalizers: field(value, "finalizers"),
            annotations: field(value, "annotations"),
            ..ObjectMeta::default()
        }
    })
}

fn spec(value: &Value) -> Result<OCIArtifactSpec, String> {
    OCIArtifactSpec::deserialize(value).map_err(|error| match value.as_object().and_then(unreadable_field) {
        Some(field) => format!("spec.{field}: {error}"),
        None => format!("spec: {error}"),
    })
}

/// Returns the field without which the spec parses, because parser errors do not name it.
fn unreadable_field(spec: &Map<String, Value>) -> Option<&str> {
    let is_it = |name: &&String| {
        let mut rest = spec.clone();
        rest.remove(*name);
        OCIArtifactSpec::deserialize(Value::Object(rest)).is_ok()
    };
    spec.keys().find(is_it).map(String::as_str)
}

impl Resource for Stored {
    type DynamicType = <OCIArtifact as Resource>::DynamicType;
    type Scope = <OCIArtifact as Resource>::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        OCIArtifact::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        OCIArtifact::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        OCIArtifact::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        OCIArtifact::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::api::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;

    fn object(spec: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {
                "name": "o", "namespace": "n", "uid": "u", "generation": 3, "resourceVersion": "7",
                "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["supercargo.dev/volume"],
            },
            "spec": spec, "status": status,
        })
    }

    #[test]
    fn each_part_is_parsed_independently() {
        let image = json!({"image": "ghcr.io/a/b:1"});
        let rows = [
            ("whole", image.clone(), json!({"observedGeneration": 3}), None),
            (
                "a mode of a newer version",
                json!({"image": "ghcr.io/a/b:1", "layers": {"mode": "New"}}),
                json!({"observedGeneration": 3}),
                Some("spec.layers: "),
            ),
            ("no image", json!({}), json!({"observedGeneration": 3}), Some("image")),
            ("an image that is no text", json!({"image": 1}), json!({"observedGeneration": 3}), Some("spec: ")),
            ("no spec", json!(null), json!({"observedGeneration": 3}), Some("spec: ")),
            ("a broken status", image, json!({"observedGeneration": 3, "artifact": "x", "outputs": [{}]}), None),
        ];
        for (label, spec, status, problem) in rows {
            let stored: Stored = serde_json::from_value(object(&spec, &status)).unwrap();
            assert_eq!(stored.meta().name.as_deref(), Some("o"), "{label}");
            assert!(stored.meta().deletion_timestamp.is_some() && stored.meta().finalizers.is_some(), "{label}");
            assert_eq!(stored.status.observed_generation, 3, "{label}");
            match (&stored.spec, problem) {
                (Ok(spec), None) => assert_eq!(spec.image, "ghcr.io/a/b:1", "{label}"),
                (Err(message), Some(want)) => assert!(message.contains(want), "{label}: {message}"),
                (spec, want) => panic!("{label}: {spec:?}, {want:?}"),
            }
        }
    }

    #[test]
    fn malformed_objects_end_no_list_and_no_watch() {
        let mut foreign = object(&json!({"image": "ghcr.io/a/b:1"}), &json!({}));
        foreign["metadata"]["managedFields"] = json!("later form");
        let items = [foreign, object(&json!("x"), &json!("x")), json!({}), json!(1)];
        let list =
            json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactList", "metadata": {}, "items": items});
        let list: ObjectList<Stored> = serde_json::from_value(list).unwrap();
        assert_eq!(list.items.len(), 4);
        assert_eq!(list.items[0].meta().uid.as_deref(), Some("u"));
        for item in items {
            // Parsed from bytes, as the client does.
            let event = json!({"type": "MODIFIED", "object": item}).to_string();
            assert!(
                matches!(serde_json::from_str::<WatchEvent<Stored>>(&event), Ok(WatchEvent::Modified(_))),
                "{event}"
            );
        }
    }
}
