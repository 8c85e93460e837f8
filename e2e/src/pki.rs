//! Certificates of one run: authorities, the certificates that they sign, and the keys of a control plane.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Names of every server on loopback.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "localhost"];

/// Certificate authority; its key is in memory only.
#[derive(Debug)]
pub struct Authority {
    /// Certificate of the authority, a PEM file.
    pub certificate: PathBuf,
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// Certificate and its key, both PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority that writes the certificates it signs to `directory`, beside its own `ca.crt`.
    ///
    /// Independent authorities must have different names: clients treat the certificate of a namesake as one of the
    /// authority's own with an invalid signature.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = directory.join("ca.crt");
        fs_err::write(&certificate, params.self_signed(&key)?.pem())?;
        Ok(Self { certificate, directory: directory.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Issues `server.crt` and `server.key` for a server on loopback, which may have more names.
    pub fn server(&self, name: &str, more: &[&str]) -> Result<Identity> {
        let names: Vec<String> = LOOPBACK.iter().chain(more).map(ToString::to_string).collect();
        self.sign("server", name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues `client.crt` and `client.key` for a client.
    pub fn client(&self, name: &str) -> Result<Identity> {
        self.sign("client", name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, file: &str, name: &str, names: Vec<String>, usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let path = |end: &str| self.directory.join(format!("{file}.{end}"));
        let identity = Identity { certificate: path("crt"), key: path("key") };
        let key = KeyPair::generate()?;
        fs_err::write(&identity.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        fs_err::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

/// PEM files of a control plane.
#[derive(Debug, Clone)]
pub struct Pki {
    pub authority: PathBuf,
    pub server: Identity,
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
}

impl Pki {
    pub fn create(directory: &Path) -> Result<Self> {
        let authority = Authority::create(directory, "supercargo-e2e")?;
        let pki = Self {
            server: authority.server("kube-apiserver", &["kubernetes.default.svc"])?,
            authority: authority.certificate,
            service_account_key: directory.join("service-account.key"),
            service_account_public_key: directory.join("service-account.pub"),
        };
        let key = KeyPair::generate()?;
        fs_err::write(&pki.service_account_key, key.serialize_pem())?;
        fs_err::write(&pki.service_account_public_key, key.public_key_pem())?;
        Ok(pki)
    }
}
