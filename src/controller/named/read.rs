//! One read of one object by its name, and the kept part of the answer.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::{Api, Client, Resource, ResourceExt};

use crate::api::ANNOTATION_REGISTRY;
use crate::api::vocabulary::CaSource;
use crate::failure::causes;
use crate::oci::{Digest, Hasher};
use crate::registry::credentials::SecretData;

/// Maximum size of a key, in bytes: public keys, certificates and credentials are smaller.
const MOST_KEY: usize = 64 * 1024;
/// Maximum size of trusted roots and of CA bundles, in bytes.
const MOST_ROOT: usize = 1024 * 1024;
/// Keys of Secrets with registry credentials.
const CREDENTIALS: [&str; 4] = ["username", "password", ".dockerconfigjson", ".dockercfg"];
/// Keys of Secrets with a certificate.
const CERTIFICATE: [&str; 2] = ["tls.crt", "tls.key"];

/// Kinds of referenced objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::controller) enum Kind {
    Secret,
    ConfigMap,
    ServiceAccount,
    Namespace,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::Namespace => "Namespace",
        }
    }
}

impl From<CaSource> for Kind {
    fn from(kind: CaSource) -> Self {
        match kind {
            CaSource::Secret => Self::Secret,
            CaSource::ConfigMap => Self::ConfigMap,
        }
    }
}

/// An object by its name, with its required keys.
#[expect(clippy::struct_field_names, reason = "Kubernetes calls it so")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::controller) struct Name {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    keys: Vec<String>,
    /// Maximum size of each key, in bytes.
    most: usize,
}

impl Name {
    /// Names a Secret with registry credentials.
    pub(in crate::controller) fn credentials(namespace: &str, name: &str) -> Self {
        Self { keys: CREDENTIALS.map(str::to_owned).to_vec(), ..Self::first(Kind::Secret, namespace, name) }
    }

    /// Names a Secret with a certificate and its key.
    pub(in crate::controller) fn certificate(namespace: &str, name: &str) -> Self {
        Self { keys: CERTIFICATE.map(str::to_owned).to_vec(), ..Self::first(Kind::Secret, namespace, name) }
    }

    /// Names one key of a Secret or ConfigMap, with a public key.
    pub(in crate::controller) fn key(kind: CaSource, namespace: &str, name: &str, key: &str) -> Self {
        Self { keys: vec![key.to_owned()], ..Self::first(kind.into(), namespace, name) }
    }

    /// Names one key of a Secret or ConfigMap, with a trusted root or CA bundle.
    pub(in crate::controller) fn root(kind: CaSource, namespace: &str, name: &str, key: &str) -> Self {
        Self { most: MOST_ROOT, ..Self::key(kind, namespace, name, key) }
    }

    /// Names the pull secrets of a ServiceAccount.
    pub(in crate::controller) fn account(namespace: &str, name: &str) -> Self {
        Self::first(Kind::ServiceAccount, namespace, name)
    }

    /// Names the labels of a namespace.
    pub(in crate::controller) fn labels(namespace: &str) -> Self {
        Self::first(Kind::Namespace, namespace, namespace)
    }

    /// Returns the kind of a Secret or ConfigMap; that of a Secret for other kinds.
    pub(in crate::controller) fn kind(&self) -> CaSource {
        if self.kind == Kind::ConfigMap { CaSource::ConfigMap } else { CaSource::Secret }
    }

    pub(in crate::controller) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the first of all names for an object, in their order.
    pub(super) fn first(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned(), keys: Vec::new(), most: MOST_KEY }
    }
}

/// Content under a name.
#[derive(Debug)]
pub(in crate::controller) enum Value {
    Absent,
    /// The operator may not read the object.
    Forbidden(String),
    /// A key is larger than its limit.
    TooLarge(String),
    Secret(SecretData),
    ConfigMap(BTreeMap<String, Vec<u8>>),
    /// Names of the Secrets of a ServiceAccount.
    Account(Vec<String>),
    Labels(BTreeMap<String, String>),
}

/// A kept answer.
#[derive(Debug)]
pub(in crate::controller) struct Found {
    pub(in crate::controller) value: Value,
    /// Digest of the content.
    pub(in crate::controller) mark: Digest,
    pub(super) bytes: usize,
}

impl Found {
    fn new(value: Value) -> Self {
        let mut hasher = Hasher::default();
        let mut bytes = 0;
        let mut add = |field: &[u8]| {
            bytes += field.len();
            hasher.field(field);
        };
        match &value {
            Value::Absent => add(b"absent"),
            Value::Forbidden(message) | Value::TooLarge(message) => add(message.as_bytes()),
            Value::Secret(SecretData { kind, registries, data }) => {
                add(kind.as_bytes());
                add(format!("{registries:?}").as_bytes());
                data.iter().flat_map(|(key, value)| [key.as_bytes(), value]).for_each(&mut add);
            }
            Value::ConfigMap(data) => data.iter().flat_map(|(key, value)| [key.as_bytes(), value]).for_each(&mut add),
            Value::Account(names) => names.iter().for_each(|name| add(name.as_bytes())),
            Value::Labels(labels) => {
                labels.iter().flat_map(|(key, value)| [key, value]).for_each(|one| add(one.as_bytes()));
            }
        }
        Self { mark: hasher.finish(), value, bytes }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self.value, Value::Absent | Value::Forbidden(_))
    }
}

