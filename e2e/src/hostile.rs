//! Registries that misbehave on purpose, byte by byte.
//!
//! ```text
//! behaviours ──▶ site: one behaviour on its own port ──▶ asks: the recorded requests, with their headers
//!                  │ script: ask ─▶ reply
//!                  └▶ elsewhere: target of the site's redirects and realms; its requests are recorded too
//! ```
//!
//! Replies are written as raw bytes: an HTTP library would correct the false fields. Each behaviour has its own port,
//! so that the operator's state of each host (tokens, turns, pauses) belongs to one behaviour alone.

pub mod artifact;
pub mod ask;
pub mod behaviours;
pub mod canary;
pub mod fickle;
mod frames;
pub mod memory;
pub mod names;
pub mod place;
pub mod reply;
pub mod server;
pub mod site;
pub mod tls;
mod wire;
pub mod writing;
