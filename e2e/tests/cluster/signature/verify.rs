//! supercargo's own verdict on signatures, independent of other content beside an artifact and of the kind of registry,
//! compared with cosign 3.1.3.
//!
//! ```text
//!   rows: requirement, content, verdict ──┬─▶ command line: each row in each kind of registry
//!                                         └─▶ operator: all rows at once, each after a good revision
//!   detour ─▶ discovery: registries that hide signatures, or fail during the search
//!   private Sigstore ─▶ identities, roots, log: signers, trusted roots, and log entries
//! ```
//!
//! Every verdict is compared with the verdict of `cosign verify`. Where they differ the row names the [`Divergence`];
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
mod setup;
mod verdict;

use serde_json::Value;

use crate::support::case::Test;
use divergence::Divergence;
use row::{Action, Format, Row, Signature, What, Who, by};
use setup::{Setup, Signers};

/// Begin of the trust in handmade logs: before any signature that is made here.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// Returns true for a trusted root with certificate transparency logs.
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
