//! Referrers that many clients add at once.

use futures::future::try_join_all;

use super::*;

#[tokio::test]
async fn an_attachment_has_its_digest_as_tag_and_is_in_one_list() {
    for has_referrers in [true, false] {
        let shelf = if has_referrers { Shelf::with_referrers() } else { Shelf::default() };
        let site = Site::new(shelf, "a.example/app");
        let subject = site.artifact(Some("1"), "content").await;
        let attached = attach(site.place(), &subject.digest, attachment("sbom"), &None).await.unwrap();
        assert_eq!(attached.subject, subject);
        assert_eq!(site.tag(&attached.tag), Some(attached.descriptor.digest.clone()));
        assert_eq!(attached.tag, attached.descriptor.digest.hex());
        let listed = site.listed(&subject.digest);
        assert_eq!(listed.is_empty(), has_referrers);
        let found = discover(site.place(), &subject.digest).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].descriptor, attached.descriptor);
        assert_eq!(found[0].descriptor.artifact_type.as_deref(), Some("application/vnd.test"));
        site.shelf.writes();
        let again = attach(site.place(), &subject.digest, attachment("sbom"), &None).await.unwrap();
        assert_eq!((again.descriptor, again.copied.manifests), (attached.descriptor, 0), "the same referrer");
        assert_eq!(site.listed(&subject.digest).len(), listed.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_clients_at_once_lose_nothing() {
    let site = Arc::new(Site::new(Shelf::default(), "a.example/app"));
    let subject = site.artifact(Some("1"), "content").await;
    let foreign = Descriptor::of(media_type::OCI_MANIFEST, b"of another client");
    let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [foreign]});
    site.put(Some(&referrers::tag(&subject.digest)), &list).await;
    let clients = (0..20).map(|number| {
        let (site, digest) = (Arc::clone(&site), subject.digest.clone());
        tokio::spawn(async move {
            attach(site.place(), &digest, attachment(&format!("evidence {number}")), &None).await.unwrap()
        })
    });
    let attached = try_join_all(clients).await.unwrap();
    let listed = site.listed(&subject.digest);
    assert!(attached.iter().all(|one| listed.contains(&one.descriptor.digest)), "{listed:?}");
    assert_eq!(listed.len(), 21);
    assert!(listed.contains(&foreign.digest));
}

#[tokio::test]
async fn an_entry_that_another_client_drops_comes_back() {
    let site = Arc::new(Site::new(Shelf::default(), "a.example/app"));
    let subject = site.artifact(Some("1"), "content").await;
    let tag = referrers::tag(&subject.digest);
    let adding = tokio::spawn({
        let (site, digest) = (Arc::clone(&site), subject.digest.clone());
        async move { attach(site.place(), &digest, attachment("ours"), &None).await.unwrap() }
    });
    // The write of a client that read the list before ours was in it.
    while site.tag(&tag).is_none() {
        tokio::task::yield_now().await;
    }
    let theirs = Descriptor::of(media_type::OCI_MANIFEST, b"theirs");
    let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [theirs]});
    site.put(Some(&tag), &list).await;
    let ours = adding.await.unwrap().descriptor.digest;
    let listed = site.listed(&subject.digest);
    assert!(listed.contains(&ours) && listed.contains(&theirs.digest), "{listed:?}");
}

#[tokio::test]
async fn a_tag_of_something_else_is_not_replaced_by_a_list() {
    let site = Site::new(Shelf::default(), "a.example/app");
    let subject = site.artifact(Some("1"), "content").await;
    let other = site.artifact(Some(&referrers::tag(&subject.digest)), "other").await;
    let result = attach(site.place(), &subject.digest, attachment("sbom"), &None).await;
    assert!(matches!(result, Err(PublishError::NotAList { .. })), "{result:?}");
    assert_eq!(site.tag(&referrers::tag(&subject.digest)), Some(other.digest));
}
