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

/// Description of a registry; method, status and headers of its only lie, and the error that it ends in.
type Lie = (&'static str, Method, u16, &'static [(&'static str, &'static str)], &'static str);

const UPLOAD: &str = "/v2/team/app/blobs/uploads/0";
const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// A registry that asks for an hour of patience.
const HOUR: &[(&str, &str)] = &[("retry-after", "3600")];
const BASIC: &[(&str, &str)] = &[("www-authenticate", "Basic realm=\"r\"")];

const LIES: [Lie; 52] = [
    ("no location", Method::POST, 202, &[], "Protocol"),
    ("an empty location", Method::POST, 202, &[("location", "")], "Protocol"),
    ("created at once", Method::POST, 201, &[("location", UPLOAD)], "Protocol"),
    ("ok at once", Method::POST, 200, &[("location", UPLOAD)], "Protocol"),
    ("no content at once", Method::POST, 204, &[("location", UPLOAD)], "Protocol"),
    ("a location with a user", Method::POST, 202, &[("location", "http://u:p@127.0.0.1/x")], "Protocol"),
    ("a location of another kind", Method::POST, 202, &[("location", "file:///etc/passwd")], "Protocol"),
    ("a location that is no URL", Method::POST, 202, &[("location", "http://[")], "Protocol"),
    ("no repository", Method::POST, 404, &[], "Refused"),
    ("no uploads", Method::POST, 405, &[], "Refused"),
    ("a bad request", Method::POST, 400, &[], "Refused"),
    ("no room", Method::POST, 413, &[], "Refused"),
    ("no rights", Method::POST, 403, &[], "Forbidden"),
    ("endless challenges", Method::POST, 401, BASIC, "Unauthorized"),
    ("an hour of patience", Method::POST, 429, HOUR, "RateLimited"),
    ("an hour of repairs", Method::POST, 503, HOUR, "RateLimited"),
    ("no location of the next part", Method::PATCH, 202, &[("range", "0-9")], "Protocol"),
    ("more than was sent", Method::PATCH, 202, &[("location", UPLOAD), ("range", "0-99999999")], "Protocol"),
    ("another start", Method::PATCH, 202, &[("location", UPLOAD), ("range", "5-9")], "Protocol"),
    ("no range", Method::PATCH, 202, &[("location", UPLOAD), ("range", "all")], "Protocol"),
    ("a negative range", Method::PATCH, 202, &[("location", UPLOAD), ("range", "0--9")], "Protocol"),
    ("created by a part", Method::PATCH, 201, &[("location", UPLOAD)], "Protocol"),
    ("ok by a part", Method::PATCH, 200, &[("location", UPLOAD)], "Protocol"),
    ("never a byte", Method::PATCH, 202, &[("location", UPLOAD), ("range", "0-0")], "Protocol"),
    ("a byte at a time", Method::PATCH, 202, &[("location", UPLOAD), ("range", "0-1")], "Protocol"),
    ("a next part with a user", Method::PATCH, 202, &[("location", "http://u@127.0.0.1/x")], "Protocol"),
    ("never a range", Method::PATCH, 416, &[("location", UPLOAD), ("range", "0-0")], "Protocol"),
    ("no parts", Method::PATCH, 405, &[], "Refused"),
    ("a bad part", Method::PATCH, 400, &[], "Refused"),
    ("always lost", Method::PATCH, 404, &[], "Protocol"),
    ("always too large", Method::PATCH, 413, &[], "Refused"),
    ("no rights for a part", Method::PATCH, 403, &[], "Forbidden"),
    ("endless challenges for a part", Method::PATCH, 401, BASIC, "Unauthorized"),
    ("an hour after a part", Method::PATCH, 429, HOUR, "RateLimited"),
    ("accepted", Method::PUT, 202, &[("location", UPLOAD)], "Protocol"),
    ("accepted nowhere", Method::PUT, 202, &[], "Protocol"),
    ("partial", Method::PUT, 206, &[], "Protocol"),
    ("created and missing", Method::PUT, 201, &[], "Protocol"),
    ("ok and missing", Method::PUT, 200, &[], "Protocol"),
    ("no content and missing", Method::PUT, 204, &[], "Protocol"),
    ("created under another digest", Method::PUT, 201, &[("docker-content-digest", OTHER)], "Protocol"),
    ("created under no digest", Method::PUT, 201, &[("docker-content-digest", "x")], "Protocol"),
    ("refused", Method::PUT, 400, &[], "Refused"),
    ("gone", Method::PUT, 404, &[], "Protocol"),
    ("no more", Method::PUT, 410, &[], "Refused"),
    ("a conflict", Method::PUT, 409, &[], "Refused"),
    ("too large for a small one", Method::PUT, 413, &[], "Refused"),
    ("no rights at the end", Method::PUT, 403, &[], "Forbidden"),
    ("endless challenges at the end", Method::PUT, 401, BASIC, "Unauthorized"),
    ("an hour at the end", Method::PUT, 429, HOUR, "RateLimited"),
    ("held with another length", Method::HEAD, 200, &[("content-length", "7")], "Protocol"),
    ("no rights to see it", Method::HEAD, 403, &[], "Forbidden"),
];

fn kind(error: &RegistryError) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[tokio::test]
async fn no_lie_about_an_upload_is_a_success() {
    for (label, method, status, headers, want) in LIES {
        let of = method.clone();
        let server = Shelf::start(move |_, asked, _| {
            let mut response = StatusCode::from_u16(status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            (asked.method == of && !asked.path.contains("mount=")).then_some(response)
        })
        .await;
        let bytes = if method == Method::PATCH { large(9) } else { b"bytes".to_vec() };
        let error = server.push(&bytes).await.unwrap_err();
        assert_eq!(kind(&error), want, "{label}: {error}");
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
async fn an_error_shows_the_registries_code_and_no_text_of_it() {
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
