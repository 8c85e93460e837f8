//! Lenient parsing of status.
//!
//! Another version of the operator may have written the status, and any client with write access to the status
//! subresource may have written anything. An unreadable field must not hide the other fields, nor the object itself.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{HandledRequests, OCIArtifactStatus};

impl OCIArtifactStatus {
    /// Parses field by field: an unreadable field becomes its default, and an unreadable list element is dropped.
    pub fn lenient(value: Value) -> Self {
        let Value::Object(mut fields) = value else { return Self::default() };
        let fields = &mut fields;
        Self {
            observed_generation: field(fields, "observedGeneration").unwrap_or_default(),
            conditions: list(fields, "conditions"),
            artifact: field(fields, "artifact"),
            candidate: field(fields, "candidate"),
            verification: list(fields, "verification"),
            policies: list(fields, "policies"),
            outputs: list(fields, "outputs"),
            switching: field(fields, "switching"),
            fingerprints: field(fields, "fingerprints"),
            last_handled_reconcile_at: field(fields, "lastHandledReconcileAt"),
            // All of its fields are optional, so an object with only unknown fields would parse as an empty value.
            handled_requests: field(fields, "handledRequests").filter(|read| *read != HandledRequests::default()),
        }
    }
}

fn field<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Option<T> {
    serde_json::from_value(fields.remove(name)?).ok()
}

fn list<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Vec<T> {
    let Some(Value::Array(elements)) = fields.remove(name) else { return Vec::new() };
    elements.into_iter().filter_map(|element| serde_json::from_value(element).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        let condition = json!({
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "m", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        });
        json!({
            "observedGeneration": 3,
            "conditions": [condition],
            "artifact": {
                "reference": "r", "digest": "d", "shortDigest": "s", "tag": "t", "artifactType": "a", "mediaType": "m",
                "size": 1, "annotations": {"k": "v"}, "lastUpdateTime": "l",
            },
            "candidate": {"digest": "d", "reason": "r", "message": "m"},
            "verification": [{"name": "n", "format": "Bundle", "bundleDigest": "b"}],
            "policies": [{"name": "p", "generation": 1, "enforcement": "Enforce"}],
            "outputs": [
                {"name": "a", "kind": "Volume", "location": "l", "digest": "d", "files": 1, "bytes": 2, "skipped": 0},
                {"name": "b", "kind": "ConfigMap", "location": "m", "digest": "d", "files": 1, "bytes": 2, "skipped": 0},
            ],
            "fingerprints": {"content": "c", "trust": "t"},
            "switching": {
                "digest": "d", "outputs": ["a"], "lists": {"a": "d"}, "locations": {"b": "m-1"}, "content": "c",
                "artifact": {
                    "reference": "r", "digest": "d", "shortDigest": "s", "artifactType": "a", "mediaType": "m", "size": 1,
                    "lastUpdateTime": "l",
                },
            },
            "lastHandledReconcileAt": "x",
            "handledRequests": {"requestedAt": "x", "fluxRequestedAt": "y", "forceAt": "z"},
        })
    }

    #[test]
    fn lenient_parsing_reads_every_field_of_a_valid_status() {
        let strict: OCIArtifactStatus = serde_json::from_value(whole()).unwrap();
        let lenient = OCIArtifactStatus::lenient(whole());
        assert_eq!(lenient, strict);
        assert_eq!(serde_json::to_value(&lenient).unwrap(), whole(), "every field of the type is in the test");
        for nothing in [json!(null), json!({}), json!([]), json!("x"), json!(1)] {
            assert_eq!(OCIArtifactStatus::lenient(nothing), OCIArtifactStatus::default());
        }
    }

    #[test]
    fn one_broken_field_costs_that_field_only() {
        for name in whole().as_object().unwrap().keys() {
            for broken in [json!({"x": [1]}), json!(null), json!(true)] {
                let mut value = whole();
                value[name] = broken;
                let read = serde_json::to_value(OCIArtifactStatus::lenient(value)).unwrap();
                let mut want = whole();
                if name == "observedGeneration" {
                    want[name] = json!(0);
                } else {
                    want.as_object_mut().unwrap().remove(name);
                }
                assert_eq!(read, want, "{name}");
            }
        }
        let mut value = whole();
        value["outputs"][0]["files"] = json!("many");
        value["conditions"].as_array_mut().unwrap().insert(0, json!({"type": "Ready"}));
        value["newer"] = json!({"field": 1});
        let read = OCIArtifactStatus::lenient(value);
        assert_eq!((read.outputs.len(), read.outputs[0].name.as_str(), read.conditions.len()), (1, "b", 1));
        assert!(read.artifact.is_some());
    }
}
