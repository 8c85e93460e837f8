//! That supercargo's own verdict on a signature is right, whatever is beside an artifact and however a registry keeps it,
//! and where that of cosign 3.1.3 is another one.
//!
//! ```text
//!   rows: what is asked, what is there, the verdict ──┬─▶ command line: each row in each kind of registry
//!                                                     └─▶ operator: all rows at once, each after a good revision
//!   detour ─▶ discovery: registries that hide signatures, or fail in the middle of the search
//!   private Sigstore ─▶ identities, roots, log: who has signed, by which trusted root that is known, and what is logged
//! ```
//!
//! Every verdict is compared with the one of `cosign verify`. Where they differ the row says which [`Divergence`] that is;
//! all of them are in docs/signatures-cosign.md.

mod claim;
mod command_line;
mod detour;
mod discovery;
mod divergence;
mod identities;
mod log;
mod operator;
mod roots;
mod row;
mod rows;
mod scene;
mod verdict;

use serde_json::Value;

use crate::case::Test;
use divergence::Divergence;
use row::{Deed, Format, Row, Want, What, Who};
use scene::{Scene, Signers};

/// Before anything that is signed here.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// True for a trusted root with logs of certificates.
pub(crate) fn has_ct_log(root: &str) -> bool {
    let root: Value = serde_json::from_str(root).unwrap_or_default();
    root["ctlogs"].as_array().is_some_and(|logs| !logs.is_empty())
}

pub(crate) fn tests() -> Vec<Test> {
    [
        command_line::tests(),
        operator::tests(),
        discovery::tests(),
        identities::tests(),
        roots::tests(),
        log::tests(),
        divergence::tests(),
    ]
    .concat()
}
