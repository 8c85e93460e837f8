//! HTTP transport: connections, timeouts, redirects, and bounded bodies.
//!
//! Every request passes `send_once`, the only place where its destination, its use of TLS and the budget of the host
//! are checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, Response, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use super::address::{is_closed_port, is_public};
use super::budget::{Account, Budget};
use super::egress::{Egress, Reach};
use super::tls::TlsOptions;
use super::{RegistryError, Room, Transport, TransportId};
use crate::metrics::{Metrics, RequestLabels};

mod answer;
mod clients;
mod names;

pub(super) use answer::{authority, error, refused};
use clients::Clients;

/// Timeout of a connection attempt, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a response's head, and between two chunks of its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a whole body that is kept in memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Size above which a body needs a memory reservation: most manifests are a hundredth of it.
const SMALL_BODY: usize = 256 * 1024;
/// Timeout of the rest of a large body once it has a reservation, because other bodies wait for that reservation.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of memory reservations: parsing a body of 4 MiB takes several times its size.
const LARGE_BODIES: usize = 2;
/// Maximum size of response headers over HTTP/2, in bytes; over HTTP/1 hyper has its own limit.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// An HTTP client that enforces our limits and the egress rules, and counts requests.
#[derive(Debug)]
pub(super) struct Client {
    named: Connections,
    foreign: Connections,
    egress: Arc<Egress>,
    budget: Budget,
    /// Reservations for large bodies.
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Clients of one reach. The reach is checked when a connection is made, so connections of different reaches are not
/// shared.
#[derive(Debug)]
struct Connections {
    /// Client with the system's authorities only; also for plain HTTP.
    usual: reqwest::Client,
    /// Clients for all other TLS options.
    others: Clients<reqwest::Client>,
}

/// A body in memory, with its memory reservation if it is large.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) room: Option<Room>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) transport: Transport,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) authorization: Option<HeaderValue>,
    /// The requested bytes.
    pub(super) part: Part,
    /// A body of type `application/x-www-form-urlencoded`.
    pub(super) form: Option<String>,
    /// The request's label in metrics.
    pub(super) operation: &'static str,
    pub(super) redirects: Redirects,
    /// The account that the budget attributes the request to.
    pub(super) account: Account,
    /// True if the registry redirected to another origin than its own.
    pub(super) is_elsewhere: bool,
    /// Addresses to which the request may be sent.
    pub(super) reach: Reach,
}

/// Requested part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// The bytes after the first `from`, requested only from the origin `of` that sent those: no other origin learns
    /// their number.
    Rest {
        from: u64,
        of: String,
    },
    /// The first byte, to learn whether the body exists, and its size.
    First,
}

/// Handling of redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// Redirects are followed, up to five.
    Follow,
    /// A redirect is an error.
    Refuse,
    /// 301, 302 and 303 are returned as the response, because they may lead to a login page. 307 and 308 to another
    /// origin are followed by a GET of the first byte, because signed URLs of blob stores are often valid for GET
    /// only.
    Probe,
}

impl Client {
    /// Fails if the system has no CA certificates or the TLS provider cannot be initialized.
    pub(super) fn new(metrics: Arc<Metrics>, egress: Egress, per_second: u32) -> Result<Self, reqwest::Error> {
        let egress = Arc::new(egress);
        let connections = |reach| {
            let usual = client(&egress, &TlsOptions::default(), reach)?;
            Ok::<_, reqwest::Error>(Connections { usual, others: Clients::default() })
        };
        let (named, foreign) = (connections(Reach::Named)?, connections(Reach::Foreign)?);
        let budget = Budget::new(per_second, Arc::clone(&metrics));
        let room = Arc::new(Semaphore::new(LARGE_BODIES));
        Ok(Self { named, foreign, egress, budget, room, metrics })
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(super) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Sends a request and follows redirects.
    pub(super) async fn send(&self, mut sent: Sent) -> Result<Response, RegistryError> {
        let (named, mut at_named) = (sent.url.clone(), None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&sent).await?;
            let reach = *at_named.get_or_insert_with(|| match sent.reach {
                Reach::Named => self.reach_of_named(&response),
                Reach::Foreign => Reach::Foreign,
            });
            let Some(next) = redirect_target(&response)? else { return Ok(response) };
            if sent.redirects == Redirects::Refuse {
                let problem = "it redirects, where that is not allowed".to_owned();
                return Err(RegistryError::Protocol { host: authority(&sent.url), problem });
            }
            let leaves = next.origin() != sent.url.origin();
            let is_same_request = matches!(response.status().as_u16(), 307 | 308);
            if sent.redirects == Redirects::Probe && !is_same_request {
                return Ok(response);
            }
            // Credentials are sent only to the origin (scheme, host and port) that they are meant for.
            if leaves {
                sent.authorization = None;
                sent.is_elsewhere = true;
                sent.transport = sent.transport.without_client_certificate();
            }
            if leaves && sent.redirects == Redirects::Probe {
                (sent.method, sent.part) = (Method::GET, Part::First);
            }
            sent.reach = if next.host_str() == named.host_str() { reach } else { Reach::Foreign };
            sent.url = next;
        }
        let problem = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(RegistryError::Protocol { host: authority(&sent.url), problem })
    }

