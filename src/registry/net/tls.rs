//! TLS options of one object: additional authorities, a client certificate, disabled verification. Pure.
//!
//! The three options are independent, and none is a fallback for another. Everything is parsed here, so that an
//! invalid certificate is reported with the name of the object that holds it, not as a failed handshake.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::oci::{Digest, Hasher};

/// Maximum number of certificates in a bundle: the public web has about 150 authorities.
const MAX_CERTIFICATES: usize = 500;

/// TLS options; by default, only the system's authorities are trusted.
#[derive(Clone, Default)]
pub struct TlsOptions {
    authorities: Arc<Vec<CertificateDer<'static>>>,
    /// Certificate chain and private key in PEM, checked to match.
    client: Option<Arc<Vec<u8>>>,
    skip_verify: bool,
    /// Digest over all options; `None` for the default.
    identity: Option<Digest>,
}

/// Reason why PEM text is invalid. Never quotes the text.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// No `-----BEGIN CERTIFICATE-----`.
    #[error("no PEM certificate")]
    NoCertificate,
    /// Too many certificates.
    #[error("more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// An invalid certificate.
    #[error("invalid certificate")]
    Certificate,
    /// No private key of a supported type.
    #[error("no PEM private key of a supported kind")]
    Key,
    /// A private key that does not match the certificate.
    #[error("the private key does not match the certificate")]
    Mismatch,
}

impl TlsOptions {
    /// Trusts these authorities (PEM) in addition to the system's.
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), TlsError> {
        let authorities = certificates(pem)?;
        let mut probe = rustls::RootCertStore::empty();
        for authority in &authorities {
            probe.add(authority.clone()).map_err(|_| TlsError::Certificate)?;
        }
        self.authorities = Arc::new(authorities);
        self.identity = self.compute_identity();
        Ok(())
    }

    /// Presents this client certificate (PEM) to registries that request one.
    pub fn show(&mut self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let chain = certificates(certificate)?;
        let parsed = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&parsed).map_err(|_| TlsError::Key)?;
        match rustls::sign::CertifiedKey::new(chain, signing).keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsError::Mismatch),
            Err(_) => return Err(TlsError::Certificate),
        }
        self.client = Some(Arc::new([certificate, b"\n", key].concat()));
        self.identity = self.compute_identity();
        Ok(())
    }

    /// Returns the options without the client certificate, for a host that must not receive it.
    pub(in crate::registry) fn without_client_certificate(&self) -> Self {
        let mut without = Self { client: None, ..self.clone() };
        without.identity = without.compute_identity();
        without
    }

    /// Disables verification of server certificates.
    pub fn skip_verify(&mut self) {
        self.skip_verify = true;
        self.identity = self.compute_identity();
    }

    /// Returns a digest that identifies the options without containing keys. Connections, tokens and other state of a
    /// host are shared only between equal options. `None` for the default.
    pub(in crate::registry) fn identity(&self) -> Option<Digest> {
        self.identity.clone()
    }

    /// Computed once per change, because a bundle of authorities is long and the identity is needed for each request.
    fn compute_identity(&self) -> Option<Digest> {
        if self.authorities.is_empty() && self.client.is_none() && !self.skip_verify {
            return None;
        }
        let mut hasher = Hasher::default();
        hasher.field(&[u8::from(self.skip_verify)]);
        hasher.field(&(self.authorities.len() as u64).to_le_bytes());
        self.authorities.iter().for_each(|authority| hasher.field(authority));
        hasher.field(self.client.as_ref().map_or(&[], |pem| pem.as_slice()));
        Some(hasher.finish())
    }

    pub(in crate::registry) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.authorities.iter().map(AsRef::as_ref)
    }

    /// The certificate chain and key in PEM, if configured.
    pub(in crate::registry) fn client(&self) -> Option<&[u8]> {
        self.client.as_ref().map(|pem| pem.as_slice())
    }

    pub(in crate::registry) fn skips_verify(&self) -> bool {
        self.skip_verify
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .field("skip_verify", &self.skip_verify)
            .finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Certificate)?;
    match found.len() {
        0 => Err(TlsError::NoCertificate),
        1..=MAX_CERTIFICATES => Ok(found),
        _ => Err(TlsError::TooMany),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a certificate and its key in PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["r.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn invalid_pem_is_refused_when_it_is_parsed() {
        let ((certificate, key), (_, other_key)) = (pair(), pair());
        let trust = |pem: &str| TlsOptions::default().trust(pem.as_bytes());
        let show = |certificate: &str, key: &str| TlsOptions::default().show(certificate.as_bytes(), key.as_bytes());
        assert_eq!(trust(&certificate), Ok(()));
        assert_eq!(trust(&certificate.repeat(MAX_CERTIFICATES + 1)), Err(TlsError::TooMany));
        assert_eq!(trust(""), Err(TlsError::NoCertificate));
        assert_eq!(trust(&key), Err(TlsError::NoCertificate));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(trust(nonsense), Err(TlsError::Certificate));
        assert_eq!(show(&certificate, &key), Ok(()));
        assert_eq!(show(&certificate, &other_key), Err(TlsError::Mismatch));
        assert_eq!(show(&certificate, &certificate), Err(TlsError::Key));
        assert_eq!(show(&key, &key), Err(TlsError::NoCertificate));
        assert_eq!(show(nonsense, &key), Err(TlsError::Certificate));
    }

    #[test]
    fn options_are_equal_only_if_every_part_is() {
        let (certificate, key) = pair();
        let with = |change: &dyn Fn(&mut TlsOptions)| {
            let mut options = TlsOptions::default();
            change(&mut options);
            options
        };
        let all = [
            TlsOptions::default(),
            with(&TlsOptions::skip_verify),
            with(&|options| options.trust(certificate.as_bytes()).unwrap()),
            with(&|options| options.trust(pair().0.as_bytes()).unwrap()),
            with(&|options| options.show(certificate.as_bytes(), key.as_bytes()).unwrap()),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other.identity() != one.identity()), "row {index}");
        }
        assert_eq!(all[0].identity(), None);
        assert_eq!(all[4].without_client_certificate().identity(), None);
        let shown = format!("{:?}", all[4]);
        assert!(!shown.contains("PRIVATE") && !shown.contains(key.lines().nth(1).unwrap()), "{shown}");
    }
}
