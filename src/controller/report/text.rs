//! Texts of status: bounded and printable, because parts of them come from registries and tenants.

use crate::api::Reason;
use crate::api::status::CandidateStatus;
use crate::oci::Digest;
use crate::registry::Pinned;

/// Maximum length of a failure's message with its remedy, in bytes. An Event's note has 1024 and also a digest.
pub(super) const MAX_FAILURE: usize = 960;
/// Maximum length of a text from an artifact or a certificate, in bytes.
pub(super) const MAX_CUT: usize = 256;

/// Returns the message, followed by the remedy of the reason as its own sentence. Only the message is truncated.
pub(in crate::controller) fn with_remedy(message: &str, reason: Reason) -> String {
    let remedy = reason.remedy();
    let most = MAX_FAILURE.saturating_sub(remedy.len() + ". ".len());
    let mut shown = crate::failure::printable(message);
    if shown.len() > most {
        shown.truncate(shown.floor_char_boundary(most.saturating_sub('…'.len_utf8())));
        shown.push('…');
    }
    let shown = shown.trim_end_matches('.');
    format!("{shown}. {remedy}")
}

/// Returns `tag 1 at sha256:0123456789ab`, or the digest alone.
pub(super) fn short(pinned: &Pinned) -> String {
    let digest = pinned.digest().short();
    pinned.tag().map_or_else(|| digest.clone(), |tag| format!("tag {tag} at {digest}"))
}

/// Returns the beginning of a failure's message, for consumers that lost the refused digest by it.
pub(super) fn withdrawn(refused: &CandidateStatus) -> String {
    let digest = refused.digest.parse().map_or_else(|_| refused.digest.clone(), |digest: Digest| digest.short());
    format!("{digest} was withdrawn from consumers (--on-revoked=withdraw): ")
}

/// Returns the text, printable and at most [`MAX_CUT`] bytes long.
pub(super) fn cut(text: &str) -> String {
    cut_to(text, MAX_CUT)
}

/// Returns the text, printable and at most `most` bytes long.
pub(super) fn cut_to(text: &str, most: usize) -> String {
    let mut shown = crate::failure::printable(text);
    shown.truncate(shown.floor_char_boundary(most));
    shown
}

/// Returns the number as the API has it.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
