//! Verification of a bundle: its signature, and its entries in the transparency log.

use std::fmt;

use jiff::Timestamp;
use sigstore_verify::bundle::{ValidationOptions, validate_bundle_with_options};
use sigstore_verify::crypto::{SigningScheme, SubjectAltName, parse_certificate_info};
use sigstore_verify::tsa::verify_timestamp_for_authority;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{
    self, Artifact, DerCertificate, MediaType, Sha256Hash, SignatureContent, TimestampToken, TransparencyLogEntry,
};
use sigstore_verify::{Error, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use super::evidence::{Evidence, Problem};
use super::key::PublicKey;
use super::log::{self, Verifier};
use super::root::Root;
use super::signature::{self, Signed};
use super::{choice, entry};
use crate::api::vocabulary::CertificateTransparency;
use crate::oci::strict_json;
use crate::trust::identity::{CertificateSubject, Identity};

/// Problem of a trusted root without a certificate transparency log where one is required.
const NO_CT_LOG: &str =
    "the trusted root has no certificate transparency log (not needed with certificateTransparency: Ignored)";
/// Problem of a bundle without a log entry where one is required.
const NO_ENTRY: &str = "it has no transparency log entry";
/// Payload type of an envelope with an in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Verification material named by a bundle. It is unsigned: it only decides which check to try.
pub(in crate::trust) enum Material<'a> {
    Certificate,
    /// Key hint of the bundle, in a format of the client's choice.
    Key(&'a str),
}

/// A Sigstore bundle (protobuf-specs, `Bundle`), versions 0.1 to 0.3.
#[derive(Debug)]
pub(in crate::trust) struct Bundle(types::Bundle);

impl Bundle {
    pub(in crate::trust) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let broken = |error: &dyn fmt::Display| Problem::Broken(format!("not a valid bundle: {error}"));
        strict_json::check(bytes).map_err(|error| broken(&error))?;
        let text = std::str::from_utf8(bytes).map_err(|error| broken(&error))?;
        choice::check(text).map_err(|error| broken(&error))?;
        types::Bundle::from_json(text).map(Self).map_err(|error| broken(&error))
    }

    pub(in crate::trust) fn material(&self) -> Material<'_> {
        match &self.0.verification_material.content {
            VerificationMaterialContent::PublicKey(key) => Material::Key(&key.hint),
            VerificationMaterialContent::Certificate(_)
            | VerificationMaterialContent::X509CertificateChain { .. }
            | _ => Material::Certificate,
        }
    }

    /// Returns the statement in the envelope; `None` if the artifact itself is signed.
    pub(in crate::trust) fn statement(&self) -> Result<Option<&[u8]>, Problem> {
        match &self.0.content {
            SignatureContent::MessageSignature(_) => Ok(None),
            SignatureContent::DsseEnvelope(envelope) if envelope.payload_type == STATEMENT => {
                Ok(Some(envelope.payload.as_bytes()))
            }
            SignatureContent::DsseEnvelope(_) | _ => {
                Err(Problem::Broken("its envelope contains no in-toto statement".to_owned()))
            }
        }
    }

    /// Verifies the signature with the certificate in the bundle: the certificate chains to an authority of the root,
    /// is in a certificate transparency log if that is required, and the signature is in the root's log. The caller
    /// judges the identity.
    pub(in crate::trust) fn by_certificate(
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
        let identity = identity.ok_or_else(|| Problem::Broken("the signing certificate has no identity; expected an email address or a URI as subject alternative name".to_owned()))?;
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
    pub(in crate::trust) fn by_key_in_log(
        &self,
        signed: Signed<'_>,
        key: &PublicKey,
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
                return Err(Problem::Log(NO_ENTRY.to_owned()));
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
        Err(Problem::Log("the certificate was not valid when the log recorded the signature".to_owned()))
    }

    /// Returns the times signed by the root's timestamp authorities. Fails if a timestamp does not verify.
    fn timestamps(&self, root: &Root) -> Result<Vec<Timestamp>, Problem> {
        let signature = signature::of(&self.0.content)?;
        let tokens = self.0.verification_material.timestamp_verification_data.rfc3161_timestamps.iter();
        let verified = |token: &TimestampToken| {
            let mut authorities = root.timestamp_authorities().iter();
            authorities.find_map(|authority| verify_timestamp_for_authority(token, signature, authority).ok())
        };
        let refused = || Problem::Broken("a timestamp is not signed by a trusted authority".to_owned());
        tokens.map(|one| verified(&one.signed_timestamp).ok_or_else(refused)).collect()
    }

    /// Verifies the signature with a key alone; log entries and timestamps are ignored.
    pub(in crate::trust) fn by_key(&self, signed: Signed<'_>, key: &PublicKey) -> Result<Evidence, Problem> {
        let is_by = |scheme: &SigningScheme| signature::verifies(&self.0.content, signed, key, *scheme);
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
            return problem(NO_ENTRY);
        }
        let proofs = self.entries().iter().filter(|entry| entry.inclusion_proof.is_some()).count();
        // With one proof, each entry needs one: the version that would allow otherwise is unsigned.
        if proofs < self.entries().len() && (proven || proofs > 0 || !self.may_be_of_promises()) {
            return problem(log::UNPROVEN);
        }
        if !self.entries().iter().all(entry::has_claimed_kind) {
            return problem("the log entry's body has a different kind or version than the bundle claims");
        }
        if !self.entries().iter().all(entry::has_signed_tree_size) {
            return problem("the inclusion proof and the signed checkpoint disagree on the tree size");
        }
        Ok(())
    }

    /// True for the form of bundles in which a promise was enough: version 0.1, with a certificate chain or a key.
    fn may_be_of_promises(&self) -> bool {
        let is_chain = !matches!(self.0.verification_material.content, VerificationMaterialContent::Certificate(_));
        self.0.media_type() == MediaType::Bundle0_1 && is_chain
    }

    fn check_sha256(&self) -> Result<(), Problem> {
        if self.entries().iter().all(entry::records_sha256) {
            return Ok(());
        }
        Err(Problem::Log("the log entry does not record a SHA-256 digest".to_owned()))
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
        Some(SubjectAltName::Email(text)) => CertificateSubject::Email(text.clone()),
        Some(SubjectAltName::Uri(text)) => CertificateSubject::Uri(text.clone()),
        Some(_) | None => CertificateSubject::Other,
    };
    Some(Identity { issuer: result.issuer()?.to_owned(), subject })
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
