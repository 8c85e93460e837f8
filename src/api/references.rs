//! Limit on the number of objects that one spec names: each is read from the API server, for every object of every
//! tenant.

use kube::core::Rule;

use super::spec::RegistrySpec;
use super::verify::VerifySpec;

/// Maximum number of references to Secrets, ConfigMaps and a ServiceAccount in one spec.
pub const MAX_REFERENCES: usize = 32;
/// Maximum number of `imagePullSecrets` of a ServiceAccount that are used.
pub const MAX_ACCOUNT_SECRETS: usize = 16;

/// Returns the admission rule for the number of references.
pub(super) fn rule() -> Rule {
    let optional = |field: &str| format!("(has(self.registry) && has(self.registry.{field}) ? 1 : 0)");
    let counts = [
        "(has(self.registry) && has(self.registry.pullSecrets) ? self.registry.pullSecrets.size() : 0)".to_owned(),
        optional("serviceAccountName"),
        optional("caRef"),
        optional("clientCertificateRef"),
        "(has(self.verify) ? self.verify.map(v, (has(v.cosign.keys) ? v.cosign.keys.filter(k, has(k.secretRef)).size() : 0) \
         + (has(v.cosign.trustedRootRef) ? 1 : 0)).sum() : 0)"
            .to_owned(),
    ];
    let message = format!(
        "spec.registry and spec.verify name more than {MAX_REFERENCES} Secrets, ConfigMaps and ServiceAccounts in total; \
         write public keys inline (keys[].inline), let entries share a trustedRootRef, or merge pull secrets"
    );
    Rule::new(format!("{} <= {MAX_REFERENCES}", counts.join(" + "))).message(message.as_str())
}

/// Returns the number of references to other objects in these parts of a spec.
pub(super) fn count(registry: &RegistrySpec, verify: &[VerifySpec]) -> usize {
    let optional =
        [registry.service_account_name.is_some(), registry.ca_ref.is_some(), registry.client_certificate_ref.is_some()];
    let trust = verify.iter().map(|entry| {
        let keys = entry.cosign.keys.iter().filter(|key| key.secret_ref.is_some()).count();
        keys + usize::from(entry.cosign.trusted_root_ref.is_some())
    });
    registry.pull_secrets.len() + optional.into_iter().filter(|named| *named).count() + trust.sum::<usize>()
}
