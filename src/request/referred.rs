//! Objects that a spec refers to by name: Secrets, ConfigMaps, a ServiceAccount. Plain values; the caller reads them.

use std::collections::BTreeMap;

use super::{Field, Origin, Policies, RequestError};
use crate::api::OCIArtifactSpec;
use crate::api::references::MAX_ACCOUNT_SECRETS;
use crate::api::spec::CaReference;
use crate::api::verify::VerifySpec;
use crate::api::vocabulary::CaSource;
use crate::oci::Repository;
use crate::registry::Transport;
use crate::registry::credentials::{Keychain, SecretData, SecretError};
use crate::registry::tls::{TlsError, TlsOptions};
use crate::trust::sigstore::Root;

/// Objects that a spec names; `None` for an object that does not exist.
#[derive(Clone, Debug, Default)]
pub struct Referred {
    /// Namespace of the objects.
    pub namespace: String,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Option<SecretData>>,
    /// Data of ConfigMaps by name.
    pub config_maps: BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>,
    /// Names of the `imagePullSecrets` of the ServiceAccount that the spec names.
    pub account_secrets: Option<Vec<String>>,
    /// Policies of the cluster's administrators.
    pub policies: Policies,
    /// True if the reference is an earlier one of the object, at another host than `spec.image` names now. Settings for
    /// the current host must not be used for it: passwords of basic-auth Secrets, the client certificate,
    /// `insecureSkipVerify`.
    pub is_elsewhere: bool,
    /// Trusted root for requirements that name none; `None` for the root embedded in this release.
    pub public_root: Option<Root>,
}

impl Referred {
    /// Sets the trusted root for requirements that name none, also in policies.
    #[must_use]
    pub fn with_public_root(mut self, root: Option<Root>) -> Self {
        for policy in &mut self.policies.all {
            policy.referred.public_root.clone_from(&root);
        }
        Self { public_root: root, ..self }
    }

    /// Returns the names of the Secrets that a spec needs; complete once its ServiceAccount has been read.
    pub fn secret_names<'a>(&'a self, spec: &'a OCIArtifactSpec) -> Vec<&'a str> {
        let registry = &spec.registry;
        let authority = registry.ca_ref.as_ref().filter(|ca| ca.kind == CaSource::Secret).map(|ca| ca.name.as_str());
        let certificate = registry.client_certificate_ref.as_ref().map(|secret| secret.name.as_str());
        let trust = trusted(&spec.verify).filter(|(kind, _)| *kind == CaSource::Secret).map(|(_, name)| name);
        self.pull_secret_names(spec).chain(authority).chain(certificate).chain(trust).collect()
    }

    /// Returns the names of the ConfigMaps that a spec needs.
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

    /// Returns the object's credentials for a repository, in the order of the spec.
    pub(super) fn keychain(&self, spec: &OCIArtifactSpec, repository: &Repository) -> Result<Keychain, RequestError> {
        if let (Some(name), None) = (&spec.registry.service_account_name, &self.account_secrets) {
            return Err(self.missing("ServiceAccount", name));
        }
        let mut keychain = Keychain::default();
        for name in self.pull_secret_names(spec) {
            match keychain.add(name, self.secret(name)?, repository) {
                Err(SecretError::OtherHost { .. }) if self.is_elsewhere => {}
                added => added?,
            }
        }
        Ok(keychain)
    }

    /// Returns the object's transport to its registry. In a cluster, admission has refused fields that exclude each
    /// other; in files they are refused only here.
    pub(super) fn transport(&self, spec: &OCIArtifactSpec) -> Result<Transport, RequestError> {
        let registry = &spec.registry;
        let about_tls = [
            (Field::SkipVerify, registry.insecure_skip_verify),
            (Field::CaRef, registry.ca_ref.is_some()),
            (Field::ClientCertificateRef, registry.client_certificate_ref.is_some()),
        ];
        if registry.plain_http {
            return match about_tls.into_iter().find(|(_, is_set)| *is_set) {
                Some((field, _)) => Err(RequestError::Excluded(Field::PlainHttp, field)),
                None => Ok(Transport::PlainHttp),
            };
        }
        if registry.insecure_skip_verify && registry.ca_ref.is_some() {
            return Err(RequestError::Excluded(Field::SkipVerify, Field::CaRef));
        }
        let mut tls = TlsOptions::default();
        if registry.insecure_skip_verify && !self.is_elsewhere {
            tls.skip_verify();
        }
        if let Some(authority) = &registry.ca_ref {
            let CaReference { kind, name, key } = authority;
            let pem = self.value(*kind, name, key)?;
            tls.trust(pem).map_err(|problem| unusable(Field::CaRef, kind.as_str(), name, problem))?;
        }
        if let Some(reference) = registry.client_certificate_ref.as_ref().filter(|_| !self.is_elsewhere) {
            let secret = self.secret(&reference.name)?;
            let part = |key| value(&secret.data, "Secret", &reference.name, key);
            tls.show(part("tls.crt")?, part("tls.key")?)
                .map_err(|problem| unusable(Field::ClientCertificateRef, "Secret", &reference.name, problem))?;
        }
        Ok(Transport::Tls(tls))
    }

