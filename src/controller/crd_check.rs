//! Comparison of the cluster's CRD with the CRD of this release.
//!
//! An operator newer than the CRD cannot work: the API server refuses a status with an undeclared field, so outcomes
//! could not be recorded and would be published again and again. Every authenticated user may read the published
//! schema, so no additional right is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use serde_json::Value;

use crate::api::{GROUP, crd};
use crate::failure::causes;

/// Path of the published schema on the API server.
const SCHEMA: &str = "/openapi/v3/apis/supercargo.dev/v1alpha1";
/// Kind to compare.
const KIND: &str = "OCIArtifact";
/// Pause between two comparisons, while the CRD is too old.
const PAUSE: Duration = Duration::from_secs(10);
/// First pause: the API server publishes a new CRD's schema a few seconds after the CRD. Doubles up to [`PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of missing fields in a message.
const MAX_SHOWN: usize = 5;

/// Returns the paths of fields, such as `status.outputs[].listDigest`, that this release needs and the cluster's CRD
/// does not declare. Without the CRD these are `spec` and `status`.
pub(super) async fn missing(client: &Client) -> Result<Vec<String>, kube::Error> {
    let request = http::Request::get(SCHEMA).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let published = match client.request::<Value>(request).await {
        Ok(document) => document,
        Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
        Err(error) => return Err(error),
    };
    Ok(compare(&crd::artifact_schema(), schema_of(&published)))
}

/// Returns once the cluster's CRD declares every field of this release. `waiting` gets a message per failed comparison.
///
/// If the operator may not read the schema, the check is skipped: it is only a safeguard.
#[expect(clippy::disallowed_methods, reason = "this is the timer")]
pub(super) async fn until_current(client: &Client, mut waiting: impl FnMut(&str)) {
    let mut pause = FIRST_PAUSE;
    loop {
        match missing(client).await {
            Ok(missing) if missing.is_empty() => return,
            Ok(missing) => waiting(&message(&missing)),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                tracing::warn!(path = SCHEMA, %status, "cannot read the schema of the CRD; the check for an old CRD is skipped");
                return;
            }
            Err(error) => waiting(&format!("the API server did not answer: {}", causes(&error))),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSE.min(pause * 2);
    }
}

/// Returns a message with the missing fields and the remedy.
fn message(missing: &[String]) -> String {
    let shown = missing.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let shown = match missing.len().saturating_sub(MAX_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    };
    format!(
        "the CRD ociartifacts.supercargo.dev in the cluster is older than this operator, or missing: it does not declare \
         {shown}. Apply the CRDs of this release: kubectl apply --server-side -f crds/ociartifacts.supercargo.dev.yaml"
    )
}

/// Returns the schema of the kind from the published document.
fn schema_of(document: &Value) -> &Value {
    let is_ours = |schema: &&Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|kind| {
            let is = |field: &str, want: &str| kind.get(field).and_then(Value::as_str) == Some(want);
            is("group", GROUP) && is("kind", KIND)
        })
    };
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    schemas.into_iter().flat_map(serde_json::Map::values).find(is_ours).unwrap_or(&Value::Null)
}

/// Returns the paths of spec and status that only `own` declares, without those below a missing field.
fn compare(own: &Value, published: &Value) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for part in ["spec", "status"] {
        let of = |schema: &Value| schema.pointer(&format!("/properties/{part}")).cloned();
        match (of(own), of(published)) {
            (Some(own), Some(published)) => walk(part, &own, &published, &mut missing),
            (Some(_), None) => drop(missing.insert(part.to_owned())),
            (None, _) => {}
        }
    }
    missing.into_iter().collect()
}

fn walk(path: &str, own: &Value, published: &Value, missing: &mut BTreeSet<String>) {
    for (name, schema) in own.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match published.get("properties").and_then(|properties| properties.get(name)) {
            Some(published) => walk(&path, schema, published, missing),
            None => drop(missing.insert(path)),
        }
    }
    if let (Some(own), Some(published)) = (own.get("items"), published.get("items")) {
        walk(&format!("{path}[]"), own, published, missing);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(schema: &Value) -> Value {
        let mut schema = schema.clone();
        schema["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": KIND, "version": "v1alpha1"}]);
        let other =
            json!({"x-kubernetes-group-version-kind": [{"group": GROUP, "kind": "OCIArtifactList"}], "properties": {}});
        json!({"components": {"schemas": {"dev.supercargo.v1alpha1.A": other, "dev.supercargo.v1alpha1.Z": schema}}})
    }

    fn missing_after(remove: &[(&str, &str)]) -> Vec<String> {
        let own = crd::artifact_schema();
        let mut older = own.clone();
        for (parent, name) in remove {
            let properties = older.pointer_mut(&format!("{parent}/properties")).unwrap();
            assert!(properties.as_object_mut().unwrap().remove(*name).is_some(), "{parent} {name}");
        }
        compare(&own, schema_of(&document(&older)))
    }

    #[test]
    fn fields_that_an_older_crd_lacks_are_named() {
        assert_eq!(missing_after(&[]), Vec::<String>::new());
        let removed = [
            ("/properties/spec/properties/layers", "mode"),
            ("/properties/status", "policies"),
            ("/properties/status/properties/outputs/items", "listDigest"),
        ];
        assert_eq!(missing_after(&removed), ["spec.layers.mode", "status.outputs[].listDigest", "status.policies"]);
        for absent in [json!(null), json!({}), document(&json!({}))] {
            assert_eq!(compare(&crd::artifact_schema(), schema_of(&absent)), ["spec", "status"]);
        }
    }

    #[test]
    fn a_newer_crd_passes_the_check() {
        let own = crd::artifact_schema();
        let mut newer = own.clone();
        newer["properties"]["status"]["properties"]["shard"] = json!({"type": "string"});
        assert_eq!(compare(&own, &newer), Vec::<String>::new());
    }

    #[test]
    fn the_message_names_some_fields_and_the_file() {
        let many: Vec<String> = (0..9).map(|number| format!("status.f{number}")).collect();
        let text = message(&many);
        assert!(text.contains("status.f4 and 4 more") && !text.contains("status.f5"), "{text}");
        assert!(text.contains("kubectl apply --server-side -f crds/"), "{text}");
    }
}
