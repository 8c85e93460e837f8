//! supercargo fetches OCI artifacts, verifies every byte, and publishes their files where workloads read them.
//!
//! Each step makes one type that only that step can make, and the next step requires it:
//!
//! ```text
//! OCIArtifact ──parse──▶ Request ──resolve──▶ Pinned ──decide──▶ Plan ──approve──▶ Approved
//!    (api)              (request)           (registry)          (plan)            (trust)
//!                                                                                    │
//!  Published ◀──commit── Prepared ◀──prepare── Staged ◀──unpack── VerifiedBlob ◀──fetch──┘
//!   (pass)                (pass)              (unpack)              (blob)
//! ```
//!
//! [`pass::prepare`] and [`pass::Prepared::commit`] implement this chain; [`pass::pass`] runs both for commands over
//! files. `docs/architecture.md` has the reasons. Imports go one way: it lists the tiers, and `tests/imports.rs` checks
//! them.

pub mod api;
mod backoff;
pub mod blob;
pub mod cli;
pub mod controller;
mod counts;
mod failpoint;
pub mod failure;
pub mod layout;
pub mod lock;
pub mod login;
pub mod metrics;
mod mutex;
pub mod oci;
pub mod output;
pub mod pack;
pub mod pass;
pub mod pattern;
pub mod permits;
pub mod pin;
pub mod plan;
pub mod publish;
pub mod registry;
pub mod request;
pub mod server;
pub mod sign;
pub mod storage;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod translate;
pub mod trust;
pub mod unpack;
mod waiting;
mod yaml;
