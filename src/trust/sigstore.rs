//! Bundles, keys and trusted roots: the only module that uses the library which verifies them.
//!
//! The library checks signatures, certificates, timestamps and log entries, each against the given trusted root or key.
//! The signed content, the signer and the requirement are judged in the callers.

use std::fmt;

use jiff::Timestamp;
use sigstore_verify::bundle::{ValidationOptions, validate_bundle_with_options};
use sigstore_verify::crypto::{
    KeyAlgorithm, SigningScheme, SubjectAltName, parse_certificate_info, verify_signature, verify_signature_prehashed,
};
use sigstore_verify::tsa::verify_timestamp_for_authority;
use sigstore_verify::types::bundle::{MessageSignature, VerificationMaterialContent};
use sigstore_verify::types::{
    self, Artifact, DerCertificate, DerPublicKey, DsseEnvelope, MediaType, Sha256Hash, SignatureContent,
    TimestampToken, TransparencyLogEntry,
};
use sigstore_verify::{Error, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use crate::api::verify::CertificateTransparency;
use crate::oci::{Digest, strict_json};

mod choice;
mod entry;
mod log;
mod root;

pub(super) use log::bytes_of_hex;
pub use root::{Root, RootError};

use log::Verifier;

/// Problem of a trusted root without a certificate transparency log where one is required.
const NO_CT_LOG: &str =
    "the trusted root has no certificate transparency log (certificateTransparency: Ignored does without)";
/// Payload type of an envelope with an in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Public key of a supported kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
    fingerprint: Digest,
}

/// Error for a text that is not a supported public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not exactly one PEM block called PUBLIC KEY.
    #[error("is no public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")]
    Pem,
    /// Unsupported kind of key.
    #[error("is a public key of a kind that is not supported; P-256, P-384, Ed25519 and RSA are")]
    Kind,
}

impl Key {
    /// Parses one `PUBLIC KEY` block (RFC 7468 section 13).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError::Pem)?;
        if text.matches("-----BEGIN").count() != 1 {
            return Err(KeyError::Pem);
        }
        let der = DerPublicKey::from_pem(text.trim()).map_err(|_| KeyError::Pem)?;
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(|_| KeyError::Kind)?;
        let key = Self::of(der, algorithm);
        if key.schemes().is_empty() { Err(KeyError::Kind) } else { Ok(key) }
    }

    fn of(der: DerPublicKey, algorithm: KeyAlgorithm) -> Self {
        Self { fingerprint: Digest::of(der.as_bytes()), der, algorithm }
    }

    /// Returns the digest of its `SubjectPublicKeyInfo`, the usual fingerprint of a key.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Returns the signature schemes that the key may have used: cosign hashes with SHA-256 for every curve, other
    /// clients with the hash that fits the curve.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may know more kinds than are offered")]
    fn schemes(&self) -> &'static [SigningScheme] {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &[SigningScheme::EcdsaP256Sha256],
            KeyAlgorithm::EcdsaP384 => &[SigningScheme::EcdsaP384Sha384, SigningScheme::EcdsaP384Sha256],
            KeyAlgorithm::Ed25519 => &[SigningScheme::Ed25519],
            KeyAlgorithm::Rsa => &[SigningScheme::RsaPkcs1Sha256],
            _ => &[],
        }
    }
}

/// Expected subject of a signature.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signed<'a> {
    /// The artifact with this digest, or a statement about it.
    Artifact(&'a Digest),
    /// Exactly these bytes.
    Bytes(&'a [u8]),
}

/// Reason to reject a signature as invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// Made by another key, or for other content.
    #[error("the key did not make it")]
    OtherKey,
    /// Not proven to be in the transparency log.
    #[error("{0}")]
    Log(String),
    /// Any other problem.
    #[error("{0}")]
    Broken(String),
}

