//! Certificate authority that issues any certificate, with valid signatures: Fulcio would refuse some of them.
//!
//! The authority is in no trusted root until [`HandmadeAuthority::trusted_in`] adds it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::handmade::Signer;

/// Extension for the OIDC issuer that vouches for the subject (Fulcio, oid-info.md).
const OIDC_ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];

/// Authority: an intermediate certificate below a root, or another certificate used as an authority.
#[derive(Debug)]
pub struct HandmadeAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Certificates as base64 of DER, the lowest first.
    chain: Vec<String>,
}

/// Certificate to be issued; tests may change every field before.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub names: Vec<SanType>,
    pub oidc_issuer: Option<String>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// First day of validity, and first day after it.
    pub days: [(i32, u8, u8); 2],
}

impl Certificate {
    /// Makes a certificate for an email address as Fulcio would issue it, but valid for a day.
    pub fn email(address: &str, oidc_issuer: &str) -> Result<Self> {
        Ok(Self {
            names: vec![SanType::Rfc822Name(address.try_into()?)],
            oidc_issuer: Some(oidc_issuer.to_owned()),
            usages: vec![ExtendedKeyUsagePurpose::CodeSigning],
            days: [(2026, 3, 1), (2026, 3, 2)],
        })
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names.clone_from(&self.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        let [from, until] = self.days.map(|(year, month, day)| date_time_ymd(year, month, day));
        (params.not_before, params.not_after) = (from, until);
        if let Some(issuer) = &self.oidc_issuer {
            // A UTF8String.
            let content = [&[0x0c, u8::try_from(issuer.len())?], issuer.as_bytes()].concat();
            params.custom_extensions.push(CustomExtension::from_oid_content(&OIDC_ISSUER, content));
        }
        Ok(params)
    }
}

impl HandmadeAuthority {
    /// Creates an authority with a certificate valid until 1 January of a year, below a root valid for longer.
    pub fn new(name: &str, until: i32) -> Result<Self> {
        let params = |name: &str, until| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(until, 1, 1));
            params
        };
        let (mut root, mut lower) = (params(&format!("{name} root"), 2044), params(name, until));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        lower.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        lower.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let (root_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let root_der = STANDARD.encode(root.self_signed(&root_key)?.der());
        let der = STANDARD.encode(lower.signed_by(&key, &Issuer::new(root, root_key))?.der());
        Ok(Self { issuer: Issuer::new(lower, key), chain: vec![der, root_der] })
    }

    /// Issues a certificate for a new key.
    pub fn certify(&self, wanted: &Certificate) -> Result<Signer> {
        let key = KeyPair::generate()?;
        let certificate_pem = wanted.params()?.signed_by(&key, &self.issuer)?.pem();
        Ok(Signer::Certified { pkcs8_pem: key.serialize_pem(), certificate_pem })
    }

    /// Issues a certificate and uses it as an authority, although it is not a CA certificate.
    pub fn presumed_below(&self, wanted: &Certificate) -> Result<Self> {
        let (key, params) = (KeyPair::generate()?, wanted.params()?);
        let der = STANDARD.encode(params.signed_by(&key, &self.issuer)?.der());
        Ok(Self { issuer: Issuer::new(params, key), chain: [vec![der], self.chain.clone()].concat() })
    }

    /// Returns the certificates as base64 of DER, the lowest first.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// Returns a trusted root with this authority added.
    pub fn trusted_in(&self, trusted_root: &Value) -> Result<Value> {
        let mut root = trusted_root.clone();
        let certificates: Vec<Value> = self.chain.iter().map(|der| json!({"rawBytes": der})).collect();
        let authority = json!({
            "uri": "https://authority.example.test",
            "subject": {"organization": "handmade", "commonName": "handmade"},
            "certChain": {"certificates": certificates},
            "validFor": {"start": "2024-01-01T00:00:00Z"},
        });
        let authorities = root.get_mut("certificateAuthorities").and_then(Value::as_array_mut);
        authorities.context("a trusted root without authorities")?.push(authority);
        Ok(root)
    }
}
