//! What signs: the real cosign, keys of every kind, and a Sigstore of its own for identities.
//!
//! ```text
//!                                 ┌────────────────────── PrivateSigstore ───────────────────────┐
//!   Cosign ─── identity token ──▶ │ Fulcio ──── asks for the keys of ───▶ issuers, in the harness │
//!     │                           │ Rekor v2, on a file system                                    │
//!     │                           │ timestamp authority                                           │
//!     ▼                           └───────────────────────────────────────────────────────────────┘
//!   registry: `sha256-<hex>` or a referrer; `sha256-<hex>.sig`
//! ```
//!
//! What cosign would not say is signed by hand ([`handmade`]) and logged by hand ([`HandmadeLog`]), in its shapes; what Fulcio
//! would not certify is certified by hand ([`HandmadeAuthority`]); what others signed in earnest is [`Published`]. Whom to trust is
//! handed out by a [`TufRepository`].
//!
//! There is no log of certificates, so no certificate says that it was logged (no SCT). Signing two things about one
//! digest at once loses one of them where the registry has no referrers API.

mod authority;
mod cosign;
pub mod handmade;
mod handmade_authority;
mod identity;
mod issuers;
mod key;
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

/// What cosign's signatures are: artifact type, media type of the layer.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The type of the statement in them.
pub const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The layers of what stands under `.sig`.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The tag that stands for the referrers API where there is none: `sha256-<hex>`.
pub fn fallback_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

/// The tag of legacy signatures: `sha256-<hex>.sig`.
pub fn legacy_tag(digest: &str) -> String {
    format!("{}.sig", fallback_tag(digest))
}
