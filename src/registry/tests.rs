//! Tests from references and digests to manifests, with an in-memory registry.

use serde_json::{Value, json};

use super::*;
use crate::oci::index::PlatformError;
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{Manifest, Platform, Reference, media_type};
use crate::testing::FakeRegistry;

/// Pushes an index of (digest, size, platform) as `tag`.
fn push_index(registry: &FakeRegistry, tag: &str, entries: &[(&Digest, usize, Option<&str>)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(digest, size, platform)| {
            let platform = platform.map(|text| {
                let (os, architecture) = text.split_once('/').unwrap();
                json!({"os": os, "architecture": architecture})
            });
            let kind = if *size == 0 { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
            json!({"mediaType": kind, "digest": digest, "size": size, "platform": platform})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    registry.push_document(tag, &index);
    index
}

async fn manifest_of(registry: &FakeRegistry, tag: &str, platform: Option<&str>) -> Result<Manifest, RegistryError> {
    let access = Access::default();
    let reference: Reference = format!("r.example/app:{tag}").parse().unwrap();
    let pinned =
        resolve(registry, &access, &reference, None, &crate::permits::Permits::default().seat("team")).await.unwrap();
    let platform: Option<Platform> = platform.map(|text| text.parse().unwrap());
    manifest(registry, &access, &pinned, platform.as_ref(), MAX_MANIFEST_BYTES).await
}

/// Pushes a manifest without layers. Returns its digest and its size in bytes.
fn push_manifest(registry: &FakeRegistry, name: &str) -> (Digest, usize) {
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": name, "layers": [],
        "config": {"mediaType": media_type::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
    });
    (registry.push_document(name, &document), document.to_string().len())
}

#[tokio::test]
async fn a_child_is_reached_by_digest_and_both_digests_are_known() {
    let registry = FakeRegistry::default();
    let ((amd, amd_size), (arm, arm_size)) = (push_manifest(&registry, "amd"), push_manifest(&registry, "arm"));
    push_index(&registry, "1", &[(&amd, amd_size, Some("linux/amd64")), (&arm, arm_size, Some("linux/arm64"))]);
    let chosen = manifest_of(&registry, "1", Some("linux/arm64")).await.unwrap();
    assert_eq!((chosen.artifact_type.as_str(), chosen.platform_digest.as_ref()), ("arm", Some(&arm)));
    let plain = manifest_of(&registry, "arm", Some("linux/riscv64")).await.unwrap();
    assert_eq!(plain.platform_digest, None, "a manifest alone is for every platform");
    for (platform, several) in [(None, true), (Some("linux/s390x"), false)] {
        let error = manifest_of(&registry, "1", platform).await.unwrap_err();
        let RegistryError::Manifest(ManifestError::Platform(error)) = error else { panic!("{error}") };
        assert_eq!(matches!(error, PlatformError::Several(_)), several, "{error}");
    }
}

#[tokio::test]
async fn an_index_may_contain_one_nested_index() {
    let registry = FakeRegistry::default();
    let (child, size) = push_manifest(&registry, "child");
    let mut inner = push_index(&registry, "depth-1", &[(&child, size, Some("linux/amd64"))]);
    for depth in 2..=3 {
        let digest = Digest::of(inner.to_string().as_bytes());
        let mut outer = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX});
        outer["manifests"] =
            json!([{"mediaType": media_type::OCI_INDEX, "digest": digest, "size": inner.to_string().len()}]);
        registry.push_document(&format!("depth-{depth}"), &outer);
        inner = outer;
    }
    for tag in ["depth-1", "depth-2"] {
        let chosen = manifest_of(&registry, tag, Some("linux/amd64")).await.unwrap();
        assert_eq!(chosen.platform_digest, Some(child.clone()), "{tag}");
    }
    let error = manifest_of(&registry, "depth-3", Some("linux/amd64")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Manifest(ManifestError::Nested)), "{error}");
}

#[tokio::test]
async fn a_child_that_differs_from_its_index_entry_is_refused() {
    let registry = FakeRegistry::default();
    let (child, size) = push_manifest(&registry, "child");
    push_index(&registry, "longer", &[(&child, size + 1, None)]);
    push_index(&registry, "index", &[(&child, 0, None)]);
    for tag in ["longer", "index"] {
        let error = manifest_of(&registry, tag, None).await.unwrap_err();
        assert!(matches!(error, RegistryError::Manifest(ManifestError::ChildDisagrees { .. })), "{tag}: {error}");
    }
    push_index(&registry, "changed", &[(&child, size, None)]);
    registry.tamper_manifest(&child, b"{}");
    let error = manifest_of(&registry, "changed", None).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}
