use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::api::vocabulary::{CertificateTransparency, Enforcement, SignatureFormat, TransparencyLog};
use crate::oci::{Digest, Reference};
use crate::trust::sigstore::{PublicKey, Root};
use crate::trust::{self, Artifact, Entry};

/// Key pair made by `cosign generate-key-pair` (3.1.3) with this password. It signs nothing outside of tests.
const COSIGN_KEY: &str = include_str!("tests/cosign.key");
const COSIGN_PUBLIC: &str = include_str!("tests/cosign.pub");
const PASSWORD: &[u8] = b"secret";

fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(algorithm).unwrap()
}

fn pairs() -> [(&'static str, rcgen::KeyPair, &'static dyn VerificationAlgorithm); 4] {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    [
        ("P-256", pair(&rcgen::PKCS_ECDSA_P256_SHA256), &ECDSA_P256_SHA256_ASN1),
        ("P-384", pair(&rcgen::PKCS_ECDSA_P384_SHA384), &ECDSA_P384_SHA384_ASN1),
        ("Ed25519", pair(&rcgen::PKCS_ED25519), &ED25519),
        ("RSA", rsa, &RSA_PKCS1_2048_8192_SHA256),
    ]
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Requirement of a signature by this key, without a log.
fn requires(public_pem: &str) -> Entry {
    Entry {
        name: "test".to_owned(),
        keys: vec![PublicKey::from_pem(public_pem.as_bytes()).unwrap()],
        identities: Vec::new(),
        root: Root::public_good().unwrap(),
        log: TransparencyLog::Ignored,
        certificate_transparency: CertificateTransparency::Required,
        predicate_types: vec![PREDICATE.to_owned()],
        formats: vec![SignatureFormat::Bundle],
        enforcement: Enforcement::Enforce,
    }
}

#[test]
fn a_key_of_cosign_is_decrypted_with_its_password_alone() {
    for text in [COSIGN_KEY.to_owned(), COSIGN_KEY.replace("SIGSTORE", "COSIGN")] {
        assert!(PrivateKey::is_encrypted(text.as_bytes()));
        let key = PrivateKey::from_pem(text.as_bytes(), PASSWORD).unwrap();
        assert_eq!(key.public_pem(), COSIGN_PUBLIC);
        for wrong in [b"".as_slice(), b"Secret"] {
            assert_eq!(PrivateKey::from_pem(text.as_bytes(), wrong).unwrap_err(), PrivateKeyError::Password);
        }
    }
}

#[test]
fn a_generated_key_needs_its_password_and_is_another_each_time() {
    let (key, text) = PrivateKey::generate(PASSWORD).unwrap();
    assert!(PrivateKey::is_encrypted(text.as_bytes()));
    let read = PrivateKey::from_pem(text.as_bytes(), PASSWORD).unwrap();
    assert_eq!(read.fingerprint(), key.fingerprint());
    assert_eq!(PrivateKey::from_pem(text.as_bytes(), b"").unwrap_err(), PrivateKeyError::Password);
    let (other, second) = PrivateKey::generate(b"").unwrap();
    assert!(other.fingerprint() != key.fingerprint() && second != text);
    let read = PrivateKey::from_pem(second.as_bytes(), b"").unwrap();
    assert_eq!(read.public_pem(), other.public_pem());
}

#[test]
fn the_verifier_accepts_what_each_kind_of_key_signs() {
    let artifact = Digest::of(b"artifact");
    let repository = "r.example/team/app:1".parse::<Reference>().unwrap().repository;
    for (kind, pair, algorithm) in pairs() {
        let key = PrivateKey::from_pem(pair.serialize_pem().as_bytes(), b"").unwrap();
        assert_eq!(key.public_pem().replace(['\r', '\n'], ""), pair.public_key_pem().replace(['\r', '\n'], ""));
        let signed = bundle(&key, &artifact).unwrap();
        let entry = requires(&pair.public_key_pem());
        trust::judge_bundle(&signed.bundle, Artifact::Digest(&artifact), &entry).expect(kind);
        let other = Digest::of(b"other");
        assert!(trust::judge_bundle(&signed.bundle, Artifact::Digest(&other), &entry).is_err(), "{kind}");

        let signed = legacy(&key, &repository, &artifact).unwrap();
        let public = PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(&key.fingerprint(), public.fingerprint());
        let der = PublicKeyBytes::of(&pair);
        let signature = STANDARD.decode(&signed.signature).unwrap();
        UnparsedPublicKey::new(algorithm, der.0).verify(&signed.payload, &signature).expect(kind);
    }
}

/// `SubjectPublicKeyInfo` of a key pair.
struct PublicKeyBytes(Vec<u8>);

impl PublicKeyBytes {
    fn of(pair: &rcgen::KeyPair) -> Self {
        let pem = pair.public_key_pem();
        let base64: String = pem.lines().filter(|line| !line.starts_with("---")).map(str::trim).collect();
        Self(STANDARD.decode(base64).unwrap())
    }
}

#[test]
fn keys_of_openssl_are_read_in_every_form() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
    let p384 = pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    let library = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &p384.serialize_der()).unwrap();
    let sec1 = pem("EC PRIVATE KEY", library.private_key().as_der().unwrap().as_ref());
    let with_parameters = format!("{}{sec1}", pem("EC PARAMETERS", b"x"));
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    // In PKCS #8, 26 bytes precede the key of PKCS #1.
    let pkcs1 = pem("RSA PRIVATE KEY", &rsa.serialize_der()[26..]);
    for (text, public) in [(sec1, &p384), (with_parameters, &p384), (pkcs1, &rsa)] {
        let key = PrivateKey::from_pem(text.as_bytes(), b"").unwrap();
        let fingerprint = PublicKey::from_pem(public.public_key_pem().as_bytes()).unwrap();
        assert_eq!(&key.fingerprint(), fingerprint.fingerprint());
        assert!(!PrivateKey::is_encrypted(text.as_bytes()));
    }
}

