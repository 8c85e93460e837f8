//! Trusted roots: the trusted certificate authorities, logs and timestamp authorities, with their validity windows.
//!
//! The library trusts an authority for the whole window in the root. Here the validity of its certificates narrows that
//! window; and a log must have been trusted at every proven time, even if its entries carry no time themselves.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::error::Category;
use sigstore_verify::Verifier;
use sigstore_verify::crypto::{Keyring, parse_certificate_info};
use sigstore_verify::trust_root::{
    SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT, TimeRange, TrustedRoot,
};
use sigstore_verify::types::{DerCertificate, LogKeyId, TransparencyLogEntry, TsaAuthority};

use super::evidence::Problem;
use super::log::UNTRUSTED;
use crate::api::vocabulary::CertificateTransparency;
use crate::oci::{Digest, strict_json};

/// Date of the embedded roots (changelog of sigstore-trust-root, 0.15.1): 2026-10-23.
const CARRIED_SINCE: Timestamp = Timestamp::constant(1_792_713_600, 0);

/// Media types of a trusted root (protobuf-specs, `TrustedRoot.media_type`); clients write the first one.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// Trusted certificate authorities, logs and timestamp authorities.
#[derive(Clone)]
pub struct Root(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    fingerprint: Digest,
    has_ct_log: bool,
    /// Keys of the logs, for entries that the library does not support.
    log_keys: Keyring,
    timestamp_authorities: Vec<TsaAuthority>,
    /// Latest end of validity of the certificate authorities.
    authorities: Window,
    logs: Vec<Log>,
}

/// Transparency log with its validity window; `None` means always valid.
struct Log {
    id: LogKeyId,
    window: Option<TimeRange>,
}

/// Validity of a set of authorities or logs: none in it, until a time, or without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    None,
    Until(Timestamp),
    Open,
}

impl Window {
    fn of(ends: impl Iterator<Item = Option<Timestamp>>) -> Self {
        ends.fold(Self::None, |window, end| match (window, end) {
            (Self::Open, _) | (_, None) => Self::Open,
            (Self::None, Some(end)) => Self::Until(end),
            (Self::Until(one), Some(other)) => Self::Until(one.max(other)),
        })
    }

    fn is_open(self, now: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::Until(end) => now <= end,
            Self::Open => true,
        }
    }
}

/// Error for a trusted root that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Malformed JSON, or keys or certificates that do not parse. Never quotes the bytes: a root may come from a
    /// Secret, and readers of status may not be allowed to read that Secret.
    #[error("is not a valid trusted root: {0}")]
    Malformed(&'static str),
    /// Media type unknown to this release, in which the same fields may have another meaning.
    #[error("has an unknown mediaType; expected application/vnd.dev.sigstore.trustedroot+json;version=0.1")]
    MediaType,
    /// No currently valid authority or log of the required kind.
    #[error("contains no currently valid {0}")]
    Nothing(&'static str),
    /// Certificate transparency is required, and the root has no certificate transparency log.
    #[error("contains no certificate transparency log; add one, or set certificateTransparency: Ignored")]
    NoCtLog,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.0.fingerprint.short())
    }
}

