//! Identities: signers with a certificate of the private Sigstore.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use supercargo_e2e::registry::Product;
use supercargo_e2e::signing::{IssuerKind, PrivateSigstore, SIGN_PREDICATE, legacy_tag};

use super::{cosign, identities, registry};
use crate::support::artifact::{self, Artifact};
use crate::support::case::{Case, tests};

tests!(
    only_the_signers_own_identity_is_accepted,
    a_keyless_legacy_signature_is_accepted,
    signatures_verify_after_the_sigstore_has_stopped,
);

async fn only_the_signers_own_identity_is_accepted(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let sigstore = case.lab.sigstore().await?;
    let products = [Product::Distribution, Product::Referrers, Product::QuirkyReferrers];
    for (identity, product) in identities().iter().zip(products) {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.sign_keyless(&artifact.image(), sigstore, identity).await?;
        let args = sigstore.verify_args(identity);
        let verdict = cosign.verify(&artifact.image(), &args).await?;
        assert!(verdict.accepted, "{identity:?}: {}", verdict.text);

        // If a flag is given twice, the last one counts.
        let other_issuer = IssuerKind::ALL.into_iter().find(|kind| *kind != identity.issuer()).context("one issuer")?;
        let wrong = [
            ("another subject", "--certificate-identity=other@example.test".to_owned()),
            ("a part of the subject", format!("--certificate-identity={}x", sigstore.subject(identity))),
            ("another issuer", format!("--certificate-oidc-issuer={}", sigstore.issuer(other_issuer))),
            ("a log of certificates", "--insecure-ignore-sct=false".to_owned()),
        ];
        for (label, flag) in wrong {
            let verdict = cosign.verify(&artifact.image(), &[args.clone(), vec![flag]].concat()).await?;
            assert!(!verdict.accepted, "{identity:?}, {label}: {}", verdict.text);
        }

        let (manifest, bundle) = artifact.only_bundle(case).await?;
        assert_eq!(manifest["subject"]["digest"], json!(artifact.digest), "{identity:?}");
        let entry = bundle.pointer("/verificationMaterial/tlogEntries/0/kindVersion");
        assert_eq!(entry, Some(&json!({"kind": "hashedrekord", "version": "0.0.2"})), "{identity:?}");
        let times = bundle.pointer("/verificationMaterial/timestampVerificationData/rfc3161Timestamps");
        assert_eq!(times.and_then(Value::as_array).map(Vec::len), Some(1), "{identity:?}");
        assert!(bundle.pointer("/verificationMaterial/certificate/rawBytes").is_some(), "{identity:?}");
        assert_eq!(artifact::statement(&bundle)?["predicateType"], SIGN_PREDICATE, "{identity:?}");
    }
    Ok(())
}

async fn a_keyless_legacy_signature_is_accepted(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let sigstore = case.lab.sigstore().await?;
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    let [identity, ..] = identities();
    cosign.sign_keyless_legacy(&artifact.image(), sigstore, &identity).await?;

    let args =
        |more: &[&str]| [sigstore.verify_args(&identity), more.iter().map(ToString::to_string).collect()].concat();
    let time = ["--insecure-ignore-tlog=true", "--use-signed-timestamps=true"];
    let other = ["--certificate-identity=other@example.test", time[0], time[1]];
    let rows = [("by the time", args(&time), true), ("by the log", args(&[]), false), ("another", args(&other), false)];
    for (label, args, expected) in rows {
        let verdict = cosign.verify(&artifact.image(), &args).await?;
        assert_eq!(verdict.accepted, expected, "{label}: {}", verdict.text);
    }

    assert_eq!(artifact.tags().await?, json!(["1", legacy_tag(&artifact.digest)]));
    let manifest = artifact.manifest(case, &format!(":{}", legacy_tag(&artifact.digest))).await?;
    let annotations = manifest["layers"][0]["annotations"].as_object().context("no annotations")?;
    let names: Vec<&str> = annotations.keys().map(String::as_str).collect();
    let expected = ["cosignproject.cosign/signature", "sigstore.cosign/certificate", "sigstore.cosign/chain"];
    let expected = expected.iter().chain(&["sigstore.cosign/rfc3161timestamp"]).map(|name| format!("dev.{name}"));
    assert_eq!(names, expected.collect::<Vec<_>>());
    Ok(())
}

async fn signatures_verify_after_the_sigstore_has_stopped(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let start = async |name: &str| {
        let name = format!("{}-{name}", case.space.namespace);
        PrivateSigstore::start(&case.lab.run, case.lab.signing_tools().await?, &name).await
    };
    let (mut sigstore, other) = (start("one").await?, start("other").await?);
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    let [identity, ..] = identities();
    cosign.sign_keyless(&artifact.image(), &sigstore, &identity).await?;
    sigstore.stop().await?;

    let verdict = cosign.verify(&artifact.image(), &sigstore.verify_args(&identity)).await?;
    assert!(verdict.accepted, "{}", verdict.text);
    let elsewhere = format!("--trusted-root={}", other.trusted_root.display());
    let args = [sigstore.verify_args(&identity), vec![elsewhere]].concat();
    assert!(!cosign.verify(&artifact.image(), &args).await?.accepted, "the root of another Sigstore");
    let again = cosign.sign_keyless(&artifact.image(), &sigstore, &identity).await;
    assert!(again.is_err(), "it was to be gone");
    Ok(())
}
