//! HTTP transport: sends requests, follows redirects, and reads bounded bodies.
//!
//! Every request and every redirect passes `send_once`, the only place where the destination, the use of TLS and the
//! budget of the host are checked. `redirect` decides which redirects are followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::Response;
use tokio::time::Instant;
use tracing::Instrument;

use super::address::{is_closed_port, is_public};
use super::budget::RequestBudget;
use super::egress::{Egress, Reach};
use crate::metrics::{Metrics, RequestLabels};
use crate::permits::Permits;
use crate::registry::{MemoryReservation, RegistryError, Transport};

mod answer;
mod clients;
mod names;
mod progress;
mod redirect;
mod request;

pub(in crate::registry) use answer::{error, refused};
pub(in crate::registry) use request::{Part, Payload, Redirects, Sent, authority, origin};

use clients::Connections;
use progress::Progress;
use request::literal;

/// Timeout of a whole body that is kept in memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Size above which a body needs a memory reservation: most manifests are a hundredth of it.
const SMALL_BODY: usize = 256 * 1024;
/// Timeout of the rest of a large body once it has a reservation, because other bodies wait for that reservation.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of memory reservations: parsing a body of 4 MiB takes several times its size.
const LARGE_BODIES: usize = 2;
/// Number of further memory reservations, for namespaces that hold none.
const FIRST_LARGE_BODIES: usize = 2;

/// An HTTP client that enforces our limits and the egress rules, and counts requests.
#[derive(Debug)]
pub(in crate::registry) struct Client {
    named: Connections,
    foreign: Connections,
    egress: Arc<Egress>,
    budget: RequestBudget,
    /// Reservations for large bodies.
    room: Permits,
    metrics: Arc<Metrics>,
}

/// A body in memory, with its memory reservation if it is large.
#[derive(Debug)]
pub(in crate::registry) struct WholeBody {
    pub(in crate::registry) bytes: Bytes,
    pub(in crate::registry) room: Option<MemoryReservation>,
}

impl Client {
    /// Fails if the system has no CA certificates or the TLS provider cannot be initialized.
    pub(in crate::registry) fn new(
        metrics: Arc<Metrics>,
        egress: Egress,
        per_second: u32,
    ) -> Result<Self, reqwest::Error> {
        let egress = Arc::new(egress);
        let (named, foreign) = (Connections::new(&egress, Reach::Named)?, Connections::new(&egress, Reach::Foreign)?);
        let budget = RequestBudget::new(per_second, Arc::clone(&metrics));
        let room = Permits::with_first(LARGE_BODIES, FIRST_LARGE_BODIES);
        Ok(Self { named, foreign, egress, budget, room, metrics })
    }

    pub(in crate::registry) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(in crate::registry) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Sends a request and follows redirects.
    pub(in crate::registry) async fn send(&self, mut sent: Sent<'_>) -> Result<Response, RegistryError> {
        let (named, mut at_named) = (sent.url.clone(), None);
        for _ in 0..=redirect::MAX_REDIRECTS {
            let response = self.send_once(&sent).await?;
            let reach = *at_named.get_or_insert_with(|| match sent.reach {
                Reach::Named => self.reach_of_named(&response),
                Reach::Foreign => Reach::Foreign,
            });
            let Some(next) = redirect::next(&sent, &response)? else { return Ok(response) };
            let reach = if next.host_str() == named.host_str() { reach } else { Reach::Foreign };
            redirect::follow(&mut sent, next, reach);
        }
        Err(redirect::too_many(&sent))
    }

    /// Returns the reach of redirects and realms at the registry's own host: foreign if the registry responded from a
    /// public address, because an external registry must not lead to internal addresses. The owner of a name can
    /// change its addresses for each request.
    pub(in crate::registry) fn reach_of_named(&self, response: &Response) -> Reach {
        if self.is_public(response) { Reach::Foreign } else { Reach::Named }
    }

    /// True if a response came from a public address, or through a proxy, which hides the address.
    pub(in crate::registry) fn is_public(&self, response: &Response) -> bool {
        let is_proxied = self.egress.proxy.as_ref().is_some_and(|proxy| proxy.takes(response.url().as_str()));
        is_proxied || response.remote_addr().is_none_or(|address| is_public(address.ip()))
    }

