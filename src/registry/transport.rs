//! HTTP itself: connections, time limits, redirects, and bodies that end.
//!
//! Every request passes `send_once`: there, and only there, it is judged where it goes, whether in the
//! clear, and whether now.

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

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to the end of an answer's head, and between two pieces of its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a whole body that is kept in memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bodies longer than this are in memory a few at a time: most manifests are a hundredth of it.
const SMALL_BODY: usize = 256 * 1024;
/// Longest time for the rest of one, once there is room for it: others wait for that room.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many: parsing one of 4 MiB takes several times that.
const LARGE_BODIES: usize = 2;
/// Most bytes of an answer's headers over HTTP/2; over HTTP/1 hyper has a limit of its own.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// A client with our limits, that counts what it sends and connects only where it may.
#[derive(Debug)]
pub(super) struct Client {
    named: Connections,
    foreign: Connections,
    egress: Arc<Egress>,
    budget: Budget,
    /// Room for large bodies.
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Clients of one reach, which is checked where a connection is made: connections of the one are not for the other.
#[derive(Debug)]
struct Connections {
    /// The system's authorities and nothing else; also all that is not TLS.
    usual: reqwest::Client,
    /// For each other way of TLS.
    others: Clients<reqwest::Client>,
}

/// A body in memory, and the room it takes up if it is a large one.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) room: Option<Room>,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) transport: Transport,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) authorization: Option<HeaderValue>,
    /// The bytes that are wanted.
    pub(super) part: Part,
    /// A body of `application/x-www-form-urlencoded`.
    pub(super) form: Option<String>,
    /// The label of the metric.
    pub(super) operation: &'static str,
    pub(super) redirects: Redirects,
    /// Whose request it is.
    pub(super) account: Account,
    /// True where the registry has sent us to another host than its own.
    pub(super) is_elsewhere: bool,
    /// Addresses to which this request may go.
    pub(super) reach: Reach,
}

/// Bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// From that byte on, requested only of the origin that has sent those before it: how many there are is told to no other.
    Rest {
        from: u64,
        of: String,
    },
    /// To see that there is something, and how much.
    First,
}

/// What a redirect means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It is followed, up to five times.
    Follow,
    /// It is an error.
    Refuse,
    /// One that need not come to the same thing (301, 302, 303) is the answer: it may lead to where one logs in. One that
    /// leaves the host is followed by a request for the first byte, for what stores sign is often good for GET only.
    Probe,
}

impl Client {
    /// Fails where the system has no CA certificates or the TLS provider cannot be set up.
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

    /// Sends, follows redirects, and names what went wrong.
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
            // Credentials are for who they were meant for: scheme, host and port.
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

    /// Addresses to which a registry may lead at its own host, by the one it has answered from: from outside it does not lead
    /// inside. The owner of a name decides which addresses it has, and may do so anew for each request.
    pub(super) fn reach_of_named(&self, response: &Response) -> Reach {
        if self.is_public(response) { Reach::Foreign } else { Reach::Named }
    }

    /// True where an answer came from a public address, or from a proxy, which alone knows.
    pub(super) fn is_public(&self, response: &Response) -> bool {
        self.egress.proxy.is_some() || response.remote_addr().is_none_or(|address| is_public(address.ip()))
    }

    async fn send_once(&self, sent: &Sent) -> Result<Response, RegistryError> {
        let host = authority(&sent.url);
        self.judge(sent, &host)?;
        let origin = origin(&sent.url);
        let permit = self.budget.admit(&origin, &host, &sent.account).await?;
        let span = tracing::debug_span!("request", %host, operation = sent.operation, method = %sent.method);
        let timer = std::time::Instant::now();
        let mut result = self.request(sent).await?.send().instrument(span.clone()).await;
        // Whoever keeps a connection finds out too late that the other side does not (RFC 9112 section 9.3.1).
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

    /// What can be said before a name is looked up.
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
        // A literal address is dialled without a look-up, so the resolver does not see it.
        if let Some(address) = literal(&sent.url) {
            let denied = |denied| RegistryError::AddressDenied { host: host.to_owned(), denied };
            self.egress.check(name, address, sent.reach).map_err(denied)?;
        }
        Ok(())
    }

    /// Reads a body that has a limit into memory.
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
        // Each hop is judged by us: reqwest's own redirects would not pass the check of literal addresses.
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(names::VettedNames(Arc::clone(egress), reach)))
        // A proxy that the environment happens to name would look names up in our place, unasked.
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

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The address that a URL's host is, where it is one. `url` has read every numeric spelling.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Where a response sends us, if it does. None may leave TLS or carry a user and password.
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
