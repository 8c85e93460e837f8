//! Transfers, their order, and what a process that is killed leaves behind.

use super::*;
use crate::layout::Layout;
use crate::registry::Registry;
use crate::testing::shelf::Lie;

#[tokio::test]
async fn an_index_is_copied_with_its_children_and_its_tags_come_last() {
    let (source, target) = (Site::new(Shelf::default(), "a.example/app"), Site::new(Shelf::default(), "b.example/app"));
    let root = source.index("1.0.0").await;
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1.0.0", "latest"])).await.unwrap();
    assert_eq!((&result.digest, result.size, result.tags.len()), (&root.digest, root.size, 2));
    assert_eq!((result.copied.uploaded, result.copied.manifests, result.copied.mounted), (4, 3, 0));
    assert!(target.is_whole());
    let writes = target.shelf.writes();
    let puts: Vec<_> = writes.iter().filter(|write| write.starts_with("put")).collect();
    assert!(writes[..4].iter().all(|write| write.starts_with("upload")), "{writes:?}");
    assert_eq!(puts[2..], [&format!("put {}", root.digest), "put 1.0.0", "put latest"]);
    let again = transfer(source.place(), target.place(), &root.digest, &options(&["1.0.0", "latest"])).await.unwrap();
    assert!(target.shelf.writes().is_empty() && again.tags.is_empty(), "{again:?}");
    assert_eq!(again.copied, Copied { present: 4, ..Copied::default() });
}

#[tokio::test]
async fn blobs_of_the_same_registry_are_mounted() {
    let shelf = Shelf::default();
    let source = Site::new(shelf.clone(), "a.example/app");
    let target = Site::new(shelf, "a.example/other");
    let root = source.index("1").await;
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await.unwrap();
    assert_eq!((result.copied.mounted, result.copied.uploaded), (4, 0));
    assert!(target.is_whole() && target.tag("1") == Some(root.digest));
}

/// A write that fails stands for a process that is killed there.
#[tokio::test]
async fn after_every_write_tags_are_whole_and_a_repetition_uploads_only_the_rest() {
    let source = Site::new(Shelf::with_referrers(), "a.example/app");
    let root = source.index("1").await;
    let referrer = source.referrer(&root, "sbom").await;
    source.referrer(&referrer, "signature").await;
    source.artifact(Some(&format!("{}.sig", referrers::tag(&root.digest))), "legacy").await;
    for has_referrers in [true, false] {
        let shelf = || if has_referrers { Shelf::with_referrers() } else { Shelf::default() };
        let cut = (0..40).map(|writes| cut_after(writes, &source, &root, Site::new(shelf(), "b.example/app")));
        // At once, because each adds to lists that must stay complete for a while.
        let whole: Vec<bool> = futures::future::join_all(cut).await;
        assert!(!whole[0] && whole[39], "the fuse burns within the transfer: {whole:?}");
    }
}

/// Returns true if the transfer needs no more writes.
async fn cut_after(writes: usize, source: &Site, root: &Descriptor, target: Site) -> bool {
    target.shelf.burn_after(Some(writes));
    let cut = transfer(source.place(), target.place(), &root.digest, &options(&["1", "2"])).await;
    assert!(target.is_whole(), "{writes} writes");
    assert_eq!(target.tag("2").is_some(), cut.is_ok(), "{writes} writes");
    let before = target.shelf.writes();
    target.shelf.burn_after(None);
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1", "2"])).await.unwrap();
    assert_eq!((result.referrers, result.legacy_tags.len()), (2, 1));
    assert!(target.is_whole() && target.tag("1").as_ref() == Some(&root.digest));
    let uploads = |writes: &[String]| writes.iter().filter(|one| one.starts_with("upload")).cloned().collect();
    let (mut all, after): (Vec<_>, Vec<_>) = (uploads(&before), uploads(&target.shelf.writes()));
    assert!(after.iter().all(|one| !all.contains(one)), "{writes} writes");
    all.extend(after);
    assert_eq!(all.len(), 7, "{all:?}");
    let has_list = !target.listed(&root.digest).is_empty();
    let lists = target.place().registry.referrers(&target.access, &target.repository, &root.digest).await.unwrap();
    assert_ne!(has_list, lists.is_some(), "one list of the two");
    cut.is_ok()
}

