//! Tests of the cache, and of removals.

use std::collections::HashSet;

use super::*;
use crate::oci::Document;

#[test]
fn the_cache_finds_artifacts_by_tag_and_by_digest() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Cache::open(&dir.path().join("missing")).unwrap().is_none());
    let cache = Cache::create(dir.path()).unwrap();
    let [one, two] = ["one", "two"].map(|content| put(cache.layout(), content, None, &[]));
    let reference = |text: &str| text.parse::<Reference>().unwrap();
    let app = reference("r.example/app:1");
    assert_eq!(cache.add(&app, &one, Some("key sha256:0"), at(1)).unwrap(), Added::New);
    assert_eq!(cache.add(&app, &one, None, at(2)).unwrap(), Added::Unchanged);
    assert_eq!(cache.add(&app, &two, None, at(3)).unwrap(), Added::Updated);
    assert_eq!(cache.add(&reference("r.example/app"), &one, Some("signer"), at(4)).unwrap(), Added::New);
    let pin = reference(&format!("r.example/other@{}", one.digest));
    cache.add(&pin, &one, None, at(5)).unwrap();
    cache.layout().name(&two, &[&format!("r.example/app:sha256-{}.sig", one.digest.hex())], &[]).unwrap();
    let shown: Vec<_> = cache
        .artifacts()
        .unwrap()
        .into_iter()
        .map(|one| (one.reference.to_string(), one.verified, one.added))
        .collect();
    let want = [
        ("r.example/app:1".to_owned(), None, Some(at(3))),
        ("r.example/app:latest".to_owned(), Some("signer".to_owned()), Some(at(4))),
        (pin.to_string(), None, Some(at(5))),
    ];
    assert_eq!(shown, want);
    let digest = |text: &str| cache.find(&reference(text)).unwrap().map(|found| found.manifest.digest);
    assert_eq!(digest("r.example/app"), Some(one.digest.clone()));
    assert_eq!(digest(&format!("r.example/app@{}", two.digest)), Some(two.digest.clone()));
    assert_eq!(digest(&format!("r.example/other@{}", two.digest)), None, "of another repository");
    assert_eq!(digest("r.example/app:2"), None);
}

#[test]
fn what_no_kept_name_leads_to_is_pruned() {
    let (_dir, layout) = layout();
    let kept = put(&layout, "kept", None, &["r.example/app:kept"]);
    let gone = put(&layout, "gone", None, &["r.example/app:gone"]);
    let [signature, lost] = [&kept, &gone].map(|subject| put(&layout, "signature", Some(subject), &[]));
    let counter = put(&layout, "of the signature", Some(&signature), &[]);
    let legacy = |of: &Descriptor| format!("r.example/app:sha256-{}.sig", of.digest.hex());
    put(&layout, "legacy", None, &[&legacy(&kept)]);
    put(&layout, "lost legacy", None, &[&legacy(&gone)]);
    layout.put_blob("a/b", b"nothing leads to it").unwrap();
    fs_err::write(layout.path().join(".supercargo/ingest/left"), "x").unwrap();
    let path = layout.path().to_owned();
    let reject = |_: &[Entry]| HashSet::from(["r.example/app:gone".to_owned()]);
    assert!(matches!(Layout::prune(&path, reject), Err(LayoutError::InUse(_))));
    assert_eq!(names(&layout).len(), 7);
    drop(layout);
    let pruned = Layout::prune(&path, reject).unwrap();
    // Of the removed name: manifest and layer, signature, and legacy signature with its layer.
    assert_eq!((pruned.names, pruned.blobs), (1, 6));
    let layout = Layout::open(&path).unwrap();
    let left: Vec<_> = layout.entries().unwrap().into_iter().map(|entry| entry.descriptor.digest).collect();
    assert!(!left.contains(&lost.digest) && left.contains(&counter.digest) && left.len() == 4, "{left:?}");
    assert!(layout.resolve(&legacy(&kept)).unwrap().is_some());
    for digest in left {
        let bytes = layout.read_blob(&digest, 10_000).unwrap().unwrap();
        assert_eq!(layout.missing(&Document::parse(&bytes, None).unwrap()).unwrap(), None);
    }
    assert_eq!(fs_err::read_dir(path.join(".supercargo/ingest")).unwrap().count(), 0);
    drop(layout);
    assert_eq!(Layout::prune(&path, |_| HashSet::new()).unwrap(), Pruned::default());
}

#[test]
fn the_cache_removes_artifacts_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::create(dir.path()).unwrap();
    for (tag, content) in [("1", "one"), ("2", "two")] {
        let manifest = put(cache.layout(), content, None, &[]);
        cache.add(&format!("r.example/app:{tag}").parse().unwrap(), &manifest, None, at(1)).unwrap();
    }
    drop(cache);
    let first = |artifacts: &[Cached]| {
        vec![artifacts.iter().position(|one| one.reference.tag.as_deref() == Some("1")).unwrap()]
    };
    assert_eq!(Cache::prune(dir.path(), first).unwrap().names, 1);
    let left = Cache::open(dir.path()).unwrap().unwrap().artifacts().unwrap();
    assert_eq!(left.iter().map(|one| one.reference.to_string()).collect::<Vec<_>>(), ["r.example/app:2"]);
}
