//! What an entry of a log says beside what the library looks at.

use serde::Deserialize;
use sigstore_verify::rekor::body::RekorEntryBody;
use sigstore_verify::types::{HashAlgorithm, KindVersion, TransparencyLogEntry};

/// What an entry calls itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    kind: String,
    api_version: String,
}

/// The library takes the size of a tree of version 1 from beside the checkpoint. In version 2 nobody looks at it.
pub(super) fn is_of_signed_tree(entry: &TransparencyLogEntry) -> bool {
    let is_v2 = entry.kind_version == KindVersion::HashedRekordV002;
    entry.inclusion_proof.as_ref().is_none_or(|proof| {
        let signed = proof.checkpoint.checkpoint();
        is_v2 || signed.is_some_and(|signed| signed.tree_size() == proof.tree_size)
    })
}

/// In version 2 the proof is one of the index; before, the proof is of another one, and only a promise signs this.
pub(super) fn has_proven_index(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002 || entry.inclusion_promise.is_some()
}

/// The library reads an entry as what the bundle calls it, whatever it calls itself.
pub(super) fn is_what_it_is_called(entry: &TransparencyLogEntry) -> bool {
    let kind = entry.kind_version;
    serde_json::from_slice(entry.canonicalized_body.as_bytes())
        .is_ok_and(|own: Name| own.kind == kind.kind() && own.api_version == kind.version())
}

/// The library compares the value of the hash, and not the name beside it.
pub(super) fn is_of_sha256(entry: &TransparencyLogEntry) -> bool {
    if entry.kind_version != KindVersion::HashedRekordV001 {
        return true;
    }
    let body = RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version);
    let Ok(RekorEntryBody::HashedRekordV001(body)) = body else { return false };
    body.spec.data.hash.algorithm == HashAlgorithm::Sha2256
}