#[tokio::test]
async fn a_version_is_replaced_only_by_force_and_the_same_digest_is_no_change() {
    let source = Site::new(Shelf::default(), "a.example/app");
    let target = Site::new(Shelf::default(), "b.example/app");
    let (old, new) = (source.artifact(None, "old").await, source.artifact(None, "new").await);
    let rows = [
        ("latest", Overwrite::Moving, true),
        ("1.2", Overwrite::Moving, true),
        ("1.2.3", Overwrite::Moving, false),
        ("v1.2.3-rc.1", Overwrite::Moving, false),
        ("latest", Overwrite::Never, false),
        ("1.2.3", Overwrite::Always, true),
    ];
    for (tag, overwrite, is_replaced) in rows {
        let with = |overwrite| Options { overwrite, ..options(&[tag]) };
        let first = with(Overwrite::Always);
        transfer(source.place(), target.place(), &old.digest, &first).await.unwrap();
        for same in [Overwrite::Moving, Overwrite::Never] {
            let again = transfer(source.place(), target.place(), &old.digest, &with(same)).await.unwrap();
            assert!(again.tags.is_empty(), "{tag}");
        }
        let result = transfer(source.place(), target.place(), &new.digest, &with(overwrite)).await;
        let want = if is_replaced { &new } else { &old };
        assert_eq!(
            (result.is_ok(), target.tag(tag).as_ref()),
            (is_replaced, Some(&want.digest)),
            "{tag} {overwrite:?}"
        );
        let is_refused = matches!(&result, Err(PublishError::TagExists { found, .. }) if *found == old.digest);
        assert!(is_replaced || is_refused, "{result:?}");
    }
}

#[tokio::test]
async fn referrers_of_children_and_of_referrers_are_copied_and_others_are_not() {
    let source = Site::new(Shelf::default(), "a.example/app");
    let root = source.index("1").await;
    let content = source.shelf.content(&source.repository);
    let index = Document::parse(&content.manifests[&root.digest].1, None).unwrap();
    let Document::Index(index) = index else { panic!("no index") };
    let child = index.manifests.into_iter().next().unwrap();
    let of_child = source.referrer(&child, "of a child").await;
    let of_other = source.artifact(None, "no referrer").await;
    let gone = Descriptor::of(media_type::OCI_MANIFEST, b"gone");
    let list = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [of_child, of_other, gone],
    });
    source.put(Some(&referrers::tag(&child.digest)), &list).await;
    let target = Site::new(Shelf::with_referrers(), "b.example/app");
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await.unwrap();
    assert_eq!(result.referrers, 1);
    let there = target.shelf.content(&target.repository).manifests;
    assert!(there.contains_key(&of_child.digest) && !there.contains_key(&of_other.digest));
    let without = Options { referrers: false, ..options(&["1"]) };
    let bare = Site::new(Shelf::default(), "c.example/app");
    let result = transfer(source.place(), bare.place(), &root.digest, &without).await.unwrap();
    assert_eq!((result.referrers, bare.shelf.content(&bare.repository).manifests.len()), (0, 3));
}

#[tokio::test]
async fn signatures_at_the_destination_are_not_lost() {
    let source = Site::new(Shelf::default(), "a.example/app");
    let target = Site::new(Shelf::default(), "b.example/app");
    let root = source.artifact(None, "content").await;
    let tag = format!("{}.sig", referrers::tag(&root.digest));
    source.artifact(Some(&tag), "theirs").await;
    let own = target.artifact(Some(&tag), "own").await;
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await;
    assert!(
        matches!(&result, Err(PublishError::LegacyConflict { reference }) if reference.ends_with(&tag)),
        "{result:?}"
    );
    assert_eq!((target.tag(&tag), target.tag("1")), (Some(own.digest), None));
    let by_force = Options { overwrite: Overwrite::Always, ..options(&["1"]) };
    transfer(source.place(), target.place(), &root.digest, &by_force).await.unwrap();
    assert_eq!(target.tag(&tag), source.tag(&tag));
}

