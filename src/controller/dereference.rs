//! Lookup of the cluster objects that an artifact refers to, each by its name. A reference that is absent, forbidden or
//! unusable ends the lookup with a failure of the object. An unanswered read is not a state of the object.

use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::lookups::{Lookups, Trusted, Unread};
use super::named::{Name, Unanswered, Value};
use super::on_revoked::OnRevoked;
use super::subject::Subject;
use crate::api::OCIArtifactSpec;
use crate::api::references::MAX_ACCOUNT_SECRETS;
use crate::api::stored::Stored;
use crate::failure::Failure;
use crate::oci::{Digest, Reference};
use crate::registry::Registry;
use crate::request::{self, Referred, Request, RequestError};

/// A spec with its referenced objects, parsed into a request or a failure.
pub(super) struct Inputs {
    pub(super) request: Result<Request, Failure>,
    /// Digest of everything that the request depends on; a change makes a pass due.
    pub(super) mark: Digest,
    /// Digest of the policies over the repository before the lookup; a change until the switch ends the pass.
    pub(super) policies: Digest,
    /// Keys, roots and labels with the digests of their content; a change until the switch ends the pass.
    pub(super) trusted: Trusted,
}

/// A request, and what its requirement depends on.
pub(super) struct Asked {
    pub(super) request: Request,
    /// As in [`Inputs`].
    pub(super) policies: Digest,
    /// As in [`Inputs`].
    pub(super) trusted: Trusted,
}

/// Looks up all inputs of a pass over the object. `is_awaited`: the last pass failed because of a referenced object, so
/// all of them wake the object on a change, not only keys and roots.
pub(super) async fn inputs<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    is_awaited: bool,
) -> Result<Inputs, Unanswered> {
    let look_up = context.named.look_up(object(subject));
    let look_up = if subject.is_requested() { look_up.afresh() } else { look_up };
    let mut lookups = Lookups::new(look_up, is_awaited);
    // Read first, so that a policy change during the other reads is noticed before the switch.
    let policies = policies_over(subject, context, subject.spec);
    let request = match spec_request(subject, context, subject.spec, &mut lookups).await {
        Ok(request) => Ok(request),
        Err(Unread::Failed(failure)) => Err(failure),
        Err(Unread::Unanswered(unanswered)) => return Err(unanswered),
    };
    mark_served(subject, context, &mut lookups).await?;
    let Lookups { look_up, mut mark, trusted, .. } = lookups;
    look_up.finish();
    mark.update(format!("{} {:?}", subject.generation(), subject.requests).as_bytes());
    Ok(Inputs { request, mark: mark.finish(), policies, trusted })
}

/// Returns the digest of the current policies over the repository in a spec.
fn policies_over<R>(subject: &Subject<'_>, context: &Context<R>, spec: &OCIArtifactSpec) -> Digest {
    let named = spec.image.parse().map(|Reference { repository, .. }| repository);
    named.map_or_else(|_| Digest::of(b""), |repository| context.policies.over(&subject.id.namespace, &repository))
}

/// Builds a request from a spec with its referenced objects. Keys and roots in it wake the object from now on.
pub(super) async fn watched_request<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    spec: &OCIArtifactSpec,
) -> Result<Asked, Unread> {
    let mut lookups = lookups(subject, context);
    let policies = policies_over(subject, context, spec);
    let request = spec_request(subject, context, spec, &mut lookups).await;
    let Lookups { look_up, trusted, .. } = lookups;
    look_up.finish();
    Ok(Asked { request: request?, policies, trusted })
}

/// As [`watched_request`], but nothing wakes the object.
pub(super) async fn request<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    spec: &OCIArtifactSpec,
) -> Result<Asked, Unread> {
    let mut lookups = lookups(subject, context);
    let policies = policies_over(subject, context, spec);
    let request = spec_request(subject, context, spec, &mut lookups).await?;
    Ok(Asked { request, policies, trusted: lookups.trusted })
}

fn lookups<'a, R>(subject: &Subject<'_>, context: &'a Context<R>) -> Lookups<'a> {
    Lookups::new(context.named.look_up(object(subject)), false)
}

