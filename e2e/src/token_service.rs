//! Token service of a registry that requires tokens, in the harness itself, so that tests can inspect its requests.
//!
//! It supports both forms of distribution's token authentication: GET with basic credentials or none, and the OAuth 2
//! POST with a password or an identity token. It is stricter than most token services: a request without the right
//! `service`, or a POST without `client_id`, is refused.

mod issuer;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::Listener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::credentials::{PASSWORD, USERNAME};
use crate::http::is_ours;
use crate::pki::Identity;
use crate::tls;
use issuer::{Access, Issuer};
pub(crate) use issuer::{ISSUER, SERVICE};

/// Identity token, which `docker login` stores instead of the password if the token service issues one.
pub const IDENTITY_TOKEN: &str = "identity-of-the-reader";
/// Default lifetime of tokens.
const LIFETIME: Duration = Duration::from_secs(300);
/// Actions allowed to the user; anonymous callers may only pull.
const ACTIONS: [&str; 4] = ["pull", "push", "delete", "*"];

/// Token service on loopback; dropping it closes the port.
#[derive(Debug)]
pub struct TokenService {
    /// URL for token requests.
    pub realm: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// Request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    pub method: String,
    /// Query of a GET, or form of a POST; in order.
    pub parameters: Vec<(String, String)>,
    /// True if the request had an `Authorization` header.
    pub authorization: bool,
    pub status: u16,
}

impl TokenRequest {
    /// Returns the first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.parameters, name)
    }
}

struct Shared {
    issuer: Issuer,
    lifetime: AtomicU64,
    anonymous: AtomicBool,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.seen())
    }
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<TokenRequest>,
    /// Latest expiry of the issued tokens.
    last_end: Option<Instant>,
}

impl Seen {
    fn remember(&mut self, request: TokenRequest, lifetime: Duration) {
        if request.status == StatusCode::OK.as_u16() {
            self.last_end = self.last_end.max(Some(Instant::now() + lifetime));
        }
        self.requests.push(request);
    }
}

