//! Signing: the real cosign, keys of every kind, and a private Sigstore for identities.
//!
//! ```text
//!                                 ┌────────────────────── PrivateSigstore ───────────────────────┐
//!   Cosign ─── identity token ──▶ │ Fulcio ──── fetches the keys of ────▶ issuers, in the harness │
//!     │                           │ Rekor v2, on a file system                                    │
//!     │                           │ timestamp authority                                           │
//!     ▼                           └───────────────────────────────────────────────────────────────┘
//!   registry: `sha256-<hex>` or a referrer; `sha256-<hex>.sig`
//! ```
//!
//! Content that cosign would not sign is signed by hand ([`handmade`]) and logged by hand ([`HandmadeLog`]), in
//! cosign's formats. Certificates that Fulcio would not issue are issued by hand ([`HandmadeAuthority`]). Real
//! signatures of third parties are [`Published`]. Trusted roots are distributed by a [`TufRepository`].
//!
//! There is no certificate transparency log, so no certificate has an SCT. If two signatures of one digest are pushed
//! at the same time, one of them is lost where the registry has no referrers API.

mod authority;
mod cosign;
pub mod handmade;
mod handmade_authority;
mod identity;
mod issuers;
mod key;
mod keyless;
mod log;
mod published;
mod sigstore;
mod tuf;

pub use cosign::{Cosign, Verdict};
pub use handmade_authority::{Certificate, HandmadeAuthority};
pub use identity::{Identity, IssuerKind};
pub use key::{KeyKind, SigningKey};
pub use log::{HandmadeLog, LogEntry, dsse, hashedrekord};
pub use published::Published;
pub use sigstore::PrivateSigstore;
pub use tuf::{Edition, TufOwner, TufRepository};

/// Artifact type of cosign's signatures, and media type of their layer.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Predicate type of the statement in cosign's signatures.
pub const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Media type of the layers under the `.sig` tag.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Returns the fallback tag for registries without the referrers API: `sha256-<hex>`.
pub fn fallback_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

/// Returns the tag of legacy signatures: `sha256-<hex>.sig`.
pub fn legacy_tag(digest: &str) -> String {
    format!("{}.sig", fallback_tag(digest))
}
