//! Proof that cosign treats handmade signatures and log entries like its own.

use std::time::UNIX_EPOCH;

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::signing::handmade::{self, Envelope, Legacy, Signer};
use supercargo_e2e::signing::{HandmadeLog, KeyKind, SIGN_PREDICATE};

use super::{accepts, cosign, identities};
use crate::support::artifact::{self, Artifact};
use crate::support::case::{Case, tests};

tests!(handmade_signatures_equal_those_of_cosign, handmade_log_entries_are_accepted,);

async fn handmade_signatures_equal_those_of_cosign(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let registry = &case.lab.registry;
    for kind in KeyKind::ALL {
        let name = kind.name();
        let right = cosign.key_pair(&format!("{name}-right"), kind).await?;
        let wrong = cosign.key_pair(&format!("{name}-wrong"), kind).await?;
        let artifact = Artifact::push(case, registry, &format!("{name}-bundle")).await?;
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let signer = Signer::from(&right);
        let bundle = Envelope::sign(&signer, &statement)?.bundle;
        artifact.attach_bundle(case, &bundle).await?;
        let legacy = Artifact::push(case, registry, &format!("{name}-legacy")).await?;
        let payload = handmade::simple_signing(&legacy.repository(), &legacy.digest);
        legacy.attach_legacy(case, Legacy::sign(&signer, &payload)?).await?;
        for (form, artifact) in [("bundle", &artifact), ("legacy", &legacy)] {
            assert!(accepts(&cosign, artifact, &right).await?, "{name}, {form}, the key that signed");
            assert!(!accepts(&cosign, artifact, &wrong).await?, "{name}, {form}, another key");
        }
    }
    // Any difference from a bundle of cosign could also make a difference to a verifier.
    let key = cosign.key_pair("both", KeyKind::P256).await?;
    let artifact = Artifact::push(case, registry, "both").await?;
    cosign.sign(&artifact.image(), &key).await?;
    let (manifest, mut theirs) = artifact.only_bundle(case).await?;
    let statement = artifact::statement(&theirs)?;
    assert_eq!(statement, handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?);
    let ours = Envelope::sign(&Signer::from(&key), &statement)?.bundle;
    for changing in ["payload", "signatures"] {
        theirs["dsseEnvelope"][changing] = ours["dsseEnvelope"][changing].clone();
    }
    assert_eq!(theirs, ours);
    let attached = handmade::attachment(&ours, SIGN_PREDICATE, &artifact.digest, artifact.size());
    let attached: Value = serde_json::from_slice(&attached.manifest()?)?;
    for same in ["mediaType", "artifactType", "config", "subject"] {
        assert_eq!(manifest[same], attached[same], "{same}");
    }
    Ok(())
}

async fn handmade_log_entries_are_accepted(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let sigstore = case.lab.sigstore().await?;
    let [identity, ..] = identities();
    let (log, other) = (HandmadeLog::new()?, HandmadeLog::new()?);
    let args = |name: &str, until: Option<&str>| {
        let path = case.directory.join(name);
        let root = log.trusted_in(&sigstore.trusted_root_json()?, "2026-01-01T00:00:00Z", until)?;
        fs_err::write(&path, root.to_string())?;
        anyhow::Ok([sigstore.verify_args(&identity), vec![format!("--trusted-root={}", path.display())]].concat())
    };
    let valid = args("valid.json", None)?;
    let ended = args("ended.json", Some("2026-02-01T00:00:00Z"))?;
    let now = UNIX_EPOCH.elapsed()?.as_secs();
    let rows = [
        // The wrong part; the log; the time; cosign's verdict.
        ("nothing", &log, now, true),
        ("another log", &other, now, false),
        ("an hour late", &log, now + 3600, false),
    ];
    for (number, (wrong, log, time, expected)) in rows.into_iter().enumerate() {
        let signer = sigstore.certify(&identity).await?;
        let bundle = Artifact::push(case, &case.lab.registry, &format!("bundle-{number}")).await?;
        let statement = handmade::statement(&bundle.digest, SIGN_PREDICATE, &json!({}))?;
        let envelope = Envelope::sign(&signer, &statement)?;
        let logged = envelope.logged(&log.entry(&envelope.log_body, time)?);
        bundle.attach_bundle(case, &logged).await?;

        let legacy = Artifact::push(case, &case.lab.registry, &format!("legacy-{number}")).await?;
        let signature = Legacy::sign(&signer, &handmade::simple_signing(&legacy.repository(), &legacy.digest))?;
        let entry = log.entry(&signature.log_body, time)?;
        legacy.attach_legacy(case, signature.logged(&entry)).await?;
        for (form, artifact) in [("bundle", &bundle), ("legacy", &legacy)] {
            let verdict = cosign.verify(&artifact.image(), &valid).await?;
            assert_eq!(verdict.accepted, expected, "{form}, {wrong} is wrong: {}", verdict.text);
            let verdict = cosign.verify(&artifact.image(), &ended).await?;
            assert!(!verdict.accepted, "{form}, {wrong} is wrong, the log has ended: {}", verdict.text);
        }
    }
    Ok(())
}
