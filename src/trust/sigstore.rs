//! Bundles, keys and trusted roots: the only module that uses the library which verifies them.
//!
//! The library checks signatures, certificates, timestamps and log entries, each against the given trusted root or key.
//! The signed content, the signer and the requirement are judged in the callers.

mod bundle;
mod choice;
mod entry;
mod evidence;
mod key;
mod log;
mod root;
mod signature;

pub(super) use bundle::{Bundle, Material};
pub(super) use evidence::{Evidence, Problem};
pub use key::{KeyError, PublicKey};
pub(super) use log::bytes_of_hex;
pub use root::{Root, RootError};
pub(super) use signature::Signed;