    /// Returns the value of a key of a Secret or ConfigMap.
    pub(super) fn value(&self, kind: CaSource, name: &str, key: &str) -> Result<&[u8], RequestError> {
        let data = match kind {
            CaSource::Secret => &self.secret(name)?.data,
            CaSource::ConfigMap => {
                let found = self.config_maps.get(name).and_then(Option::as_ref);
                found.ok_or_else(|| self.missing("ConfigMap", name))?
            }
        };
        value(data, kind.as_str(), name, key)
    }

    fn secret(&self, name: &str) -> Result<&SecretData, RequestError> {
        let found = self.secrets.get(name).and_then(Option::as_ref);
        found.ok_or_else(|| self.missing("Secret", name))
    }

    /// Returns the error for an object that does not exist.
    pub fn missing(&self, kind: &'static str, name: &str) -> RequestError {
        RequestError::NotFound { kind, namespace: self.namespace.clone(), name: name.to_owned() }
    }
}

/// Returns the kinds and names of the objects that requirements refer to: keys and trusted roots.
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

fn unusable(field: Field, kind: &'static str, name: &str, problem: TlsError) -> RequestError {
    RequestError::Unusable { field, origin: Origin { kind, name: name.to_owned() }, problem }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Reference;
    use crate::registry::credentials::Credential;

    /// Returns a Secret whose annotation names `new.example`, and a docker configuration for `old.example`.
    fn referred() -> Referred {
        let data = |all: &[(&str, &str)]| {
            all.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec())).collect::<BTreeMap<_, _>>()
        };
        let basic = SecretData {
            kind: "kubernetes.io/basic-auth".to_owned(),
            registries: Some("new.example".to_owned()),
            data: data(&[("username", "bob"), ("password", "of new.example")]),
        };
        let auths = json!({"auths": {"old.example": {"username": "bob", "password": "of old.example"}}}).to_string();
        let docker = SecretData {
            kind: "kubernetes.io/dockerconfigjson".to_owned(),
            data: data(&[(".dockerconfigjson", &auths)]),
            ..SecretData::default()
        };
        let secrets = BTreeMap::from([("basic".to_owned(), Some(basic)), ("docker".to_owned(), Some(docker))]);
        Referred { secrets, ..Referred::default() }
    }

    #[test]
    fn credentials_of_the_current_host_are_not_sent_to_an_earlier_one() {
        let spec: OCIArtifactSpec = serde_json::from_value(json!({
            "image": "old.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "registry": {
                "pullSecrets": [{"name": "basic"}, {"name": "docker"}], "insecureSkipVerify": true,
                "clientCertificateRef": {"name": "certificate"},
            },
        }))
        .unwrap();
        let old = spec.image.parse::<Reference>().unwrap().repository;
        let elsewhere = Referred { is_elsewhere: true, ..referred() };
        let keychain = elsewhere.keychain(&spec, &old).unwrap();
        let shown: Vec<_> = keychain.matching(&old).into_iter().filter_map(Credential::basic).collect();
        let own = Credential::Password { user: "bob".to_owned(), password: "of old.example".to_owned() };
        assert_eq!(shown, [own.basic().unwrap()]);
        let Transport::Tls(tls) = elsewhere.transport(&spec).unwrap() else { panic!("without TLS") };
        assert_eq!(format!("{tls:?}"), format!("{:?}", TlsOptions::default()), "neither a certificate nor skipVerify");

        let error = referred().keychain(&spec, &old).unwrap_err();
        assert!(matches!(&error, RequestError::Secret(SecretError::OtherHost { host, .. }) if host == "old.example"));
        assert!(matches!(referred().transport(&spec), Err(RequestError::NotFound { kind: "Secret", .. })));
    }
}
