//! Tests of a layout as a registry, and as the destination of a copy.

use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::oci::{Document, ManifestDraft};
use crate::registry::{self, Access, Begun, ManifestName, Push, Registry, RegistryError, Sender, Stored};

#[tokio::test]
async fn a_layout_is_read_like_a_registry() {
    let (_dir, layout) = layout();
    let (access, app) = (Access::default(), repository("r.example/app:1"));
    let one = put(&layout, "one", None, &["r.example/app:1", "r.example/app/inner:2", "r.example/app@x"]);
    let referrer = put(&layout, "signature", Some(&one), &[]);
    assert_eq!(layout.tag_digest(&access, &app, "1").await.unwrap(), one.digest);
    assert_eq!(layout.tags(&access, &app).await.unwrap(), ["1"]);
    let missing = layout.tag_digest(&access, &app, "2").await;
    assert!(matches!(missing, Err(RegistryError::NotFound(name)) if name.starts_with("r.example/app:2 ")));
    let (document, size) = registry::document(&layout, &access, &app, &one.digest, 10_000).await.unwrap();
    let Document::Manifest(manifest) = document else { panic!("an index") };
    assert_eq!(size, one.size);
    let listed = layout.referrers(&access, &app, &one.digest).await.unwrap().unwrap();
    assert_eq!(listed.iter().map(|one| &one.digest).collect::<Vec<_>>(), [&referrer.digest]);
    assert_eq!(listed[0].artifact_type.as_deref(), Some(OCI_EMPTY));
    let layer = &manifest.layers[0];
    assert_eq!(registry::small_blob(&layout, &access, &app, layer, 10).await.unwrap(), "one");
    assert!(layout.local(layer).await.unwrap().is(layer));
    let begun = Begun { bytes: 2, sender: Sender::registry(&app) };
    let body = layout.blob(&access, &app, layer, Some(&begun)).await.unwrap();
    assert_eq!((body.from, body.stream.try_collect::<Vec<_>>().await.unwrap()), (2, vec![Bytes::from_static(b"e")]));
    // Names without a repository are those of the placeholder.
    layout.name(&one, &["v1"], &[]).unwrap();
    let plain = repository(REPOSITORY);
    assert_eq!(layout.tag_digest(&access, &plain, "v1").await.unwrap(), one.digest);
    assert_eq!(layout.tags(&access, &plain).await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn damage_in_a_layout_is_found_by_the_reader() {
    let (_dir, layout) = layout();
    let (access, app) = (Access::default(), repository("r.example/app:1"));
    let one = put(&layout, "one", None, &["r.example/app:1"]);
    let layer = Descriptor::of("text/plain", b"one");
    let blob = |digest: &Digest| layout.path().join("blobs/sha256").join(digest.hex());
    for damage in ["oNe", "on", ""] {
        fs_err::write(blob(&layer.digest), damage).unwrap();
        let read = registry::small_blob(&layout, &access, &app, &layer, 10).await;
        assert!(matches!(read, Err(RegistryError::DigestMismatch { .. })), "{damage:?}: {read:?}");
        assert!(!layout.local(&layer).await.unwrap().is(&layer));
    }
    fs_err::remove_file(blob(&layer.digest)).unwrap();
    let read = registry::small_blob(&layout, &access, &app, &layer, 10).await;
    assert!(matches!(read, Err(RegistryError::NotFound(_))), "{read:?}");
    fs_err::write(blob(&one.digest), "{}").unwrap();
    let read = registry::document(&layout, &access, &app, &one.digest, 10_000).await;
    assert!(matches!(read, Err(RegistryError::DigestMismatch { .. })), "{read:?}");
    assert!(layout.referrers(&access, &app, &one.digest).await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_layout_takes_only_what_is_whole() {
    let (_dir, layout) = layout();
    let (access, app) = (Access::default(), repository("r.example/app:1"));
    let layer = Descriptor::of("text/plain", b"content");
    let draft = ManifestDraft::artifact("a/b", vec![layer.clone()]);
    let (bytes, tag) = (Bytes::from(draft.to_bytes().unwrap()), ManifestName::Tag("1"));
    let put = async |name: ManifestName<'_>| {
        Push::put_manifest(&layout, &access, &app, name, OCI_MANIFEST, bytes.clone()).await
    };
    assert!(put(tag).await.is_err(), "the layer is missing");
    assert!(!layout.has_blob(&access, &app, &layer).await.unwrap());
    for wrong in ["other--", "content-and-more", "cont"] {
        let wrong = Bytes::from_static(wrong.as_bytes());
        let error = layout.upload_blob(&access, &app, &layer, &wrong).await.unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    }
    layout.upload_blob(&access, &app, &layer, &Bytes::from_static(b"content")).await.unwrap();
    assert!(layout.has_blob(&access, &app, &layer).await.unwrap());
    assert!(put(ManifestName::Digest(&layer.digest)).await.is_err(), "another digest");
    assert_eq!(put(tag).await.unwrap(), Stored { subject: None });
    assert_eq!(layout.tag_digest(&access, &app, "1").await.unwrap(), Digest::of(&bytes));
}
