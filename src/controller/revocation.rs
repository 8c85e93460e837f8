//! What becomes of published content that is refused later: a key was replaced, an identity or an authority is not trusted
//! any more, a policy denies the repository.
//!
//! ```text
//! a pass failed ─▶ of what is served? ─ no ─▶ judge that too, if something else is asked than when it was published
//!                          │ yes                        │
//!                          ▼                            ▼
//!                  a verdict of trust? ─ yes, and --on-revoked=withdraw ─▶ outputs are cleared ─▶ status says so
//! ```
//!
//! What counts as a verdict is decided in [`Failure::is_verdict_of_trust`] and nowhere else. Outputs are cleared before
//! status is written: status must not forget what is still there.

use super::reconcile::Reconcile;
use crate::api::{OCIArtifactSpec, OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::{Hasher, Reference};
use crate::output::config_map;
use crate::pass;
use crate::registry::Registry;
use crate::request::{Place, Request};

/// What becomes of published content that is refused later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRevoked {
    /// It stays, and status says that it is refused.
    #[default]
    Keep,
    /// It is taken away.
    Withdraw,
}

impl<R: Registry> Reconcile<'_, R> {
    /// The failure of a pass, and what status says of it, once what is served has been withdrawn where it is to be.
    pub(super) async fn after_failure(
        &self,
        request: Option<&Request>,
        failure: Failure,
    ) -> (Failure, OCIArtifactStatus) {
        let before = self.subject.before();
        let Some(refusal) = self.refusal_of_served(request, &failure).await else {
            let status = before.failed(request, &failure);
            return (failure, status);
        };
        match self.withdraw(request).await {
            Ok(()) => {
                tracing::warn!(object = %self.subject.id, reason = %refusal.reason, "withdrawn: {}", refusal.message);
                let status = before.withdrawn(request, &failure, &refusal);
                (failure, status)
            }
            Err(error) => {
                tracing::warn!(object = %self.subject.id, "not all of it could be withdrawn: {}", error.message);
                let message = format!("{}; it is not withdrawn yet: {}", failure.message, error.message);
                let failure = Failure { class: Class::Retry, message, ..failure };
                let status = before.failed(request, &failure);
                (failure, status)
            }
        }
    }

    /// Why what is served is refused, where it is and that matters.
    async fn refusal_of_served(&self, request: Option<&Request>, failure: &Failure) -> Option<Failure> {
        let served = self.served()?;
        let digest = served.digest.clone()?;
        // The same digest in another repository has other signatures beside it, and other policies.
        let is_there = request.is_some_and(|request| request.reference.repository == served.repository);
        let is_of_served = is_there && failure.candidate.as_ref() == Some(&digest);
        let refusal = if is_of_served { failure.clone() } else { self.judge(&served).await? };
        // What may only be refused because a root could not be had is not taken away for that.
        let is_doubtful = self.context.public_root.is_stand_in() && refusal.reason != Reason::PolicyDenied;
        (refusal.is_verdict_of_trust() && !is_doubtful).then(|| refusal.of(&digest))
    }

    /// What status names as served, where it matters whether that is refused.
    fn served(&self) -> Option<Reference> {
        let artifact = self.subject.status.artifact.as_ref().filter(|_| self.context.on_revoked != OnRevoked::Keep);
        artifact?.reference.parse().ok()
    }

    /// Adds to `inputs` what is asked of what is served, where the spec names another repository by now: a change of it
    /// must not wait for the next pass.
    pub(super) async fn mark_served(&self, inputs: &mut Hasher) {
        let named = self.subject.object.spec.image.parse().map(|named: Reference| named.repository);
        let Some(served) = self.served().filter(|served| named.as_ref() != Ok(&served.repository)) else { return };
        let (client, namespace) = (&self.context.client, &self.subject.id.namespace);
        if let Err(error) = self.context.policies.of(client, namespace, &served.repository, inputs).await {
            tracing::debug!(object = %self.subject.id, "what is asked of what is served is not known: {}", error.message);
        }
    }

    /// Judges what is served, where that has not been done by what is asked now; `None` where nothing speaks against it.
    async fn judge(&self, served: &Reference) -> Option<Failure> {
        let spec = &self.subject.object.spec;
        let spec = OCIArtifactSpec { image: served.to_string(), semver: None, ..spec.clone() };
        let request = self.request(&spec, &mut Hasher::default()).await.ok()?;
        let requirement = &request.requirement;
        if requirement.denied().is_none() && requirement.fingerprint() == self.subject.trust() {
            return None;
        }
        let engine = &self.context.engine;
        let turn = engine.turn(&request).await;
        tokio::select! {
            judged = pass::rejudge(engine, &turn, &request) => judged.err(),
            () = self.context.shutdown.cancelled() => None,
            () = self.superseded() => None,
        }
    }

    /// Takes away all that was published, also to outputs that status does not name yet.
    async fn withdraw(&self, request: Option<&Request>) -> Result<(), Failure> {
        let recorded = self.subject.status.outputs.iter().filter(|output| output.kind == config_map::KIND);
        let mut maps: Vec<&str> = recorded.map(|output| output.location.as_str()).collect();
        for target in request.iter().flat_map(|request| &request.targets) {
            match &target.place {
                Place::ConfigMap { name, .. } => maps.push(name),
                Place::Volume { .. } | Place::Directory => {}
            }
        }
        Ok(self.context.engine.outputs.clear(&self.subject.id, &maps).await?)
    }
}
