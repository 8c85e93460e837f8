//! Requests that a registry can cause at other hosts, and the information it must not gain from them.

use super::*;
use crate::registry::{self, small_blob};

/// Starts a server that redirects every request to a URL at another host or port.
async fn redirects_to(target: &str) -> Server {
    let target = target.to_owned();
    Server::start(move |_, _| (StatusCode::TEMPORARY_REDIRECT, [("location", target.clone())], "").into_response())
        .await
}

/// M3: an internal host is one that the operator can reach and the registry's owner cannot.
#[tokio::test]
async fn a_redirect_to_a_private_address_needs_a_host_of_the_operator() {
    let inside = Server::start_at("127.0.0.2:0", |_, _| with_digest(&Digest::of(b"secret"))).await;
    let port = inside.host.rsplit(':').next().unwrap();
    let open = "127.0.0.0/8 ::1/128";
    // By address and by name: the address is checked before the request, the name when it is resolved.
    for target in [format!("http://{}/x", inside.host), format!("http://localhost:{port}/x")] {
        let evil = redirects_to(&target).await;
        let repository = evil.repository();
        let result = registry_with(open).tag_digest(&access(None), &repository, "1").await;
        assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{target}: {result:?}");
        let right = registry_with(open).may_read_blob(&access(None), &repository, &descriptor(b"x")).await;
        assert!(matches!(right, Err(RegistryError::AddressDenied { .. })), "{target}: {right:?}");
    }
    assert!(inside.paths().is_empty());
    let named = registry_that_names(open, &["127.0.0.2"]);
    let evil = redirects_to(&format!("http://{}/x", inside.host)).await;
    let _ = named.tag_digest(&access(None), &evil.repository(), "1").await;
    assert_eq!(inside.paths(), ["HEAD /x"], "the operator has named it");
}

