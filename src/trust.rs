//! Whether a digest may be fetched at all.
//!
//! [`Approved`] is the only way to fetch a layer. It holds exactly the digest that was judged and
//! the manifest that has that digest, so nothing can change between the verdict and the use of it.
//!
//! ```text
//! Requirement ─▶ discovery (where could signatures be?) ─▶ Candidate ─▶ verdict ─▶ Verified
//!                                                        sigstore: is it a signature?   statement: of what?
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::Reason;
use crate::api::policy::Enforcement;
use crate::oci::{Digest, Manifest};
use crate::registry::{Access, Pinned, Registry, RegistryError};

mod discovery;
mod legacy;
pub mod public_root;
pub mod requirement;
pub mod sigstore;
mod statement;
pub mod tuf;
mod verdict;

pub use requirement::{Entry, Requirement, Signer, Verified};

use discovery::{MAX_CANDIDATES, Place, Search};
use sigstore::RootError;
use verdict::{Candidate, Rejection};

/// What a verdict rests on. There is no silent "allowed": no policy is a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nobody asked for a signature.
    NoPolicy,
    /// Each entry of the requirement that decides is satisfied.
    Judged(Judgement),
}

impl Basis {
    /// Why entries are not satisfied that only warn.
    pub fn doubts(&self) -> &[Doubt] {
        match self {
            Self::NoPolicy => &[],
            Self::Judged(judgement) => &judgement.doubts,
        }
    }
}

/// What was found for each entry of a requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Entries that are satisfied, and by what.
    pub verified: Vec<Verified>,
    /// Why those are not that only warn.
    pub doubts: Vec<Doubt>,
}

/// Why an entry is not satisfied that only warns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The stable reason, as it would be if it decided.
    pub reason: Reason,
    /// The same in words.
    pub message: String,
}

/// A digest that the policy in force allows to be fetched, with its manifest.
#[derive(Clone, Debug)]
pub struct Approved {
    pinned: Pinned,
    manifest: Manifest,
    basis: Basis,
}

impl Approved {
    /// The digest that was judged.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All of it, once everything that needs the verdict is done.
    pub fn into_parts(self) -> (Pinned, Manifest, Basis) {
        (self.pinned, self.manifest, self.basis)
    }

    /// What the verdict rests on.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    #[cfg(test)]
    pub(crate) fn for_test(pinned: Pinned, manifest: Manifest) -> Self {
        Self { pinned, manifest, basis: Basis::NoPolicy }
    }
}

/// Why a digest may not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The registry did not give what there may be: that is not "there is no signature".
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nothing that is looked for.
    #[error("{entry}: {digest} has no signature that is looked for; {seen}")]
    Missing {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// What there is instead.
        seen: String,
    },
    /// Signatures, none of them valid for this digest.
    #[error("{entry}: {digest} has no valid signature; of the one that comes closest: {problem}")]
    Invalid {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// What is wrong with the one that comes closest.
        problem: String,
    },
    /// Signed, by somebody else.
    #[error("{entry}: {digest} is signed by nobody that is accepted; of the signature that comes closest: {problem}")]
    Signer {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// By whom it is.
        problem: String,
    },
    /// The trusted root could verify nothing.
    #[error("{entry}: the trusted root {error}")]
    Root {
        /// Name of the entry.
        entry: String,
        /// What is wrong.
        error: RootError,
    },
    /// More than is looked at.
    #[error(
        "{0} has more than {MAX_CANDIDATES} signatures and attestations, and those that were looked at are not accepted"
    )]
    TooMany(String),
    /// The verifier did not end by itself.
    #[error("verifying a signature was aborted")]
    Aborted,
}

impl TrustError {
    /// The stable reason.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Registry(_) | Self::Aborted => None,
            Self::Missing { .. } => Some(Reason::SignatureMissing),
            Self::Invalid { .. } => Some(Reason::SignatureInvalid),
            Self::Signer { .. } => Some(Reason::IdentityMismatch),
            Self::Root { .. } => Some(Reason::TrustRootInvalid),
            Self::TooMany(_) => Some(Reason::LimitExceeded),
        }
    }
}

