//! The API server's record of which manager has set which field (`metadata.managedFields`). Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::api::MANAGER;

/// Parts of a ConfigMap or Secret that contain keys.
const PARTS: [&str; 2] = ["f:data", "f:binaryData"];

/// Returns the keys set by other managers, each with its manager.
pub(super) fn foreign_keys(entries: &[ManagedFieldsEntry]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in entries {
        let manager = entry.manager.as_deref().unwrap_or("an unnamed manager");
        let Some(fields) = entry.fields_v1.as_ref().filter(|_| manager != MANAGER) else { continue };
        for part in PARTS {
            let keys = fields.0.get(part).and_then(|part| part.as_object()).into_iter().flat_map(|part| part.keys());
            found.extend(keys.filter_map(|key| Some((key.strip_prefix("f:")?.to_owned(), manager.to_owned()))));
        }
    }
    found
}

/// Returns the record with our updated fields (as a create sets them) marked as applied; `None` if there are none.
///
/// The API server treats update and apply as different managers: a later apply would neither change nor remove fields
/// from an update (the migration that client-go calls csaupgrade).
pub(super) fn as_applied(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let is_update = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Update")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    let is_apply = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    if !entries.iter().any(is_update) {
        return None;
    }
    let has_applied = entries.iter().any(is_apply);
    let mut kept: Vec<_> = entries.iter().filter(|entry| !(has_applied && is_update(entry))).cloned().collect();
    for entry in &mut kept {
        if is_update(entry) {
            entry.operation = Some("Apply".to_owned());
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::{Value, json};

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn keys_of_others_are_named_with_their_manager() {
        let entries = [
            entry(MANAGER, "Apply", json!({"f:data": {".": {}, "f:own": {}}})),
            entry("kubectl-patch", "Update", json!({"f:data": {"f:evil.yaml": {}}, "f:metadata": {"f:labels": {}}})),
            entry("other", "Apply", json!({"f:binaryData": {"f:logo": {}}})),
            ManagedFieldsEntry::default(),
        ];
        let want = [("evil.yaml", "kubectl-patch"), ("logo", "other")];
        assert_eq!(foreign_keys(&entries), want.map(|(key, manager)| (key.to_owned(), manager.to_owned())));
    }

    #[test]
    fn own_updates_become_applies_and_other_entries_stay() {
        let other = entry("other", "Update", json!({}));
        let made = [entry(MANAGER, "Update", json!({"f:data": {"f:a": {}}})), other.clone()];
        let applied = as_applied(&made).unwrap();
        assert_eq!(applied, [entry(MANAGER, "Apply", json!({"f:data": {"f:a": {}}})), other.clone()]);
        assert_eq!(as_applied(&applied), None);
        let both = [entry(MANAGER, "Apply", json!({"f:data": {"f:a": {}}})), entry(MANAGER, "Update", json!({}))];
        assert_eq!(as_applied(&both).unwrap(), both[..1]);
        assert_eq!(as_applied(&[other]), None);
    }
}
