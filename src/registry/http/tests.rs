//! The HTTP registry against a scripted server on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use tokio::net::TcpListener;

use super::*;
use crate::oci::{Descriptor, Reference};
use crate::registry::credentials::{Keychain, SecretData};

/// What arrived: method, path with query, Authorization.
type Log = Arc<std::sync::Mutex<Vec<(String, String, Option<String>)>>>;

struct Server {
    host: String,
    log: Log,
}

impl Server {
    /// Answers every request with `script`, which is told the server's own host.
    async fn start<F>(script: F) -> Self
    where
        F: Fn(&str, &Request) -> Response + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let router = Router::new().fallback({
            let (log, host) = (Arc::clone(&log), host.clone());
            move |request: Request| {
                let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
                let line = (request.method().to_string(), request.uri().to_string(), authorization);
                log.lock().unwrap().push(line);
                let response = script(&host, &request);
                async move { response }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { host, log }
    }

    fn repository(&self) -> Repository {
        format!("{}/team/app", self.host).parse::<Reference>().unwrap().repository
    }

    fn paths(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }
}

fn registry() -> HttpRegistry {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    HttpRegistry::new(Arc::default(), AddressPolicy::for_a_person()).unwrap()
}

fn access(user: Option<&str>) -> Access {
    let mut keychain = Keychain::default();
    if let Some(user) = user {
        let data = BTreeMap::from([
            ("username".to_owned(), user.as_bytes().to_vec()),
            ("password".to_owned(), b"hunter2".to_vec()),
        ]);
        keychain.add("s", &SecretData { kind: "kubernetes.io/basic-auth".to_owned(), data }).unwrap();
    }
    Access { keychain, plain_http: true }
}

fn with_digest(digest: &Digest) -> Response {
    ([("docker-content-digest", digest.to_string())], "").into_response()
}

fn challenge(text: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [("www-authenticate", text.to_owned())], "").into_response()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_again() {
    let server = Server::start(|host, request| match request.uri().path() {
        "/token" => r#"{"token":"t1","expires_in":300}"#.into_response(),
        _ if request.headers().get("authorization").is_some_and(|v| v == "Bearer t1") => with_digest(&Digest::of(b"m")),
        _ => challenge(&format!(r#"Bearer realm="http://{host}/token",service="svc",scope="repository:evil:push""#)),
    })
    .await;
    let (registry, access) = (registry(), access(Some("bob")));
    for _ in 0..3 {
        let digest = registry.tag_digest(&access, &server.repository(), "1").await.unwrap();
        assert_eq!(digest, Digest::of(b"m"));
    }
    let head = "HEAD /v2/team/app/manifests/1";
    let token = "GET /token?service=svc&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(server.paths(), [head, token, head, head, head], "our scope, not the one in the challenge");
    let log = server.log.lock().unwrap();
    assert!(log[1].2.as_deref().unwrap().starts_with("Basic "), "the token service knows who asks");
    assert!(log[0].2.is_none() && log[2].2.as_deref() == Some("Bearer t1"));
}

#[tokio::test]
async fn many_at_once_share_a_token_and_a_known_host_is_not_asked_for_its_challenge_again() {
    let server = Server::start(|host, request| match request.uri().path() {
        "/token" => r#"{"token":"t1","expires_in":300}"#.into_response(),
        _ if request.headers().contains_key("authorization") => with_digest(&Digest::of(b"m")),
        _ => challenge(&format!(r#"Bearer realm="http://{host}/token""#)),
    })
    .await;
    let (registry, access, repository) = (registry(), access(Some("bob")), server.repository());
    let asked = (0..50).map(|_| registry.tag_digest(&access, &repository, "1"));
    assert!(futures::future::join_all(asked).await.iter().all(Result::is_ok));
    let tokens = || server.paths().iter().filter(|path| path.starts_with("GET /token")).count();
    assert_eq!(tokens(), 1);

    server.log.lock().unwrap().clear();
    let other = format!("{}/other/app", server.host).parse::<Reference>().unwrap().repository;
    registry.tag_digest(&access, &other, "1").await.unwrap();
    assert_eq!(server.paths().len(), 2, "one token, one HEAD: {:?}", server.paths());
    assert!(server.paths()[0].contains("repository%3Aother%2Fapp%3Apull"));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_any_more_is_renewed_once() {
    let valid = Arc::new(std::sync::Mutex::new("t1".to_owned()));
    let server = Server::start({
        let valid = Arc::clone(&valid);
        move |host, request| {
            let valid = valid.lock().unwrap().clone();
            match request.uri().path() {
                "/token" => format!(r#"{{"token":"{valid}","expires_in":300}}"#).into_response(),
                _ if request.headers().get("authorization").is_some_and(|v| *v == format!("Bearer {valid}")) => {
                    with_digest(&Digest::of(b"m"))
                }
                _ => challenge(&format!(r#"Bearer realm="http://{host}/token""#)),
            }
        }
    })
    .await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    registry.tag_digest(&access, &repository, "1").await.unwrap();
    *valid.lock().unwrap() = "t2".to_owned();
    server.log.lock().unwrap().clear();
    registry.tag_digest(&access, &repository, "1").await.unwrap();
    assert_eq!(server.paths().len(), 3, "refused, renewed, accepted: {:?}", server.paths());
}

#[tokio::test]
async fn a_registry_that_never_accepts_is_asked_twice() {
    for scheme in ["Basic realm=\"r\"", "Bearer realm=\"http://HOST/token\""] {
        let server = Server::start(move |host, request| match request.uri().path() {
            "/token" => r#"{"token":"t"}"#.into_response(),
            _ => challenge(&scheme.replace("HOST", host)),
        })
        .await;
        let result = registry().tag_digest(&access(Some("bob")), &server.repository(), "1").await;
        assert!(matches!(result, Err(RegistryError::Unauthorized { wanted: "other credentials", .. })), "{result:?}");
        let asked = server.paths().iter().filter(|path| path.starts_with("HEAD")).count();
        assert_eq!(asked, 2, "{scheme}");
        assert!(!format!("{result:?}").contains("hunter2"));
    }
    let server = Server::start(|_, _| challenge("Basic realm=\"r\"")).await;
    let result = registry().tag_digest(&access(None), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Unauthorized { wanted: "credentials", .. })), "{result:?}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_foreign_realm_or_a_redirect() {
    let foreign = Server::start(|_, _| r#"{"token":"stolen"}"#.into_response()).await;
    // `localhost` is another host than `127.0.0.1`.
    let port = foreign.host.rsplit(':').next().unwrap().to_owned();
    let server = Server::start(move |_, _| challenge(&format!("Bearer realm=\"http://localhost:{port}/token\""))).await;
    let result = registry().tag_digest(&access(Some("bob")), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    assert!(foreign.paths().is_empty());

    let target = foreign.host.clone();
    let server = Server::start(move |_, request| {
        if request.headers().contains_key("authorization") {
            (StatusCode::TEMPORARY_REDIRECT, [("location", format!("http://{target}/blob"))], "").into_response()
        } else {
            challenge("Basic realm=\"r\"")
        }
    })
    .await;
    let descriptor = descriptor(b"x");
    let _ = registry().blob(&access(Some("bob")), &server.repository(), &descriptor, 0).await.map(drop);
    let log = foreign.log.lock().unwrap();
    assert_eq!(log.len(), 1, "redirects are followed");
    assert_eq!(log[0].2, None, "without credentials");
}

#[tokio::test]
async fn bodies_end_at_their_limit_whatever_the_registry_says() {
    let endless = |_: &str, _: &Request| {
        let chunk = Bytes::from_static(&[b'x'; 8192]);
        Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()))).into_response()
    };
    let server = Server::start(endless).await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let result = registry.raw_manifest(&access, &repository, &Digest::of(b""), 100_000).await;
    assert!(matches!(result, Err(RegistryError::TooLarge { limit: 100_000, .. })), "{result:?}");
    let mut blob = registry.blob(&access, &repository, &descriptor(b"short"), 0).await.unwrap().stream;
    let mut last = None;
    while let Some(chunk) = blob.next().await {
        let failed = chunk.is_err();
        last = Some(chunk);
        if failed {
            break;
        }
    }
    assert!(matches!(last, Some(Err(RegistryError::LongerThanNamed { size: 5, .. }))));
}

#[tokio::test]
async fn a_registry_that_does_not_tell_digests_is_asked_for_the_manifest() {
    let server = Server::start(|_, _| "the manifest".into_response()).await;
    let digest = registry().tag_digest(&access(None), &server.repository(), "1").await.unwrap();
    assert_eq!(digest, Digest::of(b"the manifest"));
    assert_eq!(server.paths(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let statuses = [404, 403, 429, 503, 500, 418];
    for status in statuses {
        let server = Server::start(move |_, _| {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", "99999999")], "").into_response()
        })
        .await;
        let error = registry().tag_digest(&access(None), &server.repository(), "1").await.unwrap_err();
        let hour = Some(Duration::from_secs(3600));
        let right = match status {
            404 => matches!(error, RegistryError::NotFound(_)),
            403 => matches!(error, RegistryError::Forbidden { .. }),
            429 | 503 => matches!(error, RegistryError::RateLimited { retry_after, .. } if retry_after == hour),
            500 => matches!(error, RegistryError::Unavailable { .. }),
            _ => matches!(error, RegistryError::Protocol { .. }),
        };
        assert!(right, "{status}: {error:?}");
        assert_eq!(server.paths().len(), 1, "{status}: no second request at once");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let repository = format!("{nobody}/a").parse::<Reference>().unwrap().repository;
    let error = registry().tag_digest(&access(None), &repository, "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }) && error.to_string().contains("refused"), "{error}");
    let tls = Access { plain_http: false, ..access(None) };
    let server = Server::start(|_, _| "".into_response()).await;
    let error = registry().tag_digest(&tls, &server.repository(), "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "plain HTTP is not fallen back to: {error:?}");
    assert!(server.paths().is_empty());
}

#[tokio::test]
async fn several_credentials_are_tried_in_order() {
    let tries = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let tries = Arc::clone(&tries);
        move |_, request| match request.headers().get("authorization").and_then(|v| v.to_str().ok()) {
            // carol:hunter2
            Some("Basic Y2Fyb2w6aHVudGVyMg==") => with_digest(&Digest::of(b"m")),
            Some(_) => {
                tries.fetch_add(1, Ordering::Relaxed);
                challenge("Basic realm=\"r\"")
            }
            None => challenge("Basic realm=\"r\""),
        }
    })
    .await;
    let mut keychain = access(Some("bob")).keychain;
    let data =
        BTreeMap::from([("username".to_owned(), b"carol".to_vec()), ("password".to_owned(), b"hunter2".to_vec())]);
    keychain.add("s", &SecretData { kind: "kubernetes.io/basic-auth".to_owned(), data }).unwrap();
    let access = Access { keychain, plain_http: true };
    assert!(registry().tag_digest(&access, &server.repository(), "1").await.is_ok());
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let value = serde_json::json!({"mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len()});
    serde_json::from_value(value).unwrap()
}

/// A registry that may go to `open` and nowhere else that is not the internet.
fn registry_with(open: &str) -> HttpRegistry {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let networks = open.split_whitespace().map(|network| network.parse().unwrap()).collect();
    HttpRegistry::new(Arc::default(), AddressPolicy::new(networks, Vec::new())).unwrap()
}

/// A server that must not be asked, at 127.0.0.2.
async fn canary() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let (port, touched) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    tokio::spawn({
        let touched = Arc::clone(&touched);
        async move {
            while listener.accept().await.is_ok() {
                touched.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (port, touched)
}

#[tokio::test]
async fn a_closed_address_is_not_dialled_whatever_it_is_called() {
    let server = Server::start(|_, _| with_digest(&Digest::of(b"m"))).await;
    let port = server.host.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1"] {
        let repository = format!("{host}:{port}/a").parse::<Reference>().unwrap().repository;
        let result = registry_with("").tag_digest(&access(None), &repository, "1").await;
        assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{host}: {result:?}");
    }
    assert!(server.paths().is_empty());
    let opened = registry_with("127.0.0.1/32").tag_digest(&access(None), &server.repository(), "1").await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn no_redirect_and_no_realm_leads_to_a_closed_address() {
    let (port, touched) = canary().await;
    let spellings = ["127.0.0.2", "2130706434", "0x7f000002", "0177.0.0.2", "127.2", "[::ffff:127.0.0.2]"];
    for spelling in spellings {
        let url = format!("http://{spelling}:{port}/x");
        let redirect = url.clone();
        let server = Server::start(move |_, _| {
            (StatusCode::TEMPORARY_REDIRECT, [("location", redirect.clone())], "").into_response()
        })
        .await;
        let realm = Server::start(move |_, _| challenge(&format!("Bearer realm=\"{url}\""))).await;
        for repository in [server.repository(), realm.repository()] {
            let result = registry_with("127.0.0.1/32").tag_digest(&access(None), &repository, "1").await;
            assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{spelling}: {result:?}");
        }
    }
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    let repository = format!("127.0.0.2:{port}/a").parse::<Reference>().unwrap().repository;
    let _ = tokio::time::timeout(
        Duration::from_secs(1),
        registry_with("127.0.0.0/8").tag_digest(&access(None), &repository, "1"),
    )
    .await;
    assert!(touched.load(Ordering::SeqCst) > 0, "the canary can be touched");
}

#[tokio::test]
async fn redirects_end_and_token_services_do_not_redirect() {
    let server = Server::start(|host, request| {
        let next = format!("http://{host}{}x", request.uri().path());
        (StatusCode::FOUND, [("location", next)], "").into_response()
    })
    .await;
    let result = registry().tag_digest(&access(None), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    assert_eq!(server.paths().len(), 6, "one request and five redirects");

    let server = Server::start(|host, request| match request.uri().path() {
        "/token" => (StatusCode::FOUND, [("location", format!("http://{host}/elsewhere"))], "").into_response(),
        "/elsewhere" => r#"{"token":"t"}"#.into_response(),
        _ => challenge(&format!("Bearer realm=\"http://{host}/token\"")),
    })
    .await;
    let result = registry().tag_digest(&access(None), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    assert!(!server.paths().iter().any(|path| path.contains("elsewhere")));
}

/// Reads a blob from some byte on: where it begins, its bytes, and whether it ended well.
async fn blob_from(server: &Server, bytes: &[u8], from: u64) -> Result<(u64, Vec<u8>, bool), RegistryError> {
    let body = registry().blob(&access(Some("bob")), &server.repository(), &descriptor(bytes), from).await?;
    let (mut read, mut well) = (Vec::new(), true);
    let mut stream = body.stream;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => read.extend_from_slice(&chunk),
            Err(_) => well = false,
        }
    }
    Ok((body.from, read, well))
}

#[tokio::test]
async fn the_rest_of_a_blob_is_asked_for_and_believed_only_as_such() {
    let rest = |range: &'static str| {
        move |_: &str, _: &Request| (StatusCode::PARTIAL_CONTENT, [("content-range", range)], "456789").into_response()
    };
    for range in ["bytes 4-9/10", "bytes 4-9/*", "bytes 4-8/10"] {
        let (from, read, well) = blob_from(&Server::start(rest(range)).await, b"0123456789", 4).await.unwrap();
        assert_eq!((from, read.as_slice(), well), (4, b"456789".as_slice(), true), "{range}");
    }
    for range in [
        "",
        "bytes 0-9/10",
        "bytes 5-9/10",
        "bytes 4-9/11",
        "bytes 4-10/10",
        "bytes 4-9",
        "4-9/10",
        "bytes */10",
        "bytes -4-9/10",
    ] {
        let result = blob_from(&Server::start(rest(range)).await, b"0123456789", 4).await;
        assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{range}: {result:?}");
    }
    let (.., well) =
        blob_from(&Server::start(rest("bytes 4-9/10")).await, b"012345678", 4).await.unwrap_or((0, vec![], false));
    assert!(!well, "the end is where the descriptor says, also of a part");

    let server = Server::start(|_, _| "0123456789".into_response()).await;
    assert_eq!(blob_from(&server, b"0123456789", 4).await.unwrap(), (0, b"0123456789".to_vec(), true));
    let server = Server::start(|_, _| StatusCode::RANGE_NOT_SATISFIABLE.into_response()).await;
    assert_eq!(blob_from(&server, b"0123456789", 4).await.unwrap(), (4, Vec::new(), true), "it is shorter than that");
    let result = blob_from(&server, b"0123456789", 0).await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
}

#[tokio::test]
async fn the_range_goes_to_the_store_and_credentials_do_not() {
    let store = Server::start(|_, request| {
        let range = request.headers().get("range").map(|value| value.to_str().unwrap().to_owned());
        assert!(!request.headers().contains_key("authorization"));
        match range.as_deref() {
            Some("bytes=4-") => {
                (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 4-9/10")], "456789").into_response()
            }
            None => "0123456789".into_response(),
            Some(_) => StatusCode::BAD_REQUEST.into_response(),
        }
    })
    .await;
    let target = store.host.clone();
    let server = Server::start(move |_, request| {
        if request.headers().contains_key("authorization") {
            (StatusCode::TEMPORARY_REDIRECT, [("location", format!("http://{target}/x"))], "").into_response()
        } else {
            challenge("Basic realm=\"r\"")
        }
    })
    .await;
    for (from, read) in [(4, b"456789".as_slice()), (0, b"0123456789")] {
        assert_eq!(blob_from(&server, b"0123456789", from).await.unwrap(), (from, read.to_vec(), true));
    }
}

#[tokio::test]
async fn the_right_to_a_blob_is_what_the_registry_itself_says() {
    let away = ("location", "http://127.0.0.1:1/store".to_owned());
    let length = |length: &str| ("content-length", length.to_owned());
    let rows = [
        (200, length("5"), Some(Right::Granted)),
        (200, ("x-none", String::new()), Some(Right::Granted)),
        (307, away.clone(), Some(Right::Granted)),
        (308, away.clone(), Some(Right::Granted)),
        // The way to a page where one logs in, and the page itself.
        (302, away.clone(), Some(Right::Untold)),
        (303, away, Some(Right::Untold)),
        (200, length("4711"), Some(Right::Untold)),
        (405, length("0"), Some(Right::Untold)),
        (501, length("0"), Some(Right::Untold)),
        (401, length("0"), None),
        (403, length("0"), None),
        (404, length("0"), None),
        (429, length("0"), None),
        (500, length("0"), None),
    ];
    for (status, header, want) in rows {
        let header_for = header.clone();
        let server = Server::start(move |_, _| {
            let status = StatusCode::from_u16(status).unwrap();
            // A stream, so that no length is added.
            let body = Body::from_stream(futures::stream::empty::<Result<Bytes, std::io::Error>>());
            Response::builder().status(status).header(header_for.0, header_for.1.as_str()).body(body).unwrap()
        })
        .await;
        let said = registry().may_read_blob(&access(Some("bob")), &server.repository(), &descriptor(b"right")).await;
        assert_eq!(said.as_ref().ok(), want.as_ref(), "{status} {header:?}: {said:?}");
        let path = format!("HEAD /v2/team/app/blobs/{}", Digest::of(b"right"));
        assert_eq!(server.paths(), [path], "{status}: one question, and no redirect is followed");
    }
}

#[tokio::test]
async fn a_repository_that_was_moved_is_asked_at_its_new_place_and_a_login_page_is_not() {
    let rows = [(308, 200, Some(Right::Granted), 2), (307, 403, None, 2), (302, 200, Some(Right::Untold), 1)];
    for (redirect, answer, want, requests) in rows {
        let server = Server::start(move |_, request| match request.uri().path().strip_prefix("/v2/team") {
            Some(path) => {
                let location = [("location", format!("/v2/new{path}"))];
                (StatusCode::from_u16(redirect).unwrap(), location, "").into_response()
            }
            None => (StatusCode::from_u16(answer).unwrap(), "right").into_response(),
        })
        .await;
        let said = registry().may_read_blob(&access(None), &server.repository(), &descriptor(b"right")).await;
        assert_eq!(said.as_ref().ok(), want.as_ref(), "{redirect}: {said:?}");
        assert_eq!(server.paths().len(), requests, "{redirect}");
    }
}

#[tokio::test]
async fn each_asker_is_asked_about_with_its_own_credentials() {
    let server =
        Server::start(|_, request| match request.headers().get("authorization").and_then(|v| v.to_str().ok()) {
            // bob:hunter2
            Some("Basic Ym9iOmh1bnRlcjI=") => "right".into_response(),
            _ => challenge("Basic realm=\"r\""),
        })
        .await;
    let (registry, repository, blob) = (registry(), server.repository(), descriptor(b"right"));
    for (user, may) in [(Some("bob"), true), (Some("mallory"), false), (None, false), (Some("bob"), true)] {
        let said = registry.may_read_blob(&access(user), &repository, &blob).await;
        let right = match &said {
            Ok(right) => may && *right == Right::Granted,
            Err(error) => !may && matches!(error, RegistryError::Unauthorized { .. }),
        };
        assert!(right, "{user:?}: {said:?}");
    }
}
