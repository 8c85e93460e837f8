//! A certificate authority that certifies whatever it is told, with right signatures: Fulcio would not.
//!
//! It is known to nobody until [`HandmadeAuthority::trusted_in`] writes it into a trusted root.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::handmade::Signer;

/// Issuer that vouches for the subject (Fulcio, oid-info.md).
const OIDC_ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];

/// An authority: a certificate below a root, or what somebody uses as one.
#[derive(Debug)]
pub struct HandmadeAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Base64 of DER, the lowest first.
    chain: Vec<String>,
}

/// What is certified; every field may be changed before.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub names: Vec<SanType>,
    pub oidc_issuer: Option<String>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// The first day on which it is valid, and the first on which it is not any more.
    pub days: [(i32, u8, u8); 2],
}

impl Certificate {
    /// As Fulcio would give it to somebody with an email address, but for a day.
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
    /// Of a name, with a certificate that is valid until the first day of a year, below a root that is valid for longer.
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

    /// A new key, certified.
    pub fn certify(&self, wanted: &Certificate) -> Result<Signer> {
        let key = KeyPair::generate()?;
        let certificate_pem = wanted.params()?.signed_by(&key, &self.issuer)?.pem();
        Ok(Signer::Certified { pkcs8_pem: key.serialize_pem(), certificate_pem })
    }

    /// Somebody who was certified, and certifies others: nothing of the certificate allows that.
    pub fn presumed_below(&self, wanted: &Certificate) -> Result<Self> {
        let (key, params) = (KeyPair::generate()?, wanted.params()?);
        let der = STANDARD.encode(params.signed_by(&key, &self.issuer)?.der());
        Ok(Self { issuer: Issuer::new(params, key), chain: [vec![der], self.chain.clone()].concat() })
    }

    /// Base64 of DER, the lowest first.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// A trusted root with this authority in it, besides the others.
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
