//! The keys of one control plane: an authority, the API server's certificate and the ServiceAccount key.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Paths of PEM files that only this run knows.
#[derive(Debug, Clone)]
pub struct Pki {
    pub authority: PathBuf,
    pub server_certificate: PathBuf,
    pub server_key: PathBuf,
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
}

impl Pki {
    pub fn create(directory: &Path) -> Result<Self> {
        let pki = Self {
            authority: directory.join("ca.crt"),
            server_certificate: directory.join("server.crt"),
            server_key: directory.join("server.key"),
            service_account_key: directory.join("service-account.key"),
            service_account_public_key: directory.join("service-account.pub"),
        };
        let authority_key = KeyPair::generate()?;
        let mut authority_params = CertificateParams::new(Vec::<String>::new())?;
        authority_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority_params.distinguished_name.push(DnType::CommonName, "supercargo-e2e");
        let authority = authority_params.self_signed(&authority_key)?;
        fs_err::write(&pki.authority, authority.pem())?;

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let issuer = Issuer::new(authority_params, authority_key);
        let key = KeyPair::generate()?;
        fs_err::write(&pki.server_certificate, params.signed_by(&key, &issuer)?.pem())?;
        fs_err::write(&pki.server_key, key.serialize_pem())?;
        let key = KeyPair::generate()?;
        fs_err::write(&pki.service_account_key, key.serialize_pem())?;
        fs_err::write(&pki.service_account_public_key, key.public_key_pem())?;
        Ok(pki)
    }
}