impl Root {
    /// Returns the embedded root of the Sigstore public good instance. Parsed once, because every reconcile uses it.
    pub fn public_good() -> Result<Self, RootError> {
        static PARSED: OnceLock<Root> = OnceLock::new();
        if let Some(root) = PARSED.get() {
            return Ok(root.clone());
        }
        let root = Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes())?;
        Ok(PARSED.get_or_init(|| root).clone())
    }

    /// Returns the age of the embedded roots.
    pub fn carried_for(now: Timestamp) -> Duration {
        now.duration_since(CARRIED_SINCE).try_into().unwrap_or_default()
    }

    /// Returns the embedded root of the Sigstore staging instance.
    pub fn staging() -> Result<Self, RootError> {
        Self::parse(SIGSTORE_STAGING_TRUSTED_ROOT.as_bytes())
    }

    /// Parses a `trusted_root.json` (protobuf-specs, `TrustedRoot`).
    pub fn parse(json: &[u8]) -> Result<Self, RootError> {
        strict_json::check(json).map_err(|error| RootError::Malformed(kind_of(&error)))?;
        let text = std::str::from_utf8(json).map_err(|_| RootError::Malformed("it is not UTF-8 text"))?;
        let mut root = TrustedRoot::from_json(text)
            .map_err(|_| RootError::Malformed("its JSON does not match TrustedRoot of protobuf-specs"))?;
        for one in &mut root.certificate_authorities {
            narrow(&mut one.valid_for, one.cert_chain.certificates.iter().map(|entry| &entry.raw_bytes))?;
        }
        for one in &mut root.timestamp_authorities {
            narrow(&mut one.valid_for, one.cert_chain.certificates.iter().map(|entry| &entry.raw_bytes))?;
        }
        root.certificate_authorities.retain(|one| !is_never(one.valid_for));
        root.timestamp_authorities.retain(|one| !is_never(one.valid_for));
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(RootError::MediaType);
        }
        let verifier =
            Verifier::new(&root).map_err(|_| RootError::Malformed("a certificate or key in it cannot be used"))?;
        let log_keys = root.rekor_keys().map_err(|_| RootError::Malformed("the key of a log in it cannot be used"))?;
        let authorities = root.certificate_authorities.iter().map(|one| one.valid_for.and_then(|window| window.end));
        Ok(Self(Arc::new(Inner {
            verifier,
            fingerprint: Digest::of(json),
            has_ct_log: !root.ctlogs.is_empty(),
            log_keys,
            timestamp_authorities: root.tsa_authorities(),
            authorities: Window::of(authorities),
            logs: root
                .tlogs
                .into_iter()
                .map(|one| Log { id: one.log_id.key_id, window: one.public_key.valid_for })
                .collect(),
        })))
    }

    /// Returns the digest of the JSON bytes.
    pub fn fingerprint(&self) -> &Digest {
        &self.0.fingerprint
    }

    /// Fails if this root cannot verify any signature of the required kind. `certificates` is the certificate
    /// transparency mode if only certificates are accepted; `None` if keys are accepted too.
    pub fn check(
        &self,
        now: Timestamp,
        certificates: Option<CertificateTransparency>,
        log: bool,
    ) -> Result<(), RootError> {
        if certificates == Some(CertificateTransparency::Required) && !self.0.has_ct_log {
            return Err(RootError::NoCtLog);
        }
        if certificates.is_some() && !self.0.authorities.is_open(now) {
            return Err(RootError::Nothing("certificate authority"));
        }
        let logs = Window::of(self.0.logs.iter().map(|log| log.window.and_then(|window| window.end)));
        if log && !logs.is_open(now) {
            return Err(RootError::Nothing("transparency log"));
        }
        Ok(())
    }

    /// True if the root has a certificate transparency log.
    pub(super) fn has_ct_log(&self) -> bool {
        self.0.has_ct_log
    }

    pub(super) fn log_keys(&self) -> &Keyring {
        &self.0.log_keys
    }

    pub(super) fn timestamp_authorities(&self) -> &[TsaAuthority] {
        &self.0.timestamp_authorities
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// Fails unless the log that an entry names is trusted, was trusted at each of these times, and is the only log of
    /// the root whose key ID is on the checkpoint. The library checks no time of an entry of version 2.
    pub(super) fn check_log(&self, entry: &TransparencyLogEntry, times: &[Timestamp]) -> Result<(), Problem> {
        let problem = |text: &str| Err(Problem::Log(text.to_owned()));
        let Some(log) = self.0.logs.iter().find(|log| log.id == entry.log_id.key_id) else {
            return problem(UNTRUSTED);
        };
        let checkpoint = entry.inclusion_proof.as_ref().and_then(|proof| proof.checkpoint.checkpoint());
        let mut signatures = checkpoint.iter().flat_map(|checkpoint| checkpoint.signatures());
        let has_signed = |other: &Log, hint: &[u8]| other.id != log.id && other.id.as_bytes().starts_with(hint);
        if signatures.any(|one| self.0.logs.iter().any(|other| has_signed(other, one.key_id.as_bytes()))) {
            return problem("the checkpoint is signed by another log than the one that the entry names");
        }
        if times.iter().any(|time| !log.window.is_none_or(|window| window.contains(*time))) {
            return problem("its log was not trusted at the time of the signature");
        }
        Ok(())
    }
}

/// Returns the kind of a parser error, without its text.
fn kind_of(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Data => "its JSON repeats a key, or is nested too deep or too large",
        Category::Io | Category::Syntax | Category::Eof => "it is not JSON",
    }
}

/// Narrows a window to the time in which every certificate of the chain is valid. The library treats each certificate
/// of the root as an anchor that never expires.
fn narrow<'a>(
    window: &mut Option<TimeRange>,
    chain: impl Iterator<Item = &'a DerCertificate>,
) -> Result<(), RootError> {
    for certificate in chain {
        let own = parse_certificate_info(certificate)
            .map_err(|_| RootError::Malformed("a certificate in it cannot be parsed"))?;
        let (start, end) = window.map_or((own.not_before, None), |window| (window.start, window.end));
        let end = end.map_or(own.not_after, |end| end.min(own.not_after));
        *window = Some(TimeRange::new(start.max(own.not_before), Some(end)));
    }
    Ok(())
}

/// True if a window ends before it begins: no certificate of that authority can have been valid.
fn is_never(window: Option<TimeRange>) -> bool {
    window.is_some_and(|window| window.end.is_some_and(|end| end < window.start))
}