impl From<Error> for Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may tell more; all of it is broken")]
    fn from(error: Error) -> Self {
        match error {
            Error::TransparencyLog(error) => Self::Log(error.to_string()),
            Error::Bundle(error) if error.to_string().contains("nclusion") => Self::Log(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

/// Facts that a valid signature proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Identity in the certificate; `None` for a signature by key.
    pub(super) identity: Option<Identity>,
    /// Earliest time attested by a log or a timestamp authority.
    pub(super) time: Option<Timestamp>,
    /// Index of the entry in the transparency log.
    pub(super) log_index: Option<u64>,
}

/// Identity in a certificate: the issuer and the subject that it vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) issuer: String,
    pub(super) subject: Subject,
}

/// Subject of a certificate. Its kind matters: an email address never matches a rule for URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Email(String),
    Uri(String),
    /// Neither an email address nor a URI, such as the `otherName` of Fulcio's username identities. The library returns
    /// no text for it, so only the issuer can be matched.
    Other,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(text) | Self::Uri(text) => f.write_str(text),
            Self::Other => f.write_str("a subject that is neither an email address nor a URI"),
        }
    }
}

/// Verification material named by a bundle. It is unsigned: it only decides which check to try.
pub(super) enum Material<'a> {
    Certificate,
    /// Key hint of the bundle, in a format of the client's choice.
    Key(&'a str),
}

/// A Sigstore bundle (protobuf-specs, `Bundle`), versions 0.1 to 0.3.
#[derive(Debug)]
pub(super) struct Bundle(types::Bundle);

