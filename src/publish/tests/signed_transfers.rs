//! Transfers that sign: no tag is set before the signature is there, and a repetition adds no second one.

use super::*;
use crate::sign::{self, PrivateKey};

fn signing(format: Format) -> Signing {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = Arc::new(PrivateKey::from_pem(pair.serialize_pem().as_bytes(), b"").unwrap());
    Signing { key, format, created: "2026-01-01T00:00:00Z".to_owned() }
}

fn signed(tags: &[&str], signing: &Signing) -> Options {
    Options { signing: Some(signing.clone()), ..options(tags) }
}

/// Returns the signatures of a digest, as many as a verifier finds in either place.
fn signatures(site: &Site, digest: &Digest) -> usize {
    let content = site.shelf.content(&site.repository);
    let legacy = content.tags.get(&sign::legacy_tag(digest)).map_or(0, |found| layers(&content.manifests[found].1));
    let is_listed = |found: &Digest| site.shelf.lists_referrers() || site.listed(digest).contains(found);
    let about = content.manifests.iter().filter(|(found, (_, bytes))| {
        let manifest: Value = serde_json::from_slice(bytes).unwrap();
        manifest["artifactType"] == sign::BUNDLE && manifest["subject"]["digest"] == json!(digest) && is_listed(found)
    });
    legacy + about.count()
}

fn layers(bytes: &[u8]) -> usize {
    let manifest: Value = serde_json::from_slice(bytes).unwrap();
    manifest["layers"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_signature_comes_after_the_manifests_and_before_the_tags() {
    for format in [Format::Bundle, Format::Legacy] {
        let source = Site::new(Shelf::default(), "a.example/app");
        let target = Site::new(Shelf::with_referrers(), "b.example/app");
        let (root, by) = (source.index("1").await, signing(format));
        let with = signed(&["1.0.0", "latest"], &by);
        let result = transfer(source.place(), target.place(), &root.digest, &with).await.unwrap();
        let signature = result.signature.unwrap();
        assert_eq!(signature.key, by.key.fingerprint());
        let writes = target.shelf.writes();
        let at = |what: &str| writes.iter().position(|write| write == what).unwrap();
        let (manifest, last) = (at(&format!("put {}", root.digest)), at(&format!("put {}", signature.digest)));
        assert!(manifest < last && last < at("put 1.0.0") && at("put latest") == writes.len() - 1, "{writes:?}");
        assert_eq!(signatures(&target, &root.digest), 1);
        let never = Options { overwrite: Overwrite::Never, ..with };
        let again = transfer(source.place(), target.place(), &root.digest, &never).await.unwrap();
        assert_eq!((again.signature.unwrap().digest, target.shelf.writes()), (signature.digest, vec![]), "{format:?}");
        let other = signed(&["latest"], &signing(format));
        transfer(source.place(), target.place(), &root.digest, &other).await.unwrap();
        assert_eq!(signatures(&target, &root.digest), 2, "{format:?}: each key signs");
    }
}

/// A write that fails stands for a process that is killed there, and for a registry that refuses the signature.
#[tokio::test]
async fn after_every_write_no_tag_refers_to_an_unsigned_digest() {
    let source = Site::new(Shelf::with_referrers(), "a.example/app");
    let root = source.index("1").await;
    for format in [Format::Bundle, Format::Legacy] {
        for has_referrers in [true, false] {
            let shelf = || if has_referrers { Shelf::with_referrers() } else { Shelf::default() };
            let by = signing(format);
            let cut = (0..24).map(|writes| cut_after(writes, &source, &root, &by, Site::new(shelf(), "b.example/app")));
            let whole: Vec<bool> = futures::future::join_all(cut).await;
            assert!(!whole[0] && whole[23], "the fuse burns within the transfer: {whole:?}");
        }
    }
}

/// Returns true if the transfer needs no more writes.
async fn cut_after(writes: usize, source: &Site, root: &Descriptor, by: &Signing, target: Site) -> bool {
    target.shelf.burn_after(Some(writes));
    let with = signed(&["1", "2"], by);
    let cut = transfer(source.place(), target.place(), &root.digest, &with).await;
    let is_tagged = target.tag("1").is_some() || target.tag("2").is_some();
    assert!(target.is_whole() && (!is_tagged || signatures(&target, &root.digest) == 1), "{writes} writes");
    assert_eq!(target.tag("2").is_some(), cut.is_ok(), "{writes} writes");
    target.shelf.burn_after(None);
    let result = transfer(source.place(), target.place(), &root.digest, &with).await.unwrap();
    assert!(target.is_whole() && target.tag("1").as_ref() == Some(&root.digest), "{writes} writes");
    // A bundle that was written, and not listed, is no signature yet.
    assert_eq!(signatures(&target, &root.digest), 1, "{writes} writes: {result:?}");
    cut.is_ok()
}

#[tokio::test]
async fn legacy_signatures_of_the_source_and_ours_stay_together() {
    let source = Site::new(Shelf::default(), "a.example/app");
    let root = source.artifact(Some("1"), "content").await;
    let theirs = signing(Format::Legacy);
    sign(source.place(), &root.digest, &theirs.key, Format::Legacy, "").await.unwrap();
    for overwrite in [Overwrite::Moving, Overwrite::Always] {
        let target = Site::new(Shelf::default(), "b.example/app");
        let with = Options { overwrite, ..signed(&["1"], &signing(Format::Legacy)) };
        for _ in 0..2 {
            let result = transfer(source.place(), target.place(), &root.digest, &with).await.unwrap();
            assert_eq!(result.legacy_tags, [sign::legacy_tag(&root.digest)]);
            assert_eq!(signatures(&target, &root.digest), 2, "{overwrite:?}");
        }
        let writes = target.shelf.writes();
        let tag = format!("put {}", sign::legacy_tag(&root.digest));
        assert_eq!(writes.iter().filter(|write| **write == tag).count(), 2, "the second time adds nothing: {writes:?}");
    }
}
