//! Partial blobs, and access checks.

use super::*;

/// Fetches the rest of a blob whose first bytes came from `sender`. Returns its offset, its bytes, and true if the
/// stream ended without an error.
async fn rest_of(
    server: &Server,
    sender: &Server,
    bytes: &[u8],
    from: u64,
) -> Result<(u64, Vec<u8>, bool), RegistryError> {
    let sender = Sender {
        host: sender.host.clone(),
        origin: format!("http://{}", sender.host),
        is_registry: sender.host == server.host,
    };
    let begun = (from > 0).then_some(Begun { bytes: from, sender });
    let repository = server.repository();
    let body = registry()
        .blob(&access(Some((&server.repository(), "bob"))), &repository, &descriptor(bytes), begun.as_ref())
        .await?;
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

async fn blob_from(server: &Server, bytes: &[u8], from: u64) -> Result<(u64, Vec<u8>, bool), RegistryError> {
    rest_of(server, server, bytes, from).await
}

#[tokio::test]
async fn the_rest_of_a_blob_must_be_the_requested_range() {
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
async fn the_blob_store_receives_the_range_but_no_credentials() {
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
        assert_eq!(rest_of(&server, &store, b"0123456789", from).await.unwrap(), (from, read.to_vec(), true));
    }
    assert!(
        server.log.lock().unwrap().iter().all(|(.., range)| range.is_none()),
        "how much the store sent is not told"
    );
    // A blob begun by the registry is not continued from another origin: the joined digest could reveal the other
    // origin's bytes.
    assert_eq!(blob_from(&server, b"0123456789", 4).await.unwrap(), (0, b"0123456789".to_vec(), true));
}

#[tokio::test]
async fn only_the_registry_itself_grants_access_to_a_blob() {
    let away = ("location", "http://127.0.0.1:1/store".to_owned());
    let length = |length: &str| ("content-length", length.to_owned());
    let rows = [
        (200, length("5"), Some(Right::Granted)),
        // L3: a response without a length could be about anything.
        (200, ("x-none", String::new()), Some(Right::Unknown)),
        (204, ("x-none", String::new()), Some(Right::Unknown)),
        (206, length("5"), Some(Right::Unknown)),
        (206, ("content-range", "bytes 0-0/5".to_owned()), Some(Right::Unknown)),
        // A redirect to a login page, and the page itself.
        (302, away.clone(), Some(Right::Unknown)),
        (303, away, Some(Right::Unknown)),
        (200, length("4711"), Some(Right::Unknown)),
        (405, length("0"), Some(Right::Unknown)),
        (501, length("0"), Some(Right::Unknown)),
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
            // A stream, so that no Content-Length is added.
            let body = Body::from_stream(futures::stream::empty::<Result<Bytes, std::io::Error>>());
            Response::builder().status(status).header(header_for.0, header_for.1.as_str()).body(body).unwrap()
        })
        .await;
        let said = registry()
            .may_read_blob(&access(Some((&server.repository(), "bob"))), &server.repository(), &descriptor(b"right"))
            .await;
        assert_eq!(said.as_ref().ok(), want.as_ref(), "{status} {header:?}: {said:?}");
        let path = format!("HEAD /v2/team/app/blobs/{}", Digest::of(b"right"));
        assert_eq!(server.paths(), [path], "{status}: one question, and no redirect is followed");
    }
}

/// The registry redirects to a store that has the layer, or to a login page.
#[tokio::test]
async fn a_redirect_grants_access_if_its_target_has_the_layer() {
    let rows = [
        (206, ("content-range", "bytes 0-0/5"), "r", Right::Granted),
        (200, ("x-none", ""), "right", Right::Granted),
        (206, ("content-range", "bytes 0-0/4711"), "r", Right::Unknown),
        (206, ("x-none", ""), "right", Right::Unknown),
        (200, ("content-type", "text/html"), "<title>Who are you?</title>", Right::Unknown),
        (200, ("x-none", ""), "", Right::Unknown),
        (302, ("location", "/login"), "", Right::Unknown),
        (401, ("www-authenticate", "Basic realm=\"r\""), "", Right::Unknown),
        (403, ("x-none", ""), "", Right::Unknown),
        (404, ("x-none", ""), "", Right::Unknown),
        (503, ("x-none", ""), "", Right::Unknown),
    ];
    for (status, header, body, want) in rows {
        let store = Server::start(move |_, _| {
            (StatusCode::from_u16(status).unwrap(), [(header.0, header.1)], body).into_response()
        })
        .await;
        for redirect in [307, 308] {
            let target = format!("http://{}/store", store.host);
            let server = Server::start(move |_, _| {
                (StatusCode::from_u16(redirect).unwrap(), [("location", target.clone())], "").into_response()
            })
            .await;
            let said = registry()
                .may_read_blob(
                    &access(Some((&server.repository(), "bob"))),
                    &server.repository(),
                    &descriptor(b"right"),
                )
                .await;
            assert_eq!(said.as_ref().ok(), Some(&want), "{redirect} to {status} {header:?}: {said:?}");
            assert_eq!(server.paths().len(), 1, "{redirect} to {status}");
        }
        let log = store.log.lock().unwrap();
        assert!(log.iter().all(|(method, ..)| method == "GET"), "what stores sign is for GET: {log:?}");
        assert!(log.iter().all(|(_, _, authorization, _)| authorization.is_none()), "{log:?}");
        assert!(
            log.iter()
                .filter(|(_, path, ..)| path == "/store")
                .all(|(.., range)| range.as_deref() == Some("bytes=0-0"))
        );
    }
}

#[tokio::test]
async fn a_moved_repository_is_followed_and_a_login_page_is_not() {
    let rows = [(308, 200, Some(Right::Granted), 2), (307, 403, None, 2), (302, 200, Some(Right::Unknown), 1)];
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
async fn access_is_checked_with_the_credentials_of_each_object() {
    let server =
        Server::start(|_, request| match request.headers().get("authorization").and_then(|v| v.to_str().ok()) {
            // bob:hunter2
            Some("Basic Ym9iOmh1bnRlcjI=") => "right".into_response(),
            _ => challenge("Basic realm=\"r\""),
        })
        .await;
    let (registry, repository, blob) = (registry(), server.repository(), descriptor(b"right"));
    for (user, may) in [(Some("bob"), true), (Some("mallory"), false), (None, false), (Some("bob"), true)] {
        let said = registry.may_read_blob(&access(user.map(|user| (&repository, user))), &repository, &blob).await;
        let right = match &said {
            Ok(right) => may && *right == Right::Granted,
            Err(error) => !may && matches!(error, RegistryError::Unauthorized { .. }),
        };
        assert!(right, "{user:?}: {said:?}");
    }
}