/// M3.3: a token of another owner's token service is not sent to this registry.
#[tokio::test]
async fn tokens_of_another_host_are_neither_fetched_nor_used() {
    let inside = Server::start(|_, _| r#"{"token":"internal"}"#.into_response()).await;
    let port = inside.host.rsplit(':').next().unwrap().to_owned();
    let evil =
        Server::start(move |_, _| challenge(&format!("Bearer realm=\"http://localhost:{port}/token?x=y\""))).await;
    let named = registry_that_names("127.0.0.0/8 ::1/128", &["localhost"]);
    let repository = evil.repository();
    for user in [None, Some("bob")] {
        let result = named.tag_digest(&access(user.map(|user| (&repository, user))), &repository, "1").await;
        assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{user:?}: {result:?}");
    }
    assert!(inside.paths().is_empty(), "{:?}", inside.paths());
}

#[tokio::test]
async fn a_password_is_not_sent_to_another_port_of_an_address() {
    let other = Server::start(|_, _| r#"{"token":"t"}"#.into_response()).await;
    let realm = format!("Bearer realm=\"http://{}/token\"", other.host);
    let server = Server::start(move |_, request| match request.headers().get("authorization") {
        Some(_) => with_digest(&Digest::of(b"m")),
        None => challenge(&realm),
    })
    .await;
    let result = registry().tag_digest(&access(Some((&server.repository(), "bob"))), &server.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    assert!(other.paths().is_empty());
    let anybody = registry().tag_digest(&access(None), &server.repository(), "1").await;
    assert!(anybody.is_ok(), "{anybody:?}");
}

/// L2: a store that answers 401 is not the registry, and receives neither the registry's password nor a token for it.
#[tokio::test]
async fn a_challenge_of_a_redirect_target_is_not_answered() {
    let store = Server::start(|_, _| challenge("Basic realm=\"store\"")).await;
    let target = format!("http://{}/x", store.host);
    let server = Server::start(move |_, request| match request.headers().get("authorization") {
        Some(_) => StatusCode::IM_A_TEAPOT.into_response(),
        None => (StatusCode::TEMPORARY_REDIRECT, [("location", target.clone())], "").into_response(),
    })
    .await;
    let registry = registry();
    for _ in 0..2 {
        let result = registry.tag_digest(&access(Some((&server.repository(), "bob"))), &server.repository(), "1").await;
        assert!(matches!(result, Err(RegistryError::Unauthorized { .. })), "{result:?}");
    }
    for (place, log) in [("registry", &server.log), ("store", &store.log)] {
        let log = log.lock().unwrap();
        assert!(log.iter().all(|(_, _, authorization, _)| authorization.is_none()), "{place}: {log:?}");
    }
}

/// M3.1: the registry learns every digest that is requested from it.
#[tokio::test]
async fn no_digest_is_computed_from_bytes_of_another_origin() {
    let inside = Server::start(|_, _| "a secret".into_response()).await;
    let evil = redirects_to(&format!("http://{}/secret", inside.host)).await;
    let result = registry().tag_digest(&access(None), &evil.repository(), "1").await;
    let error = result.unwrap_err();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
    assert!(!format!("{error:?}").contains(&Digest::of(b"a secret").hex()), "{error:?}");

    // A list from an internal host is rejected even if the operator names the host for another purpose.
    let zot = Server::start_at("127.0.0.2:0", |_, request| match request.uri().path() {
        "/list" => r#"{"tags":["of-another-repository"]}"#.into_response(),
        _ => with_digest(&Digest::of(b"m")),
    })
    .await;
    let named = registry_that_names("127.0.0.0/8", &["127.0.0.2"]);
    let evil = redirects_to(&format!("http://{}/x", zot.host)).await;
    let result = named.tag_digest(&access(None), &evil.repository(), "1").await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    let evil = redirects_to(&format!("http://{}/list", zot.host)).await;
    let result = named.tags(&access(None), &evil.repository()).await;
    assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    let result = named.referrers(&access(None), &evil.repository(), &Digest::of(b"m")).await;
    assert!(!matches!(result, Ok(Some(_))), "{result:?}");
}

/// M3.2: bytes from another origin are right or wrong, and the error is the same for every way of being wrong.
#[tokio::test]
async fn an_error_about_bytes_of_another_origin_does_not_describe_them() {
    let wanted = b"0123456789";
    let bodies: [(&str, &str, bool); 7] = [
        ("empty", "", false),
        ("shorter", "01234", false),
        ("shorter, in chunks", "01234", true),
        ("as long", "012345678X", false),
        ("as long, in chunks", "012345678X", true),
        ("longer", "0123456789X", false),
        ("longer, in chunks", "0123456789X", true),
    ];
    let mut told = Vec::new();
    for (label, body, in_chunks) in bodies {
        let inside = Server::start_at("127.0.0.1:0", move |_, _| {
            let stream = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(body.as_bytes()))]);
            if in_chunks { Body::from_stream(stream).into_response() } else { body.into_response() }
        })
        .await;
        let evil = redirects_to(&format!("http://{}/secret", inside.host)).await;
        let (registry, access, repository) = (registry(), access(None), evil.repository());
        let blob = small_blob(&registry, &access, &repository, &descriptor(wanted), 100).await.unwrap_err();
        let digest = Digest::of(wanted);
        // The limit of 8 bytes for the manifest lies between the sizes of the bodies.
        let manifest = registry::document(&registry, &access, &repository, &digest, 8).await.unwrap_err();
        for error in [&blob, &manifest] {
            assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{label}: {error:?}");
        }
        let hide = |error: RegistryError| {
            format!("{error} {error:?}").replace(&inside.host, "HOST").replace(&evil.host, "REGISTRY")
        };
        told.push((label, hide(blob), hide(manifest)));
        assert!(evil.log.lock().unwrap().iter().all(|(.., range)| range.is_none()), "{label}");
    }
    for (label, blob, manifest) in &told {
        assert_eq!((blob, manifest), (&told[0].1, &told[0].2), "{label}");
    }
}

#[tokio::test]
async fn an_error_about_a_list_of_another_origin_does_not_describe_it() {
    for body in ["x", "{\"tags\":[1]}", "{\"tags\": 4711}", "[]"] {
        let inside = Server::start(move |_, _| {
            ([("content-type", "application/vnd.oci.image.index.v1+json")], body).into_response()
        })
        .await;
        let evil = redirects_to(&format!("http://{}/secret", inside.host)).await;
        let (registry, repository) = (registry(), evil.repository());
        let tags = registry.tags(&access(None), &repository).await.unwrap_err();
        let referrers = registry.referrers(&access(None), &repository, &Digest::of(b"m")).await.unwrap_err();
        for error in [tags, referrers] {
            assert!(matches!(error, RegistryError::Protocol { .. }), "{body}: {error:?}");
            assert!(!error.to_string().contains("column") && !error.to_string().contains("4711"), "{body}: {error}");
        }
    }
}