    async fn send_once(&self, sent: &Sent<'_>) -> Result<Response, RegistryError> {
        let host = authority(&sent.url);
        self.judge(sent, &host)?;
        let origin = origin(&sent.url);
        let permit = self.budget.admit(&origin, &host, &sent.account).await?;
        let span = tracing::debug_span!("request", %host, operation = sent.operation, method = %sent.method);
        let timer = std::time::Instant::now();
        let client = self.client(sent, &host).await?;
        let mut result = attempt(sent, &client, &host).instrument(span.clone()).await?;
        // A server may close an idle connection just before a request is sent on it (RFC 9112 section 9.3.1).
        if sent.method.is_idempotent() && result.as_ref().is_err_and(answer::is_connection_lost) {
            span.in_scope(|| tracing::debug!("the idle connection was closed; sending the request again"));
            result = attempt(sent, &client, &host).instrument(span.clone()).await?;
        }
        let code = result.as_ref().map_or(0, |response| response.status().as_u16());
        let labels = RequestLabels { host: &host, operation: sent.operation, code };
        self.metrics.registry_request(labels, timer.elapsed());
        tracing::debug!("{}", sent.line(code, timer.elapsed()));
        match result {
            Ok(mut response) => {
                if let Some(left) = answer::rate_limit_remaining(response.headers()) {
                    self.metrics.rate_limit_remaining(&host, left);
                }
                let pause = permit.ended(&answer::outcome(&response, sent.is_elsewhere));
                answer::set_pause(&mut response, pause);
                Ok(response)
            }
            Err(error) => {
                let reported = self::error(&host, &error);
                permit.ended(&answer::outcome_of_failure(&error, &reported));
                Err(reported)
            }
        }
    }

    async fn client(&self, sent: &Sent<'_>, host: &str) -> Result<reqwest::Client, RegistryError> {
        let connections = match sent.reach {
            Reach::Named => &self.named,
            Reach::Foreign => &self.foreign,
        };
        let failed = |problem| RegistryError::Tls { host: host.to_owned(), problem };
        connections.client(&sent.transport, sent.payload.is_stored()).await.map_err(failed)
    }

    /// Applies the checks that do not need a resolved name.
    pub(in crate::registry) fn judge(&self, sent: &Sent<'_>, host: &str) -> Result<(), RegistryError> {
        let name = sent.url.host_str().unwrap_or_default();
        let is_plain = sent.url.scheme() == "http";
        match &sent.transport {
            Transport::Tls(_) if is_plain => {
                let problem = "it redirects from HTTPS to plain HTTP".to_owned();
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

    /// Reads a body of limited size into memory, for an object in `namespace`.
    pub(in crate::registry) async fn body(
        &self,
        response: Response,
        host: &str,
        what: &str,
        limit: u64,
        namespace: &str,
    ) -> Result<WholeBody, RegistryError> {
        let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let (mut bytes, mut room) = (BytesMut::new(), None);
        let mut stream = response.bytes_stream();
        let mut limited = Instant::now() + BODY_TIMEOUT;
        while let Some(chunk) = tokio::time::timeout_at(limited, stream.next()).await.map_err(|_| {
            let problem = format!("timeout while reading {what}");
            RegistryError::Unavailable { host: host.to_owned(), problem }
        })? {
            let chunk = chunk.map_err(|error| self::error(host, &error))?;
            if (bytes.len() as u64).saturating_add(chunk.len() as u64) > limit {
                return Err(too_large());
            }
            if room.is_none() && bytes.len() + chunk.len() > SMALL_BODY {
                room = Some(MemoryReservation { _permit: self.room.permit(namespace).await });
                limited = Instant::now() + LARGE_BODY_TIMEOUT;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(WholeBody { bytes: bytes.freeze(), room })
    }
}

/// Sends a request once. The inner result is the client's; a body that is stored has limits of its own.
async fn attempt(
    sent: &Sent<'_>,
    client: &reqwest::Client,
    host: &str,
) -> Result<reqwest::Result<Response>, RegistryError> {
    let progress = Progress::default();
    let response = sent.build(client, &progress).send();
    if !sent.payload.is_stored() {
        return Ok(response.await);
    }
    let length = sent.payload.length();
    progress.limit(length, response).await.map_err(|progress::Stalled(limit)| {
        let problem = format!("no progress of a {} within {} s", sent.method, limit.as_secs());
        RegistryError::Unavailable { host: host.to_owned(), problem }
    })
}
