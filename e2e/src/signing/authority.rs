//! Keys and certificates of a Sigstore, all created for one run.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};

/// Paths of PEM files.
#[derive(Debug)]
pub(super) struct Keys {
    /// Fulcio's intermediate certificate, then the root.
    pub(super) fulcio_chain: PathBuf,
    pub(super) fulcio_key: PathBuf,
    /// Certificate of the timestamp authority, then the root.
    pub(super) timestamp_chain: PathBuf,
    pub(super) timestamp_key: PathBuf,
    pub(super) rekor_key: PathBuf,
    pub(super) rekor_public_key: PathBuf,
}

impl Keys {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let path = |name: &str| directory.join(name);
        let keys = Self {
            fulcio_chain: path("fulcio-chain.pem"),
            fulcio_key: path("fulcio.key"),
            timestamp_chain: path("timestamp-chain.pem"),
            timestamp_key: path("timestamp.key"),
            rekor_key: path("rekor.key"),
            rekor_public_key: path("rekor.pub"),
        };
        chain(below_fulcio(), "fulcio", &keys.fulcio_chain, &keys.fulcio_key)?;
        chain(timestamping(), "timestamp authority", &keys.timestamp_chain, &keys.timestamp_key)?;
        // Rekor's checkpoints are signed notes, which support this kind of key.
        let rekor = KeyPair::generate_for(&PKCS_ED25519)?;
        fs_err::write(&keys.rekor_key, rekor.serialize_pem())?;
        fs_err::write(&keys.rekor_public_key, rekor.public_key_pem())?;
        Ok(keys)
    }
}

/// Creates a root and one certificate below it; writes both, the lower one first, and the lower one's key.
fn chain(lower: CertificateParams, name: &str, chain: &Path, key: &Path) -> Result<()> {
    let mut root = CertificateParams::new(Vec::<String>::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = named(root, &format!("supercargo-e2e {name} root"));
    let lower = named(lower, &format!("supercargo-e2e {name}"));
    let (root_key, lower_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let root_pem = root.self_signed(&root_key)?.pem();
    let lower_pem = lower.signed_by(&lower_key, &Issuer::new(root, root_key))?.pem();
    fs_err::write(chain, format!("{lower_pem}{root_pem}"))?;
    fs_err::write(key, lower_key.serialize_pem())?;
    Ok(())
}

/// Sets the name, and a validity from long before to long after any run, so that every signature is within it.
fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "supercargo-e2e");
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

/// Returns parameters of an intermediate that may sign certificates for code signing, and no further authorities.
fn below_fulcio() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

/// Returns parameters of a timestamp authority. RFC 3161 section 2.3 requires time stamping as the only extended key
/// usage, in a critical extension, which the library does not generate.
fn timestamping() -> CertificateParams {
    const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
    // SEQUENCE { OBJECT IDENTIFIER 1.3.6.1.5.5.7.3.8 }
    const TIME_STAMPING: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
    let mut usage = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, TIME_STAMPING.to_vec());
    usage.set_criticality(true);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.custom_extensions = vec![usage];
    params
}
