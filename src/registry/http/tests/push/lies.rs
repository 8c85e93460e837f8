//! Registries that lie to a client that writes. No credential leaves the registry, and nothing that is missing counts
//! as stored.

use super::*;

fn is_protocol(result: &Result<(), RegistryError>) -> bool {
    matches!(result, Err(RegistryError::Protocol { .. }))
}

#[tokio::test]
async fn an_upload_at_another_origin_receives_no_credentials() {
    let store = Shelf::start(|_, asked, held| {
        let answer = if asked.path.starts_with("/refuse") {
            challenge("Basic realm=\"store\"")
        } else {
            StatusCode::CREATED.into_response()
        };
        held.blobs.insert(asked.path.clone(), asked.body.clone());
        Some(answer)
    })
    .await;
    for (path, is_stored) in [("/accept", true), ("/refuse", false)] {
        let (target, bytes) = (format!("http://{}{path}", store.host), b"bytes");
        let server = Shelf::start(move |_, asked, _| match (&asked.method, asked.header("authorization")) {
            (_, None) => Some(challenge("Basic realm=\"r\"")),
            (&Method::POST, _) => Some((StatusCode::ACCEPTED, [("location", target.clone())]).into_response()),
            (&Method::HEAD, _) => Some(([("content-length", "5")], "").into_response()),
            _ => None,
        })
        .await;
        let (access, repository) = (access(Some((&server.repository(), "bob"))), server.repository());
        let result = registry().upload_blob(&access, &repository, &descriptor(bytes), &Bytes::from_static(bytes)).await;
        assert_eq!(result.is_ok(), is_stored, "{path}: {result:?}");
    }
    let asked = store.asked.lock().unwrap();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|one| one.header("authorization").is_none()), "{asked:?}");
    assert!(asked.iter().all(|one| one.path.contains("digest=") || one.method != Method::PUT));
}

/// Requests that a registry directs elsewhere go to public addresses only.
#[tokio::test]
async fn an_upload_is_not_directed_to_a_private_address() {
    let inside = Shelf::honest().await;
    let port = inside.host.rsplit(':').next().unwrap().to_owned();
    for target in [format!("http://localhost:{port}/x"), "http://169.254.169.254/x".to_owned()] {
        let location = target.clone();
        let server = Shelf::start(move |_, asked, _| {
            let is_start = asked.method == Method::POST;
            is_start.then(|| (StatusCode::ACCEPTED, [("location", location.clone())]).into_response())
        })
        .await;
        let result = server.push(b"bytes").await;
        assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{target}: {result:?}");
    }
    assert!(inside.lines().is_empty());
}

#[tokio::test]
async fn a_redirect_of_a_write_keeps_method_and_origin() {
    for status in [301, 302, 303, 307, 308] {
        for method in [Method::POST, Method::PUT] {
            let elsewhere = Shelf::honest().await;
            let target = format!("http://{}/x", elsewhere.host);
            let of = method.clone();
            let server = Shelf::start(move |_, asked, _| {
                let status = StatusCode::from_u16(status).unwrap();
                let is_it = asked.method == of && asked.path.contains("manifests") == (of == Method::PUT);
                is_it.then(|| (status, [("location", target.clone())]).into_response())
            })
            .await;
            let result = if method == Method::POST {
                server.push(b"x").await
            } else {
                let (access, repository) = (access(None), server.repository());
                let name = ManifestName::Tag("1");
                registry().put_manifest(&access, &repository, name, "a/b", Bytes::new()).await.map(drop)
            };
            assert!(is_protocol(&result), "{status} {method}: {result:?}");
            assert!(elsewhere.lines().is_empty(), "{status} {method}");
        }
    }
}

#[tokio::test]
async fn a_redirect_of_an_upload_loses_its_credentials_and_ends() {
    let store = Shelf::start(|_, _, _| Some(StatusCode::CREATED.into_response())).await;
    let target = format!("http://{}/x", store.host);
    let server = Shelf::start(move |_, asked, _| match (&asked.method, asked.header("authorization")) {
        (_, None) => Some(challenge("Basic realm=\"r\"")),
        (&Method::PUT, _) => Some((StatusCode::TEMPORARY_REDIRECT, [("location", target.clone())]).into_response()),
        _ => None,
    })
    .await;
    let (access, repository) = (access(Some((&server.repository(), "bob"))), server.repository());
    let result = registry().upload_blob(&access, &repository, &descriptor(b"x"), &Bytes::from_static(b"x")).await;
    assert!(is_protocol(&result), "stored elsewhere, and not in the registry: {result:?}");
    let asked = store.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|one| one.header("authorization").is_none() && one.body == "x"), "{asked:?}");
    assert_eq!(asked.len(), 1);

    let endless = Shelf::start(|host, asked, _| {
        let next = format!("http://{host}{}x", asked.path);
        (asked.method == Method::PUT).then(|| (StatusCode::PERMANENT_REDIRECT, [("location", next)]).into_response())
    })
    .await;
    let result = endless.push(b"x").await;
    assert!(is_protocol(&result), "{result:?}");
    assert_eq!(endless.lines().iter().filter(|line| line.starts_with("PUT")).count(), 6);
}

