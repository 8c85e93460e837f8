//! Evaluation of a requirement's entries against the candidates that are found.

use std::sync::Arc;

use super::discovery::{Search, SignaturePlace};
use super::error::TrustError;
use super::judgement::{Doubt, Judgement};
use super::requirement::{Entry, Requirement, Verified};
use super::verdict::{self, Candidate, Rejection};
use crate::api::vocabulary::Enforcement;
use crate::permits::Seat;
use crate::registry::{Access, Pinned, Registry, RegistryError};

/// Meaning of a list or candidate that could not be read.
enum Absence {
    /// Known: its content is defective, so it holds no valid signature.
    Known(String),
    /// Unknown: a valid signature may be there.
    Unknown(TrustError),
}

impl Absence {
    /// Classifies an error of a list. The registry is responsible for its own list; any other list is content that a
    /// client has pushed.
    fn of_list(place: SignaturePlace, error: RegistryError) -> Self {
        if place == SignaturePlace::Referrers { Self::Unknown(error.into()) } else { Self::of_content(error) }
    }

    /// Classifies an error of content that a client has pushed: a retry would return the same defect.
    fn of_content(error: RegistryError) -> Self {
        if let RegistryError::Manifest(error) = &error {
            Self::Known(format!("invalid manifest, or invalid list that names it: {error}"))
        } else if matches!(error, RegistryError::TooLarge { .. } | RegistryError::LongerThanNamed { .. }) {
            Self::Known(error.to_string())
        } else {
            Self::Unknown(error.into())
        }
    }
}

/// Entries of one enforcement, with the result for each.
///
/// A result has three values. *Satisfied* ends the search for an entry. *Rejected* is the closest failure of what was
/// found, and a verdict: the digest is not signed as required. *Unknown* (`unknown`) means that a place or candidate
/// could not be read, for example because the registry was down, so a valid signature may exist there. Unknown wins
/// over rejected, because a verdict may be remembered and may withdraw published content, while an outage is only
/// retried. A satisfied entry stays satisfied even if other places were unknown. Broken content that a client has
/// pushed counts as rejected: otherwise anyone with push access could turn a verdict into an endless retry.
pub(super) struct Evaluation<'a> {
    requirement: &'a Arc<Requirement>,
    enforcement: Enforcement,
    pinned: &'a Pinned,
    seat: &'a Seat,
    /// One result for each entry of the requirement; entries of the other enforcement keep their initial value.
    found: Vec<Result<Verified, Option<Rejection>>>,
    /// First reason for which the search is incomplete.
    unknown: Option<TrustError>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        requirement: &'a Arc<Requirement>,
        enforcement: Enforcement,
        pinned: &'a Pinned,
        seat: &'a Seat,
    ) -> Self {
        let found = requirement.entries().iter().map(|_| Err(None)).collect();
        Self { requirement, enforcement, pinned, seat, found, unknown: None }
    }

    /// Judges every candidate until each entry is satisfied.
    pub(super) async fn search<R: Registry>(mut self, registry: &R, access: &Access) -> Self {
        if self.is_over() {
            return self;
        }
        let mut search = Search::new(registry, access, self.pinned);
        let entries: Vec<&Entry> = self.entries().collect();
        let types: Vec<&str> = entries.iter().flat_map(|entry| &entry.predicate_types).map(String::as_str).collect();
        let is_taken = |place: &SignaturePlace| entries.iter().any(|entry| entry.formats.contains(&place.format()));
        for place in SignaturePlace::ALL.into_iter().filter(is_taken) {
            let leads = match search.leads(place, &types).await {
                Ok(leads) => leads,
                Err(error) => {
                    self.note(Absence::of_list(place, error));
                    continue;
                }
            };
            for lead in &leads {
                match search.follow(lead).await {
                    Ok(Some(candidate)) => self.judge(candidate).await,
                    Ok(None) => {}
                    Err(error) => self.note(Absence::of_content(error)),
                }
                if self.is_over() {
                    return self;
                }
            }
        }
        if search.left_out {
            self.note(Absence::Unknown(TrustError::TooMany(self.pinned.digest().short())));
        }
        self
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
    async fn judge(&mut self, candidate: Candidate) {
        let (requirement, digest, open) = (Arc::clone(self.requirement), self.pinned.digest().clone(), self.open());
        let permit = self.seat.permit().await;
        let judging = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let judge = |(entry, open): (&Entry, bool)| open.then(|| verdict::judge(&candidate, entry, &digest));
            requirement.entries().iter().zip(open).map(judge).collect::<Vec<_>>()
        });
        let Ok(judged) = judging.await else {
            self.note(Absence::Unknown(TrustError::Aborted));
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

    /// Records a list or candidate that could not be read.
    fn note(&mut self, absence: Absence) {
        match absence {
            Absence::Unknown(error) => {
                self.unknown.get_or_insert(error);
            }
            Absence::Known(problem) => {
                let is_farther = |found: &&mut Result<_, _>| matches!(found, Err(None | Some(Rejection::Other(_))));
                let rejection = Rejection::Invalid(problem);
                self.found.iter_mut().filter(is_farther).for_each(|found| *found = Err(Some(rejection.clone())));
            }
        }
    }

    /// True once each entry is satisfied.
    fn is_over(&self) -> bool {
        !self.open().contains(&true)
    }

    /// Returns the result for each entry of this evaluation.
    fn into_found(self) -> impl Iterator<Item = (&'a Entry, Result<Verified, Option<Rejection>>)> {
        let Self { requirement, enforcement, found, .. } = self;
        requirement.entries().iter().zip(found).filter(move |(entry, _)| entry.enforcement == enforcement)
    }

    /// Returns the signatures if each entry is satisfied.
    pub(super) fn into_verified(mut self) -> Result<Vec<Verified>, TrustError> {
        let (digest, mut unknown) = (self.pinned.digest(), self.unknown.take().into_iter());
        let mut error = |entry, closest| unknown.next().unwrap_or_else(|| TrustError::rejected(entry, digest, closest));
        // `collect` stops at the first unsatisfied entry, so `unknown` is reported for that entry.
        self.into_found().map(|(entry, found)| found.map_err(|closest| error(entry, closest))).collect()
    }

    /// Adds the results of entries that only warn to the signatures verified already.
    pub(super) fn into_judgement(mut self, verified: Vec<Verified>) -> Judgement {
        let (digest, unknown) = (self.pinned.digest(), self.unknown.take());
        let mut judgement = Judgement { verified, doubts: Vec::new() };
        for (entry, found) in self.into_found() {
            match (found, &unknown) {
                (Ok(verified), _) => judgement.verified.push(verified),
                (Err(_), Some(error)) => judgement.doubts.push(Doubt::new(entry, error)),
                (Err(closest), None) => {
                    let error = TrustError::rejected(entry, digest, closest);
                    judgement.doubts.push(Doubt::new(entry, &error));
                }
            }
        }
        judgement
    }
}
