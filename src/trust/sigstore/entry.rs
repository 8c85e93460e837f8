//! Checks of log entries that the library does not make.

use serde::Deserialize;
use sigstore_verify::rekor::body::RekorEntryBody;
use sigstore_verify::types::{HashAlgorithm, KindVersion, TransparencyLogEntry};

/// Kind and version in the body of an entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    kind: String,
    api_version: String,
}

/// True for an entry of version 2.
pub(super) fn is_v2(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002
}

/// True if the tree size next to the proof is the signed one. For version 1 the library uses the unsigned size; for
/// version 2 the signed one.
pub(super) fn has_signed_tree_size(entry: &TransparencyLogEntry) -> bool {
    entry.inclusion_proof.as_ref().is_none_or(|proof| {
        let signed = proof.checkpoint.checkpoint();
        is_v2(entry) || signed.is_some_and(|signed| signed.tree_size() == proof.tree_size)
    })
}

/// True if the entry's log index is proven. In version 2 the inclusion proof covers the index; in version 1 the proof
/// is for another index, and only the promise signs this one.
pub(super) fn has_proven_index(entry: &TransparencyLogEntry) -> bool {
    is_v2(entry) || entry.inclusion_promise.is_some()
}

/// True if the body has the kind and version that the bundle claims. The library parses it without comparing them.
pub(super) fn has_claimed_kind(entry: &TransparencyLogEntry) -> bool {
    let kind = entry.kind_version;
    serde_json::from_slice(entry.canonicalized_body.as_bytes())
        .is_ok_and(|own: Name| own.kind == kind.kind() && own.api_version == kind.version())
}

/// True if the entry's hash is a SHA-256. The library compares the hash value, but not the algorithm's name.
pub(super) fn records_sha256(entry: &TransparencyLogEntry) -> bool {
    if entry.kind_version != KindVersion::HashedRekordV001 {
        return true;
    }
    let body = RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version);
    let Ok(RekorEntryBody::HashedRekordV001(body)) = body else { return false };
    body.spec.data.hash.algorithm == HashAlgorithm::Sha2256
}