/// Description of a registry; method, status and headers of its only lie.
type Lie = (&'static str, Method, u16, Vec<(&'static str, &'static str)>);

#[tokio::test]
async fn no_lie_about_an_upload_is_a_success() {
    let headers = |status: u16, headers: &[(&'static str, &'static str)]| {
        let mut response = StatusCode::from_u16(status).unwrap().into_response();
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    };
    let (u, other) =
        ("/v2/team/app/blobs/uploads/0", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    let rows: Vec<Lie> = vec![
        ("no location", Method::POST, 202, vec![]),
        ("created at once", Method::POST, 201, vec![("location", u)]),
        ("ok at once", Method::POST, 200, vec![("location", u)]),
        ("a location with a user", Method::POST, 202, vec![("location", "http://u:p@127.0.0.1/x")]),
        ("a location of another kind", Method::POST, 202, vec![("location", "file:///etc/passwd")]),
        ("no location of the next part", Method::PATCH, 202, vec![("range", "0-9")]),
        ("more than was sent", Method::PATCH, 202, vec![("location", u), ("range", "0-99999999")]),
        ("another start", Method::PATCH, 202, vec![("location", u), ("range", "5-9")]),
        ("no range", Method::PATCH, 202, vec![("location", u), ("range", "all")]),
        ("created by a part", Method::PATCH, 201, vec![("location", u)]),
        ("never a byte", Method::PATCH, 202, vec![("location", u), ("range", "0-0")]),
        ("never a range", Method::PATCH, 416, vec![("location", u), ("range", "0-0")]),
        ("another method", Method::PATCH, 405, vec![]),
        ("a bad request", Method::PATCH, 400, vec![]),
        ("always lost", Method::PATCH, 404, vec![]),
        ("always too large", Method::PATCH, 413, vec![]),
        ("accepted", Method::PUT, 202, vec![("location", u)]),
        ("partial", Method::PUT, 206, vec![]),
        ("created and missing", Method::PUT, 201, vec![]),
        ("no content and missing", Method::PUT, 204, vec![]),
        ("created under another digest", Method::PUT, 201, vec![("docker-content-digest", other)]),
        ("created under no digest", Method::PUT, 201, vec![("docker-content-digest", "x")]),
        ("refused", Method::PUT, 400, vec![]),
        ("gone", Method::PUT, 404, vec![]),
        ("no more", Method::PUT, 410, vec![]),
        ("held with another length", Method::HEAD, 200, vec![("content-length", "7")]),
    ];
    for (label, method, status, own) in rows {
        let answer = (method.clone(), own.clone());
        let server = Shelf::start(move |_, asked, _| {
            let (method, own) = &answer;
            let is_it = asked.method == *method && !asked.path.contains("mount=");
            is_it.then(|| headers(status, own))
        })
        .await;
        let bytes = if method == Method::PATCH { large(9) } else { b"bytes".to_vec() };
        let result = server.push(&bytes).await;
        let is_final = matches!(result, Err(RegistryError::Protocol { .. } | RegistryError::Refused { .. }));
        assert!(is_final, "{label}: {result:?}");
        assert!(server.lines().len() < 40, "{label}: {:?}", server.lines());
    }
}

#[tokio::test]
async fn other_bytes_than_the_descriptors_never_complete_an_upload() {
    let server = Shelf::honest().await;
    let (access, repository) = (access(None), server.repository());
    let (wanted, other) = (large(10), large(11));
    for (wanted, other) in [(b"right".as_slice(), b"wrong".as_slice()), (&wanted, &other), (b"longer", b"short")] {
        let source = Bytes::copy_from_slice(other);
        let result = registry().upload_blob(&access, &repository, &descriptor(wanted), &source).await;
        let error = result.unwrap_err();
        let is_of_source = matches!(&error, RegistryError::DigestMismatch { host, .. } | RegistryError::Protocol { host, .. } if host == "the source");
        assert!(is_of_source, "{error}");
    }
    let asked = server.asked.lock().unwrap();
    assert!(server.held.lock().unwrap().blobs.is_empty());
    let last = asked.last().map(Asked::line).unwrap();
    assert!(last.starts_with("DELETE"), "the upload is given up: {last}");
}

#[tokio::test]
async fn an_error_shows_the_registrys_code_and_no_text_of_it() {
    let body = r#"{"errors":[{"code":"TAG_INVALID","message":"hunter2 \u001b[2J"}]}"#;
    let server = Shelf::start(move |_, asked, _| {
        asked.path.contains("manifests").then(|| (StatusCode::CONFLICT, body).into_response())
    })
    .await;
    let (access, repository) = (access(None), server.repository());
    let name = ManifestName::Tag("1");
    let error = registry().put_manifest(&access, &repository, name, "a/b", Bytes::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, RegistryError::Refused { .. }) && text.contains("409") && text.contains("TAG_INVALID"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    for body in ["", "{", r#"{"errors":[]}"#, r#"{"errors":[{"code":"a b"}]}"#, r#"{"errors":[{"code":7}]}"#] {
        let server = Shelf::start(move |_, _, _| Some((StatusCode::FORBIDDEN, body).into_response())).await;
        let result = registry().put_manifest(&access, &server.repository(), name, "a/b", Bytes::new()).await;
        assert!(matches!(result, Err(RegistryError::Forbidden { verb: "write to", .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_manifest_under_another_digest_is_an_error() {
    let server = Shelf::start(|_, _, _| Some(created(&Digest::of(b"other").to_string()))).await;
    let (access, repository) = (access(None), server.repository());
    let result = registry().put_manifest(&access, &repository, ManifestName::Tag("1"), "a/b", Bytes::new()).await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
}
