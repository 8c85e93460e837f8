//! Names in a spec, checked by the rules of the CRD.
//!
//! In a cluster the API server has checked these names at admission. Names in files are checked only here, and a name
//! that contains `/` would escape the directory that it is joined to.

use super::RequestError;
use crate::api::OCIArtifactSpec;
use crate::api::name::{self, Rule};
use crate::api::references::MAX_REFERENCES;
use crate::api::spec::OutputSpec;
use crate::api::verify::VerifySpec;

/// Fails with the first field whose name admission would refuse, or if there are more references than admission allows.
pub fn check_names(spec: &OCIArtifactSpec) -> Result<(), RequestError> {
    let references = spec.references();
    if references > MAX_REFERENCES {
        return Err(RequestError::References(references));
    }
    for (index, output) in spec.outputs.iter().enumerate() {
        check_output(index, output)?;
    }
    let registry = &spec.registry;
    for (index, secret) in registry.pull_secrets.iter().enumerate() {
        check(&secret.name, name::OBJECT, || format!("spec.registry.pullSecrets[{index}].name"))?;
    }
    if let Some(account) = &registry.service_account_name {
        check(account, name::OBJECT, || "spec.registry.serviceAccountName".to_owned())?;
    }
    if let Some(authority) = &registry.ca_ref {
        check(&authority.name, name::OBJECT, || "spec.registry.caRef.name".to_owned())?;
        check(&authority.key, name::KEY, || "spec.registry.caRef.key".to_owned())?;
    }
    if let Some(certificate) = &registry.client_certificate_ref {
        check(&certificate.name, name::OBJECT, || "spec.registry.clientCertificateRef.name".to_owned())?;
    }
    check_entries(&spec.verify)
}

/// Checks the entries of `spec.verify` alone, of objects and policies.
pub(super) fn check_entries(verify: &[VerifySpec]) -> Result<(), RequestError> {
    verify.iter().enumerate().try_for_each(|(index, entry)| check_entry(index, entry))
}

fn check_output(index: usize, output: &OutputSpec) -> Result<(), RequestError> {
    let field = |rest: &str| format!("spec.outputs[{index}].{rest}");
    check(&output.name, name::LABEL, || field("name"))?;
    if let Some(volume) = &output.volume {
        check(&volume.name, name::LABEL, || field("volume.name"))?;
    }
    if let Some(map) = &output.config_map {
        check(&map.name, name::OBJECT, || field("configMap.name"))?;
        check(&map.separator, name::SEPARATOR, || field("configMap.separator"))?;
    }
    if let Some(secret) = &output.secret {
        check(&secret.name, name::OBJECT, || field("secret.name"))?;
        check(&secret.separator, name::SEPARATOR, || field("secret.separator"))?;
    }
    Ok(())
}

fn check_entry(index: usize, VerifySpec { name, cosign }: &VerifySpec) -> Result<(), RequestError> {
    let field = |rest: &str| format!("spec.verify[{index}].{rest}");
    check(name, name::LABEL, || field("name"))?;
    for (number, key) in cosign.keys.iter().enumerate() {
        if let Some(secret) = &key.secret_ref {
            check(&secret.name, name::OBJECT, || field(&format!("cosign.keys[{number}].secretRef.name")))?;
            check(&secret.key, name::KEY, || field(&format!("cosign.keys[{number}].secretRef.key")))?;
        }
    }
    if let Some(root) = &cosign.trusted_root_ref {
        check(&root.name, name::OBJECT, || field("cosign.trustedRootRef.name"))?;
        check(&root.key, name::KEY, || field("cosign.trustedRootRef.key"))?;
    }
    Ok(())
}

