//! Reads what an object refers to in the cluster: Secrets, each by its name, when they are needed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::{OCIArtifactSpec, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Hasher;
use crate::registry::credentials::SecretData;
use crate::request::{Secrets, secret_names};

/// The Secrets that the spec names, and a mark that changes when any of them does.
pub(super) async fn secrets(
    client: &Client,
    namespace: &str,
    spec: &OCIArtifactSpec,
    mark: &mut Hasher,
) -> Result<Secrets, Failure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut found = Secrets::new();
    for name in secret_names(spec) {
        let secret = api.get_opt(name).await.map_err(|error| refused(name, &error))?;
        let metadata = secret.as_ref().map(|secret| &secret.metadata);
        let version = metadata.map(|metadata| (metadata.uid.as_deref(), metadata.resource_version.as_deref()));
        mark.update(format!("{name:?} {version:?}\n").as_bytes());
        found.insert(name.to_owned(), secret.map(data));
    }
    Ok(found)
}

fn data(secret: Secret) -> SecretData {
    let data: BTreeMap<_, _> = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    SecretData { kind: secret.type_.unwrap_or_default(), data }
}

fn refused(name: &str, error: &kube::Error) -> Failure {
    let message = format!("Secret {name} cannot be read: {error}");
    if matches!(error, kube::Error::Api(status) if status.code == 403) {
        return Failure::new(Class::Wait, Reason::SecretNotFound, message);
    }
    Failure::internal(message)
}
