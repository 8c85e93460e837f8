//! Reads what an object refers to in the cluster, each thing by its name, when it is needed.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::{Api, Client, Resource, ResourceExt};

use super::OnRevoked;
use super::context::Context;
use super::subject::Subject;
use crate::api::spec::CaSource;
use crate::api::verify::VerifySpec;
use crate::api::{ANNOTATION_REGISTRY, OCIArtifactSpec, Reason};
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Hasher, Reference};
use crate::registry::Registry;
use crate::registry::credentials::SecretData;
use crate::request::{self, Policies, Referred, Request, RequestError};

/// A spec together with what it refers to, valid together or not.
pub(super) struct Inputs {
    pub(super) request: Result<Request, Failure>,
    /// Digest of everything that the request was made from: another value makes a pass due.
    pub(super) mark: Digest,
    /// The policies over the repository before anything was read: another value when outputs are switched gives up.
    pub(super) policies: Digest,
}

/// Reads everything that a pass over the object is given.
pub(super) async fn inputs<R: Registry>(subject: &Subject<'_>, context: &Context<R>) -> Inputs {
    let mut mark = Hasher::default();
    // Read first: a policy that changes while the rest is read is then seen before the switch.
    let policies = policies_over(subject, context);
    let request = request(subject, context, subject.spec, &mut mark).await;
    mark_served(subject, context, &mut mark).await;
    mark.update(format!("{} {:?}", subject.generation(), subject.requests).as_bytes());
    Inputs { request, mark: mark.finish(), policies }
}

/// Digest of the policies over the repository that the spec names, as they are now.
pub(super) fn policies_over<R>(subject: &Subject<'_>, context: &Context<R>) -> Digest {
    let named = subject.spec.image.parse().map(|Reference { repository, .. }| repository);
    named.map_or_else(|_| Digest::of(b""), |repository| context.policies.over(&repository))
}

/// A spec of the object together with what it refers to. Where that cannot be had, a policy that denies the repository
/// comes first: a tenant who breaks the spec must not keep what is denied.
pub(super) async fn request<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    spec: &OCIArtifactSpec,
    mark: &mut Hasher,
) -> Result<Request, Failure> {
    let (client, namespace) = (&context.client, &subject.id.namespace);
    let Reference { repository, .. } = spec.image.parse().map_err(RequestError::Image)?;
    let policies = context.policies.of(client, namespace, &repository, mark).await?;
    let denied = policies.denied(&repository).filter(|objection| objection.is_verdict);
    let request = request_under(policies, subject, context, spec, mark).await;
    request.map_err(|failure| denied.map_or(failure, |objection| Failure::from(&objection)))
}

async fn request_under<R: Registry>(
    policies: Policies,
    subject: &Subject<'_>,
    context: &Context<R>,
    spec: &OCIArtifactSpec,
    mark: &mut Hasher,
) -> Result<Request, Failure> {
    // Before a name becomes part of a request to the API server.
    request::check_names(spec)?;
    let mut referred = referred(&context.client, &subject.id.namespace, spec, mark).await?;
    let Reference { repository, .. } = spec.image.parse().map_err(RequestError::Image)?;
    referred.is_elsewhere = subject.spec.image.parse().map_or(true, |named: Reference| {
        // What is served may be judged where it came from, and that is not where the spec's Secrets are for.
        named.repository.api_host() != repository.api_host()
    });
    referred.policies = policies;
    let referred = referred.with_public_root(context.public_root.fetched());
    let request = Request::parse(subject.id.clone(), spec, &referred)?;
    // A root that was fetched is no object of the cluster, so nothing else tells that it is another one.
    mark.update(format!("{:?}", request.requirement.fingerprint()).as_bytes());
    Ok(request)
}

/// The reference that status names as served, where it matters whether that is refused.
pub(super) fn served<R>(subject: &Subject<'_>, context: &Context<R>) -> Option<Reference> {
    if context.on_revoked == OnRevoked::Keep {
        return None;
    }
    subject.status().artifact.as_ref()?.reference.parse().ok()
}

/// Adds to `mark` what is required of what is served, where the spec names another repository by now: a change of it
/// must not wait for the next pass.
async fn mark_served<R: Registry>(subject: &Subject<'_>, context: &Context<R>, mark: &mut Hasher) {
    let named = subject.spec.image.parse().map(|named: Reference| named.repository);
    let Some(served) = served(subject, context).filter(|served| named.as_ref() != Ok(&served.repository)) else {
        return;
    };
    let (client, namespace) = (&context.client, &subject.id.namespace);
    if let Err(error) = context.policies.of(client, namespace, &served.repository, mark).await {
        tracing::debug!(object = %subject.id, "the policies over what is served are not known: {}", error.message);
    }
}

/// What the spec names, and a mark that changes when any of it does.
async fn referred(
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
    let registries = secret.metadata.annotations.and_then(|mut all| all.remove(ANNOTATION_REGISTRY));
    let data: BTreeMap<_, _> = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    SecretData { kind: secret.type_.unwrap_or_default(), registries, data }
}

fn refused(kind: &str, name: &str, error: &kube::Error) -> Failure {
    // A parser's message could quote the Secret.
    let is_unreadable = matches!(error, kube::Error::SerdeError(_));
    let problem = if is_unreadable { "the answer has another form".to_owned() } else { error.to_string() };
    let message = format!("{kind} {name} cannot be read: {problem}");
    if matches!(error, kube::Error::Api(status) if status.code == 403) {
        return Failure::new(Class::Wait, Reason::SecretNotFound, message);
    }
    Failure::internal(message)
}
