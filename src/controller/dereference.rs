//! Reads what an object refers to in the cluster, each thing by its name, when it is needed.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::{Api, Client, Resource, ResourceExt};

use crate::api::spec::CaSource;
use crate::api::verify::VerifySpec;
use crate::api::{OCIArtifactSpec, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Hasher;
use crate::registry::credentials::SecretData;
use crate::request::{self, Referred};

/// What the spec names, and a mark that changes when any of it does.
pub(super) async fn referred(
    client: &Client,
    namespace: &str,
    spec: &OCIArtifactSpec,
    mark: &mut Hasher,
) -> Result<Referred, Failure> {
    let mut referred = Referred::default();
    if let Some(name) = &spec.registry.service_account_name {
        let account: Option<ServiceAccount> = get(client, namespace, name, mark).await?;
        referred.account_secrets =
            account.map(|account| account.image_pull_secrets.into_iter().flatten().map(|secret| secret.name).collect());
    }
    let names: Vec<String> = referred.secret_names(spec).into_iter().map(str::to_owned).collect();
    let secrets = names.iter().map(|name| (CaSource::Secret, name.as_str()));
    let maps = Referred::config_map_names(spec).into_iter().map(|name| (CaSource::ConfigMap, name));
    for (kind, name) in secrets.chain(maps) {
        look_up(client, namespace, (kind, name), &mut referred, mark).await?;
    }
    Ok(referred)
}

/// What requirements name, in that namespace.
pub(super) async fn trusted(
    client: &Client,
    namespace: &str,
    verify: &[VerifySpec],
    referred: &mut Referred,
    mark: &mut Hasher,
) -> Result<(), Failure> {
    for one in request::trusted(verify) {
        look_up(client, namespace, one, referred, mark).await?;
    }
    Ok(())
}

async fn look_up(
    client: &Client,
    namespace: &str,
    (kind, name): (CaSource, &str),
    referred: &mut Referred,
    mark: &mut Hasher,
) -> Result<(), Failure> {
    match kind {
        CaSource::Secret if !referred.secrets.contains_key(name) => {
            let secret: Option<Secret> = get(client, namespace, name, mark).await?;
            referred.secrets.insert(name.to_owned(), secret.map(data));
        }
        CaSource::ConfigMap if !referred.config_maps.contains_key(name) => {
            let map: Option<ConfigMap> = get(client, namespace, name, mark).await?;
            referred.config_maps.insert(name.to_owned(), map.map(texts));
        }
        CaSource::Secret | CaSource::ConfigMap => {}
    }
    Ok(())
}

async fn get<K>(client: &Client, namespace: &str, name: &str, mark: &mut Hasher) -> Result<Option<K>, Failure>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| refused(&K::kind(&()), name, &error))?;
    let version = found.as_ref().map(|found| (found.uid(), found.resource_version()));
    mark.update(format!("{} {name:?} {version:?}\n", K::kind(&())).as_bytes());
    Ok(found)
}

fn texts(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
}

fn data(secret: Secret) -> SecretData {
    let data: BTreeMap<_, _> = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    SecretData { kind: secret.type_.unwrap_or_default(), data }
}

fn refused(kind: &str, name: &str, error: &kube::Error) -> Failure {
    let message = format!("{kind} {name} cannot be read: {error}");
    if matches!(error, kube::Error::Api(status) if status.code == 403) {
        return Failure::new(Class::Wait, Reason::SecretNotFound, message);
    }
    Failure::internal(message)
}
