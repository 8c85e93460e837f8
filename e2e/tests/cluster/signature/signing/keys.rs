//! Keys: cosign's verdict on each key, and the manifests in each kind of registry.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use supercargo_e2e::fixture::EMPTY;
use supercargo_e2e::registry::Product;
use supercargo_e2e::signing::{BUNDLE, KeyKind, SIGN_PREDICATE, SIMPLE_SIGNING, fallback_tag, legacy_tag};

use super::{accepts, cosign, registry};
use crate::support::artifact::{self, Artifact};
use crate::support::case::{Case, tests};

tests!(
    each_kind_of_key_signs_and_no_other_key_is_taken_for_it,
    a_signature_lies_where_the_registry_has_a_place_for_it,
    a_legacy_signature_lies_under_a_tag,
    an_attestation_says_of_what_type_it_is,
    a_key_can_sign_into_the_log,
    cosign_reads_no_more_than_the_first_page,
);

const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

async fn each_kind_of_key_signs_and_no_other_key_is_taken_for_it(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    for kind in KeyKind::ALL {
        let name = kind.name();
        let right = cosign.key_pair(&format!("{name}-right"), kind).await?;
        let wrong = cosign.key_pair(&format!("{name}-wrong"), kind).await?;
        let bundle = Artifact::push(case, &case.lab.registry, &format!("{name}-bundle")).await?;
        cosign.sign(&bundle.image(), &right).await?;
        let legacy = Artifact::push(case, &case.lab.registry, &format!("{name}-legacy")).await?;
        cosign.sign_legacy(&legacy.image(), &right).await?;
        for (form, artifact) in [("bundle", &bundle), ("legacy", &legacy)] {
            // cosign 3.1.3 signs with Ed25519ph (RFC 8032 section 5.1) and accepts only pure Ed25519 as a signature.
            let expected = kind != KeyKind::Ed25519;
            assert_eq!(accepts(&cosign, artifact, &right).await?, expected, "{name}, {form}, the key that signed");
            assert!(!accepts(&cosign, artifact, &wrong).await?, "{name}, {form}, another key");
        }
    }
    Ok(())
}

async fn a_signature_lies_where_the_registry_has_a_place_for_it(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let right = cosign.key_pair("right", KeyKind::P256).await?;
    let wrong = cosign.key_pair("wrong", KeyKind::P256).await?;
    let rows = [
        // Product; true for a fallback tag; the type in the list.
        (Product::Distribution, true, BUNDLE),
        (Product::Referrers, false, BUNDLE),
        (Product::QuirkyReferrers, false, EMPTY),
    ];
    for (product, fallback, listed_type) in rows {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.sign(&artifact.image(), &right).await?;
        assert!(accepts(&cosign, &artifact, &right).await?, "{product:?}");
        assert!(!accepts(&cosign, &artifact, &wrong).await?, "{product:?}");

        let mut tags = vec!["1".to_owned()];
        let listed = if fallback {
            assert_eq!(artifact.referrers().await?, None, "{product:?}");
            tags.push(fallback_tag(&artifact.digest));
            let index = artifact.manifest(case, &format!(":{}", fallback_tag(&artifact.digest))).await?;
            index["manifests"].as_array().cloned()
        } else {
            artifact.referrers().await?
        };
        assert_eq!(artifact.tags().await?, json!(tags), "{product:?}");
        let listed = listed.context("no list")?;
        assert_eq!((listed.len(), &listed[0]["artifactType"]), (1, &json!(listed_type)), "{product:?}");

        let manifest = artifact.manifest(case, &format!("@{}", text(&listed[0]["digest"]))).await?;
        let types = ["/artifactType", "/config/artifactType", "/layers/0/mediaType"];
        for pointer in types {
            assert_eq!(manifest.pointer(pointer), Some(&json!(BUNDLE)), "{product:?} {pointer}");
        }
        assert_eq!(manifest["config"]["mediaType"], EMPTY, "{product:?}");
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{product:?}");
        assert_eq!(manifest["subject"]["digest"], json!(artifact.digest), "{product:?}");
        assert_eq!(manifest["annotations"]["dev.sigstore.bundle.predicateType"], SIGN_PREDICATE, "{product:?}");
    }
    Ok(())
}