impl TokenService {
    /// Starts the service, with TLS if `identity` is given, and writes its public key to `key_set` for a registry. `host`
    /// is the one in its URL, a name or address of this machine.
    pub async fn start(key_set: &Path, identity: Option<&Identity>, host: &str) -> Result<Self> {
        let issuer = Issuer::new()?;
        fs_err::write(key_set, issuer.key_set()?.to_string())?;
        let shared = Arc::new(Shared {
            issuer,
            lifetime: AtomicU64::new(LIFETIME.as_secs()),
            anonymous: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let router = Router::new().route("/token", any(serve)).with_state(Arc::clone(&shared));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let number = port.local_addr()?.port();
        let (scheme, serving) = match identity {
            None => ("http", spawn(port, router)),
            Some(identity) => {
                let acceptor = tls::acceptor(identity)?;
                ("https", spawn(tls::Listener { port, acceptor }, router))
            }
        };
        Ok(Self { realm: format!("{scheme}://{host}:{number}/token"), shared, serving })
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.shared.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Sets whether requests without credentials get a token for pulling; by default they are refused.
    pub fn allow_anonymous(&self, allowed: bool) {
        self.shared.anonymous.store(allowed, Ordering::Relaxed);
    }

    /// Returns all requests except those of the harness, in order.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared.seen().requests.clone()
    }

    /// Returns true if all tokens issued for these requests have expired.
    pub fn all_expired(&self) -> bool {
        self.shared.seen().last_end.is_none_or(|end| end < Instant::now())
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn spawn<L>(listener: L, router: Router) -> JoinHandle<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    tokio::spawn(async move {
        // Ends only with the task.
        let _ = axum::serve(listener, router).await;
    })
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let encoded = if method == Method::POST { body.to_vec() } else { query.unwrap_or_default().into_bytes() };
    let parameters = form_urlencoded::parse(&encoded).into_owned().collect::<Vec<_>>();
    let authorization = text(header::AUTHORIZATION);
    let lifetime = Duration::from_secs(shared.lifetime.load(Ordering::Relaxed));
    let (status, answer) = match shared.answer(&method, &parameters, authorization, lifetime) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(Refusal(status, error)) => (status, json!({"error": error})),
    };
    if !text(header::USER_AGENT).is_some_and(is_ours) {
        let authorization = headers.contains_key(header::AUTHORIZATION);
        let request = TokenRequest { method: method.to_string(), parameters, authorization, status: status.as_u16() };
        shared.seen().remember(request, lifetime);
    }
    (status, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Status and error code of OAuth 2 (RFC 6749 section 5.2).
#[derive(Debug, PartialEq, Eq)]
struct Refusal(StatusCode, &'static str);

const UNAUTHORIZED: Refusal = Refusal(StatusCode::UNAUTHORIZED, "invalid_client");
/// Refusal of a POST with wrong credentials, which are not in a header.
const INVALID_GRANT: Refusal = Refusal(StatusCode::BAD_REQUEST, "invalid_grant");
const INVALID_REQUEST: Refusal = Refusal(StatusCode::BAD_REQUEST, "invalid_request");

/// Sender of a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    User,
    Nobody,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(
        &self,
        method: &Method,
        parameters: &[(String, String)],
        authorization: Option<&str>,
        lifetime: Duration,
    ) -> Result<Value, Refusal> {
        if parameter(parameters, "service") != Some(SERVICE) {
            return Err(INVALID_REQUEST);
        }
        let caller = match *method {
            Method::GET => by_header(authorization)?,
            Method::POST => by_form(parameters)?,
            _ => return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "invalid_request")),
        };
        if caller == Caller::Nobody && !self.anonymous.load(Ordering::Relaxed) {
            return Err(UNAUTHORIZED);
        }
        let subject = if caller == Caller::User { USERNAME } else { "" };
        let token = self.issuer.token(subject, &granted(parameters, caller), lifetime);
        let token = token.map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error"))?;
        // The field's name depends on the method. Only that field is sent: a client that reads the other field fails.
        let field = if *method == Method::POST { "access_token" } else { "token" };
        Ok(json!({field: token, "expires_in": lifetime.as_secs()}))
    }
}

fn by_header(authorization: Option<&str>) -> Result<Caller, Refusal> {
    let user = format!("Basic {}", STANDARD.encode(format!("{USERNAME}:{PASSWORD}")));
    match authorization {
        None => Ok(Caller::Nobody),
        Some(given) if given == user => Ok(Caller::User),
        Some(_) => Err(UNAUTHORIZED),
    }
}

fn by_form(form: &[(String, String)]) -> Result<Caller, Refusal> {
    let field = |name| parameter(form, name);
    if field("client_id").is_none() {
        return Err(INVALID_REQUEST);
    }
    let right = match field("grant_type") {
        Some("refresh_token") => field("refresh_token") == Some(IDENTITY_TOKEN),
        Some("password") => field("username") == Some(USERNAME) && field("password") == Some(PASSWORD),
        _ => return Err(Refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
    };
    if right { Ok(Caller::User) } else { Err(INVALID_GRANT) }
}

/// Parses scopes such as `repository:team/app:pull,push`, in several parameters or separated by spaces, and returns the
/// access that the caller is allowed.
fn granted(parameters: &[(String, String)], caller: Caller) -> Vec<Access> {
    let scopes = parameters.iter().filter(|(name, _)| name == "scope").flat_map(|(_, value)| value.split(' '));
    let entry = |scope: &str| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let allowed = |action: &&str| match caller {
            Caller::User => ACTIONS.contains(action),
            Caller::Nobody => *action == "pull",
        };
        let actions = actions.split(',').filter(allowed).map(str::to_owned).collect();
        Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
    };
    scopes.filter_map(entry).collect()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests;
