//! Tokens of a registry's token service (distribution-spec, token authentication).

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;

use super::credentials::Credential;
use super::requester::Requester;
use crate::registry::net::egress::Reach;
use crate::registry::net::transport::{self, Client, Part, Payload, Redirects, Sent};
use crate::registry::{RegistryError, Transport};

/// Maximum size of a token response, in bytes.
const MAX_TOKEN_ANSWER: u64 = 64 * 1024;
/// Our client ID for token services that require one (OAuth 2).
const CLIENT_ID: &str = "supercargo";
/// Lifetime of a token without an explicit lifetime (distribution-spec, token authentication).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Maximum time for which a token is cached, whatever its lifetime.
const MAX_LIFETIME: Duration = Duration::from_secs(300);
/// Time before its expiry at which a token is renewed.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
pub(super) struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Token {
    pub(super) fn text(&self) -> Result<&str, RegistryError> {
        self.token.as_deref().or(self.access_token.as_deref()).filter(|token| !token.is_empty()).ok_or_else(|| {
            RegistryError::Protocol {
                host: "the token service".to_owned(),
                problem: "its response contains no token".to_owned(),
            }
        })
    }

    pub(super) fn lifetime(&self) -> Duration {
        let lifetime = self.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        lifetime.saturating_sub(MARGIN)
    }
}

/// Fetches a token for the requester's actions on the repository.
pub(super) async fn fetch(
    client: &Client,
    requester: Requester<'_>,
    realm: &Url,
    service: Option<&str>,
    reach: Reach,
) -> Result<Token, RegistryError> {
    let host = transport::authority(realm);
    let refuse = |problem| Err(RegistryError::Protocol { host: requester.repository.host().to_owned(), problem });
    if matches!(requester.transport, Transport::Tls(_)) && realm.scheme() != "https" {
        return refuse(format!("its token service {host} has no TLS"));
    }
    let registry = registry_host(requester);
    let service_host = (realm.host_str().unwrap_or_default(), realm.port_or_known_default().unwrap_or_default());
    let is_same = registry.0.eq_ignore_ascii_case(service_host.0);
    let egress = client.egress();
    let is_named = egress.is_token_realm(service_host.0, service_host.1);
    let reach = match (is_named, is_same) {
        (true, _) => Reach::Named,
        (false, true) => reach,
        (false, false) => Reach::Foreign,
    };
    let sent = token_request(requester, is_same, realm, service)?;
    // A destination that is closed in any case is reported as that.
    client.judge(&sent, &host)?;
    if !egress.may_serve_tokens((&registry.0, registry.1), service_host, requester.credential.is_some()) {
        let what = if requester.credential.is_some() { "the credentials are not sent to it" } else { "it is not used" };
        return refuse(format!(
            "its token service {host} is on another domain or port than the registry, so {what}; --token-realm allows it"
        ));
    }
    let response = client.send(Sent { reach, ..sent }).await?;
    match response.status().as_u16() {
        200 => {}
        // RFC 6749 section 5.2: a rejected refresh token is answered with 400.
        400 | 401 | 403 if requester.credential.is_some() => return Err(requester.unauthorized()),
        401 | 403 => return Err(requester.unauthorized()),
        404 | 410 => {
            let problem = format!("its token service {host} returned {}", response.status());
            return Err(RegistryError::Protocol { host: requester.repository.host().to_owned(), problem });
        }
        _ => return Err(transport::refused(&response, &host, || format!("the token service of {host}"))),
    }
    let body = client.body(response, &host, "the token response", MAX_TOKEN_ANSWER, "").await?;
    serde_json::from_slice(&body.bytes)
        .map_err(|_| RegistryError::Protocol { host, problem: "its response is not valid JSON".to_owned() })
}

/// Builds the request for a token: a GET, with user and password if there are any; an identity token is exchanged by
/// POST (the OAuth 2 form of distribution's token authentication). The scope is that of the requester, whatever the
/// challenge requests.
fn token_request(
    requester: Requester<'_>,
    is_same_host: bool,
    realm: &Url,
    service: Option<&str>,
) -> Result<Sent<'static>, RegistryError> {
    let scopes = requester.actions.scopes(requester.repository);
    let mut url = realm.clone();
    let (method, payload, authorization) = match requester.credential {
        Some(Credential::IdentityToken(token)) => {
            let fields = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("client_id", CLIENT_ID),
                ("refresh_token", token),
            ];
            let scope = (!scopes.is_empty()).then(|| ("scope", scopes.join(" ")));
            let form =
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).extend_pairs(scope).finish();
            (Method::POST, Payload::Form(form), None)
        }
        Some(Credential::Password { .. }) => (Method::GET, Payload::Nothing, Some(requester.basic_header()?)),
        None => (Method::GET, Payload::Nothing, None),
    };
    if matches!(payload, Payload::Nothing) {
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    }
    let transport =
        if is_same_host { requester.transport.clone() } else { requester.transport.without_client_certificate() };
    // Redirects of a token service are refused, because the request may carry credentials.
    let redirects = Redirects::Refuse;
    let (accept, operation, account) = ("application/json", "token", requester.account());
    let is_elsewhere = !is_same_host;
    Ok(Sent {
        transport,
        method,
        url,
        accept,
        authorization,
        part: Part::All,
        payload,
        operation,
        redirects,
        reach: Reach::Named,
        account,
        is_elsewhere,
    })
}

/// Returns the registry's host, as in a URL, and its port.
fn registry_host(requester: Requester<'_>) -> (String, u16) {
    let scheme = if matches!(requester.transport, Transport::PlainHttp) { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{}", requester.repository.api_host())).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
    (host, url.as_ref().and_then(Url::port_or_known_default).unwrap_or_default())
}