async fn a_legacy_signature_lies_under_a_tag(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let right = cosign.key_pair("right", KeyKind::P256).await?;
    let wrong = cosign.key_pair("wrong", KeyKind::P256).await?;
    for product in [Product::Distribution, Product::Referrers, Product::QuirkyReferrers] {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.sign_legacy(&artifact.image(), &right).await?;
        assert!(accepts(&cosign, &artifact, &right).await?, "{product:?}");
        assert!(!accepts(&cosign, &artifact, &wrong).await?, "{product:?}");

        let tag = legacy_tag(&artifact.digest);
        assert_eq!(artifact.tags().await?, json!(["1", tag]), "{product:?}");
        assert!(artifact.referrers().await?.is_none_or(|list| list.is_empty()), "{product:?}");
        let manifest = artifact.manifest(case, &format!(":{tag}")).await?;
        assert_eq!(manifest["layers"][0]["mediaType"], SIMPLE_SIGNING, "{product:?}");
        assert!(manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"].is_string(), "{product:?}");
        assert_eq!((&manifest["subject"], &manifest["artifactType"]), (&Value::Null, &Value::Null), "{product:?}");
        let payload: Value = serde_json::from_slice(&artifact.blob(text(&manifest["layers"][0]["digest"])).await?)?;
        let named = payload.pointer("/critical/image/docker-manifest-digest");
        assert_eq!(named, Some(&json!(artifact.digest)), "{product:?}");
    }
    Ok(())
}

async fn an_attestation_says_of_what_type_it_is(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let right = cosign.key_pair("right", KeyKind::P256).await?;
    let wrong = cosign.key_pair("wrong", KeyKind::P256).await?;
    for product in [Product::Distribution, Product::Referrers, Product::QuirkyReferrers] {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.attest(&artifact.image(), &right, VULN, &json!({"scanner": {"uri": "none"}})).await?;
        let rows = [("the key that signed", &right, VULN, true), ("another key", &wrong, VULN, false)];
        let rows = rows.into_iter().chain([("another type", &right, "https://example.test/other", false)]);
        for (label, key, kind, expected) in rows {
            let args = [key.verify_args(), vec![format!("--type={kind}")]].concat();
            let verdict = cosign.verify_attestation(&artifact.image(), &args).await?;
            assert_eq!(verdict.accepted, expected, "{product:?}, {label}: {}", verdict.text);
        }
        // cosign 3.1.3 accepts the attestation as a signature too.
        assert!(accepts(&cosign, &artifact, &right).await?, "{product:?}");
        let (_, bundle) = artifact.only_bundle(case).await?;
        assert_eq!(artifact::statement(&bundle)?["predicateType"], VULN, "{product:?}");
    }
    Ok(())
}

async fn a_key_can_sign_into_the_log(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let sigstore = case.lab.sigstore().await?;
    let key = cosign.key_pair("right", KeyKind::P256).await?;
    let (logged, bare) = (
        Artifact::push(case, &case.lab.registry, "logged").await?,
        Artifact::push(case, &case.lab.registry, "bare").await?,
    );
    cosign.sign_logged(&logged.image(), &key, sigstore).await?;
    cosign.sign(&bare.image(), &key).await?;
    let args = ["--key".to_owned(), key.public.display().to_string()];
    let args = [args.to_vec(), vec![format!("--trusted-root={}", sigstore.trusted_root.display())]].concat();
    assert!(cosign.verify(&logged.image(), &args).await?.accepted, "with a log entry");
    assert!(!cosign.verify(&bare.image(), &args).await?.accepted, "without one");
    Ok(())
}

async fn cosign_reads_no_more_than_the_first_page(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let registry = registry(case, Product::PagedReferrers).await?;
    let artifact = Artifact::push(case, &registry, "app").await?;
    let keys = [cosign.key_pair("one", KeyKind::P256).await?, cosign.key_pair("two", KeyKind::P256).await?];
    for key in &keys {
        cosign.sign(&artifact.image(), key).await?;
    }
    let (first, second) = (artifact.referrers().await?, artifact.referrers_with("?from=1").await?);
    assert_eq!([&first, &second].map(|page| page.as_ref().map(Vec::len)), [Some(1), Some(1)]);
    assert_ne!(first, second);
    let mut accepted = 0;
    for key in &keys {
        accepted += u32::from(accepts(&cosign, &artifact, key).await?);
    }
    // Both keys signed. Version 3.1.3 requests one page and takes it for the whole list.
    assert_eq!(accepted, 1);
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