    /// Returns the reach of redirects and realms at the registry's own host: foreign if the registry responded from a
    /// public address, because an external registry must not lead to internal addresses. The owner of a name can
    /// change its addresses for each request.
    pub(super) fn reach_of_named(&self, response: &Response) -> Reach {
        if self.is_public(response) { Reach::Foreign } else { Reach::Named }
    }

    /// True if a response came from a public address, or through a proxy, which hides the address.
    pub(super) fn is_public(&self, response: &Response) -> bool {
        let is_proxied = self.egress.proxy.as_ref().is_some_and(|proxy| proxy.takes(response.url().as_str()));
        is_proxied || response.remote_addr().is_none_or(|address| is_public(address.ip()))
    }

    async fn send_once(&self, sent: &Sent) -> Result<Response, RegistryError> {
        let host = authority(&sent.url);
        self.judge(sent, &host)?;
        let origin = origin(&sent.url);
        let permit = self.budget.admit(&origin, &host, &sent.account).await?;
        let span = tracing::debug_span!("request", %host, operation = sent.operation, method = %sent.method);
        let timer = std::time::Instant::now();
        let mut result = self.request(sent).await?.send().instrument(span.clone()).await;
        // A server may close an idle connection just before a request is sent on it (RFC 9112 section 9.3.1).
        if sent.method.is_idempotent() && result.as_ref().is_err_and(answer::is_broken_off) {
            span.in_scope(|| tracing::debug!("the connection had ended; asking again"));
            result = self.request(sent).await?.send().instrument(span.clone()).await;
        }
        let code = result.as_ref().map_or(0, |response| response.status().as_u16());
        let labels = RequestLabels { host: &host, operation: sent.operation, code };
        self.metrics.registry_request(labels, timer.elapsed());
        span.in_scope(|| tracing::debug!(code, took = ?timer.elapsed(), "answered"));
        match result {
            Ok(mut response) => {
                if let Some(left) = answer::rate_limit_remaining(response.headers()) {
                    self.metrics.rate_limit_remaining(&host, left);
                }
                let pause = permit.ended(&answer::ended(&response, sent.is_elsewhere));
                answer::set_pause(&mut response, pause);
                Ok(response)
            }
            Err(error) => {
                let told = self::error(&host, &error);
                permit.ended(&answer::lack_of_one(&error, &told));
                Err(told)
            }
        }
    }

    /// Applies the checks that do not need a resolved name.
    pub(super) fn judge(&self, sent: &Sent, host: &str) -> Result<(), RegistryError> {
        let name = sent.url.host_str().unwrap_or_default();
        let is_plain = sent.url.scheme() == "http";
        match &sent.transport {
            Transport::Tls(_) if is_plain => {
                let problem = "it leads away from TLS".to_owned();
                return Err(RegistryError::Protocol { host: host.to_owned(), problem });
            }
            Transport::PlainHttp | Transport::Tls(_) => {}
        }
        let port = sent.url.port_or_known_default().unwrap_or_default();
        if is_closed_port(port) {
            return Err(RegistryError::PortDenied { host: host.to_owned(), port });
        }
        if is_plain && !self.egress.may_be_plain(name, port) {
            return Err(RegistryError::PlainHttpDenied { host: host.to_owned() });
        }
        // A literal address is not resolved, so the resolver does not check it.
        if let Some(address) = literal(&sent.url) {
            let denied = |denied| RegistryError::AddressDenied { host: host.to_owned(), denied };
            self.egress.check(name, address, sent.reach).map_err(denied)?;
        }
        Ok(())
    }

