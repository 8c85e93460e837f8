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
use crate::processors::Seat;
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
    seat: &Seat,
    now: Timestamp,
) -> Result<Approved, TrustError> {
    let basis = judge(registry, access, &pinned, requirement, seat, now).await?;
    Ok(Approved { pinned, manifest, basis })
}

/// Looks for signatures of a digest until each entry is satisfied, or nothing is left to look at.
///
/// Entries that enforce and entries that only warn are searched for separately. Candidates, places and troubles of the
/// second search are unknown to the first: a warning must not turn an outage into a verdict, nor hide a signature.
pub async fn judge<R: Registry>(
    registry: &R,
    access: &Access,
    pinned: &Pinned,
    requirement: &Arc<Requirement>,
    seat: &Seat,
    now: Timestamp,
) -> Result<Basis, TrustError> {
    if requirement.is_empty() {
        return Ok(Basis::NoPolicy);
    }
    if let Err((entry, error)) = requirement.check_roots(now) {
        return Err(TrustError::Root { entry: entry.name.clone(), error });
    }
    let enforced = hear_all(registry, access, Hearing::new(requirement, Enforcement::Enforce, pinned, seat)).await;
    let verified = enforced.decide()?;
    let warned = hear_all(registry, access, Hearing::new(requirement, Enforcement::Warn, pinned, seat)).await;
    Ok(Basis::Judged(warned.doubt(verified)))
}

/// Looks at every candidate until the entries of the hearing are satisfied.
async fn hear_all<'a, R: Registry>(registry: &R, access: &Access, mut hearing: Hearing<'a>) -> Hearing<'a> {
    if hearing.is_over() {
        return hearing;
    }
    let mut search = Search::new(registry, access, hearing.pinned);
    let entries: Vec<&Entry> = hearing.entries().collect();
    let types: Vec<&str> = entries.iter().flat_map(|entry| &entry.predicate_types).map(String::as_str).collect();
    let is_taken = |place: &Place| entries.iter().any(|entry| entry.formats.contains(&place.format()));
    for place in Place::ALL.into_iter().filter(is_taken) {
        let leads = match search.leads(place, &types).await {
            Ok(leads) => leads,
            Err(error) => {
                // The registry answers for its own list, and whoever has pushed it for any other.
                if place == Place::Referrers {
                    hearing.unknown.get_or_insert(error.into());
                } else {
                    hearing.note(error);
                }
                continue;
            }
        };
        for lead in &leads {
            match search.follow(lead).await {
                Ok(Some(candidate)) => hearing.hear(candidate).await,
                Ok(None) => {}
                Err(error) => hearing.note(error),
            }
            if hearing.is_over() {
                return hearing;
            }
        }
    }
    if search.left_out {
        let digest = hearing.pinned.digest().short();
        hearing.unknown.get_or_insert(TrustError::TooMany(digest));
    }
    hearing
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

/// The entries of a requirement that enforce, or those that warn, and what was found for each.
struct Hearing<'a> {
    requirement: &'a Arc<Requirement>,
    enforcement: Enforcement,
    pinned: &'a Pinned,
    seat: &'a Seat,
    /// One for each entry of the requirement; those of the other enforcement stay as they are.
    found: Vec<Result<Verified, Option<Rejection>>>,
    /// Reason for which not everything was looked at.
    unknown: Option<TrustError>,
}

impl<'a> Hearing<'a> {
    fn new(requirement: &'a Arc<Requirement>, enforcement: Enforcement, pinned: &'a Pinned, seat: &'a Seat) -> Self {
        let found = requirement.entries().iter().map(|_| Err(None)).collect();
        Self { requirement, enforcement, pinned, seat, found, unknown: None }
    }

    fn entries(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let enforcement = self.enforcement;
        self.requirement.entries().iter().filter(move |entry| entry.enforcement == enforcement)
    }

    /// True for each entry of the requirement that is of this hearing and not satisfied yet.
    fn open(&self) -> Vec<bool> {
        let is_open = |(entry, found): (&Entry, &Result<_, _>)| entry.enforcement == self.enforcement && found.is_err();
        self.requirement.entries().iter().zip(&self.found).map(is_open).collect()
    }

    /// Verifies a candidate for every entry that is open, on a thread for such work: what a hostile one costs, and
    /// even a panic of the verifier, is that candidate's problem.
    async fn hear(&mut self, candidate: Candidate) {
        let (requirement, digest, open) = (Arc::clone(self.requirement), self.pinned.digest().clone(), self.open());
        let permit = self.seat.permit().await;
        let judging = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let judge = |(entry, open): (&Entry, bool)| open.then(|| verdict::judge(&candidate, entry, &digest));
            requirement.entries().iter().zip(open).map(judge).collect::<Vec<_>>()
        });
        let Ok(judged) = judging.await else {
            self.unknown.get_or_insert(TrustError::Aborted);
            return;
        };
        for (found, judged) in self.found.iter_mut().zip(judged) {
            match (judged, &*found) {
                (Some(Ok(verified)), Err(_)) => *found = Ok(verified),
                (Some(Err(rejection)), Err(nearest)) if nearest.as_ref().is_none_or(|nearest| *nearest < rejection) => {
                    *found = Err(Some(rejection));
                }
                (Some(_) | None, _) => {}
            }
        }
    }

    /// A candidate, or a list of them that clients keep, is one that says nothing where it cannot be had by its own fault.
    fn note(&mut self, error: RegistryError) {
        if !is_of_candidate(&error) {
            self.unknown.get_or_insert(error.into());
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
        !self.open().contains(&true)
    }

    /// Findings for each entry of this hearing.
    fn into_found(self) -> impl Iterator<Item = (&'a Entry, Result<Verified, Option<Rejection>>)> {
        let Self { requirement, enforcement, found, .. } = self;
        requirement.entries().iter().zip(found).filter(move |(entry, _)| entry.enforcement == enforcement)
    }

    /// Findings, if they are enough for each entry.
    fn decide(mut self) -> Result<Vec<Verified>, TrustError> {
        let (digest, unknown) = (self.pinned.digest().short(), self.unknown.take());
        let mut unknown = unknown.into_iter();
        let satisfied = |(entry, found): (&Entry, Result<Verified, Option<Rejection>>)| {
            found.map_err(|rejection| unknown.next().unwrap_or_else(|| refusal(entry, &digest, rejection)))
        };
        // The first that is not satisfied ends it, so that the one reason why nothing is known is not used up.
        self.into_found().map(satisfied).collect()
    }

    /// Findings beside what is verified already, and the reason for which they are not enough.
    fn doubt(mut self, verified: Vec<Verified>) -> Judgement {
        let (digest, unknown) = (self.pinned.digest().short(), self.unknown.take());
        let mut judgement = Judgement { verified, doubts: Vec::new() };
        for (entry, found) in self.into_found() {
            let rejection = match found {
                Ok(verified) => {
                    judgement.verified.push(verified);
                    continue;
                }
                Err(rejection) => rejection,
            };
            let doubt = match &unknown {
                Some(error) => Doubt::new(error),
                None => Doubt::new(&refusal(entry, &digest, rejection)),
            };
            judgement.doubts.push(doubt);
        }
        judgement
    }
}

impl Doubt {
    fn new(error: &TrustError) -> Self {
        Self { reason: error.reason().unwrap_or(Reason::RegistryUnavailable), message: error.to_string() }
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
