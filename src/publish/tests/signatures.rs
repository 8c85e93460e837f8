//! Signatures by a key: their places, and other signers at the same tag.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::sign::{self, PrivateKey};

const TIME: &str = "2026-01-01T00:00:00Z";

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> PrivateKey {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    PrivateKey::from_pem(pair.serialize_pem().as_bytes(), b"").unwrap()
}

fn manifest(site: &Site, digest: &Digest) -> Value {
    serde_json::from_slice(&site.shelf.content(&site.repository).manifests[digest].1).unwrap()
}

fn layers(site: &Site, tag: &str) -> Vec<Value> {
    manifest(site, &site.tag(tag).unwrap())["layers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_bundle_is_a_referrer_with_the_annotations_of_cosign() {
    let site = Site::new(Shelf::default(), "r.example/app");
    let artifact = site.artifact(Some("1"), "content").await;
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let signature = sign(site.place(), &artifact.digest, &key, Format::Bundle, TIME).await.unwrap();
    assert_eq!(signature.key, key.fingerprint());
    let written = manifest(&site, &signature.digest);
    assert_eq!(written["artifactType"], sign::BUNDLE);
    assert_eq!(written["subject"]["digest"], json!(artifact.digest));
    assert_eq!(
        written["annotations"],
        json!({
            "dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": sign::PREDICATE,
            "org.opencontainers.image.created": TIME,
        })
    );
    let listed = manifest(&site, &site.tag(&referrers::tag(&artifact.digest)).unwrap());
    assert_eq!(listed["manifests"][0]["digest"], json!(signature.digest));
}

#[tokio::test]
async fn legacy_signatures_share_a_tag_and_a_key_signs_once() {
    let site = Site::new(Shelf::default(), "r.example/app");
    let artifact = site.artifact(Some("1"), "content").await;
    let tag = sign::legacy_tag(&artifact.digest);
    let keys = [key(&rcgen::PKCS_ECDSA_P256_SHA256), key(&rcgen::PKCS_ED25519)];
    let by = async |key: &PrivateKey| sign(site.place(), &artifact.digest, key, Format::Legacy, TIME).await.unwrap();
    for key in keys.iter().chain(&keys) {
        assert_eq!(Some(by(key).await.digest), site.tag(&tag));
    }
    let found = layers(&site, &tag);
    assert_eq!(found.len(), 2);
    for (layer, key) in found.iter().zip(&keys) {
        let payload =
            site.shelf.content(&site.repository).blobs[&layer["digest"].as_str().unwrap().parse().unwrap()].clone();
        let signature = layer["annotations"][sign::SIGNATURE_ANNOTATION].as_str().unwrap();
        assert!(key.has_signed(&payload, signature));
        assert!(STANDARD.decode(signature).is_ok());
    }
    let config = &manifest(&site, &site.tag(&tag).unwrap())["config"];
    assert_eq!(config["mediaType"], "application/vnd.oci.image.config.v1+json");
}

#[tokio::test]
async fn signers_at_the_same_time_lose_nothing() {
    let site = Site::new(Shelf::default(), "r.example/app");
    let artifact = site.artifact(Some("1"), "content").await;
    let keys: Vec<_> = (0..6).map(|_| key(&rcgen::PKCS_ECDSA_P256_SHA256)).collect();
    let signing = keys.iter().map(|key| sign(site.place(), &artifact.digest, key, Format::Legacy, TIME));
    for signed in futures::future::join_all(signing).await {
        signed.unwrap();
    }
    assert_eq!(layers(&site, &sign::legacy_tag(&artifact.digest)).len(), keys.len());
}

#[tokio::test]
async fn a_tag_of_something_else_is_kept_and_a_missing_artifact_is_not_signed() {
    let site = Site::new(Shelf::default(), "r.example/app");
    let artifact = site.artifact(Some("1"), "content").await;
    let tag = sign::legacy_tag(&artifact.digest);
    let index = site.index(&tag).await;
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let result = sign(site.place(), &artifact.digest, &key, Format::Legacy, TIME).await;
    assert!(matches!(result, Err(PublishError::NotSignatures { .. })), "{result:?}");
    assert_eq!(site.tag(&tag), Some(index.digest));
    for format in [Format::Bundle, Format::Legacy] {
        let result = sign(site.place(), &Digest::of(b"missing"), &key, format, TIME).await;
        assert!(matches!(result, Err(PublishError::Registry(RegistryError::NotFound(_)))), "{result:?}");
    }
}
