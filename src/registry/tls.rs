//! What one object changes about TLS: authorities, a certificate of its own, no check. Pure.
//!
//! Three separate things, none a fallback for another. Everything is parsed here, so that a
//! certificate that cannot be used is told by the name of what holds it, not by a failed handshake.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::oci::{Digest, Hasher};

/// Most certificates of one bundle: the public web's authorities are about 150.
const MAX_CERTIFICATES: usize = 500;

/// How TLS is spoken; the default is the system's authorities and nothing else.
#[derive(Clone, Default)]
pub struct TlsOptions {
    authorities: Arc<Vec<CertificateDer<'static>>>,
    /// PEM of a certificate chain and its key, which are known to be a pair.
    client: Option<Arc<Vec<u8>>>,
    skip_verify: bool,
    /// Over all of the above; `None` for the default.
    identity: Option<Digest>,
}

/// Why PEM text is no use. Never quotes it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// Nothing that begins with `-----BEGIN CERTIFICATE-----`.
    #[error("it holds no PEM certificate")]
    NoCertificate,
    /// More than anybody needs.
    #[error("it holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// A certificate that is not one.
    #[error("a certificate in it cannot be parsed")]
    Certificate,
    /// No private key that we can use.
    #[error("it holds no PEM private key of a supported kind")]
    Key,
    /// Two halves that are not of one whole.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl TlsOptions {
    /// Trusts these authorities, PEM, besides the system's.
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

    /// Shows this certificate, PEM, to registries that ask for one.
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

    /// The same, for a host that the certificate is not meant for.
    pub(super) fn without_client_certificate(&self) -> Self {
        let mut without = Self { client: None, ..self.clone() };
        without.identity = without.compute_identity();
        without
    }

    /// Accepts any certificate.
    pub fn skip_verify(&mut self) {
        self.skip_verify = true;
        self.identity = self.compute_identity();
    }

    /// Tells options apart without holding keys: connections, tokens and whatever else is remembered of
    /// a host are shared only between equal ones. `None` for the default.
    pub(super) fn identity(&self) -> Option<Digest> {
        self.identity.clone()
    }

    /// Once for each change: a bundle of authorities is long, and this is asked for with each request.
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

    pub(super) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.authorities.iter().map(AsRef::as_ref)
    }

    /// Chain and key in PEM, where there are some.
    pub(super) fn client(&self) -> Option<&[u8]> {
        self.client.as_ref().map(|pem| pem.as_slice())
    }

    pub(super) fn skips_verify(&self) -> bool {
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

    /// A certificate and its key, PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["r.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_cannot_be_used_is_told_when_it_is_read() {
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
    fn options_are_equal_only_where_everything_is() {
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
