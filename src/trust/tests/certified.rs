//! Certificates for keys of every kind: unsupported log entries are verified with the same rigour.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, SerialNumber, SigningKey, date_time_ymd,
};

use super::keys::{CONTENT, Case, Holder, envelope, logged, message};
use super::*;

const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "dev@example.test";
/// Issuer that vouches for the subject (Fulcio, oid-info.md).
const OIDC_ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];

const SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const TST_INFO: &[u8] = &[0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const CONTENT_TYPE: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const ECDSA_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];

/// Certificate authority, timestamp authority and log.
struct Authorities {
    log: Signatory,
    issuer: Issuer<'static, KeyPair>,
    times: KeyPair,
    root: Root,
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2044, 1, 1));
    (params, KeyPair::generate().unwrap())
}

impl Authorities {
    fn new() -> Self {
        let log = Signatory::new();
        let (params, key) = authority("certificates");
        let certificates = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);

        let (params, key) = authority("times");
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let mut leaf = authority("stamps").0;
        leaf.is_ca = IsCa::NoCa;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        leaf.serial_number = Some(SerialNumber::from(7));
        let times = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&times, &Issuer::new(params, key)).unwrap().der().to_vec();

        let chain = |ders: &[&[u8]]| {
            let ders: Vec<Value> = ders.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
            json!([{
                "uri": "https://authority.example", "certChain": {"certificates": ders},
                "validFor": {"start": "2024-01-01T00:00:00Z"},
            }])
        };
        let mut json = log.trusted_json();
        json["certificateAuthorities"] = chain(&[&certificates]);
        json["timestampAuthorities"] = chain(&[&leaf, &root]);
        let root = published::root_of(&json);
        Self { log, issuer, times, root }
    }

    /// Issues a certificate for a key, valid for two days around 2026-01-01.
    fn certify(&self, holder: &Holder) -> rcgen::Certificate {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::Rfc822Name(SUBJECT.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        (params.not_before, params.not_after) = (date_time_ymd(2025, 12, 31), date_time_ymd(2026, 1, 2));
        let text = [&[0x0c, u8::try_from(ISSUER.len()).unwrap()], ISSUER.as_bytes()].concat();
        params.custom_extensions.push(CustomExtension::from_oid_content(&OIDC_ISSUER, text));
        params.signed_by(&holder.key, &self.issuer).unwrap()
    }

    /// Creates a timestamp over a signature (RFC 3161 section 2.4.2, RFC 5652 section 5), such as `20260101000000Z`.
    fn stamp(&self, signature: &[u8], time: &str) -> Vec<u8> {
        let algorithm = der(0x30, &[SHA256]);
        let imprint = der(0x30, &[&algorithm, &der(0x04, &[Digest::of(signature).as_bytes()])]);
        let policy = [0x06, 3, 0x2a, 3, 4];
        let info = der(0x30, &[&[2, 1, 1], &policy, &imprint, &[2, 1, 9], &der(0x18, &[time.as_bytes()])]);
        let attribute = |kind: &[u8], value: &[u8]| der(0x30, &[kind, &der(0x31, &[value])]);
        let digest = der(0x04, &[Digest::of(&info).as_bytes()]);
        let attributes = [attribute(CONTENT_TYPE, TST_INFO), attribute(MESSAGE_DIGEST, &digest)].concat();
        let signed = self.times.sign(&der(0x31, &[&attributes])).unwrap();
        let name = der(0x30, &[&der(0x31, &[&der(0x30, &[COMMON_NAME, &der(0x0c, &[b"times"])])])]);
        let signer = der(
            0x30,
            &[
                &[2, 1, 1],
                &der(0x30, &[&name, &[2, 1, 7]]),
                &algorithm,
                &der(0xa0, &[&attributes]),
                &der(0x30, &[ECDSA_SHA256]),
                &der(0x04, &[&signed]),
            ],
        );
        let content = der(0x30, &[TST_INFO, &der(0xa0, &[&der(0x04, &[&info])])]);
        let data = der(0x30, &[&[2, 1, 3], &der(0x31, &[&algorithm]), &content, &der(0x31, &[&signer])]);
        let token = der(0x30, &[SIGNED_DATA, &der(0xa0, &[&data])]);
        der(0x30, &[&der(0x30, &[&[2, 1, 0]]), &token])
    }

    fn judged(&self, bundle: &Value) -> Result<Verified, TrustError> {
        let entry = Entry {
            identities: vec![IdentityRule::exactly(ISSUER, SUBJECT)],
            log: TransparencyLog::Required,
            certificate_transparency: CertificateTransparency::Ignored,
            root: self.root.clone(),
            ..entry(&[])
        };
        judge_bundle(bundle.to_string().as_bytes(), Artifact::Content(CONTENT), &entry)
    }
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match u16::try_from(content.len()).unwrap() {
        short @ 0..0x80 => vec![u8::try_from(short).unwrap()],
        middle @ 0x80..0x100 => vec![0x81, u8::try_from(middle).unwrap()],
        long => [&[0x82], &long.to_be_bytes()[..]].concat(),
    };
    [&[tag], &length[..], &content].concat()
}

