//! Requests of an object that are sent from this machine: with the Secrets, ConfigMaps and policies of the cluster, read
//! with the user's rights.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{ApiResource, ListParams};
use kube::core::Object;
use kube::{Api, Resource, ResourceExt};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::cluster::{Cluster, Right, list, quiet};
use crate::api::policy::StoredPolicySpec;
use crate::api::stored::Stored;
use crate::api::vocabulary::CaSource;
use crate::api::{ANNOTATION_REGISTRY, OCIArtifactPolicy, OCIArtifactSpec};
use crate::cli::options::login::{LoginArguments, Origins};
use crate::cli::options::reach::PersonalReach;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::oci::{Reference, Repository};
use crate::registry::credentials::SecretData;
use crate::request::{self, ObjectId, Policies, Policy, Referred, Request, RequestError, speaks_about};

/// Resource of the policies, as in rights.
const POLICIES: &str = "ociartifactpolicies.supercargo.dev";

/// The part of `--help` about the registry.
pub(super) const REGISTRY_HELP: &str = "\
Requests to the registry are sent from this machine, with spec.registry.plainHTTP, caRef and the
like of the object. Credentials are those of the docker configuration, as of supercargo login; with
--pull-secrets those of the object.";

/// Options for requests to the registry of an object.
#[derive(Debug, clap::Args)]
pub(super) struct RegistryArguments {
    /// Use the object's pull secrets, read from the cluster, instead of the docker configuration.
    #[arg(long, help_heading = "Credentials", conflicts_with_all = ["username", "docker_config"])]
    pull_secrets: bool,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    pub(super) reach: PersonalReach,
}

/// Returns the request of an object, and the origins of its credentials. `spec` may differ from the stored one.
pub(super) async fn request(
    cluster: &Cluster,
    arguments: &RegistryArguments,
    stored: &Stored,
    mut spec: OCIArtifactSpec,
    policies: Policies,
) -> Result<(Request, Origins), Complaint> {
    let of_object = |error: RequestError| Complaint::of_object(&error.into());
    if !arguments.pull_secrets {
        spec.registry.pull_secrets.clear();
        spec.registry.service_account_name = None;
    }
    // Checked before a name becomes part of a request to the API server.
    request::check_names(&spec).map_err(of_object)?;
    let (named, used): (Result<Reference, _>, Reference) = match (&stored.spec, spec.image.parse()) {
        (Ok(own), Ok(used)) => (own.image.parse(), used),
        (Err(problem), _) => return Err(unreadable(stored, problem)),
        (_, Err(error)) => return Err(of_object(RequestError::Image(error))),
    };
    let host = |reference: &Reference| reference.repository.api_host().to_owned();
    let is_elsewhere = named.map_or(true, |named| host(&named) != host(&used));
    let object = ObjectId::from(stored);
    let referred = Referred { policies, is_elsewhere, ..referred(cluster, &object.namespace, &spec).await? };
    let mut request = Request::parse(object, &spec, &referred).map_err(of_object)?;
    let repository = &request.reference.repository;
    let origins = if arguments.pull_secrets {
        Origins::default()
    } else {
        arguments.login.add_to(&mut request.access.keychain, repository).await?
    };
    Ok((request, origins))
}

/// Reports a failure of a request: about credentials with the remedy of a command, else as status does.
pub(super) fn explain(failure: &Failure, origins: &Origins, repository: &Repository) -> Complaint {
    origins.explain(Complaint::of_object(failure), repository)
}

/// Reports an object whose spec does not parse.
pub(super) fn unreadable(stored: &Stored, problem: &str) -> Complaint {
    let problem = format!("OCIArtifact {}: {problem}", ObjectId::from(stored));
    Complaint::of_status(crate::api::Reason::InvalidSpec, &problem)
}

/// Reads the objects that a spec names.
async fn referred(cluster: &Cluster, namespace: &str, spec: &OCIArtifactSpec) -> Result<Referred, Complaint> {
    let mut referred = Referred { namespace: namespace.to_owned(), ..Referred::default() };
    if let Some(name) = &spec.registry.service_account_name {
        let account: Option<ServiceAccount> = get(cluster, namespace, name).await?;
        let secrets = account.map(|account| account.image_pull_secrets.unwrap_or_default());
        referred.account_secrets = secrets.map(|secrets| secrets.into_iter().map(|secret| secret.name).collect());
    }
    let names: Vec<String> = referred.secret_names(spec).into_iter().map(str::to_owned).collect();
    for name in names {
        add(cluster, &mut referred, CaSource::Secret, &name).await?;
    }
    for name in Referred::config_map_names(spec) {
        add(cluster, &mut referred, CaSource::ConfigMap, name).await?;
    }
    Ok(referred)
}

