//! What a spec refers to by name: Secrets, ConfigMaps, a ServiceAccount. Values, found by the caller.

use std::collections::BTreeMap;

use super::{Policies, RequestError};
use crate::api::OCIArtifactSpec;
use crate::api::spec::{CaReference, CaSource};
use crate::api::verify::VerifySpec;
use crate::registry::Transport;
use crate::registry::credentials::{Keychain, SecretData};
use crate::registry::tls::{TlsError, TlsOptions};
use crate::trust::sigstore::Root;

/// Most `imagePullSecrets` of a ServiceAccount that are looked at.
const MAX_ACCOUNT_SECRETS: usize = 16;

/// What was found under the names in a spec; `None` for what does not exist.
#[derive(Clone, Debug, Default)]
pub struct Referred {
    /// Secrets by name.
    pub secrets: BTreeMap<String, Option<SecretData>>,
    /// The data of ConfigMaps by name.
    pub config_maps: BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>,
    /// Names of the `imagePullSecrets` of the ServiceAccount that the spec names.
    pub account_secrets: Option<Vec<String>>,
    /// What the cluster's administrators ask.
    pub policies: Policies,
    /// The root that stands where none is named; `None` for that of this version.
    pub public_root: Option<Root>,
}

impl Referred {
    /// The same with another root where none is named, also in policies.
    #[must_use]
    pub fn with_public_root(mut self, root: Option<Root>) -> Self {
        for policy in &mut self.policies.all {
            policy.referred.public_root.clone_from(&root);
        }
        Self { public_root: root, ..self }
    }

    /// The Secrets that a spec needs: known completely once its ServiceAccount has been looked at.
    pub fn secret_names<'a>(&'a self, spec: &'a OCIArtifactSpec) -> Vec<&'a str> {
        let registry = &spec.registry;
        let authority = registry.ca_ref.as_ref().filter(|ca| ca.kind == CaSource::Secret).map(|ca| ca.name.as_str());
        let certificate = registry.client_certificate_ref.as_ref().map(|secret| secret.name.as_str());
        let trust = trusted(&spec.verify).filter(|(kind, _)| *kind == CaSource::Secret).map(|(_, name)| name);
        self.pull_secret_names(spec).chain(authority).chain(certificate).chain(trust).collect()
    }

    /// The ConfigMaps that a spec needs.
    pub fn config_map_names(spec: &OCIArtifactSpec) -> Vec<&str> {
        let authority = spec.registry.ca_ref.as_ref().map(|authority| (authority.kind, authority.name.as_str()));
        let all = authority.into_iter().chain(trusted(&spec.verify));
        all.filter(|(kind, _)| *kind == CaSource::ConfigMap).map(|(_, name)| name).collect()
    }

    fn pull_secret_names<'a>(&'a self, spec: &'a OCIArtifactSpec) -> impl Iterator<Item = &'a str> {
        let own = spec.registry.pull_secrets.iter().map(|secret| secret.name.as_str());
        let account = self.account_secrets.iter().flatten().take(MAX_ACCOUNT_SECRETS).map(String::as_str);
        own.chain(account)
    }

    /// The object's credentials, in the order in which they are tried.
    pub(super) fn keychain(&self, spec: &OCIArtifactSpec) -> Result<Keychain, RequestError> {
        if let (Some(name), None) = (&spec.registry.service_account_name, &self.account_secrets) {
            return Err(RequestError::NotFound { kind: "ServiceAccount", name: name.clone() });
        }
        let mut keychain = Keychain::default();
        for name in self.pull_secret_names(spec) {
            keychain.add(name, self.secret(name)?)?;
        }
        Ok(keychain)
    }

    /// How the object speaks to its registry. Admission has seen to it that not everything is asked for
    /// at once; without a cluster nobody has.
    pub(super) fn transport(&self, spec: &OCIArtifactSpec) -> Result<Transport, RequestError> {
        let registry = &spec.registry;
        let wants_tls =
            registry.insecure_skip_verify || registry.ca_ref.is_some() || registry.client_certificate_ref.is_some();
        match (registry.plain_http, wants_tls) {
            (true, true) => return Err(RequestError::Transport("plainHTTP excludes every field about TLS")),
            (true, false) => return Ok(Transport::PlainHttp),
            (false, _) if registry.insecure_skip_verify && registry.ca_ref.is_some() => {
                return Err(RequestError::Transport("insecureSkipVerify excludes caRef"));
            }
            (false, _) => {}
        }
        let mut tls = TlsOptions::default();
        if registry.insecure_skip_verify {
            tls.skip_verify();
        }
        if let Some(authority) = &registry.ca_ref {
            let CaReference { kind, name, key } = authority;
            let pem = self.value(*kind, name, key)?;
            tls.trust(pem).map_err(|problem| unusable("caRef", kind.as_str(), name, problem))?;
        }
        if let Some(reference) = &registry.client_certificate_ref {
            let secret = self.secret(&reference.name)?;
            let part = |key| value(&secret.data, "Secret", &reference.name, key);
            tls.show(part("tls.crt")?, part("tls.key")?)
                .map_err(|problem| unusable("clientCertificateRef", "Secret", &reference.name, problem))?;
        }
        Ok(Transport::Tls(tls))
    }

    /// What is under a key of a Secret or ConfigMap.
    pub(super) fn value(&self, kind: CaSource, name: &str, key: &str) -> Result<&[u8], RequestError> {
        let data = match kind {
            CaSource::Secret => &self.secret(name)?.data,
            CaSource::ConfigMap => {
                let found = self.config_maps.get(name).and_then(Option::as_ref);
                found.ok_or_else(|| RequestError::NotFound { kind: "ConfigMap", name: name.to_owned() })?
            }
        };
        value(data, kind.as_str(), name, key)
    }

    fn secret(&self, name: &str) -> Result<&SecretData, RequestError> {
        let found = self.secrets.get(name).and_then(Option::as_ref);
        found.ok_or_else(|| RequestError::NotFound { kind: "Secret", name: name.to_owned() })
    }
}

/// True where a spec names that Secret or ConfigMap, or may by its ServiceAccount.
pub fn may_name(spec: &OCIArtifactSpec, kind: CaSource, name: &str) -> bool {
    match kind {
        CaSource::Secret => {
            spec.registry.service_account_name.is_some() || Referred::default().secret_names(spec).contains(&name)
        }
        CaSource::ConfigMap => Referred::config_map_names(spec).contains(&name),
    }
}

/// Everything by name that requirements need: keys, and trusted roots.
pub fn trusted(verify: &[VerifySpec]) -> impl Iterator<Item = (CaSource, &str)> {
    verify.iter().flat_map(|VerifySpec { cosign, .. }| {
        let keys = cosign.keys.iter().filter_map(|key| key.secret_ref.as_ref());
        let keys = keys.map(|key| (CaSource::Secret, key.name.as_str()));
        keys.chain(cosign.trusted_root_ref.iter().map(|root| (root.kind, root.name.as_str())))
    })
}

fn value<'a>(
    data: &'a BTreeMap<String, Vec<u8>>,
    kind: &'static str,
    name: &str,
    key: &str,
) -> Result<&'a [u8], RequestError> {
    let missing = || RequestError::KeyMissing { kind, name: name.to_owned(), key: key.to_owned() };
    data.get(key).map(Vec::as_slice).ok_or_else(missing)
}

fn unusable(field: &'static str, kind: &'static str, name: &str, problem: TlsError) -> RequestError {
    RequestError::Unusable { field, kind, name: name.to_owned(), problem }
}
