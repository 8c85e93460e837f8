//! Unsigned values in a bundle: they must not reach the verdict, and must not weaken a check.

use super::published::Published;
use super::*;

fn row(bundle: &str) -> Published {
    Published::all().into_iter().find(|row| row.bundle == bundle).unwrap()
}

/// Judges a bundle with other values at these JSON pointers; `null` removes the field.
fn altered(bundle: &str, changes: &[(&str, Value)]) -> Result<Verified, Rejection> {
    let row = row(bundle);
    let mut document = row.document();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let fields = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert!(fields.remove(name).is_some() || !value.is_null(), "{bundle} has no {pointer}");
        if !value.is_null() {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    published::judged(&document, &row.entry(), &row.artifact())
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

#[test]
fn an_unproven_log_index_is_not_reported() {
    let (index, promise) = (format!("{ENTRY}/logIndex"), format!("{ENTRY}/inclusionPromise"));
    assert_eq!(altered("v0.3-message.json", &[]).unwrap().log_index, Some(738_312_748));
    // With a timestamp authority's time the inclusion proof is enough, but it proves another index.
    let without = altered("v0.3-message.json", &[(&promise, Value::Null)]).unwrap();
    assert_eq!((without.log_index, without.time.is_some()), (None, true));
    let other = altered("v0.3-message.json", &[(&promise, Value::Null), (&index, json!("1"))]).unwrap();
    assert_eq!(other.log_index, None);
    assert!(altered("v0.3-message.json", &[(&index, json!("1"))]).is_err(), "what is promised is of the index");
    assert!(altered("v0.3-rekor2-message.json", &[(&index, json!("1"))]).is_err(), "so is the proof in version 2");
}

#[test]
fn a_proof_must_be_for_the_signed_tree_and_the_named_log() {
    let size = format!("{ENTRY}/inclusionProof/treeSize");
    for (bundle, right, others) in [
        // The inclusion path from leaf to root is the same for each of these sizes.
        ("v0.3-dsse.json", "334214816", ["334214815", "334214814", "334214812"]),
        ("v0.3-message.json", "616408488", ["616408487", "616408489", "1"]),
    ] {
        altered(bundle, &[(&size, json!(right))]).unwrap();
        for other in others {
            let said = altered(bundle, &[(&size, json!(other))]).unwrap_err().to_string();
            assert!(said.contains("tree size") || said.contains("inclusion proof"), "{bundle}, {other}: {said}");
        }
    }
    let id = format!("{ENTRY}/logId/keyId");
    let rekor2 = "v0.3-rekor2-dsse.json";
    let said = altered(rekor2, &[(&id, json!(STANDARD.encode([7; 32])))]).unwrap_err().to_string();
    assert!(said.contains("log") && said.contains("trusted"), "{said}");
    // The other log is trusted too, but has not signed the checkpoint.
    let other = row("v0.3-rekor2-message.json").document().pointer(&id).unwrap().clone();
    let said = altered(rekor2, &[(&id, other)]).unwrap_err().to_string();
    assert!(said.contains("another log than"), "{said}");
}

#[test]
fn an_ambiguous_bundle_is_refused() {
    let message = || json!({"messageDigest": {"algorithm": "SHA2_256", "digest": ""}, "signature": ""});
    let envelope = || json!({"payload": "", "payloadType": "text/plain", "signatures": [{"sig": ""}]});
    let rows = [
        ("v0.3-dsse.json", "/messageSignature", message()),
        ("v0.3-message.json", "/dsseEnvelope", envelope()),
        ("v0.3-message.json", "/verificationMaterial/publicKey", json!({"hint": ""})),
        ("v0.3-message.json", "/verificationMaterial/x509CertificateChain", json!({"certificates": []})),
        ("v0.3-key.json", "/verificationMaterial/certificate", json!({"rawBytes": ""})),
    ];
    for (bundle, pointer, value) in rows {
        let said = altered(bundle, &[(pointer, value)]).unwrap_err().to_string();
        assert!(said.contains("not a valid bundle"), "{bundle} with {pointer}: {said}");
    }
}

#[test]
fn an_entry_must_have_the_claimed_kind_and_version() {
    let version = format!("{ENTRY}/kindVersion/version");
    for (bundle, other) in [("v0.3-message.json", "0.0.2"), ("v0.3-rekor2-message.json", "0.0.1")] {
        let said = altered(bundle, &[(&version, json!(other))]).unwrap_err().to_string();
        assert!(said.contains("different kind or version"), "{bundle}: {said}");
    }
}

#[test]
fn a_legacy_log_entry_must_record_a_sha256() {
    signed::legacy(Some("sha256")).verdict().unwrap();
    for algorithm in ["sha512", "sha384"] {
        let said = signed::legacy(Some(algorithm)).verdict().unwrap_err().to_string();
        assert!(said.contains("SHA-256"), "{algorithm}: {said}");
    }
}

#[test]
fn no_claimed_bundle_version_weakens_the_checks() {
    const V0_1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
    let proof = format!("{ENTRY}/inclusionProof");
    let promise = format!("{ENTRY}/inclusionPromise");
    for bundle in ["v0.1-message.json", "v0.2-message.json", "v0.3-dsse.json", "v0.3-message.json", "v0.3-key.json"] {
        for version in [V0_1, "application/vnd.dev.sigstore.bundle+json;version=0.2", BUNDLE] {
            let label = ("/mediaType", json!(version));
            let said = altered(bundle, &[label.clone(), (&proof, Value::Null)]).unwrap_err().to_string();
            assert!(said.contains("no proof of inclusion"), "{bundle} as {version}: {said}");
            let nothing = altered(bundle, &[label.clone(), (&proof, Value::Null), (&promise, Value::Null)]);
            assert!(nothing.is_err(), "{bundle} as {version}");
            let no_entry = altered(bundle, &[label, ("/verificationMaterial/tlogEntries", json!([]))]);
            let said = no_entry.unwrap_err().to_string();
            assert!(said.contains("no transparency log entry"), "{bundle} as {version}: {said}");
        }
    }
}

#[test]
fn no_claimed_version_of_a_supplied_bundle_weakens_the_checks() {
    let in_hand = |bundle: &str, changes: &[(&str, Value)]| {
        let row = row(bundle);
        let mut document = row.document();
        for (pointer, value) in changes {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let fields = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            fields.remove(name);
            if !value.is_null() {
                fields.insert(name.to_owned(), value.clone());
            }
        }
        judge_bundle(document.to_string().as_bytes(), Artifact::Digest(&row.artifact()), &row.entry())
    };
    let v0_1 = ("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.1"));
    let proof = format!("{ENTRY}/inclusionProof");
    let refused = |what: &str, result: Result<Verified, TrustError>| {
        assert!(matches!(result, Err(TrustError::Invalid { .. })), "{what}: {result:?}");
    };
    in_hand("v0.1-message.json", &[]).unwrap();
    // Bundles of that form: a certificate chain, and a log's promise.
    in_hand("v0.1-message.json", &[(&proof, Value::Null)]).unwrap();
    for bundle in ["v0.1-message.json", "v0.2-message.json", "v0.3-dsse.json", "v0.3-message.json", "v0.3-key.json"] {
        refused(bundle, in_hand(bundle, &[("/mediaType", Value::Null)]));
        let no_proof = [("/mediaType", Value::Null), (&*proof, Value::Null)];
        refused(bundle, in_hand(bundle, &no_proof));
    }
    for bundle in ["v0.3-dsse.json", "v0.3-message.json"] {
        refused(bundle, in_hand(bundle, &[v0_1.clone(), (&proof, Value::Null)]));
    }
}

#[test]
fn a_root_must_have_a_known_media_type_and_the_required_logs() {
    let row = row("v0.3-message.json");
    let root = |change: &dyn Fn(&mut Value)| {
        let mut root = row.root();
        change(&mut root);
        Root::parse(root.to_string().as_bytes())
    };
    for (media_type, is_known) in [
        ("application/vnd.dev.sigstore.trustedroot+json;version=0.1", true),
        ("application/vnd.dev.sigstore.trustedroot.v0.2+json", true),
        ("application/vnd.dev.sigstore.trustedroot+json;version=0.9", false),
        ("", false),
    ] {
        assert_eq!(root(&|root| root["mediaType"] = json!(media_type)).is_ok(), is_known, "{media_type}");
    }
    // With a root without certificate transparency logs, the check used to be skipped.
    let without = root(&|root| root["ctlogs"] = json!([])).unwrap();
    let now = "2026-11-01T00:00:00Z".parse().unwrap();
    for (rule, is_enough) in [(CertificateTransparency::Required, false), (CertificateTransparency::Ignored, true)] {
        assert_eq!(without.check(now, Some(rule), true).is_ok(), is_enough, "{rule:?}");
        let entry = Entry { root: without.clone(), certificate_transparency: rule, ..row.entry() };
        let judged = published::judged(&row.document(), &entry, &row.artifact());
        assert_eq!(judged.is_ok(), is_enough, "{rule:?}: {judged:?}");
    }
    let other = Root::staging().unwrap();
    let entry = Entry { certificate_transparency: CertificateTransparency::Ignored, root: other, ..row.entry() };
    assert!(
        published::judged(&row.document(), &entry, &row.artifact()).is_err(),
        "the authority is asked all the same"
    );
}

#[test]
fn an_authority_expires_with_the_first_of_its_certificates() {
    let chain = |intermediate_ends: i32| {
        let params = |name: &str, end: i32| {
            let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(end, 1, 1);
            params
        };
        let (root_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let root = params("root", 2044);
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = rcgen::Issuer::new(root, root_key);
        let der = params("intermediate", intermediate_ends).signed_by(&key, &issuer).unwrap().der().to_vec();
        json!({"certificates": [{"rawBytes": STANDARD.encode(der)}, {"rawBytes": STANDARD.encode(root_der)}]})
    };
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let window = |end: Option<&str>| match end {
        Some(end) => json!({"start": "2024-01-01T00:00:00Z", "end": end}),
        None => json!({"start": "2024-01-01T00:00:00Z"}),
    };
    let rows = [
        // End of the intermediate; end of the authority in the trusted root; usable in 2026.
        (2044, None, true),
        (2044, Some("2025-01-01T00:00:00Z"), false),
        (2025, None, false),
        (2025, Some("2044-01-01T00:00:00Z"), false),
    ];
    for (intermediate_ends, end, of_use) in rows {
        let root = published::root_of(&json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [
                {"uri": "https://ca.example", "certChain": chain(intermediate_ends), "validFor": window(end)},
            ],
        }));
        let ignored = Some(CertificateTransparency::Ignored);
        root.check(at("2024-06-01T00:00:00Z"), ignored, false).unwrap();
        let now = root.check(at("2026-11-01T00:00:00Z"), ignored, false);
        assert_eq!(now.is_ok(), of_use, "{intermediate_ends}, {end:?}: {now:?}");
    }
}
