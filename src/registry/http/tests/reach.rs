//! Destinations of requests.

use reqwest::Url;

use super::*;
use crate::registry::egress::Reach;

/// Starts a server at 127.0.0.2 that must receive no request.
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
async fn a_closed_address_is_not_dialled_under_any_spelling() {
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
async fn no_port_of_kubernetes_is_dialled() {
    for port in [2379, 6443, 10250] {
        let url = format!("http://127.0.0.1:{port}/x");
        let realm = Server::start({
            let url = url.clone();
            move |_, _| challenge(&format!("Bearer realm=\"{url}\""))
        })
        .await;
        let redirect = Server::start(move |_, _| {
            (StatusCode::TEMPORARY_REDIRECT, [("location", url.clone())], "").into_response()
        })
        .await;
        let itself = format!("127.0.0.1:{port}/a").parse::<Reference>().unwrap().repository;
        for repository in [itself, redirect.repository(), realm.repository()] {
            let result = registry().tag_digest(&access(None), &repository, "1").await;
            let is_denied = matches!(&result, Err(RegistryError::PortDenied { port: denied, .. }) if *denied == port);
            assert!(is_denied, "{port}: {result:?}");
        }
    }
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

#[tokio::test]
async fn pages_of_tags_stay_on_the_host_with_the_credentials() {
    let link = |target: String| [("link", format!("<{target}>; rel=\"next\""))];
    let foreign = Server::start(move |host, _| {
        let next = format!("http://{host}/v2/team/app/tags/list?last=x");
        (link(next), r#"{"tags":["1"]}"#).into_response()
    })
    .await;
    for redirected in [false, true] {
        let target = foreign.host.clone();
        let server = Server::start(move |_, request| match request.headers().get("authorization") {
            None => challenge("Basic realm=\"r\""),
            Some(_) if redirected => {
                let location = format!("http://{target}/v2/team/app/tags/list");
                (StatusCode::FOUND, [("location", location)], "").into_response()
            }
            Some(_) => {
                let next = format!("http://{target}/v2/team/app/tags/list?last=x");
                (link(next), r#"{"tags":["1"]}"#).into_response()
            }
        })
        .await;
        let result = registry().tags(&access(Some((&server.repository(), "bob"))), &server.repository()).await;
        assert!(matches!(result, Err(RegistryError::Protocol { .. })), "{result:?}");
    }
    let log = foreign.log.lock().unwrap();
    assert_eq!(log.len(), 1, "only the redirect: {log:?}");
    assert!(log.iter().all(|(_, _, authorization, _)| authorization.is_none()), "{log:?}");
}

/// Finding M3: a name that resolved to a public address for the first page may resolve to a private one for the next.
#[tokio::test]
async fn the_next_page_of_a_public_registry_is_not_at_a_private_address() {
    let list = |_: &str, request: &Request| match request.uri().query() {
        Some(query) if query.contains("last") => r#"{"tags":["2"]}"#.into_response(),
        _ => ([("link", "</any/path?last=1>; rel=\"next\"")], r#"{"tags":["1"]}"#).into_response(),
    };
    let server = Server::start(list).await;
    let tags = registry().tags(&access(None), &server.repository()).await;
    assert_eq!(tags.unwrap(), ["1", "2"], "one inside may have pages");
    let (repository, access) = (server.repository(), access(None));
    let url = Url::parse(&format!("http://{}/any/path?last=1", server.host)).unwrap();
    // The reach of a page that came from a public address.
    let page = Page { url, reach: Reach::Foreign };
    let next = registry().request(&HttpCall::get(&access, &repository, Item::Tags(Some(&page)))).await;
    assert!(matches!(next, Err(RegistryError::AddressDenied { .. })), "{next:?}");
    assert_eq!(server.paths().iter().filter(|path| path.contains("/any/path")).count(), 1);
}

/// Only the proxy knows the address of a response, but only of requests that pass through it.
#[tokio::test]
async fn a_private_registry_outside_of_the_proxy_may_use_tokens_and_redirects() {
    let server = Server::start(|host, request| match (request.uri().path(), request.headers().get("authorization")) {
        ("/token", _) => r#"{"token":"t"}"#.into_response(),
        ("/moved", _) => with_digest(&Digest::of(b"m")),
        (_, None) => challenge(&format!("Bearer realm=\"http://{host}/token\"")),
        (_, Some(_)) => (StatusCode::TEMPORARY_REDIRECT, [("location", "/moved")], "").into_response(),
    })
    .await;
    let proxied = |except: &str| {
        let proxy = Some(Proxy::all("http://127.0.0.9:1", except));
        HttpRegistry::new(Arc::default(), Egress { proxy, ..egress("127.0.0.0/8", &[]) }, 10_000).unwrap()
    };
    let digest = proxied("127.0.0.1").tag_digest(&access(None), &server.repository(), "1").await;
    assert_eq!(digest.unwrap(), Digest::of(b"m"));
    let nowhere = proxied("127.0.0.2").tag_digest(&access(None), &server.repository(), "1").await;
    assert!(matches!(nowhere, Err(RegistryError::Unavailable { .. })), "{nowhere:?}");
}

/// Starts a server that answers the first request of each connection, and closes the connection at the second one.
async fn forgetful(digest: Digest) -> (Repository, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let connections = Arc::clone(&connections);
        async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let answer = format!("HTTP/1.1 200 OK\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\n\r\n");
                tokio::spawn(async move {
                    let mut heard = [0; 4096];
                    let _ = stream.read(&mut heard).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.read(&mut heard).await;
                });
            }
        }
    });
    (format!("{address}/a").parse::<Reference>().unwrap().repository, connections)
}

#[tokio::test]
async fn a_closed_idle_connection_is_replaced() {
    let (repository, connections) = forgetful(Digest::of(b"m")).await;
    let registry = registry();
    for round in 1..=3 {
        let result = registry.tag_digest(&access(None), &repository, "1").await;
        assert!(result.is_ok(), "round {round}: {result:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// M4b. A registry that requires a client certificate may break off the handshake of a client without one.
#[tokio::test]
async fn a_handshake_that_breaks_off_closes_the_host_for_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = connection.readable().await;
            drop(connection);
        }
    });
    let registry = registry();
    let repository = |path: &str| format!("{host}/{path}").parse::<Reference>().unwrap().repository;
    let over_tls = |user: &str| Access { transport: Transport::default(), ..access(Some((&repository("x"), user))) };
    for _ in 0..8 {
        registry.tag_digest(&over_tls("mine"), &repository("mine/app"), "1").await.unwrap_err();
    }
    let error = registry.tag_digest(&over_tls("other"), &repository("other/app"), "1").await.unwrap_err();
    assert!(!matches!(error, RegistryError::HeldBack { .. }), "{error}");
}
