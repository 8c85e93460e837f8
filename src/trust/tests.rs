//! From a registry in memory to a verdict, with real keys. Signatures made by real clients are tested end to end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sigstore_verify::crypto::KeyPair;
use sigstore_verify::types::dsse::pae;

use super::discovery::MAX_CANDIDATES;
use super::identity::IdentityRule;
use super::sigstore::{PublicKey, Root};
use super::verdict::{Candidate, Rejection};
use super::*;
use crate::api::vocabulary::{CertificateTransparency, SIGNATURE_PREDICATE, SignatureFormat, TransparencyLog};
use crate::oci::{Digest, Reference};
use crate::registry::RegistryError;
use crate::testing::FakeRegistry;

mod certified;
mod flips;
mod keys;
mod published;
mod signed;
mod unsigned;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Makes a bundle about an artifact.
type Make<'a> = &'a dyn Fn(&Digest) -> Value;

struct Signatory(KeyPair);

impl Signatory {
    fn new() -> Self {
        Self(KeyPair::generate_ecdsa_p256().unwrap())
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_pem(self.0.public_key_der().unwrap().to_pem().as_bytes()).unwrap()
    }

    /// Creates a bundle as `cosign sign --key` makes it without a transparency log.
    fn bundle(&self, artifact: &Digest, predicate: &str) -> Value {
        let subject = json!([{"digest": {"sha256": artifact.hex()}, "annotations": {}}]);
        self.bundle_of(&json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate, "predicate": {},
        }))
    }

    fn bundle_of(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let signature = self.0.sign(&pae(STATEMENT, payload.as_bytes())).unwrap();
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": STANDARD.encode(self.key().fingerprint().as_bytes())}, "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload), "payloadType": STATEMENT,
                "signatures": [{"sig": STANDARD.encode(signature.as_bytes())}],
            },
        })
    }
}

fn entry(keys: &[&Signatory]) -> Entry {
    Entry {
        name: "release".to_owned(),
        keys: keys.iter().map(|one| one.key()).collect(),
        identities: Vec::new(),
        root: Root::public_good().unwrap(),
        log: TransparencyLog::Ignored,
        certificate_transparency: CertificateTransparency::Required,
        predicate_types: vec![SIGNATURE_PREDICATE.to_owned()],
        formats: vec![SignatureFormat::Bundle, SignatureFormat::Legacy],
        enforcement: Enforcement::Enforce,
    }
}

async fn judged(registry: &FakeRegistry, entries: Vec<Entry>) -> Result<Vec<Verified>, TrustError> {
    let reference: Reference = "r.example/app:1".parse().unwrap();
    let access = Access::default();
    let pinned =
        crate::registry::resolve(registry, &access, &reference, None, &crate::permits::Permits::default().seat("team"))
            .await
            .unwrap();
    registry.asked();
    let requirement = Arc::new(Requirement::new(entries, Vec::new(), Vec::new()));
    let now = "2026-11-01T00:00:00Z".parse().unwrap();
    match judge(registry, &access, &pinned, &requirement, &crate::permits::Permits::default().seat("team"), now).await?
    {
        Basis::NoPolicy => panic!("something was asked"),
        Basis::Judged(judgement) => Ok(judgement.verified),
    }
}

