//! A registry that misbehaves on purpose, byte by byte.
//!
//! ```text
//! behaviours ──▶ site: one behaviour on a port of its own ──▶ asks: who asked what, with which headers
//!                  │ script: ask ─▶ reply
//!                  └▶ elsewhere: where the site sends people; what it is asked is recorded too
//! ```
//!
//! Everything is written raw: an HTTP library would correct the lies. Each behaviour has a port of its own, so that what
//! the operator keeps per host (tokens, turns, times to wait) is of one behaviour alone.

pub mod artifact;
pub mod ask;
pub mod behaviours;
pub mod canary;
pub mod fickle;
mod frames;
pub mod memory;
pub mod names;
pub mod reply;
pub mod server;
pub mod site;
pub mod tls;