impl Bundle {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let broken = |error: &dyn fmt::Display| Problem::Broken(format!("is no bundle: {error}"));
        strict_json::check(bytes).map_err(|error| broken(&error))?;
        let text = std::str::from_utf8(bytes).map_err(|error| broken(&error))?;
        choice::check(text).map_err(|error| broken(&error))?;
        types::Bundle::from_json(text).map(Self).map_err(|error| broken(&error))
    }

    pub(super) fn material(&self) -> Material<'_> {
        match &self.0.verification_material.content {
            VerificationMaterialContent::PublicKey(key) => Material::Key(&key.hint),
            VerificationMaterialContent::Certificate(_)
            | VerificationMaterialContent::X509CertificateChain { .. }
            | _ => Material::Certificate,
        }
    }

    /// Returns the statement in the envelope; `None` if the artifact itself is signed.
    pub(super) fn statement(&self) -> Result<Option<&[u8]>, Problem> {
        match &self.0.content {
            SignatureContent::MessageSignature(_) => Ok(None),
            SignatureContent::DsseEnvelope(envelope) if envelope.payload_type == STATEMENT => {
                Ok(Some(envelope.payload.as_bytes()))
            }
            SignatureContent::DsseEnvelope(_) | _ => {
                Err(Problem::Broken("its envelope holds no in-toto statement".to_owned()))
            }
        }
    }

    /// Verifies the signature with the certificate in the bundle: the certificate chains to an authority of the root,
    /// is in a certificate transparency log if that is required, and the signature is in the root's log. The caller
    /// judges the identity.
    pub(super) fn by_certificate(
        &self,
        signed: Signed<'_>,
        root: &Root,
        transparency: CertificateTransparency,
        proven: bool,
    ) -> Result<Evidence, Problem> {
        self.check_proofs(proven)?;
        let wants_sct = transparency == CertificateTransparency::Required;
        if wants_sct && !root.has_ct_log() {
            return Err(Problem::Broken(NO_CT_LOG.to_owned()));
        }
        let policy = VerificationPolicy::any_identity();
        let policy = if wants_sct { policy } else { policy.skip_sct() };
        let certificate = self.0.signing_certificate();
        let certificate = certificate.ok_or_else(|| Problem::Broken("it has no certificate".to_owned()))?;
        let verifier = Verifier::Certificate(certificate);
        let is_read = self.is_read_by_library(verifier);
        let result = if is_read {
            self.check_sha256()?;
            root.verifier().verify(artifact(signed)?, &self.0, &policy)?
        } else {
            // The library verifies the certificate and the signature; the entries are verified in `log`.
            root.verifier().verify(artifact(signed)?, &self.without_entries(), &policy.skip_tlog_unsafe())?
        };
        let is_whole = result.certificate_verified()
            && result.tlog_verified() == is_read
            && result.sct_verified() == wants_sct
            && !result.verified_timestamps().is_empty();
        let identity = identity(&result).filter(|_| is_whole);
        let identity = identity.ok_or_else(|| Problem::Broken("the certificate names no identity".to_owned()))?;
        let mut times: Vec<Timestamp> = result.verified_timestamps().to_vec();
        if !is_read {
            self.check_entries(signed, verifier, root)?;
            self.check_validity(certificate)?;
            times.extend(log::promised_times(self.entries()));
        }
        self.check_logs(root, &times)?;
        times.extend(result.integrated_time());
        Ok(Evidence { identity: Some(identity), ..self.evidence(&times) })
    }

    /// Verifies the signature with a key, and its inclusion in the root's log.
    pub(super) fn by_key_in_log(
        &self,
        signed: Signed<'_>,
        key: &Key,
        root: &Root,
        proven: bool,
    ) -> Result<Evidence, Problem> {
        self.by_key(signed, key)?;
        self.check_proofs(proven)?;
        let verifier = Verifier::Key(key);
        let mut times = if self.is_read_by_library(verifier) {
            self.check_sha256()?;
            let policy = PublicKeyVerificationPolicy::new(key.der.clone());
            let result = root.verifier().verify(artifact(signed)?, &self.0, &policy)?;
            if !result.tlog_verified() {
                return Err(Problem::Log("it is in no log".to_owned()));
            }
            self.check_logs(root, result.verified_timestamps())?;
            result.verified_timestamps().iter().copied().chain(result.integrated_time()).collect()
        } else {
            let options = ValidationOptions::new().with_require_inclusion_proof(true);
            validate_bundle_with_options(&self.0, &options).map_err(|error| Problem::from(Error::Bundle(error)))?;
            self.check_entries(signed, verifier, root)?;
            let mut times = self.timestamps(root)?;
            times.extend(log::promised_times(self.entries()));
            self.check_logs(root, &times)?;
            times
        };
        times.sort();
        Ok(self.evidence(&times))
    }

    /// True if the library supports every entry for this key or certificate.
    fn is_read_by_library(&self, verifier: Verifier<'_>) -> bool {
        self.entries().iter().all(|entry| verifier.is_read_by_library(entry))
    }

    /// Returns a copy of the bundle without log entries. Signed timestamps stay.
    fn without_entries(&self) -> types::Bundle {
        let mut bundle = self.0.clone();
        bundle.verification_material.tlog_entries.clear();
        bundle
    }

    fn check_entries(&self, signed: Signed<'_>, verifier: Verifier<'_>, root: &Root) -> Result<(), Problem> {
        let check = |entry| log::check(entry, &self.0.content, signed, verifier, root.log_keys());
        self.entries().iter().try_for_each(check)
    }

    /// Fails if a log's inclusion promise is for a time at which the certificate was not valid.
    fn check_validity(&self, certificate: &DerCertificate) -> Result<(), Problem> {
        let info = parse_certificate_info(certificate).map_err(|error| Problem::Broken(error.to_string()))?;
        let is_valid = |time: Timestamp| info.not_before <= time && time <= info.not_after;
        if log::promised_times(self.entries()).all(is_valid) {
            return Ok(());
        }
        Err(Problem::Log("the certificate was not valid when the log took the signature in".to_owned()))
    }

    /// Returns the times signed by the root's timestamp authorities. Fails if a timestamp does not verify.
    fn timestamps(&self, root: &Root) -> Result<Vec<Timestamp>, Problem> {
        let signature = match &self.0.content {
            SignatureContent::MessageSignature(message) => &message.signature,
            SignatureContent::DsseEnvelope(envelope) => &envelope.signature.sig,
            _ => return Err(Problem::Broken("it holds no signature that is known".to_owned())),
        };
        let tokens = self.0.verification_material.timestamp_verification_data.rfc3161_timestamps.iter();
        let verified = |token: &TimestampToken| {
            let mut authorities = root.timestamp_authorities().iter();
            authorities.find_map(|authority| verify_timestamp_for_authority(token, signature, authority).ok())
        };
        let refused = || Problem::Broken("a timestamp in it is of no trusted authority".to_owned());
        tokens.map(|one| verified(&one.signed_timestamp).ok_or_else(refused)).collect()
    }

    /// Verifies the signature with a key alone; log entries and timestamps are ignored.
    pub(super) fn by_key(&self, signed: Signed<'_>, key: &Key) -> Result<Evidence, Problem> {
        let is_by = |scheme: &SigningScheme| match &self.0.content {
            SignatureContent::DsseEnvelope(envelope) => is_of_envelope(envelope, key, *scheme),
            SignatureContent::MessageSignature(message) => is_of_message(message, signed, key, *scheme),
            _ => false,
        };
        let is_by_key = matches!(self.material(), Material::Key(_)) && key.schemes().iter().any(is_by);
        if is_by_key { Ok(Evidence { identity: None, time: None, log_index: None }) } else { Err(Problem::OtherKey) }
    }

    fn entries(&self) -> &[TransparencyLogEntry] {
        &self.0.verification_material.tlog_entries
    }

    /// Requires at least one log entry. With `proven` each needs an inclusion proof. Otherwise a bundle of version 0.1
    /// may rely on promises alone, but its version is unsigned, so that must not weaken the other bundles.
    fn check_proofs(&self, proven: bool) -> Result<(), Problem> {
        let problem = |text: &str| Err(Problem::Log(text.to_owned()));
        if self.entries().is_empty() {
            return problem("it is in no log");
        }
        let proofs = self.entries().iter().filter(|entry| entry.inclusion_proof.is_some()).count();
        // With one proof, each entry needs one: the version that would allow otherwise is unsigned.
        if proofs < self.entries().len() && (proven || proofs > 0 || !self.may_be_of_promises()) {
            return problem("nothing proves that it is in the log");
        }
        if !self.entries().iter().all(entry::is_what_it_is_called) {
            return problem("the entry of the log is not what it is called");
        }
        if !self.entries().iter().all(entry::is_of_signed_tree) {
            return problem("the proof is of a tree of another size than the one that the log has signed");
        }
        Ok(())
    }

    /// True for the form of bundles in which a promise was enough: version 0.1, with a certificate chain or a key.
    fn may_be_of_promises(&self) -> bool {
        let is_chain = !matches!(self.0.verification_material.content, VerificationMaterialContent::Certificate(_));
        self.0.media_type() == MediaType::Bundle0_1 && is_chain
    }

    fn check_sha256(&self) -> Result<(), Problem> {
        if self.entries().iter().all(entry::is_of_sha256) {
            return Ok(());
        }
        Err(Problem::Log("the log does not have it by its SHA-256".to_owned()))
    }

    fn check_logs(&self, root: &Root, times: &[Timestamp]) -> Result<(), Problem> {
        self.entries().iter().try_for_each(|entry| root.check_log(entry, times))
    }

    fn evidence(&self, times: &[Timestamp]) -> Evidence {
        let entry = self.entries().first().filter(|entry| entry::has_proven_index(entry));
        Evidence {
            identity: None,
            time: times.iter().copied().min(),
            log_index: entry.map(|entry| entry.log_index.get()),
        }
    }
}