/// Judges a digest, and binds its manifest to the verdict.
pub async fn approve<R: Registry>(
    registry: &R,
    access: &Access,
    pinned: Pinned,
    manifest: Manifest,
    requirement: &Arc<Requirement>,
    now: Timestamp,
) -> Result<Approved, TrustError> {
    let basis = judge(registry, access, &pinned, requirement, now).await?;
    Ok(Approved { pinned, manifest, basis })
}

/// Looks for signatures of a digest until each entry is satisfied, or nothing is left to look at.
pub async fn judge<R: Registry>(
    registry: &R,
    access: &Access,
    pinned: &Pinned,
    requirement: &Arc<Requirement>,
    now: Timestamp,
) -> Result<Basis, TrustError> {
    if requirement.is_empty() {
        return Ok(Basis::NoPolicy);
    }
    if let Err((entry, error)) = requirement.check_roots(now) {
        return Err(TrustError::Root { entry: entry.name.clone(), error });
    }
    let mut search = Search::new(registry, access, pinned);
    let mut hearing = Hearing::new(requirement, pinned);
    let types: Vec<&str> = requirement.entries().iter().flat_map(|e| &e.predicate_types).map(String::as_str).collect();
    // What is found elsewhere may do; if not, this is why nothing is known.
    let mut trouble = None;
    for place in Place::ALL.into_iter().filter(|place| requirement.takes(place.format())) {
        let leads = match search.leads(place, &types).await {
            Ok(leads) => leads,
            Err(error) => {
                // The registry answers for its own list, and whoever has pushed it for any other.
                if place == Place::Referrers {
                    trouble.get_or_insert(error);
                } else {
                    hearing.note(error, &mut trouble);
                }
                continue;
            }
        };
        for lead in &leads {
            match search.follow(lead).await {
                Ok(Some(candidate)) => hearing.hear(candidate).await?,
                Ok(None) => {}
                Err(error) => hearing.note(error, &mut trouble),
            }
            if hearing.is_over() {
                return hearing.verdict(None).map(Basis::Judged);
            }
        }
    }
    let unknown = match trouble {
        Some(error) => Some(error.into()),
        None => search.left_out.then(|| TrustError::TooMany(pinned.digest().short())),
    };
    hearing.verdict(unknown).map(Basis::Judged)
}

/// What a bundle is to be about.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// These bytes.
    Content(&'a [u8]),
    /// Whatever has this digest. Keys that hash in a way of their own cannot be asked without the content.
    Digest(&'a Digest),
}

impl Artifact<'_> {
    fn digest(&self) -> Cow<'_, Digest> {
        match self {
            Self::Content(content) => Cow::Owned(Digest::of(content)),
            Self::Digest(digest) => Cow::Borrowed(digest),
        }
    }
}

/// Judges one bundle that somebody holds, about one artifact, for one entry: whether one of the entry's authorities made
/// it, and of this artifact. A statement in it may be of any type, and the entry's types and formats are not looked at.
pub fn judge_bundle(bundle: &[u8], artifact: Artifact<'_>, entry: &Entry) -> Result<Verified, TrustError> {
    let rejected = |rejection| refusal(entry, &artifact.digest().short(), Some(rejection));
    verdict::judge_bundle(bundle, artifact, entry).map_err(rejected)
}

/// The entries of a requirement, and what was found for each.
struct Hearing<'a> {
    requirement: &'a Arc<Requirement>,
    pinned: &'a Pinned,
    found: Vec<Result<Verified, Option<Rejection>>>,
}

impl<'a> Hearing<'a> {
    fn new(requirement: &'a Arc<Requirement>, pinned: &'a Pinned) -> Self {
        let found = requirement.entries().iter().map(|_| Err(None)).collect();
        Self { requirement, pinned, found }
    }

