//! Requests, their credentials, and the interpretation of responses.

use super::*;

#[tokio::test]
async fn a_token_is_fetched_once_and_reused() {
    let server = Server::start(|host, request| match request.uri().path() {
        "/token" => r#"{"token":"t1","expires_in":300}"#.into_response(),
        _ if request.headers().get("authorization").is_some_and(|v| v == "Bearer t1") => with_digest(&Digest::of(b"m")),
        _ => challenge(&format!(r#"Bearer realm="http://{host}/token",service="svc",scope="repository:evil:push""#)),
    })
    .await;
    let (registry, access) = (registry(), access(Some((&server.repository(), "bob"))));
    for _ in 0..3 {
        let digest = registry.tag_digest(&access, &server.repository(), "1").await.unwrap();
        assert_eq!(digest, Digest::of(b"m"));
    }
    let head = "HEAD /v2/team/app/manifests/1";
    let token = "GET /token?service=svc&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(server.paths(), [head, token, head, head, head], "our scope, not the one in the challenge");
    let log = server.log.lock().unwrap();
    assert!(log[1].2.as_deref().unwrap().starts_with("Basic "), "the token service receives the password");
    assert!(log[0].2.is_none() && log[2].2.as_deref() == Some("Bearer t1"));
}

#[tokio::test]
async fn concurrent_requests_share_a_token_and_a_known_challenge() {
    let server = Server::start(|host, request| match request.uri().path() {
        "/token" => r#"{"token":"t1","expires_in":300}"#.into_response(),
        _ if request.headers().contains_key("authorization") => with_digest(&Digest::of(b"m")),
        _ => challenge(&format!(r#"Bearer realm="http://{host}/token""#)),
    })
    .await;
    let (registry, access, repository) = (registry(), access(Some((&server.repository(), "bob"))), server.repository());
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
async fn a_rejected_token_is_renewed_once() {
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
async fn a_registry_that_rejects_every_token_receives_two_requests() {
    for scheme in ["Basic realm=\"r\"", "Bearer realm=\"http://HOST/token\""] {
        let server = Server::start(move |host, request| match request.uri().path() {
            "/token" => r#"{"token":"t"}"#.into_response(),
            _ => challenge(&scheme.replace("HOST", host)),
        })
        .await;
        let result =
            registry().tag_digest(&access(Some((&server.repository(), "bob"))), &server.repository(), "1").await;
        assert!(matches!(result, Err(RegistryError::Unauthorized { has_credentials: true, .. })), "{result:?}");
        let asked = server.paths().iter().filter(|path| path.starts_with("HEAD")).count();
        assert_eq!(asked, 2, "{scheme}");
        assert!(!format!("{result:?}").contains("hunter2"));
    }
    let server = Server::start(|_, _| challenge("Basic realm=\"r\"")).await;
    let result = registry().tag_digest(&access(None), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Unauthorized { has_credentials: false, .. })), "{result:?}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_foreign_realm_or_a_redirect() {
    let foreign = Server::start(|_, _| r#"{"token":"stolen"}"#.into_response()).await;
    // `localhost` and `127.0.0.1` are different hosts.
    let port = foreign.host.rsplit(':').next().unwrap().to_owned();
    let server = Server::start(move |_, _| challenge(&format!("Bearer realm=\"http://localhost:{port}/token\""))).await;
    let result = registry().tag_digest(&access(Some((&server.repository(), "bob"))), &server.repository(), "1").await;
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
    let _ = registry()
        .blob(&access(Some((&server.repository(), "bob"))), &server.repository(), &descriptor, None)
        .await
        .map(drop);
    let log = foreign.log.lock().unwrap();
    assert_eq!(log.len(), 1, "redirects are followed");
    assert_eq!(log[0].2, None, "without credentials");
}

#[tokio::test]
async fn bodies_are_limited_whatever_length_the_registry_claims() {
    let endless = |_: &str, _: &Request| {
        let chunk = Bytes::from_static(&[b'x'; 8192]);
        Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()))).into_response()
    };
    let server = Server::start(endless).await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let result = registry.raw_manifest(&access, &repository, &Digest::of(b""), 100_000).await;
    assert!(matches!(result, Err(RegistryError::TooLarge { limit: 100_000, .. })), "{result:?}");
    let mut blob = registry.blob(&access, &repository, &descriptor(b"short"), None).await.unwrap().stream;
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
async fn without_a_digest_header_the_manifest_is_fetched() {
    let server = Server::start(|_, _| "the manifest".into_response()).await;
    let digest = registry().tag_digest(&access(None), &server.repository(), "1").await.unwrap();
    assert_eq!(digest, Digest::of(b"the manifest"));
    assert_eq!(server.paths(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn each_status_has_its_error() {
    let statuses = [404, 403, 429, 503, 500, 418];
    for status in statuses {
        let server = Server::start(move |_, _| {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", "99999999")], "").into_response()
        })
        .await;
        let error = registry().tag_digest(&access(None), &server.repository(), "1").await.unwrap_err();
        let an_hour = |pause: Option<Duration>| pause.is_some_and(|pause| (3590..=3600).contains(&pause.as_secs()));
        let right = match status {
            404 => matches!(error, RegistryError::NotFound(_)),
            403 => matches!(error, RegistryError::Forbidden { .. }),
            429 | 503 => matches!(error, RegistryError::RateLimited { retry_after, .. } if an_hour(retry_after)),
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
    let tls = Access { transport: Transport::default(), ..access(None) };
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
    let mut keychain = access(Some((&server.repository(), "bob"))).keychain;
    keychain.add_for(&server.repository(), password("carol"));
    let access = Access { keychain, transport: Transport::PlainHttp, ..Access::default() };
    assert!(registry().tag_digest(&access, &server.repository(), "1").await.is_ok());
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn tags_are_listed_in_a_limited_number_of_pages() {
    let paged = Server::start(|_, request| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let page: usize = query.split("last=").nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let link = format!("</v2/team/app/tags/list?n=1000&last={}>; rel=\"next\"", page + 1);
        let body = format!(r#"{{"tags":["t{page}"]}}"#);
        if page == 3 { body.into_response() } else { ([("link", link)], body).into_response() }
    })
    .await;
    let tags = registry().tags(&access(None), &paged.repository()).await.unwrap();
    assert_eq!(tags, ["t0", "t1", "t2", "t3"]);

    let endless = Server::start(|_, request| {
        let next = format!("<{}x>; rel=\"next\"", request.uri());
        ([("link", next)], r#"{"tags":["t"]}"#).into_response()
    })
    .await;
    let result = registry().tags(&access(None), &endless.repository()).await;
    assert!(matches!(result, Err(RegistryError::TooMany { limit: 200, .. })), "{result:?}");
    assert_eq!(endless.paths().len(), 200);

    let many = Server::start(|_, _| {
        let tags: Vec<String> = (0..=MAX_TAGS).map(|number| format!("\"{number}\"")).collect();
        format!(r#"{{"tags":[{}]}}"#, tags.join(",")).into_response()
    })
    .await;
    let result = registry().tags(&access(None), &many.repository()).await;
    assert!(matches!(result, Err(RegistryError::TooMany { limit: MAX_TAGS, .. })), "{result:?}");

    let itself = Server::start(|_, request| {
        let next = format!("<{}>; rel=\"next\"", request.uri());
        ([("link", next)], r#"{"tags":["t"]}"#).into_response()
    })
    .await;
    let tags = registry().tags(&access(None), &itself.repository()).await.unwrap();
    assert_eq!((tags.len(), itself.paths().len()), (2, 2), "a page that is its own successor is the last");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post_and_never_sent_to_the_registry() {
    let server = Server::start(|host, request| match (request.method().as_str(), request.uri().path()) {
        ("POST", "/token") => r#"{"access_token":"t1","expires_in":300}"#.into_response(),
        (_, "/token") => StatusCode::UNAUTHORIZED.into_response(),
        _ if request.headers().get("authorization").is_some_and(|v| v == "Bearer t1") => with_digest(&Digest::of(b"m")),
        _ => challenge(&format!(r#"Bearer realm="http://{host}/token",service="svc""#)),
    })
    .await;
    let access = |host: &str| {
        let json = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"hunter2"}}}}}}"#);
        let data = BTreeMap::from([(".dockerconfigjson".to_owned(), json.into_bytes())]);
        let mut keychain = Keychain::default();
        let secret = SecretData { kind: "kubernetes.io/dockerconfigjson".to_owned(), data, ..SecretData::default() };
        keychain.add("s", &secret, &format!("{host}/a").parse::<Reference>().unwrap().repository).unwrap();
        Access { keychain, transport: Transport::PlainHttp, ..Access::default() }
    };
    registry().tag_digest(&access(&server.host), &server.repository(), "1").await.unwrap();
    let head = "HEAD /v2/team/app/manifests/1";
    assert_eq!(server.paths(), [head, "POST /token", head]);
    assert!(
        server.log.lock().unwrap().iter().all(|(_, _, header, _)| header.as_deref().is_none_or(|h| h == "Bearer t1"))
    );

    let basic = Server::start(|_, _| challenge("Basic realm=\"r\"")).await;
    let result = registry().tag_digest(&access(&basic.host), &basic.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Unauthorized { has_credentials: true, .. })), "{result:?}");
    assert_eq!(basic.paths().len(), 1);
}

#[tokio::test]
async fn a_dead_host_receives_no_requests_and_keeps_its_error() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let repository = format!("{nobody}/a").parse::<Reference>().unwrap().repository;
    let registry = registry();
    let mut told = Vec::new();
    for _ in 0..7 {
        told.push(registry.tag_digest(&access(None), &repository, "1").await.unwrap_err());
    }
    assert!(told[..5].iter().all(|error| matches!(error, RegistryError::Unavailable { .. })), "{told:?}");
    assert!(told[5..].iter().all(|error| matches!(error, RegistryError::HeldBack { .. })), "{told:?}");
    assert_eq!(told[0].to_string(), told[6].to_string(), "status does not change to and fro");
}

#[tokio::test]
async fn a_pause_applies_to_all_objects_of_the_account_only() {
    let server = Server::start(|_, request| match request.uri().path() {
        "/v2/team/app/manifests/slow" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")], "").into_response(),
        _ => with_digest(&Digest::of(b"m")),
    })
    .await;
    let (registry, repository) = (registry(), server.repository());
    let other = format!("{}/other/app", server.host).parse::<Reference>().unwrap().repository;
    assert!(registry.tag_digest(&access(None), &repository, "1").await.is_ok());
    let limited = registry.tag_digest(&access(None), &repository, "slow").await;
    assert!(matches!(limited, Err(RegistryError::RateLimited { retry_after: Some(_), .. })), "{limited:?}");
    let held_back = registry.tag_digest(&access(None), &repository, "1").await;
    assert!(matches!(held_back, Err(RegistryError::RateLimited { retry_after: Some(_), .. })), "{held_back:?}");
    assert_eq!(server.paths().len(), 2);
    // A request with valid credentials, and one for another project of the same registry, are not affected.
    assert!(registry.tag_digest(&access(Some((&server.repository(), "bob"))), &repository, "1").await.is_ok());
    assert!(registry.tag_digest(&access(None), &other, "1").await.is_ok());
}

#[tokio::test]
async fn an_invalid_or_past_retry_after_does_not_shorten_our_own_pause() {
    for text in ["0", "1", "-1", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let server = Server::start(move |_, request| match request.method().as_str() {
            "HEAD" => with_digest(&Digest::of(b"m")),
            _ => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", text)], "").into_response(),
        })
        .await;
        let (registry, repository) = (registry(), server.repository());
        assert!(registry.tag_digest(&access(None), &repository, "1").await.is_ok());
        let error = registry.blob(&access(None), &repository, &descriptor(b"x"), None).await.map(drop).unwrap_err();
        let RegistryError::RateLimited { retry_after: Some(pause), .. } = error else { panic!("{text}: {error:?}") };
        assert!(pause > Duration::from_secs(15), "{text}: {pause:?}");
    }
}

#[tokio::test]
async fn a_rate_limit_of_a_redirect_target_is_short() {
    let target =
        Server::start(|_, _| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")], "").into_response()).await;
    let location = format!("http://{}/blob", target.host);
    let server = Server::start(move |_, _| {
        (StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())], "").into_response()
    })
    .await;
    let result = registry().blob(&access(None), &server.repository(), &descriptor(b"x"), None).await.map(drop);
    let Err(RegistryError::RateLimited { retry_after: Some(pause), .. }) = result else { panic!("{result:?}") };
    assert!(pause <= Duration::from_secs(60), "{pause:?}");
}

#[tokio::test]
async fn a_registry_without_head_receives_a_get() {
    for status in [405, 501] {
        let server = Server::start(move |_, request| match request.method().as_str() {
            "HEAD" => {
                let other = Digest::of(b"of the error page").to_string();
                (StatusCode::from_u16(status).unwrap(), [("docker-content-digest", other)], "").into_response()
            }
            _ => "the manifest".into_response(),
        })
        .await;
        let digest = registry().tag_digest(&access(None), &server.repository(), "1").await.unwrap();
        assert_eq!(digest, Digest::of(b"the manifest"), "{status}");
    }
}

#[tokio::test]
async fn an_html_page_violates_the_protocol() {
    const PAGE: &str = "<!DOCTYPE html><title>Sign in</title>";
    let server = Server::start(|_, _| ([("content-type", "Text/HTML; charset=utf-8")], PAGE).into_response()).await;
    let (registry, access, repository) = (registry(), access(None), server.repository());
    let tag = registry.tag_digest(&access, &repository, "1").await.map(drop);
    let manifest = registry.raw_manifest(&access, &repository, &Digest::of(b"m"), 1000).await.map(drop);
    let blob = registry.blob(&access, &repository, &descriptor(b"x"), None).await.map(drop);
    for result in [tag, manifest, blob] {
        assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    }
    // Content with the requested digest is accepted with any content type.
    let right = registry.raw_manifest(&access, &repository, &Digest::of(PAGE.as_bytes()), 1000).await;
    assert!(right.is_ok(), "{right:?}");
    assert!(registry.blob(&access, &repository, &descriptor(PAGE.as_bytes()), None).await.is_ok());
}

#[tokio::test]
async fn a_missing_token_service_is_not_a_missing_tag() {
    for status in [404, 410] {
        let server = Server::start(move |host, request| match request.uri().path() {
            "/token" => StatusCode::from_u16(status).unwrap().into_response(),
            _ => challenge(&format!("Bearer realm=\"http://{host}/token\"")),
        })
        .await;
        let result = registry().tag_digest(&access(None), &server.repository(), "1").await;
        assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{status}: {result:?}");
    }
}