#[test]
fn what_is_no_usable_key_is_refused_and_not_quoted() {
    let p521 = pair(&rcgen::PKCS_ECDSA_P521_SHA512).serialize_pem();
    let weak = pem("RSA PRIVATE KEY", &[0x30, 0x03, 0x02, 0x01, 0x00]);
    let rows = [
        ("", PrivateKeyError::Pem),
        ("hunter2", PrivateKeyError::Pem),
        (COSIGN_PUBLIC, PrivateKeyError::Pem),
        (&p521, PrivateKeyError::Kind),
        (&weak, PrivateKeyError::Kind),
        (&pem("PRIVATE KEY", b"hunter2"), PrivateKeyError::Kind),
        (&pem("EC PRIVATE KEY", b"hunter2"), PrivateKeyError::Kind),
        (&pem("ENCRYPTED PRIVATE KEY", b"hunter2"), PrivateKeyError::Encryption),
        (&pem("OPENSSH PRIVATE KEY", b"hunter2"), PrivateKeyError::Encryption),
        (&pem("ENCRYPTED SIGSTORE PRIVATE KEY", b"hunter2"), PrivateKeyError::Sealed),
    ];
    for (text, want) in rows {
        let error = PrivateKey::from_pem(text.as_bytes(), b"hunter2").unwrap_err();
        assert_eq!(error, want, "{text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
    }
    let key = PrivateKey::from_pem(COSIGN_KEY.as_bytes(), PASSWORD).unwrap();
    assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.fingerprint()));
}

/// The values that cosign 3.1.3 wrote for the same key and digest, except for the signatures.
#[test]
fn the_content_is_that_of_cosign() {
    let key = PrivateKey::from_pem(COSIGN_KEY.as_bytes(), PASSWORD).unwrap();
    let digest = "sha256:ed871f6c67b14168bbd8c5af791913a8570ab07d4d1d68a39fbcc0eebb763e3e".parse::<Digest>().unwrap();
    let mut bundle: Value = serde_json::from_slice(&bundle(&key, &digest).unwrap().bundle).unwrap();
    let envelope = &mut bundle["dsseEnvelope"];
    let payload: Value =
        serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap();
    envelope["payload"] = json!(null);
    envelope["signatures"][0]["sig"] = json!(null);
    assert_eq!(
        bundle,
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "hMS3tHWWiTCzEY+dx749vp0vktid1qmaRBfPwMCgueY="}},
            "dsseEnvelope": {"payload": null, "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": null}]},
        })
    );
    let subject = json!({"digest": {"sha256": digest.hex()}, "annotations": {}});
    assert_eq!(
        payload,
        json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": PREDICATE, "predicate": {},
        })
    );
    let repository = "127.0.0.1:45011/team/app:1".parse::<Reference>().unwrap().repository;
    let payload = legacy(&key, &repository, &digest).unwrap().payload;
    let want = concat!(
        r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:45011/team/app"},"image":{"docker-manifest-digest":"#,
        r#""sha256:ed871f6c67b14168bbd8c5af791913a8570ab07d4d1d68a39fbcc0eebb763e3e"},"#,
        r#""type":"cosign container image signature"},"optional":null}"#
    );
    assert_eq!(String::from_utf8(payload.clone()).unwrap(), want);
    assert_eq!(payload.len(), 240);
    let config: Value = serde_json::from_slice(&LegacyContent::config(&[Digest::of(&payload)]).unwrap()).unwrap();
    assert_eq!(
        config,
        json!({
            "architecture": "", "created": "0001-01-01T00:00:00Z", "history": [{"created": "0001-01-01T00:00:00Z"}],
            "os": "", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&payload)]}, "config": {},
        })
    );
}