/// Builds a request from a spec. A policy that denies the repository takes precedence over a failure of the spec: a
/// tenant must not keep denied content by breaking the spec.
async fn spec_request<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    spec: &OCIArtifactSpec,
    lookups: &mut Lookups<'_>,
) -> Result<Request, Unread> {
    let Reference { repository, .. } = spec.image.parse().map_err(RequestError::Image)?;
    let policies = context.policies.of(&subject.id.namespace, &repository, lookups).await?;
    let is_elsewhere = subject.spec.image.parse().map_or(true, |named: Reference| {
        // The served artifact may be judged in another registry, for which the spec's Secrets are not meant.
        named.repository.api_host() != repository.api_host()
    });
    let namespace = subject.id.namespace.clone();
    let referred = Referred { namespace, policies, is_elsewhere, ..Referred::default() };
    let mut referred = referred.with_public_root(context.public_root.fetched());
    let request = request_with(&mut referred, subject, spec, lookups).await;
    request.map_err(|unread| {
        let denied = referred.policies.denied(&repository).filter(|objection| objection.is_verdict);
        denied.map_or(unread, |objection| Failure::from(&objection).into())
    })
}

async fn request_with(
    referred: &mut Referred,
    subject: &Subject<'_>,
    spec: &OCIArtifactSpec,
    lookups: &mut Lookups<'_>,
) -> Result<Request, Unread> {
    // Checked before a name becomes part of a request to the API server.
    request::check_names(spec)?;
    add_referred(referred, &subject.id.namespace, spec, lookups).await?;
    let request = Request::parse(subject.id.clone(), spec, referred)?;
    // The fetched trusted root is not a cluster object, so no other mark changes with it.
    lookups.mark.update(format!("{:?}", request.requirement.fingerprint()).as_bytes());
    Ok(request)
}

fn object(subject: &Subject<'_>) -> ObjectRef<Stored> {
    ObjectRef::new(&subject.id.name).within(&subject.id.namespace)
}

/// Returns the served reference in status, if its refusal would matter (`--on-revoked=withdraw`).
pub(super) fn served<R>(subject: &Subject<'_>, context: &Context<R>) -> Option<Reference> {
    if context.on_revoked == OnRevoked::Keep {
        return None;
    }
    subject.status().artifact.as_ref()?.reference.parse().ok()
}

/// Adds the requirements for the served artifact to the mark, if the spec now names another repository: a change of
/// them must not wait for the next pass.
async fn mark_served<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    lookups: &mut Lookups<'_>,
) -> Result<(), Unanswered> {
    let named = subject.spec.image.parse().map(|named: Reference| named.repository);
    let Some(served) = served(subject, context).filter(|served| named.as_ref() != Ok(&served.repository)) else {
        return Ok(());
    };
    match context.policies.of(&subject.id.namespace, &served.repository, lookups).await {
        Err(Unread::Unanswered(unanswered)) => Err(unanswered),
        Err(Unread::Failed(failure)) => {
            tracing::debug!(namespace = %subject.id.namespace, name = %subject.id.name, "cannot read the policies that match the published content: {}", failure.message);
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Adds the objects that the spec names. Fails at the first absent one, without further lookups.
async fn add_referred(
    referred: &mut Referred,
    namespace: &str,
    spec: &OCIArtifactSpec,
    lookups: &mut Lookups<'_>,
) -> Result<(), Unread> {
    let registry = &spec.registry;
    if let Some(name) = &registry.service_account_name {
        let found = lookups.get(Name::account(namespace, name), false).await?;
        let Value::Account(secrets) = &found.value else {
            return Err(referred.missing("ServiceAccount", name).into());
        };
        if secrets.len() > MAX_ACCOUNT_SECRETS {
            return Err(RequestError::AccountSecrets { name: name.clone(), number: secrets.len() }.into());
        }
        referred.account_secrets = Some(secrets.clone());
    }
    let own = registry.pull_secrets.iter().map(|secret| secret.name.clone());
    let credentials = own.chain(referred.account_secrets.iter().flatten().cloned());
    let names = credentials.map(|name| Name::credentials(namespace, &name));
    let authority = registry.ca_ref.iter().map(|ca| Name::root(ca.kind, namespace, &ca.name, &ca.key));
    let certificate = registry.client_certificate_ref.iter().map(|secret| Name::certificate(namespace, &secret.name));
    for name in names.chain(authority).chain(certificate).collect::<Vec<_>>() {
        let (kind, text) = (name.kind(), name.name().to_owned());
        if !lookups.add(name, referred, false).await? {
            return Err(referred.missing(kind.as_str(), &text).into());
        }
    }
    lookups.add_trusted(namespace, &spec.verify, referred).await
}
