//! Files outside of registries.

use super::*;

async fn file(
    registry: &HttpRegistry,
    server: &Server,
    path: &str,
    limit: u64,
) -> Result<Option<Bytes>, RegistryError> {
    registry.file(&format!("http://{}/{path}", server.host).parse().unwrap(), limit).await
}

#[tokio::test]
async fn a_missing_file_differs_from_a_failed_request() {
    let server = Server::start(|_, request| match request.uri().path() {
        "/there" => "12345".into_response(),
        "/moved" => (StatusCode::FOUND, [("location", "/there")], "").into_response(),
        path => StatusCode::from_u16(path.trim_start_matches('/').parse().unwrap()).unwrap().into_response(),
    })
    .await;
    let registry = registry();
    for path in ["there", "moved"] {
        assert_eq!(file(&registry, &server, path, 5).await.unwrap().unwrap(), "12345", "{path}");
        let result = file(&registry, &server, path, 4).await;
        assert!(matches!(result, Err(RegistryError::TooLarge { limit: 4, .. })), "{path}: {result:?}");
    }
    for path in ["403", "404"] {
        assert_eq!(file(&registry, &server, path, 5).await.unwrap(), None, "{path}");
    }
    for path in ["401", "418", "429", "500"] {
        assert!(file(&registry, &server, path, 5).await.is_err(), "{path}");
    }
    assert!(server.log.lock().unwrap().iter().all(|(.., authorization)| authorization.is_none()));
}

#[tokio::test]
async fn a_file_is_fetched_under_the_rules_for_registries() {
    let server = Server::start(|_, _| "".into_response()).await;
    let result = file(&registry_with(""), &server, "", 1).await;
    assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{result:?}");
    let addresses = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
    let egress = Egress { addresses, ..Egress::default() };
    let result = file(&HttpRegistry::new(Arc::default(), egress, 10).unwrap(), &server, "", 1).await;
    assert!(matches!(result, Err(RegistryError::PlainHttpDenied { .. })), "{result:?}");
    assert!(server.paths().is_empty());
    let elsewhere =
        Server::start(|_, _| (StatusCode::FOUND, [("location", "http://169.254.169.254/x")], "").into_response()).await;
    let result = file(&registry(), &elsewhere, "", 1).await;
    assert!(matches!(result, Err(RegistryError::AddressDenied { .. })), "{result:?}");
}
