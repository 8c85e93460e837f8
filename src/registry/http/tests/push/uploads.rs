//! Uploads, mounts and manifests at registries that mean well.

use std::sync::atomic::AtomicBool;

use futures::stream;

use super::*;
use crate::registry::BlobStream;

#[tokio::test]
async fn a_small_blob_is_one_put_and_a_large_one_a_patch_and_a_put() {
    let server = Shelf::honest().await;
    server.push(b"small").await.unwrap();
    let digest = Digest::of(b"small");
    let head = format!("HEAD blobs/{digest}");
    assert_eq!(server.lines(), ["POST blobs/uploads/", "PUT blobs/uploads/0 5", &head]);
    let large = large(1);
    server.push(&large).await.unwrap();
    let lines = server.lines();
    let head = format!("HEAD blobs/{}", Digest::of(&large));
    let length = large.len();
    let want = ["POST blobs/uploads/", &format!("PATCH blobs/uploads/1 {length}"), "PUT blobs/uploads/1", &head];
    assert_eq!(lines[3..], want);
    server.push(b"").await.unwrap();
    assert!(server.has(b"small") && server.has(&large) && server.has(b""));
    let asked = server.asked.lock().unwrap();
    let patch = asked.iter().find(|one| one.method == Method::PATCH).unwrap();
    assert_eq!(patch.header("content-range"), Some(format!("0-{}", length - 1).as_str()));
    assert_eq!(patch.header("content-length"), Some(length.to_string().as_str()));
    assert!(asked.iter().filter(|one| one.method == Method::PUT).all(|one| one.header("content-length").is_some()));
}

#[tokio::test]
async fn has_blob_is_true_only_for_a_blob_of_that_size() {
    let server = Shelf::honest().await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let blob = descriptor(b"x");
    assert!(!registry.has_blob(&access, &repository, &blob).await.unwrap());
    server.push(b"x").await.unwrap();
    assert!(registry.has_blob(&access, &repository, &blob).await.unwrap());
    let mut other = blob;
    other.size = 2;
    let result = registry.has_blob(&access, &repository, &other).await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
}

/// A registry may report blobs whose bytes it has removed, from a cache.
#[tokio::test]
async fn has_blob_reads_the_first_byte_where_it_may() {
    type Answer = (u16, &'static [(&'static str, &'static str)], &'static str);
    let rows: [(Answer, bool); 10] = [
        ((206, &[("content-range", "bytes 0-0/5")], "b"), true),
        ((206, &[("content-range", "bytes 0-0/*")], "b"), true),
        ((206, &[("content-range", "bytes 0-0/6")], "b"), false),
        ((206, &[], "b"), false),
        ((200, &[], "bytes"), true),
        ((200, &[("content-type", "text/html")], "<html>"), false),
        ((204, &[], ""), false),
        ((404, &[], ""), false),
        ((403, &[], ""), true),
        ((307, &[("location", "http://169.254.169.254/x")], ""), true),
    ];
    for ((status, headers, body), want) in rows {
        let server = Shelf::start(move |_, asked, _| {
            if asked.method == Method::HEAD {
                return Some(([("content-length", "5")], "").into_response());
            }
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            Some(response)
        })
        .await;
        let found = registry().has_blob(&access(None), &server.repository(), &descriptor(b"bytes")).await;
        assert_eq!(found.unwrap(), want, "{status} {headers:?}");
        let read = server.asked.lock().unwrap().iter().filter(|one| one.header("range") == Some("bytes=0-0")).count();
        assert_eq!(read, 1, "{status} {headers:?}");
    }
}

/// A source whose first stream breaks off after some bytes.
struct Breaks {
    bytes: Bytes,
    after: usize,
    is_broken: AtomicBool,
}

impl BlobSource for Breaks {
    fn read_from(&self, offset: u64) -> BlobStream {
        let rest = self.bytes.slice(usize::try_from(offset).unwrap()..);
        if self.is_broken.swap(true, Ordering::SeqCst) {
            return Box::pin(stream::iter([Ok(rest)]));
        }
        let error = RegistryError::Unavailable { host: "source.example".to_owned(), problem: "broke".to_owned() };
        Box::pin(stream::iter([Ok(rest.slice(..self.after)), Err(error)]))
    }
}

#[tokio::test]
async fn a_broken_upload_is_continued_where_the_registry_kept_it() {
    let server = Shelf::honest().await;
    let bytes = Bytes::from(large(2));
    let source = Breaks { bytes: bytes.clone(), after: 3 * 1024 * 1024, is_broken: AtomicBool::default() };
    let repository = server.repository();
    registry().upload_blob(&access(None), &repository, &descriptor(&bytes), &source).await.unwrap();
    assert!(server.has(&bytes));
    let asked = server.asked.lock().unwrap();
    let patches: Vec<_> = asked.iter().filter(|one| one.method == Method::PATCH).collect();
    assert_eq!(patches.len(), 2);
    let kept = patches[0].body.len();
    assert!(kept > 1024 * 1024, "{kept}");
    assert_eq!(patches[1].header("content-range"), Some(format!("{kept}-{}", bytes.len() - 1).as_str()));
    assert_eq!(asked.iter().filter(|one| one.method == Method::POST).count(), 1);
}

#[tokio::test]
async fn an_upload_that_the_registry_lost_begins_again() {
    let is_lost = Arc::new(AtomicBool::default());
    let server = Shelf::start(move |_, asked, held| {
        if asked.method != Method::PATCH || is_lost.swap(true, Ordering::SeqCst) {
            return None;
        }
        held.uploads.iter_mut().for_each(|upload| *upload = None);
        Some(StatusCode::NOT_FOUND.into_response())
    })
    .await;
    let bytes = large(3);
    server.push(&bytes).await.unwrap();
    assert!(server.has(&bytes));
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("POST")).count(), 2);
}

