//! Credentials that are checked before they are stored.

use super::*;

/// Header of bob with the password hunter2.
const BOB: &str = "Basic Ym9iOmh1bnRlcjI=";

async fn check(server: &Server, user: &str) -> Result<bool, RegistryError> {
    let repository = server.repository();
    registry().check_login(&access(Some((&repository, user))), &repository).await
}

#[tokio::test]
async fn a_password_is_checked_with_a_request_for_the_interface() {
    let server = Server::start(|_, request| match request.headers().get("authorization") {
        Some(value) if value == BOB => "{}".into_response(),
        _ => challenge("Basic realm=\"r\""),
    })
    .await;
    assert!(matches!(check(&server, "bob").await, Ok(true)));
    assert_eq!(server.paths(), ["GET /v2/", "GET /v2/"]);
    let refused = check(&server, "mallory").await;
    assert!(matches!(refused, Err(RegistryError::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_token_is_requested_without_rights() {
    let server = Server::start(|host, request| match (request.uri().path(), request.headers().get("authorization")) {
        ("/token", Some(value)) if value == BOB => r#"{"token":"t"}"#.into_response(),
        ("/token", _) => StatusCode::UNAUTHORIZED.into_response(),
        (_, Some(value)) if value == "Bearer t" => "{}".into_response(),
        _ => challenge(&format!("Bearer realm=\"http://{host}/token\",service=\"s\"")),
    })
    .await;
    assert!(matches!(check(&server, "bob").await, Ok(true)));
    assert_eq!(server.paths(), ["GET /v2/", "GET /token?service=s", "GET /v2/"]);
    let refused = check(&server, "mallory").await;
    assert!(matches!(refused, Err(RegistryError::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_without_rights() {
    let server = Server::start(|host, request| match (request.uri().path(), request.headers().get("authorization")) {
        ("/token", None) if request.method() == "POST" => r#"{"access_token":"t"}"#.into_response(),
        (_, Some(value)) if value == "Bearer t" => "{}".into_response(),
        _ => challenge(&format!("Bearer realm=\"http://{host}/token\",service=\"s\"")),
    })
    .await;
    let repository = server.repository();
    let mut access = access(None);
    access.keychain.add_for(&repository, Credential::IdentityToken("it".to_owned()));
    assert!(matches!(registry().check_login(&access, &repository).await, Ok(true)));
}

#[tokio::test]
async fn a_registry_that_serves_everyone_still_sees_the_password() {
    let server = Server::start(|_, request| match request.headers().get("authorization") {
        Some(value) if value != BOB => challenge("Basic realm=\"r\""),
        _ => "{}".into_response(),
    })
    .await;
    assert!(matches!(check(&server, "bob").await, Ok(false)), "the registry may not have checked it");
    let refused = check(&server, "mallory").await;
    assert!(matches!(refused, Err(RegistryError::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn no_other_host_sees_a_login() {
    let other = Server::start(|_, _| "{}".into_response()).await;
    let target = format!("http://{}/v2/", other.host);
    let server =
        Server::start(move |_, _| (StatusCode::TEMPORARY_REDIRECT, [("location", target.clone())], "").into_response())
            .await;
    assert!(check(&server, "bob").await.is_err());
    assert_eq!(other.paths(), Vec::<String>::new());
    let plain = Server::start(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    assert!(matches!(check(&plain, "bob").await, Err(RegistryError::NotFound(_))));
}
