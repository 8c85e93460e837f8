//! Files as the keys of a ConfigMap or a Secret: by server-side apply in a cluster, as a manifest without one.
//!
//! ```text
//! read ─▶ ours? of another manager? immutable? ─▶ rehearsal (dry run) ─▶ switch: create or apply ─▶ foreign keys removed
//! ```
//!
//! The rehearsal finds quotas, policies, missing rights and conflicts before any output is switched. An absent object
//! is created, and a present one is applied with its resourceVersion, so a write in between is never taken over. Apply
//! leaves the keys of other managers, so the response is compared with the wanted content, and foreign keys are
//! removed.

mod cluster;
pub(super) mod content;
mod found;
mod hmac_key;
mod kind;
mod managers;
mod refusal;
mod wanted;

pub(super) use cluster::Cluster;
pub(crate) use cluster::{Ready, Switched};
pub(super) use found::probed;
pub(crate) use hmac_key::ContentKey;
pub(crate) use kind::Kind;
pub(super) use wanted::{Place, build};