fn refused(result: Result<Vec<Verified>, TrustError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn the_right_key_is_found_among_others_and_the_wrong_one_is_named() {
    let (registry, right, wrong) = (FakeRegistry::default(), Signatory::new(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    let said = refused(judged(&registry, vec![entry(&[&right])]).await);
    assert!(said.contains("found none"), "{said}");

    registry.refer(&artifact, BUNDLE, wrong.bundle(&artifact, SIGNATURE_PREDICATE).to_string().as_bytes());
    let said = refused(judged(&registry, vec![entry(&[&right])]).await);
    assert!(said.contains("accepted signer"), "{said}");

    registry.refer(&artifact, "application/spdx+json", b"{}");
    registry.refer(&artifact, BUNDLE, b"{}");
    registry.refer(&artifact, BUNDLE, right.bundle(&artifact, SIGNATURE_PREDICATE).to_string().as_bytes());
    let found = judged(&registry, vec![entry(&[&right])]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].signer, Signer::Key(right.key().fingerprint().clone()));
    assert_eq!((found[0].format, found[0].entry.as_str()), (SignatureFormat::Bundle, "release"));

    // Every entry must be satisfied, each by any of its keys.
    let both = judged(&registry, vec![entry(&[&right]), entry(&[&Signatory::new(), &wrong])]).await.unwrap();
    assert_eq!(both.len(), 2);
    assert!(judged(&registry, vec![entry(&[&right]), entry(&[&Signatory::new()])]).await.is_err());
}

#[tokio::test]
async fn a_good_signature_with_another_meaning_is_refused() {
    let signatory = Signatory::new();
    let other = Digest::of(b"another artifact");
    let bundle = |artifact: &Digest| signatory.bundle(artifact, SIGNATURE_PREDICATE);
    let altered = |artifact: &Digest, pointer: &str, value: Value| {
        let mut bundle = bundle(artifact);
        *bundle.pointer_mut(pointer).unwrap() = value;
        bundle
    };
    let rows: [(&str, Make<'_>, &str); 9] = [
        ("another artifact", &|_| bundle(&other), "signs sha256:"),
        (
            "an attestation",
            &|it| signatory.bundle(it, "https://slsa.dev/provenance/v1"),
            "https://slsa.dev/provenance/v1",
        ),
        ("no statement", &|it| altered(it, "/dsseEnvelope/payloadType", json!("text/plain")), "no in-toto statement"),
        (
            "two signatures",
            &|it| {
                let mut bundle = bundle(it);
                let one = bundle["dsseEnvelope"]["signatures"][0].clone();
                bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(one);
                bundle
            },
            "exactly one signature",
        ),
        ("no signature", &|it| altered(it, "/dsseEnvelope/signatures", json!([])), "exactly one signature"),
        ("an unknown version", &|it| altered(it, "/mediaType", json!("x/y")), "not a valid bundle"),
        (
            "the signature of another statement",
            &|it| altered(it, "/dsseEnvelope/signatures", bundle(&other)["dsseEnvelope"]["signatures"].clone()),
            "does not verify",
        ),
        (
            "the same without a hint",
            &|it| {
                let mut bundle =
                    altered(it, "/dsseEnvelope/signatures", bundle(&other)["dsseEnvelope"]["signatures"].clone());
                bundle["verificationMaterial"]["publicKey"]["hint"] = json!("");
                bundle
            },
            "does not verify with an accepted key",
        ),
        (
            "the key as a certificate",
            &|it| {
                let der = STANDARD.encode(signatory.0.public_key_bytes());
                altered(it, "/verificationMaterial", json!({"certificate": {"rawBytes": der}, "tlogEntries": []}))
            },
            "only keys are accepted",
        ),
    ];
    for (what, make, want) in rows {
        let registry = FakeRegistry::default();
        let artifact = registry.push_files("1", &[("a", "a")]);
        registry.refer(&artifact, BUNDLE, make(&artifact).to_string().as_bytes());
        let said = refused(judged(&registry, vec![entry(&[&signatory])]).await);
        assert!(said.contains(want), "{what}: {said}");
    }
}

#[test]
fn a_supplied_bundle_is_judged_by_signer_and_subject_alone() {
    let (signatory, other) = (Signatory::new(), Signatory::new());
    let (content, elsewhere) = (b"content".as_slice(), b"elsewhere".as_slice());
    let digest = Digest::of(content);
    let statement = signatory.bundle(&digest, "https://example.com/any").to_string();
    let signature = STANDARD.encode(signatory.0.sign(content).unwrap().as_bytes());
    let mut message = signatory.bundle(&digest, "");
    message.as_object_mut().unwrap().remove("dsseEnvelope");
    message["messageSignature"] = json!({
        "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest.as_bytes())}, "signature": signature,
    });
    let message = message.to_string();
    let types = Vec::new();
    let entry = |signatory: &Signatory| Entry { predicate_types: types.clone(), ..self::entry(&[signatory]) };
    for bundle in [&statement, &message] {
        let judged = |artifact, signatory| judge_bundle(bundle.as_bytes(), artifact, &entry(signatory));
        for artifact in [Artifact::Content(content), Artifact::Digest(&digest)] {
            let verified = judged(artifact, &signatory).unwrap();
            assert_eq!(verified.signer, Signer::Key(signatory.key().fingerprint().clone()));
            assert_eq!(verified.digest, Digest::of(bundle.as_bytes()));
            assert!(matches!(judged(artifact, &other), Err(TrustError::Signer { .. })));
        }
        for artifact in [Artifact::Content(elsewhere), Artifact::Digest(&Digest::of(elsewhere))] {
            let error = judged(artifact, &signatory).unwrap_err();
            assert!(matches!(error, TrustError::Invalid { .. } | TrustError::Signer { .. }), "{error}");
        }
        // The bundle has no log entry.
        let logged = Entry { log: TransparencyLog::Required, ..entry(&signatory) };
        let error = judge_bundle(bundle.as_bytes(), Artifact::Content(content), &logged).unwrap_err();
        assert!(error.to_string().contains("no transparency log entry"), "{error}");
    }
    let error = judge_bundle(b"{}", Artifact::Content(content), &entry(&signatory)).unwrap_err();
    assert!(matches!(error, TrustError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_required_log_or_identity_cannot_be_missing() {
    let (registry, signatory) = (FakeRegistry::default(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    registry.refer(&artifact, BUNDLE, signatory.bundle(&artifact, SIGNATURE_PREDICATE).to_string().as_bytes());
    let logged = Entry { log: TransparencyLog::Required, ..entry(&[&signatory]) };
    let said = refused(judged(&registry, vec![logged]).await);
    assert!(said.contains("no transparency log entry"), "{said}");
    let identities = vec![IdentityRule::exactly("https://issuer.example", "dev@example.test")];
    let keyless = Entry { identities, log: TransparencyLog::Required, ..entry(&[]) };
    let said = refused(judged(&registry, vec![keyless]).await);
    assert!(said.contains("only certificates are accepted"), "{said}");
    let legacy = Entry { formats: vec![SignatureFormat::Legacy], ..entry(&[&signatory]) };
    let said = refused(judged(&registry, vec![legacy]).await);
    assert!(said.contains("found none"), "{said}");
}

#[tokio::test]
async fn a_manifest_with_another_subject_is_not_a_signature() {
    let (registry, signatory) = (FakeRegistry::default(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    let bundle = signatory.bundle(&artifact, SIGNATURE_PREDICATE).to_string();
    let elsewhere = registry.refer(&Digest::of(b"elsewhere"), BUNDLE, bundle.as_bytes());
    let listed = |digest: &Digest, artifact_type: Option<&str>| {
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
                "artifactType": artifact_type,
            }],
        })
    };
    let tag = format!("sha256-{}", artifact.hex());
    registry.push_document(&tag, &listed(&elsewhere, None));
    let said = refused(judged(&registry, vec![entry(&[&signatory])]).await);
    assert!(said.contains("found none"), "{said}");

    // The fallback tag that clients maintain for registries without a referrers list, with any artifact type in it.
    for artifact_type in [None, Some("application/vnd.oci.empty.v1+json"), Some(BUNDLE)] {
        let registry = FakeRegistry::default();
        registry.push_files("1", &[("a", "a")]);
        let about = registry.refer(&artifact, BUNDLE, bundle.as_bytes());
        registry.forget_referrers();
        registry.push_document(&tag, &listed(&about, artifact_type));
        judged(&registry, vec![entry(&[&signatory])]).await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_list_counts_as_rejected_and_hides_no_other_signature() {
    let (registry, signatory) = (FakeRegistry::default(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    let broken = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": 3});
    registry.push_document(&format!("sha256-{}", artifact.hex()), &broken);
    let result = judged(&registry, vec![entry(&[&signatory])]).await;
    assert!(matches!(&result, Err(TrustError::Invalid { .. })), "{result:?}");
    assert!(refused(result).contains("invalid list"));
    let bundle = signatory.bundle(&artifact, SIGNATURE_PREDICATE).to_string();
    registry.refer(&artifact, BUNDLE, bundle.as_bytes());
    judged(&registry, vec![entry(&[&signatory])]).await.unwrap();
}

#[tokio::test]
async fn a_failing_registry_is_not_a_missing_signature() {
    let (registry, signatory) = (FakeRegistry::default(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    let bundle = signatory.bundle(&artifact, SIGNATURE_PREDICATE).to_string();
    registry.refer(&artifact, BUNDLE, bundle.as_bytes());
    registry.tamper(bundle.as_bytes(), b"something else");
    let result = judged(&registry, vec![entry(&[&signatory])]).await;
    assert!(matches!(result, Err(TrustError::Registry(RegistryError::DigestMismatch { .. }))), "{result:?}");
    // A valid candidate is enough, even if another one cannot be read.
    let again = signatory.bundle_of(&json!({
        "_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": {"sha256": artifact.hex()}}],
        "predicateType": SIGNATURE_PREDICATE,
    }));
    registry.refer(&artifact, BUNDLE, again.to_string().as_bytes());
    judged(&registry, vec![entry(&[&signatory])]).await.unwrap();
}

/// M6: a policy that only warns, sorted before one that enforces, used up the reason for an unknown result.
#[tokio::test]
async fn an_entry_that_warns_changes_nothing_for_one_that_enforces() {
    let signatory = Signatory::new();
    let enforced = entry(&[&signatory]);
    let warned = Entry { name: "warns".to_owned(), enforcement: Enforcement::Warn, ..entry(&[&Signatory::new()]) };
    let orders =
        [vec![enforced.clone()], vec![warned.clone(), enforced.clone()], vec![enforced.clone(), warned.clone()]];

    let registry = FakeRegistry::default();
    let artifact = registry.push_files("1", &[("a", "a")]);
    let bundle = signatory.bundle(&artifact, SIGNATURE_PREDICATE).to_string();
    registry.refer(&artifact, BUNDLE, bundle.as_bytes());
    registry.tamper(bundle.as_bytes(), b"something else");
    for entries in &orders {
        let result = judged(&registry, entries.clone()).await;
        assert!(matches!(result, Err(TrustError::Registry(RegistryError::DigestMismatch { .. }))), "{result:?}");
    }

    let registry = FakeRegistry::default();
    let artifact = registry.push_files("1", &[("a", "a")]);
    for number in 0..=MAX_CANDIDATES {
        let bundle = signatory.bundle(&artifact, &format!("https://example.com/{number}"));
        registry.refer(&artifact, BUNDLE, bundle.to_string().as_bytes());
    }
    for entries in &orders {
        let result = judged(&registry, entries.clone()).await;
        assert!(matches!(result, Err(TrustError::TooMany(_))), "{result:?}");
    }

    // Candidates of the entry that warns do not count towards the limit of the entry that enforces.
    let payload = json!({
        "critical": {
            "identity": {}, "image": {"docker-manifest-digest": artifact}, "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string();
    let signature = STANDARD.encode(signatory.0.sign(payload.as_bytes()).unwrap().as_bytes());
    let annotations = json!({"dev.cosignproject.cosign/signature": signature});
    registry.push(&format!("sha256-{}.sig", artifact.hex()), &[(legacy::PAYLOAD, annotations, payload.as_bytes())]);
    let enforced = Entry { formats: vec![SignatureFormat::Legacy], ..enforced };
    for entries in [vec![enforced.clone()], vec![warned, enforced]] {
        let verified = judged(&registry, entries).await.unwrap();
        assert_eq!(verified.iter().map(|one| one.entry.as_str()).collect::<Vec<_>>(), ["release"]);
    }
}

#[tokio::test]
async fn the_number_of_candidates_is_limited() {
    let (registry, signatory) = (FakeRegistry::default(), Signatory::new());
    let artifact = registry.push_files("1", &[("a", "a")]);
    for number in 0..=MAX_CANDIDATES {
        let bundle = signatory.bundle(&artifact, &format!("https://example.com/{number}"));
        registry.refer(&artifact, BUNDLE, bundle.to_string().as_bytes());
    }
    let said = refused(judged(&registry, vec![entry(&[&signatory])]).await);
    assert!(said.contains("more than 64"), "{said}");
    let blobs = registry.asked().iter().filter(|asked| asked.starts_with("blob")).count();
    assert_eq!(blobs, MAX_CANDIDATES);
}

#[test]
fn another_requirement_has_another_fingerprint() {
    let (one, two) = (Signatory::new(), Signatory::new());
    let of = |entries: Vec<Entry>| Requirement::new(entries, Vec::new(), Vec::new()).fingerprint();
    let identity = |subject: &str| vec![IdentityRule::exactly("https://i.example", subject)];
    let root = std::str::from_utf8(sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT.as_bytes()).unwrap();
    let base = entry(&[&one]);
    let different = [
        of(vec![]),
        of(vec![base.clone()]),
        of(vec![entry(&[&two])]),
        of(vec![entry(&[&one, &two])]),
        of(vec![base.clone(), base.clone()]),
        of(vec![Entry { name: "other".to_owned(), ..base.clone() }]),
        of(vec![Entry { log: TransparencyLog::Required, ..base.clone() }]),
        of(vec![Entry { formats: vec![SignatureFormat::Bundle], ..base.clone() }]),
        of(vec![Entry { predicate_types: vec!["x".to_owned()], ..base.clone() }]),
        of(vec![Entry { identities: identity("a@example.test"), ..base.clone() }]),
        of(vec![Entry { identities: identity("b@example.test"), ..base.clone() }]),
        of(vec![Entry { root: Root::parse(root.as_bytes()).unwrap(), ..base.clone() }]),
    ];
    for (index, one) in different.iter().enumerate() {
        assert!(!different.iter().skip(index + 1).any(|other| other == one), "row {index}");
    }
    assert_eq!(of(vec![base.clone()]), of(vec![base.clone()]));
    // M8: a tenant controls half of the hashed input, so 12 digits could be searched for a collision.
    assert_eq!(of(vec![base]).map(|fingerprint| fingerprint.len()), Some(64));
}

#[test]
fn malformed_roots_and_keys_are_refused() {
    for json in ["", "{}", "[]", r#"{"mediaType":"x"}"#, r#"{"tlogs":[],"tlogs":[]}"#] {
        let parsed = Root::parse(json.as_bytes());
        let empty = parsed.as_ref().is_ok_and(|root| {
            root.check(Timestamp::UNIX_EPOCH, Some(CertificateTransparency::Required), true).is_err()
        });
        assert!(parsed.is_err() || empty, "{json}");
    }
    // A root may come from a Secret, which a reader of status may not be allowed to read.
    for json in [
        r#""hunter2""#,
        "4711",
        r#"["x", "hunter2", 4711]"#,
        "hunter2",
        r#"{"hunter2":4711,"hunter2":4711}"#,
        r#"{"mediaType":4711}"#,
        r#"{"tlogs":[{"logId":"hunter2"}]}"#,
        r#"{"mediaType":"hunter2","certificateAuthorities":[{"certChain":{"certificates":[{"rawBytes":"hunter2="}]}}]}"#,
    ] {
        let error = Root::parse(json.as_bytes()).err().map(|error| format!("{error} {error:?}")).unwrap_or_default();
        assert!(!error.contains("hunter2") && !error.contains("4711"), "{json}: {error}");
    }
    let good = Root::public_good().unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    good.check(at("2026-11-01T00:00:00Z"), Some(CertificateTransparency::Required), true).unwrap();
    let signatory = Signatory::new();
    let pem = signatory.0.public_key_der().unwrap().to_pem();
    for text in ["", "key", &pem.replace("PUBLIC", "PRIVATE"), &format!("{pem}{pem}"), &pem.replace("MFkw", "AAAA")] {
        assert!(PublicKey::from_pem(text.as_bytes()).is_err(), "{text}");
    }
}

/// On an update of the library, look up the date of the roots embedded in it and set `CARRIED_SINCE`.
#[test]
fn the_age_of_the_embedded_roots_belongs_to_the_used_version() {
    let manifest = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains(r#"sigstore-verify = { version = "=0.15.1""#), "CARRIED_SINCE is of another version");
    let at = |text: &str| Root::carried_for(text.parse().unwrap());
    assert_eq!(at("2026-10-24T00:00:00Z"), std::time::Duration::from_secs(24 * 3600));
    assert_eq!(at("2026-10-22T00:00:00Z"), std::time::Duration::ZERO);
}
