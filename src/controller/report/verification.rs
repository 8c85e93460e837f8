//! `status.verification` and `status.policies`: the signatures and policies behind the verdict.

use super::text::{cut, whole};
use crate::api::status::{PolicyStatus, VerificationStatus};
use crate::request::Request;
use crate::trust::requirement::Applied;
use crate::trust::{Basis, Signer, Verified};

/// Maximum number of listed signatures, the same as in the CRD.
pub(super) const MAX_VERIFICATION: usize = 32;
/// Maximum number of listed policies.
const MAX_POLICIES: usize = 32;

pub(super) fn policies(request: &Request) -> Vec<PolicyStatus> {
    let status = |applied: &Applied| PolicyStatus {
        name: applied.policy.clone(),
        generation: applied.generation,
        enforcement: applied.enforcement.as_str().to_owned(),
    };
    request.requirement.applied().iter().take(MAX_POLICIES).map(status).collect()
}

/// Returns the signatures to list.
pub(super) fn signatures(basis: &Basis) -> Vec<VerificationStatus> {
    match basis {
        Basis::Judged(judgement) => judgement.verified.iter().take(MAX_VERIFICATION).map(verification).collect(),
        Basis::NoPolicy => Vec::new(),
    }
}

fn verification(verified: &Verified) -> VerificationStatus {
    let Verified { entry, format, signer, log_index, time, digest } = verified;
    let (issuer, subject, key) = match signer {
        Signer::Key(fingerprint) => (None, None, Some(fingerprint.to_string())),
        Signer::Identity { issuer, subject } => (Some(cut(issuer)), Some(cut(subject)), None),
    };
    VerificationStatus {
        name: entry.clone(),
        format: format.as_str().to_owned(),
        issuer,
        subject,
        key_fingerprint: key,
        log_index: log_index.map(whole),
        time: time.map(|time| time.to_string()),
        bundle_digest: digest.to_string(),
    }
}