    /// Verifies a candidate for every entry that is open, on a thread for such work: what a hostile one costs, and
    /// even a panic of the verifier, is that candidate's problem.
    async fn hear(&mut self, candidate: Candidate) -> Result<(), TrustError> {
        let (requirement, digest) = (Arc::clone(self.requirement), self.pinned.digest().clone());
        let open: Vec<bool> = self.found.iter().map(Result::is_err).collect();
        let judging = tokio::task::spawn_blocking(move || {
            let judge = |(entry, open): (&Entry, bool)| open.then(|| verdict::judge(&candidate, entry, &digest));
            requirement.entries().iter().zip(open).map(judge).collect::<Vec<_>>()
        });
        let Ok(judged) = judging.await else { return Err(TrustError::Aborted) };
        for (found, judged) in self.found.iter_mut().zip(judged) {
            match (judged, &*found) {
                (Some(Ok(verified)), Err(_)) => *found = Ok(verified),
                (Some(Err(rejection)), Err(nearest)) if nearest.as_ref().is_none_or(|nearest| *nearest < rejection) => {
                    *found = Err(Some(rejection));
                }
                (Some(_) | None, _) => {}
            }
        }
        Ok(())
    }

    /// A candidate, or a list of them that clients keep, is one that says nothing where it cannot be had by its own fault.
    fn note(&mut self, error: RegistryError, trouble: &mut Option<RegistryError>) {
        if !is_of_candidate(&error) {
            trouble.get_or_insert(error);
            return;
        }
        let problem = if let RegistryError::Manifest(error) = &error {
            format!("its manifest, or the list that names it, is none: {error}")
        } else {
            error.to_string()
        };
        let rejection = Rejection::Invalid(problem);
        for found in self.found.iter_mut().filter(|found| matches!(found, Err(None | Some(Rejection::Other(_))))) {
            *found = Err(Some(rejection.clone()));
        }
    }

    /// True once there is a signature for each entry.
    fn is_over(&self) -> bool {
        self.found.iter().all(Result::is_ok)
    }

    /// What was found, if it is enough for each entry that decides. `unknown` is why not everything was looked at.
    fn verdict(self, mut unknown: Option<TrustError>) -> Result<Judgement, TrustError> {
        let digest = self.pinned.digest().short();
        let mut judgement = Judgement::default();
        for (entry, found) in self.requirement.entries().iter().zip(self.found) {
            let rejection = match found {
                Ok(verified) => {
                    judgement.verified.push(verified);
                    continue;
                }
                Err(rejection) => rejection,
            };
            let error = unknown.take().unwrap_or_else(|| refusal(entry, &digest, rejection));
            if entry.enforcement == Enforcement::Enforce {
                return Err(error);
            }
            let reason = error.reason().unwrap_or(Reason::RegistryUnavailable);
            judgement.doubts.push(Doubt { reason, message: error.to_string() });
        }
        Ok(judgement)
    }
}

/// Why nothing that was found satisfies an entry.
fn refusal(entry: &Entry, digest: &str, rejection: Option<Rejection>) -> TrustError {
    let (entry, digest) = (entry.name.clone(), digest.to_owned());
    match rejection {
        None => TrustError::Missing { entry, digest, seen: "there is none".to_owned() },
        Some(Rejection::Other(what)) => {
            TrustError::Missing { entry, digest, seen: format!("of what there is: {what}") }
        }
        Some(Rejection::Invalid(problem)) => TrustError::Invalid { entry, digest, problem },
        Some(Rejection::Signer(problem)) => TrustError::Signer { entry, digest, problem },
    }
}

/// True for what is wrong with what somebody has pushed: asking again would bring the same.
fn is_of_candidate(error: &RegistryError) -> bool {
    use RegistryError::{LongerThanNamed, Manifest, TooLarge};
    matches!(error, Manifest(_) | TooLarge { .. } | LongerThanNamed { .. })
}

#[cfg(test)]
mod tests;