#[tokio::test]
async fn a_registry_that_refuses_large_bodies_gets_smaller_parts() {
    let server = Shelf::start(|_, asked, _| {
        let is_large = asked.body.len() > 5 * 1024 * 1024;
        is_large.then(|| StatusCode::PAYLOAD_TOO_LARGE.into_response())
    })
    .await;
    let bytes = [large(4), large(5), large(6)].concat();
    server.push(&bytes).await.unwrap();
    assert!(server.has(&bytes));
    let patches = server.lines().into_iter().filter(|line| line.starts_with("PATCH") && line.ends_with(" 5242880"));
    assert_eq!(patches.count(), 3);
}

#[tokio::test]
async fn a_part_that_is_kept_in_part_is_continued() {
    let server = Shelf::start(|_, asked, held| {
        let half = asked.body.len() / 2;
        if asked.method != Method::PATCH || half < 1024 * 1024 {
            return None;
        }
        let upload = held.uploads[0].as_mut().unwrap();
        upload.extend_from_slice(&asked.body[..half]);
        Some(accepted(0, upload.len()))
    })
    .await;
    let bytes = large(7);
    server.push(&bytes).await.unwrap();
    assert!(server.has(&bytes));
}

#[tokio::test]
async fn a_mount_is_true_only_if_the_blob_is_there() {
    let server = Shelf::honest().await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let from = server.repository_named("other/app");
    let blob = descriptor(b"x");
    assert!(!registry.mount_blob(&access, &repository, &from, &blob).await.unwrap(), "an upload began instead");
    assert_eq!(server.lines().last().unwrap(), "DELETE blobs/uploads/0", "and was given up");
    server.push(b"x").await.unwrap();
    assert!(registry.mount_blob(&access, &repository, &from, &blob).await.unwrap());
    let asked = server.asked.lock().unwrap();
    let path = asked.iter().find(|one| one.path.contains("mount=")).map(|one| one.path.clone()).unwrap();
    assert!(path.ends_with(&format!("?mount={}&from=other/app", blob.digest)), "{path}");
}

#[tokio::test]
async fn a_manifest_is_put_by_digest_and_by_tag() {
    let server = Shelf::start(|_, asked, _| {
        let is_referrer = asked.path.ends_with("/manifests/refers");
        let subject = Digest::of(b"subject").to_string();
        is_referrer.then(|| (StatusCode::CREATED, [("oci-subject", subject)]).into_response())
    })
    .await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let (bytes, digest) = (Bytes::from_static(b"{}"), Digest::of(b"{}"));
    let put = async |name| registry.put_manifest(&access, &repository, name, "a/b", bytes.clone()).await.unwrap();
    assert_eq!(put(ManifestName::Digest(&digest)).await.subject, None);
    assert_eq!(put(ManifestName::Tag("1.0")).await.subject, None);
    assert_eq!(put(ManifestName::Tag("refers")).await.subject, Some(Digest::of(b"subject")));
    let held = server.held.lock().unwrap();
    assert_eq!(held.manifests.keys().collect::<Vec<_>>(), ["1.0", digest.to_string().as_str()]);
    assert_eq!(server.asked.lock().unwrap()[0].header("content-type"), Some("a/b"));
}

#[tokio::test]
async fn a_token_for_writing_is_another_one_and_names_the_source_of_a_mount() {
    let server = Shelf::start(|host, asked, held| {
        let path = asked.path.split('?').next().unwrap_or_default();
        if path == "/token" {
            let query = asked.path.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
            let may_push = query.contains("scope=repository:team/app:pull,push");
            return Some(format!(r#"{{"token":"{}"}}"#, if may_push { "pushing" } else { "pulling" }).into_response());
        }
        let authorization = asked.header("authorization");
        let is_right = match asked.method {
            _ if asked.path.contains("/tags/list") => authorization == Some("Bearer pulling"),
            _ => authorization == Some("Bearer pushing"),
        };
        if !is_right {
            return Some(challenge(&format!("Bearer realm=\"http://{host}/token\"")));
        }
        if asked.path.contains("/tags/list") {
            return Some(r#"{"tags":["1"]}"#.into_response());
        }
        Some(behave(asked, held))
    })
    .await;
    let (registry, access, repository) = (registry(), access(Some((&server.repository(), "bob"))), server.repository());
    let blob = descriptor(b"x");
    assert_eq!(registry.tags(&access, &repository).await.unwrap(), ["1"]);
    registry.upload_blob(&access, &repository, &blob, &Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(registry.tags(&access, &repository).await.unwrap(), ["1"]);
    let from = server.repository_named("other/app");
    assert!(registry.mount_blob(&access, &repository, &from, &blob).await.unwrap());
    let asked = server.asked.lock().unwrap();
    let tokens: Vec<_> =
        asked.iter().filter(|one| one.path.starts_with("/token")).map(|one| one.path.clone()).collect();
    let scope = |path: &str, actions: &str| format!("scope=repository%3A{}%3A{actions}", path.replace('/', "%2F"));
    let (pull, push) = (scope("team/app", "pull"), scope("team/app", "pull%2Cpush"));
    let want = [pull, push.clone(), format!("{push}&{}", scope("other/app", "pull"))].map(|q| format!("/token?{q}"));
    assert_eq!(tokens, want);
}