fn identity(result: &VerificationResult) -> Option<Identity> {
    let subject = match result.identity() {
        Some(SubjectAltName::Email(text)) => Subject::Email(text.clone()),
        Some(SubjectAltName::Uri(text)) => Subject::Uri(text.clone()),
        Some(_) | None => Subject::Other,
    };
    Some(Identity { issuer: result.issuer()?.to_owned(), subject })
}

fn is_of_envelope(envelope: &DsseEnvelope, key: &Key, scheme: SigningScheme) -> bool {
    verify_signature(&key.der, &envelope.pae(), &envelope.signature.sig, scheme).is_ok()
}

fn is_of_message(message: &MessageSignature, signed: Signed<'_>, key: &Key, scheme: SigningScheme) -> bool {
    match signed {
        Signed::Bytes(bytes) => verify_signature(&key.der, bytes, &message.signature, scheme).is_ok(),
        Signed::Artifact(digest) => {
            let is_sha256 = scheme.hash_algorithm().is_some_and(|hash| hash == types::HashAlgorithm::Sha2256);
            is_sha256 && verify_signature_prehashed(&key.der, digest.as_bytes(), &message.signature, scheme).is_ok()
        }
    }
}

fn artifact(signed: Signed<'_>) -> Result<Artifact<'_>, Problem> {
    Ok(match signed {
        Signed::Bytes(bytes) => Artifact::from_blob(bytes),
        Signed::Artifact(digest) => {
            let hash = Sha256Hash::from_hex(&digest.hex()).map_err(|error| Problem::Broken(error.to_string()))?;
            Artifact::from(hash)
        }
    })
}
