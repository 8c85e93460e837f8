//! Signing with a key: private keys, and the content that cosign signs. Pure; [`crate::publish`] writes it to a
//! registry.
//!
//! ```text
//!  key file ──▶ PrivateKey ──┬─▶ bundle: statement in an envelope, for a referrer      (cosign 3)
//!                            └─▶ legacy: payload, its signature in an annotation, .sig (cosign 2)
//! ```
//!
//! Both are what the verifier of this crate accepts (`trust`), and what `cosign verify --key` accepts. There is no
//! entry in a transparency log: a signature with a key proves nothing about its time.

mod content;
mod key;
mod pem;
mod sealed;

pub(crate) use content::is_bundle_by;
pub use content::{
    BUNDLE, BundleContent, CONTENT_ANNOTATION, LegacyContent, PREDICATE, PREDICATE_ANNOTATION, SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING, SignError, bundle, legacy, legacy_tag,
};
pub use key::{PrivateKey, PrivateKeyError};

#[cfg(test)]
mod tests;