/// Unanswered read of the API server, which is not a state of the artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read: {cause}")]
pub(in crate::controller) struct Unanswered {
    what: String,
    cause: String,
}

/// Answer of the API server.
pub(super) struct Answer {
    pub(super) found: Found,
    pub(super) version: Option<String>,
}

/// Reads an object. Only success, absent and forbidden are answers; every other error is an unanswered read.
pub(super) async fn read(client: &Client, name: &Name) -> Result<Answer, Unanswered> {
    let response = match name.kind {
        Kind::Secret => get::<Secret>(client, name).await.map(|found| taken(found, |one| secret(one, name))),
        Kind::ConfigMap => get::<ConfigMap>(client, name).await.map(|found| taken(found, |one| config_map(one, name))),
        Kind::ServiceAccount => get::<ServiceAccount>(client, name).await.map(|found| taken(found, account)),
        Kind::Namespace => {
            let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(&name.name).await;
            found.map(|found| taken(found, |found| Value::Labels(found.labels().clone())))
        }
    };
    let what = || format!("{} {}", name.kind.as_str(), name.name);
    let (value, version) = match response {
        Ok(answer) => answer,
        Err(kube::Error::Api(status)) if status.code == 403 => (
            Value::Forbidden(format!("{} cannot be read: {}; grant the operator get on it", what(), status.message)),
            None,
        ),
        Err(error) => return Err(Unanswered { what: what(), cause: causes(&error) }),
    };
    Ok(Answer { found: Found::new(value), version })
}

fn taken<K: ResourceExt>(found: Option<K>, value: impl FnOnce(K) -> Value) -> (Value, Option<String>) {
    let version = found.as_ref().and_then(ResourceExt::resource_version);
    (found.map_or(Value::Absent, value), version)
}

async fn get<K>(client: &Client, name: &Name) -> Result<Option<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Api::<K>::namespaced(client.clone(), &name.namespace).get_opt(&name.name).await
}

fn secret(secret: Secret, name: &Name) -> Value {
    let kind = secret.type_.unwrap_or_default();
    let registries = secret.metadata.annotations.and_then(|mut all| all.remove(ANNOTATION_REGISTRY));
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    kept(data, name).map_or_else(Value::TooLarge, |data| Value::Secret(SecretData { kind, registries, data }))
}

fn config_map(map: ConfigMap, name: &Name) -> Value {
    let data = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    kept(data, name).map_or_else(Value::TooLarge, Value::ConfigMap)
}

fn account(account: ServiceAccount) -> Value {
    Value::Account(account.image_pull_secrets.into_iter().flatten().map(|secret| secret.name).collect())
}

/// Returns the required keys, or an error if one of them is too large.
fn kept(
    data: impl Iterator<Item = (String, Vec<u8>)>,
    Name { kind, name, keys, most, .. }: &Name,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let named: BTreeMap<_, _> = data.filter(|(key, _)| keys.contains(key)).collect();
    match named.iter().find(|(_, value)| value.len() > *most) {
        Some((key, value)) => {
            let (kind, bytes) = (kind.as_str(), value.len());
            Err(format!("{kind} {name}, key {key}: {bytes} bytes; expected at most {most}"))
        }
        None => Ok(named),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn made(keys: &[(&str, usize)]) -> Secret {
        let data = keys.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(vec![b'x'; *bytes]))).collect();
        Secret { data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
    }

    #[test]
    fn only_the_named_key_is_kept_up_to_a_limit() {
        let wanted = Name::key(CaSource::Secret, "n", "s", "cosign.pub");
        let Value::Secret(data) = secret(made(&[("cosign.pub", 100), ("other", MOST_ROOT)]), &wanted) else { panic!() };
        assert_eq!(data.data.into_keys().collect::<Vec<_>>(), ["cosign.pub"]);
        let rows = [
            (wanted.clone(), MOST_KEY, true),
            (wanted, MOST_KEY + 1, false),
            (Name::root(CaSource::Secret, "n", "s", "cosign.pub"), MOST_KEY + 1, true),
            (Name::root(CaSource::Secret, "n", "s", "cosign.pub"), MOST_ROOT + 1, false),
        ];
        for (name, bytes, wanted) in rows {
            let value = secret(made(&[("cosign.pub", bytes)]), &name);
            if let Value::TooLarge(message) = &value {
                assert!(message.contains("Secret s") && message.contains("cosign.pub"), "{message}");
            }
            let is_kept = matches!(value, Value::Secret(_));
            assert_eq!(is_kept, wanted, "{bytes}");
        }
    }

    #[test]
    fn the_mark_depends_on_the_content_alone() {
        let name = Name::key(CaSource::Secret, "n", "s", "a");
        let mark = |keys: &[(&str, usize)]| Found::new(secret(made(keys), &name)).mark;
        assert_eq!(mark(&[("a", 1)]), mark(&[("a", 1), ("b", 1)]), "of another key");
        assert_ne!(mark(&[("a", 1)]), mark(&[("a", 2)]));
        assert_ne!(mark(&[]), Found::new(Value::Absent).mark);
    }
}