/// Replaces the key with a certificate, also in the body of the log entry.
fn certified(case: &mut Case, certificate: &rcgen::Certificate) {
    let (raw, pem) = (STANDARD.encode(certificate.der()), STANDARD.encode(certificate.pem()));
    let spec = &mut case.body["spec"];
    if let Some(verifier) = spec.pointer_mut("/hashedRekordV002/signature/verifier") {
        verifier.as_object_mut().unwrap().remove("publicKey");
        verifier["x509Certificate"] = json!({"rawBytes": raw});
    } else if let Some(key) = spec.pointer_mut("/signature/publicKey/content") {
        *key = json!(pem);
    } else {
        spec["signatures"][0]["verifier"] = json!(pem);
    }
}

fn signature(case: &Case) -> Vec<u8> {
    let text = case.content.1.pointer("/signature").or(case.content.1.pointer("/signatures/0/sig")).unwrap();
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}

fn bundle(case: &Case, certificate: &rcgen::Certificate, entry: &Value, stamps: &[Vec<u8>]) -> Value {
    let stamps: Vec<Value> = stamps.iter().map(|one| json!({"signedTimestamp": STANDARD.encode(one)})).collect();
    let mut bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {
            "certificate": {"rawBytes": STANDARD.encode(certificate.der())}, "tlogEntries": [entry],
            "timestampVerificationData": {"rfc3161Timestamps": stamps},
        },
    });
    bundle[case.content.0] = case.content.1.clone();
    bundle
}

#[test]
fn a_certificate_of_every_key_verifies_in_logs_of_both_versions() {
    let authorities = Authorities::new();
    for (holder, other) in Holder::all().iter().zip(&Holder::all()) {
        let (own, others) = (authorities.certify(holder), authorities.certify(other));
        for version in [1, 2] {
            for (form, make) in [("an envelope", envelope as fn(&Holder, usize) -> Case), ("a message", message)] {
                let label = format!("{form} by {} in version {version}", holder.details);
                let mut case = make(holder, version);
                certified(&mut case, &own);
                let (entry, stamp) =
                    (logged(&authorities.log, &case.body), authorities.stamp(&signature(&case), "20260101000000Z"));
                let verified = authorities.judged(&bundle(&case, &own, &entry, std::slice::from_ref(&stamp)));
                let verified = verified.unwrap_or_else(|error| panic!("{label}: {error}"));
                let identity = Signer::Identity { issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned() };
                assert_eq!(verified.signer, identity, "{label}");

                let refuse = |what: &str, bundle: &Value| {
                    let judged = authorities.judged(bundle);
                    assert!(matches!(judged, Err(TrustError::Invalid { .. })), "{label}, {what}: {judged:?}");
                };
                let late = authorities.stamp(&signature(&case), "20260301000000Z");
                refuse("a time after the certificate", &bundle(&case, &own, &entry, &[late]));
                refuse(
                    "a time of something else",
                    &bundle(&case, &own, &entry, &[authorities.stamp(b"x", "20260101000000Z")]),
                );
                refuse("a certificate of another key", &bundle(&case, &others, &entry, std::slice::from_ref(&stamp)));
                let mut theirs = make(other, version);
                certified(&mut theirs, &others);
                let elsewhere = logged(&authorities.log, &theirs.body);
                refuse("an entry of somebody else", &bundle(&case, &own, &elsewhere, std::slice::from_ref(&stamp)));
                let mut again = make(holder, version);
                again.body = case.body.clone();
                certified(&mut again, &authorities.certify(holder));
                let reissued = logged(&authorities.log, &again.body);
                refuse("another certificate of the key", &bundle(&case, &own, &reissued, std::slice::from_ref(&stamp)));
                let untrusted = logged(&Signatory::new(), &case.body);
                refuse("a log that is not trusted", &bundle(&case, &own, &untrusted, std::slice::from_ref(&stamp)));
                if version == 2 {
                    refuse("no time", &bundle(&case, &own, &entry, &[]));
                }
            }
        }
    }
}
