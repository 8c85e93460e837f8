//! Verification of a digest before it may be fetched.
//!
//! [`Approved`] is the only way to fetch a layer. It holds exactly the digest that was judged and the manifest that has
//! that digest, so nothing can change between the verdict and the use of it.
//!
//! ```text
//! Requirement ─▶ discovery (where may signatures be?) ─▶ Candidate ─▶ verdict ─▶ Verified
//!                                                        sigstore: is it valid?   statement: of which content?
//! ```

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::vocabulary::Enforcement;
use crate::oci::Manifest;
use crate::permits::Seat;
use crate::registry::{Access, Pinned, Registry};

mod discovery;
mod error;
mod evaluation;
pub mod identity;
mod judgement;
mod legacy;
pub mod public_root;
pub mod requirement;
pub mod sigstore;
mod statement;
pub mod tuf;
mod verdict;

pub use discovery::is_bundle;
pub use error::TrustError;
pub use judgement::{Basis, Doubt, Judgement};
pub use requirement::{Entry, Requirement, Signer, Verified};
pub use verdict::Artifact;

use evaluation::Evaluation;

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
    let enforced = Evaluation::new(requirement, Enforcement::Enforce, pinned, seat);
    let verified = enforced.search(registry, access).await.into_verified()?;
    let warned = Evaluation::new(requirement, Enforcement::Warn, pinned, seat);
    Ok(Basis::Judged(warned.search(registry, access).await.into_judgement(verified)))
}

/// Judges a bundle supplied by the caller, for one artifact and one entry: it must be signed by one of the entry's
/// authorities, and be about this artifact. The statement may be of any type; the entry's types and formats are
/// ignored.
pub fn judge_bundle(bundle: &[u8], artifact: Artifact<'_>, entry: &Entry) -> Result<Verified, TrustError> {
    let rejected = |rejection| TrustError::rejected(entry, &artifact.digest(), Some(rejection));
    verdict::judge_bundle(bundle, artifact, entry).map_err(rejected)
}

#[cfg(test)]
mod tests;