#[tokio::test]
async fn bytes_that_are_not_the_artifacts_are_never_tagged() {
    let source = Site::new(Shelf::default(), "a.example/app");
    let root = source.artifact(Some("1"), "content").await;
    let target = Site::new(Shelf::default(), "b.example/app");
    source.shelf.change(&source.repository, |content| {
        content.blobs.insert(Digest::of(b"content"), Bytes::from_static(b"CONTENT"));
    });
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await;
    assert!(matches!(result, Err(PublishError::Registry(RegistryError::DigestMismatch { .. }))), "{result:?}");
    source.shelf.change(&source.repository, |content| {
        let (_, bytes) = content.manifests.get_mut(&root.digest).unwrap();
        *bytes = Bytes::from_static(b"{}");
    });
    let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await;
    assert!(matches!(result, Err(PublishError::Registry(RegistryError::DigestMismatch { .. }))), "{result:?}");
    assert_eq!(target.tag("1"), None);
}

#[tokio::test]
async fn a_registry_that_lies_about_manifests_and_tags_is_found_out() {
    let source = Site::new(Shelf::with_referrers(), "a.example/app");
    let root = source.artifact(None, "content").await;
    source.referrer(&root, "sbom").await;
    let other = Digest::of(b"other");
    for lie in [Lie::OtherBytes, Lie::Nothing, Lie::OtherTag(other.clone())] {
        let target = Site::new(Shelf::with_referrers(), "b.example/app");
        target.shelf.lie(lie.clone());
        let result = transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await;
        let is_found = match (&lie, &result) {
            (Lie::OtherBytes, Err(PublishError::Registry(RegistryError::DigestMismatch { .. })))
            | (Lie::Nothing, Err(PublishError::Registry(RegistryError::NotFound(_)))) => true,
            (Lie::OtherTag(_), Err(PublishError::TagMoved { found, .. })) => *found == other,
            _ => false,
        };
        assert!(is_found, "{lie:?}: {result:?}");
    }
    // A registry that claims to list the referrer of something else: the list under the tag has it.
    let target = Site::new(Shelf::default(), "b.example/app");
    target.shelf.lie(Lie::OtherSubject);
    transfer(source.place(), target.place(), &root.digest, &options(&["1"])).await.unwrap();
    assert_eq!(target.listed(&root.digest).len(), 1);
}

/// A cache has the manifests of all repositories, and some are private.
#[tokio::test]
async fn a_cache_keeps_the_referrers_of_each_repository_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Layout::create(&dir.path().join("cache")).unwrap());
    let access = Access::default();
    let [open, private, new] = ["a.example/open", "a.example/private", "b.example/new"].map(repository);
    let sources = [&open, &private].map(|repository| Site::new(Shelf::with_referrers(), &repository.to_string()));
    let mut root = None;
    for (source, contents) in sources.iter().zip([vec!["shared"], vec!["secret", "shared"]]) {
        let artifact = source.artifact(None, "content").await;
        for content in contents {
            source.referrer(&artifact, content).await;
        }
        let to = Place { registry: &cache, access: &access, repository: &source.repository };
        transfer(source.place(), to, &artifact.digest, &options(&["1"])).await.unwrap();
        root = Some(artifact.digest);
    }
    let root = root.unwrap();
    for (repository, want) in [(&open, 1), (&private, 2), (&new, 0)] {
        let target = Site::new(Shelf::with_referrers(), "c.example/app");
        let from = Place { registry: &cache, access: &access, repository };
        let result = transfer(from, target.place(), &root, &options(&["1"])).await.unwrap();
        assert_eq!(result.referrers, want, "{repository}");
    }
}