    /// Reads a body of limited size into memory.
    pub(super) async fn body(
        &self,
        response: Response,
        host: &str,
        what: &str,
        limit: u64,
    ) -> Result<Body, RegistryError> {
        let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let (mut bytes, mut room) = (BytesMut::new(), None);
        let mut stream = response.bytes_stream();
        let mut limited = Instant::now() + BODY_TIMEOUT;
        while let Some(chunk) = tokio::time::timeout_at(limited, stream.next()).await.map_err(|_| {
            let problem = format!("{what} comes too slowly");
            RegistryError::Unavailable { host: host.to_owned(), problem }
        })? {
            let chunk = chunk.map_err(|error| self::error(host, &error))?;
            if (bytes.len() as u64).saturating_add(chunk.len() as u64) > limit {
                return Err(too_large());
            }
            if room.is_none() && bytes.len() + chunk.len() > SMALL_BODY {
                room = Arc::clone(&self.room).acquire_owned().await.ok().map(|permit| Room { _permit: permit });
                limited = Instant::now() + LARGE_BODY_TIMEOUT;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body { bytes: bytes.freeze(), room })
    }

    async fn request(&self, sent: &Sent) -> Result<reqwest::RequestBuilder, RegistryError> {
        let client = self.client(sent).await?;
        let mut request = client.request(sent.method.clone(), sent.url.clone()).header(header::ACCEPT, sent.accept);
        if let Some(value) = &sent.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        match &sent.part {
            Part::Rest { from, of } if *of == origin(&sent.url) => {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            Part::First => request = request.header(header::RANGE, "bytes=0-0"),
            Part::All | Part::Rest { .. } => {}
        }
        if let Some(form) = &sent.form {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(header::CONTENT_TYPE, form_type).body(form.clone());
        }
        Ok(request)
    }

    async fn client(&self, sent: &Sent) -> Result<reqwest::Client, RegistryError> {
        let clients = match sent.reach {
            Reach::Named => &self.named,
            Reach::Foreign => &self.foreign,
        };
        let Transport::Tls(options) = &sent.transport else { return Ok(clients.usual.clone()) };
        let id = TransportId::Tls(options.identity());
        if id == TransportId::Tls(None) {
            return Ok(clients.usual.clone());
        }
        let failed = |problem| RegistryError::Tls { host: authority(&sent.url), problem };
        let making = async {
            let (egress, options, reach) = (Arc::clone(&self.egress), options.clone(), sent.reach);
            let made = tokio::task::spawn_blocking(move || client(&egress, &options, reach)).await;
            let made = made.map_err(|_| failed("the client could not be made".to_owned()))?;
            made.map_err(|error| failed(error.to_string()))
        };
        clients.others.get(id, making).await
    }
}

fn client(egress: &Arc<Egress>, tls: &TlsOptions, reach: Reach) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("supercargo/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        // Each hop is checked here: reqwest's own redirects would bypass the check of literal addresses.
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(names::VettedNames(Arc::clone(egress), reach)))
        // A proxy from the environment would resolve names itself, without being configured for this.
        .no_proxy()
        .referer(false);
    if let Some(proxy) = &egress.proxy {
        let except = reqwest::NoProxy::from_string(&proxy.except);
        builder = builder.proxy(reqwest::Proxy::all(&proxy.url)?.no_proxy(except));
    }
    if tls.skips_verify() {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let authorities = tls.authorities().map(reqwest::Certificate::from_der).collect::<Result<Vec<_>, _>>()?;
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(pem) = tls.client() {
        builder = builder.identity(reqwest::Identity::from_pem(pem)?);
    }
    builder.build()
}

/// Returns scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns the address of a URL whose host is a literal address. `url` has normalized every numeric form.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Returns the target of a redirect. A target that leaves TLS or contains a user or password is an error.
fn redirect_target(response: &Response) -> Result<Option<Url>, RegistryError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let url = response.url();
    let refuse = |problem: &str| RegistryError::Protocol { host: authority(url), problem: problem.to_owned() };
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|text| url.join(text).ok()).ok_or_else(|| refuse("it redirects to nowhere"))?;
    if !matches!(next.scheme(), "http" | "https") || !next.username().is_empty() || next.password().is_some() {
        return Err(refuse("it redirects to a URL of another kind, or with a user in it"));
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refuse("it redirects from https to http"));
    }
    Ok(Some(next))
}