fn check(text: &str, rule: Rule, field: impl FnOnce() -> String) -> Result<(), RequestError> {
    if rule.accepts(text) {
        return Ok(());
    }
    Err(RequestError::FieldName { field: field(), text: text.to_owned(), expected: rule.expected })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_that_is_a_path_is_refused_with_its_field() {
        let key = "cosign.pub";
        for bad in ["/etc/x", "../x", "a/../../x", "..", "", "A B", "a\n", "\u{e4}/b"] {
            let verify = |cosign: serde_json::Value| json!({"verify": [{"name": "v", "cosign": cosign}]});
            let rows = [
                (json!({"outputs": [{"name": bad, "volume": {}}]}), "spec.outputs[0].name"),
                (json!({"outputs": [{"name": "x", "volume": {"name": bad}}]}), "spec.outputs[0].volume.name"),
                (json!({"outputs": [{"name": "x", "configMap": {"name": bad}}]}), "spec.outputs[0].configMap.name"),
                (
                    json!({"registry": {"pullSecrets": [{"name": "s"}, {"name": bad}]}}),
                    "spec.registry.pullSecrets[1].name",
                ),
                (json!({"registry": {"serviceAccountName": bad}}), "spec.registry.serviceAccountName"),
                (json!({"registry": {"caRef": {"name": bad}}}), "spec.registry.caRef.name"),
                (
                    json!({"registry": {"clientCertificateRef": {"name": bad}}}),
                    "spec.registry.clientCertificateRef.name",
                ),
                (json!({"verify": [{"name": bad, "cosign": {}}]}), "spec.verify[0].name"),
                (
                    verify(json!({"keys": [{"secretRef": {"name": bad, "key": key}}]})),
                    "spec.verify[0].cosign.keys[0].secretRef.name",
                ),
                (verify(json!({"trustedRootRef": {"name": bad}})), "spec.verify[0].cosign.trustedRootRef.name"),
            ];
            for (mut spec, want) in rows {
                spec["image"] = json!("ghcr.io/a/b:1");
                let error = check_names(&serde_json::from_value(spec).unwrap()).unwrap_err();
                assert!(
                    matches!(&error, RequestError::FieldName { field, text, .. } if field == want && text == bad),
                    "{error}"
                );
            }
        }
        let long = "x".repeat(9);
        for separator in ["/", "", "a/", long.as_str()] {
            let spec = json!({"image": "ghcr.io/a/b:1", "outputs": [{"name": "x", "configMap": {"name": "x", "separator": separator}}]});
            let error = check_names(&serde_json::from_value(spec).unwrap()).unwrap_err();
            assert!(error.to_string().contains("spec.outputs[0].configMap.separator"), "{error}");
        }
        let whole = json!({
            "image": "ghcr.io/a/b:1", "outputs": [{"name": "a-1", "configMap": {"name": "a.b-c", "separator": "__"}}],
            "registry": {"pullSecrets": [{"name": "a.b"}], "serviceAccountName": "a", "caRef": {"name": "a", "key": "CA_.crt"}},
        });
        assert!(check_names(&serde_json::from_value(whole).unwrap()).is_ok());
    }

    #[test]
    fn a_spec_names_no_more_objects_than_are_read_for_it() {
        let names = |count: usize| (0..count).map(|number| json!({"name": format!("s{number}")})).collect::<Vec<_>>();
        let keys = |count| names(count).into_iter().map(|name| json!({"secretRef": name})).collect::<Vec<_>>();
        let entry = |name: &str, keys: Vec<serde_json::Value>| json!({"name": name, "cosign": {"keys": keys, "trustedRootRef": {"name": "r"}}});
        for (count, fits) in [(6, true), (7, false)] {
            let spec = json!({
                "image": "ghcr.io/a/b:1", "verify": [entry("one", keys(13)), entry("two", keys(count))],
                "registry": {"pullSecrets": names(8), "serviceAccountName": "a", "caRef": {"name": "a"},
                    "clientCertificateRef": {"name": "a"}},
            });
            let checked = check_names(&serde_json::from_value(spec).unwrap());
            assert_eq!(checked.is_ok(), fits, "{checked:?}");
            assert!(fits || matches!(checked, Err(RequestError::References(33))), "{checked:?}");
        }
        let inline = vec![json!({"inline": "x"}); 16];
        let spec = json!({"image": "ghcr.io/a/b:1", "verify": (0..8).map(|number| entry(&format!("v{number}"), inline.clone())).collect::<Vec<_>>()});
        assert!(check_names(&serde_json::from_value(spec).unwrap()).is_ok());
    }
}
