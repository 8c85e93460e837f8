//! Certificates for registries: an authority that the operator trusts, and certificates that it must refuse.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Certificate that a port presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    OtherName,
    OtherAuthority,
}

/// Protocol to negotiate in the handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Trusted authority, and another authority that is not trusted.
pub struct Authority {
    /// PEM file of the trusted authority, for `SSL_CERT_FILE`.
    pub file: PathBuf,
    trusted: Issuer<'static, KeyPair>,
    other: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn create(directory: &Path) -> Result<Self> {
        let (trusted, pem) = issuer("supercargo-e2e trusted")?;
        let (other, _) = issuer("supercargo-e2e unknown")?;
        let file = directory.join("authority.crt");
        fs_err::write(&file, pem)?;
        Ok(Self { file, trusted, other })
    }

    /// Returns an acceptor for 127.0.0.1.
    pub fn acceptor(&self, certificate: Certificate, protocol: Protocol) -> Result<TlsAcceptor> {
        let name = if certificate == Certificate::OtherName { "other.example" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        if certificate == Certificate::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let issuer = if certificate == Certificate::OtherAuthority { &self.other } else { &self.trusted };
        let key = KeyPair::generate()?;
        let mut config = server(&params.signed_by(&key, issuer)?, &key)?;
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Returns an acceptor for 127.0.0.1 with a self-signed certificate, and the certificate in PEM. The certificate is
/// that of an authority, as `openssl req -x509` makes, or of a server.
pub fn self_signed(is_authority: bool) -> Result<(TlsAcceptor, String)> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.is_ca = if is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params.distinguished_name.push(DnType::CommonName, "self-signed");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((TlsAcceptor::from(Arc::new(server(&certificate, &key)?)), certificate.pem()))
}

fn server(certificate: &rcgen::Certificate, key: &KeyPair) -> Result<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok(ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?)
}

fn issuer(name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}
