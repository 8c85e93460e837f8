//! Verification of a digest before it may be fetched.
//!
//! [`Approved`] is the only way to fetch a layer. It holds exactly the digest that was judged and the manifest that has
//! that digest, so nothing can change between the verdict and the use of it.
//!
//! ```text
//! Requirement ─▶ discovery (where may signatures be?) ─▶ Candidate ─▶ verdict ─▶ Verified
//!                                                        sigstore: is it valid?   statement: of which content?
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::Reason;
use crate::api::policy::Enforcement;
use crate::oci::{Digest, Manifest};
use crate::permits::Seat;
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

/// Basis of a verdict. There is no silent "allowed": the absence of a requirement is a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// No signature is required.
    NoPolicy,
    /// Each enforced entry of the requirement is satisfied.
    Judged(Judgement),
}

impl Basis {
    /// Returns the doubts about unsatisfied entries that only warn.
    pub fn doubts(&self) -> &[Doubt] {
        match self {
            Self::NoPolicy => &[],
            Self::Judged(judgement) => &judgement.doubts,
        }
    }
}

/// Result for each entry of a requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Satisfied entries with their signatures.
    pub verified: Vec<Verified>,
    /// Unsatisfied entries that only warn.
    pub doubts: Vec<Doubt>,
}

/// Reason for an unsatisfied entry that only warns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Stable reason, the same as for an enforced entry.
    pub reason: Reason,
    /// Human-readable message.
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
    /// Returns the digest that was judged.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// Returns the manifest of the digest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Splits the value, once no further step needs the verdict.
    pub fn into_parts(self) -> (Pinned, Manifest, Basis) {
        (self.pinned, self.manifest, self.basis)
    }

    /// Returns the basis of the verdict.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    #[cfg(test)]
    pub(crate) fn for_test(pinned: Pinned, manifest: Manifest) -> Self {
        Self { pinned, manifest, basis: Basis::NoPolicy }
    }
}

/// Error that forbids fetching a digest.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The registry failed, so signatures may exist that were not returned: this is not "no signature".
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No signature of an accepted format and type.
    #[error("{entry}: {digest} has no signature that is looked for; {seen}")]
    Missing {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Signatures or attestations found instead.
        seen: String,
    },
    /// Signatures, but none is valid for this digest.
    #[error("{entry}: {digest} has no valid signature; of the one that comes closest: {problem}")]
    Invalid {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Problem of the candidate that comes closest.
        problem: String,
    },
    /// Signed, but not by an accepted signer.
    #[error("{entry}: {digest} is signed by nobody that is accepted; of the signature that comes closest: {problem}")]
    Signer {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Signer of the candidate that comes closest.
        problem: String,
    },
    /// The trusted root cannot verify any signature.
    #[error("{entry}: the trusted root {error}")]
    Root {
        /// Name of the entry.
        entry: String,
        /// Problem of the root.
        error: RootError,
    },
    /// More candidates than the limit.
    #[error(
        "{0} has more than {MAX_CANDIDATES} signatures and attestations, and those that were looked at are not accepted"
    )]
    TooMany(String),
    /// The verifier panicked.
    #[error("verifying a signature was aborted")]
    Aborted,
}

impl TrustError {
    /// Returns the stable reason.
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

/// Searches for signatures of a digest until each entry is satisfied, or no candidate is left.
///
/// Entries that enforce and entries that only warn are searched for separately. Candidates, places and errors of the
/// second search do not reach the first: a warning must not turn an outage into a verdict, nor hide a signature.
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

/// Judges every candidate until the entries of the hearing are satisfied.
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
                // The registry is responsible for its own list; any other list is content pushed by a client.
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

/// Expected subject of a bundle.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// These bytes.
    Content(&'a [u8]),
    /// Content with this digest. Keys that sign another hash than SHA-256 need the content itself.
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

/// Judges a bundle supplied by the caller, for one artifact and one entry: it must be signed by one of the entry's
/// authorities, and be about this artifact. The statement may be of any type; the entry's types and formats are
/// ignored.
pub fn judge_bundle(bundle: &[u8], artifact: Artifact<'_>, entry: &Entry) -> Result<Verified, TrustError> {
    let rejected = |rejection| refusal(entry, &artifact.digest().short(), Some(rejection));
    verdict::judge_bundle(bundle, artifact, entry).map_err(rejected)
}

/// Entries of one enforcement, with the result for each.
///
/// A result has three values. *Satisfied* ends the search for an entry. *Rejected* is the closest failure of what was
/// found, and a verdict: the digest is not signed as required. *Unknown* (`unknown`) means that a place or candidate
/// could not be read, for example because the registry was down, so a valid signature may exist there. Unknown wins
/// over rejected, because a verdict may be remembered and may withdraw published content, while an outage is only
/// retried. A satisfied entry stays satisfied even if other places were unknown. Broken content that a client has
/// pushed counts as rejected: otherwise anyone with push access could turn a verdict into an endless retry.
struct Hearing<'a> {
    requirement: &'a Arc<Requirement>,
    enforcement: Enforcement,
    pinned: &'a Pinned,
    seat: &'a Seat,
    /// One result for each entry of the requirement; entries of the other enforcement keep their initial value.
    found: Vec<Result<Verified, Option<Rejection>>>,
    /// Reason for an incomplete search.
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

    /// Returns for each entry of the requirement: true if it has this enforcement and is not yet satisfied.
    fn open(&self) -> Vec<bool> {
        let is_open = |(entry, found): (&Entry, &Result<_, _>)| entry.enforcement == self.enforcement && found.is_err();
        self.requirement.entries().iter().zip(&self.found).map(is_open).collect()
    }

    /// Verifies a candidate for every open entry, on a blocking thread: a hostile candidate must not block the runtime,
    /// and a panic of the verifier leaves the result unknown.
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

    /// Records an error of a candidate or list. Defective content is rejected; any other error leaves the result
    /// unknown.
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

    /// True once each entry is satisfied.
    fn is_over(&self) -> bool {
        !self.open().contains(&true)
    }

    /// Returns the result for each entry of this hearing.
    fn into_found(self) -> impl Iterator<Item = (&'a Entry, Result<Verified, Option<Rejection>>)> {
        let Self { requirement, enforcement, found, .. } = self;
        requirement.entries().iter().zip(found).filter(move |(entry, _)| entry.enforcement == enforcement)
    }

    /// Returns the signatures if each entry is satisfied.
    fn decide(mut self) -> Result<Vec<Verified>, TrustError> {
        let (digest, unknown) = (self.pinned.digest().short(), self.unknown.take());
        let mut unknown = unknown.into_iter();
        let satisfied = |(entry, found): (&Entry, Result<Verified, Option<Rejection>>)| {
            found.map_err(|rejection| unknown.next().unwrap_or_else(|| refusal(entry, &digest, rejection)))
        };
        // `collect` stops at the first unsatisfied entry, so `unknown` is reported for that entry.
        self.into_found().map(satisfied).collect()
    }

    /// Adds the results of entries that only warn to the signatures verified already.
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

/// Returns the error for an entry that nothing satisfies.
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

/// True for defects of pushed content: a retry would return the same.
fn is_of_candidate(error: &RegistryError) -> bool {
    use RegistryError::{LongerThanNamed, Manifest, TooLarge};
    matches!(error, Manifest(_) | TooLarge { .. } | LongerThanNamed { .. })
}

#[cfg(test)]
mod tests;
