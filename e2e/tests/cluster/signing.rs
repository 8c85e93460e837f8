//! That what signs here is what signs elsewhere: cosign's own verdicts, and what it leaves in each kind of registry.

mod artifact;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use supercargo_e2e::fixture::EMPTY;
use supercargo_e2e::registry::{Options, Product, Registry};
use supercargo_e2e::signing::{
    BUNDLE, Cosign, Identity, IssuerKind, KeyKind, PrivateSigstore, Published, SIGN_PREDICATE, SIMPLE_SIGNING,
    SigningKey, fallback_tag, handmade, legacy_tag,
};

use crate::case::{Case, tests};
use artifact::Artifact;

tests!(signing:
    each_kind_of_key_signs_and_no_other_key_is_taken_for_it,
    a_signature_lies_where_the_registry_has_a_place_for_it,
    a_legacy_signature_lies_under_a_tag,
    an_attestation_says_of_what_type_it_is,
    somebody_signs_and_nobody_else_is_taken_for_them,
    somebody_signs_as_before_there_were_bundles,
    what_was_signed_can_be_verified_when_nobody_is_there_any_more,
    a_key_can_sign_into_the_log,
    what_is_made_by_hand_is_what_cosign_makes,
    what_others_published_is_what_it_is_said_to_be,
);

const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

async fn cosign(case: &Case) -> Result<Cosign> {
    case.lab.cosign(&case.directory.join("cosign")).await
}

async fn registry(case: &Case, product: Product) -> Result<Registry> {
    case.registry(&format!("{product:?}").to_lowercase(), &Options { product, ..Options::default() }).await
}

/// Whether cosign takes what is about this artifact for a signature of this key.
async fn accepts(cosign: &Cosign, artifact: &Artifact, key: &SigningKey) -> Result<bool> {
    Ok(cosign.verify(&artifact.image(), &key.verify_args()).await?.accepted)
}

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
            // cosign 3.1.3 signs with Ed25519ph (RFC 8032 section 5.1) and takes only pure Ed25519 for a signature.
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
        // Product; whether there is a fallback tag; the type in the list.
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
        // cosign 3.1.3 takes it for a signature too.
        assert!(accepts(&cosign, &artifact, &right).await?, "{product:?}");
        let (_, bundle) = artifact.only_bundle(case).await?;
        assert_eq!(artifact::statement(&bundle)?["predicateType"], VULN, "{product:?}");
    }
    Ok(())
}

/// With one of each, since Fulcio has a way of its own for each.
fn identities() -> [Identity; 3] {
    let workflow = Identity::workflow("acme/app", "release.yml", "refs/heads/main");
    [Identity::email("dev@example.test"), Identity::Uri("team/builder".to_owned()), workflow]
}

async fn somebody_signs_and_nobody_else_is_taken_for_them(case: &mut Case) -> Result<()> {
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

        // The last of a flag that is there twice counts.
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

async fn somebody_signs_as_before_there_were_bundles(case: &mut Case) -> Result<()> {
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

async fn what_was_signed_can_be_verified_when_nobody_is_there_any_more(case: &mut Case) -> Result<()> {
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

async fn what_is_made_by_hand_is_what_cosign_makes(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let registry = &case.lab.registry;
    for kind in KeyKind::ALL {
        let name = kind.name();
        let right = cosign.key_pair(&format!("{name}-right"), kind).await?;
        let wrong = cosign.key_pair(&format!("{name}-wrong"), kind).await?;
        let artifact = Artifact::push(case, registry, &format!("{name}-bundle")).await?;
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let bundle = handmade::bundle(&right, &statement)?;
        let attached = handmade::attachment(&bundle, SIGN_PREDICATE, &artifact.digest, artifact.size);
        artifact.attach(case, "", &attached).await?;
        let legacy = Artifact::push(case, registry, &format!("{name}-legacy")).await?;
        let payload = handmade::simple_signing(&legacy.repository(), &legacy.digest);
        let tag = format!(":{}", legacy_tag(&legacy.digest));
        legacy.attach(case, &tag, &handmade::legacy(&[(&right, payload)])?).await?;
        for (form, artifact) in [("bundle", &artifact), ("legacy", &legacy)] {
            assert!(accepts(&cosign, artifact, &right).await?, "{name}, {form}, the key that signed");
            assert!(!accepts(&cosign, artifact, &wrong).await?, "{name}, {form}, another key");
        }
    }
    // Whatever is different about a bundle of cosign would be different for whoever reads it.
    let key = cosign.key_pair("both", KeyKind::P256).await?;
    let artifact = Artifact::push(case, registry, "both").await?;
    cosign.sign(&artifact.image(), &key).await?;
    let (manifest, mut theirs) = artifact.only_bundle(case).await?;
    let statement = artifact::statement(&theirs)?;
    assert_eq!(statement, handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?);
    let ours = handmade::bundle(&key, &statement)?;
    for changing in ["payload", "signatures"] {
        theirs["dsseEnvelope"][changing] = ours["dsseEnvelope"][changing].clone();
    }
    assert_eq!(theirs, ours);
    let attached = handmade::attachment(&ours, SIGN_PREDICATE, &artifact.digest, artifact.size);
    let attached: Value = serde_json::from_slice(&attached.manifest()?)?;
    for same in ["mediaType", "artifactType", "config", "subject"] {
        assert_eq!(manifest[same], attached[same], "{same}");
    }
    Ok(())
}

async fn what_others_published_is_what_it_is_said_to_be(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let key = cosign.key_pair("other", KeyKind::P256).await?;
    for published in Published::all()? {
        let mut rows = vec![("what is true", published.clone(), true)];
        // The last digit becomes another one.
        let end = if published.digest.ends_with('0') { "1" } else { "0" };
        let digest = format!("{}{end}", &published.digest[..published.digest.len() - 1]);
        rows.push(("another digest", Published { digest, ..published.clone() }, false));
        let changed = |text: &Option<String>| text.as_ref().map(|text| format!("{text}x"));
        if published.key.is_some() {
            let key = Some(key.public.display().to_string());
            rows.push(("another key", Published { key, ..published.clone() }, false));
        } else {
            let (subject, issuer) = (changed(&published.subject), changed(&published.issuer));
            rows.push(("another subject", Published { subject, ..published.clone() }, false));
            rows.push(("another issuer", Published { issuer, ..published.clone() }, false));
        }
        if published.predicate_type.is_some() {
            let predicate_type = changed(&published.predicate_type);
            rows.push(("another type", Published { predicate_type, ..published.clone() }, false));
        }
        for (label, row, expected) in rows {
            let output = cosign.command(&[]).args(row.verify_args()?).output().await?;
            assert_eq!(output.exit.success(), expected, "{}, {label}: {}", published.bundle, output.stderr);
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