/// Reads a Secret or ConfigMap of the namespace of `referred`.
async fn add(cluster: &Cluster, referred: &mut Referred, kind: CaSource, name: &str) -> Result<(), Complaint> {
    match kind {
        CaSource::Secret if !referred.secrets.contains_key(name) => {
            let secret = get(cluster, &referred.namespace, name).await?.map(secret);
            referred.secrets.insert(name.to_owned(), secret);
        }
        CaSource::ConfigMap if !referred.config_maps.contains_key(name) => {
            let map: Option<ConfigMap> = get(cluster, &referred.namespace, name).await?;
            let bytes = |(key, text): (String, String)| (key, text.into_bytes());
            let data = map.map(|map| map.data.unwrap_or_default().into_iter().map(bytes).collect());
            referred.config_maps.insert(name.to_owned(), data);
        }
        CaSource::Secret | CaSource::ConfigMap => {}
    }
    Ok(())
}

fn secret(secret: Secret) -> SecretData {
    let registries = secret.metadata.annotations.and_then(|mut all| all.remove(ANNOTATION_REGISTRY));
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    SecretData { kind: secret.type_.unwrap_or_default(), registries, data }
}

async fn get<K>(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<K>, Complaint>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let plural = K::plural(&());
    let right = Right { verb: "get", resource: &plural, namespace: Some(namespace) };
    let api = Api::<K>::namespaced(cluster.client.clone(), namespace);
    let found = quiet(api.get_opt(name)).await;
    found.map_err(|error| right.refused(Some(name), &error))
}

/// Returns the policies of the cluster about a repository in a namespace, as the operator selects them. Secrets and
/// ConfigMaps that they name are read from the operator's namespace.
pub(super) async fn policies(
    cluster: &Cluster,
    namespace: &str,
    repository: &Repository,
    own: &str,
) -> Result<Policies, Complaint> {
    let kind = ApiResource::erase::<OCIArtifactPolicy>(&());
    let api: Api<Object<Option<StoredPolicySpec>, IgnoredAny>> = Api::all_with(cluster.client.clone(), &kind);
    let keep = |policy: Object<Option<StoredPolicySpec>, IgnoredAny>| {
        let (name, generation) = (policy.name_any(), policy.metadata.generation.unwrap_or_default());
        let is_about = |stored: &StoredPolicySpec| speaks_about(&stored.scope.images, repository);
        policy.spec.as_ref().is_none_or(is_about).then_some((name, generation, policy.spec))
    };
    let listed = list(&api, POLICIES, None, ListParams::default(), keep).await?;
    if listed.is_cut {
        let problem = format!("the cluster has too many {POLICIES}");
        return Err(Complaint::new(crate::api::Reason::LimitExceeded, problem));
    }
    let mut all = listed.items;
    let has_selector = |stored: &StoredPolicySpec| stored.scope.namespace_selector.is_some();
    let labels = if all.iter().any(|(_, _, stored)| stored.as_ref().is_some_and(has_selector)) {
        labels(cluster, namespace).await?
    } else {
        BTreeMap::new()
    };
    all.retain(|(_, _, stored)| stored.as_ref().is_none_or(|stored| stored.scope.selects(&labels)));
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut policies = Policies::default();
    for (name, generation, stored) in all {
        let Some(spec) = stored.and_then(|stored| stored.spec) else {
            policies.unreadable.push(name);
            continue;
        };
        let mut referred = Referred { namespace: own.to_owned(), ..Referred::default() };
        for (kind, name) in request::trusted(&spec.verify) {
            add(cluster, &mut referred, kind, name).await?;
        }
        policies.all.push(Policy { name, generation, spec, referred });
    }
    Ok(policies)
}

async fn labels(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<String, String>, Complaint> {
    let right = Right { verb: "get", resource: "namespaces", namespace: None };
    let api = Api::<Namespace>::all(cluster.client.clone());
    let found = quiet(api.get_metadata(namespace)).await;
    Ok(found.map_err(|error| right.refused(Some(namespace), &error))?.labels().clone())
}
