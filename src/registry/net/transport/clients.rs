//! HTTP clients: one for each reach and TLS options.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::redirect;
use tokio::sync::OnceCell;

use super::names::VettedNames;
use crate::mutex::lock;
use crate::registry::net::egress::{Egress, Reach};
use crate::registry::net::recent::Recent;
use crate::registry::net::tls::TlsOptions;
use crate::registry::{Transport, TransportId};

/// Timeout of a connection attempt, including TLS.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a response's head, and between two chunks of its body.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of response headers over HTTP/2, in bytes; over HTTP/1 hyper has its own limit.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Maximum number of clients whose connections are kept.
const MAX_CLIENTS: usize = 64;

/// One client per TLS options, so that a client certificate's connections are never used for another object.
///
/// Creating a client reads all system authorities. The table is not locked meanwhile, so only requests for the same
/// client wait for it.
#[derive(Debug)]
pub(super) struct Clients<C>(Mutex<Recent<TransportId, Arc<OnceCell<C>>>>);

impl<C> Default for Clients<C> {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MAX_CLIENTS)))
    }
}

impl<C: Clone> Clients<C> {
    /// Returns the client of `id`, creating it if absent. The least recently used client is evicted from a full
    /// table.
    pub(super) async fn get<E>(&self, id: TransportId, make: impl Future<Output = Result<C, E>>) -> Result<C, E> {
        let slot = {
            // A poisoned lock is safe to use: each statement leaves the table consistent.
            let mut clients = lock(&self.0);
            Arc::clone(clients.entry(id, Arc::default).0)
        };
        slot.get_or_try_init(|| make).await.cloned()
    }
}

/// Clients of one reach. The reach is checked when a connection is made, so connections of different reaches are not
/// shared.
#[derive(Debug)]
pub(super) struct Connections {
    egress: Arc<Egress>,
    reach: Reach,
    /// Client with the system's authorities only; also for plain HTTP.
    usual: reqwest::Client,
    /// Clients for all other TLS options.
    others: Clients<reqwest::Client>,
    /// Clients for bodies that are stored; created by the first one.
    storing: Clients<reqwest::Client>,
}

/// Limit on the time until a response.
#[derive(Clone, Copy)]
enum Patience {
    /// [`READ_TIMEOUT`], which a client counts from the start of a request.
    Reading,
    /// None: `progress` limits the time, because a large body takes longer than any response.
    Storing,
}

impl Connections {
    /// Fails if the system has no CA certificates or the TLS provider cannot be initialized.
    pub(super) fn new(egress: &Arc<Egress>, reach: Reach) -> Result<Self, reqwest::Error> {
        let usual = client(egress, &TlsOptions::default(), reach, Patience::Reading)?;
        let (others, storing) = (Clients::default(), Clients::default());
        Ok(Self { egress: Arc::clone(egress), reach, usual, others, storing })
    }

    /// Returns the client for a transport, and for bodies that are stored if `is_storing`. An error describes the
    /// problem.
    pub(super) async fn client(&self, transport: &Transport, is_storing: bool) -> Result<reqwest::Client, String> {
        let options = match transport {
            Transport::Tls(options) => options.clone(),
            Transport::PlainHttp => TlsOptions::default(),
        };
        let id = TransportId::Tls(options.identity());
        if id == TransportId::Tls(None) && !is_storing {
            return Ok(self.usual.clone());
        }
        let (clients, patience) =
            if is_storing { (&self.storing, Patience::Storing) } else { (&self.others, Patience::Reading) };
        let making = async {
            let (egress, reach) = (Arc::clone(&self.egress), self.reach);
            let made = tokio::task::spawn_blocking(move || client(&egress, &options, reach, patience)).await;
            made.map_err(|_| "creating the client was aborted".to_owned())?.map_err(|error| error.to_string())
        };
        clients.get(id, making).await
    }
}

fn client(
    egress: &Arc<Egress>,
    tls: &TlsOptions,
    reach: Reach,
    patience: Patience,
) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("supercargo/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        // Each hop is checked here: reqwest's own redirects would bypass the check of literal addresses.
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(VettedNames(Arc::clone(egress), reach)))
        // A proxy resolves names itself, so only one that a flag or a command's own rules name is used.
        .no_proxy()
        .referer(false);
    if matches!(patience, Patience::Reading) {
        builder = builder.read_timeout(READ_TIMEOUT);
    }
    if let Some(proxy) = &egress.proxy {
        let except = reqwest::NoProxy::from_string(&proxy.except);
        if let Some(url) = &proxy.https {
            builder = builder.proxy(reqwest::Proxy::https(url)?.no_proxy(except.clone()));
        }
        if let Some(url) = &proxy.http {
            builder = builder.proxy(reqwest::Proxy::http(url)?.no_proxy(except));
        }
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

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::oci::Digest;

    fn id(number: usize) -> TransportId {
        TransportId::Tls(Some(Digest::of(&number.to_le_bytes())))
    }

    fn made(client: &'static str) -> std::future::Ready<Result<&'static str, ()>> {
        std::future::ready(Ok(client))
    }

    #[tokio::test]
    async fn a_slow_client_creation_delays_only_requests_for_that_client() {
        let (clients, (done, doing)) = (Clients::default(), tokio::sync::oneshot::channel::<()>());
        let slowly = async {
            let _ = doing.await;
            Ok::<_, ()>("slow")
        };
        let mut slow = Box::pin(clients.get(id(1), slowly));
        let mut same = Box::pin(clients.get(id(1), made("made twice")));
        assert!(poll!(&mut slow).is_pending() && poll!(&mut same).is_pending());
        assert_eq!(clients.get(id(2), made("other")).await, Ok("other"));
        done.send(()).unwrap();
        assert_eq!((slow.await, same.await), (Ok("slow"), Ok("slow")));
        assert_eq!(clients.get(id(3), async { Err(()) }).await, Err(()));
        assert_eq!(clients.get(id(3), made("later")).await, Ok("later"), "a failure is not kept");
    }

    #[tokio::test]
    async fn a_full_table_evicts_one_client_not_all() {
        let clients = Clients::default();
        for number in 0..=MAX_CLIENTS {
            clients.get(id(number), made("first")).await.unwrap();
        }
        for number in 1..=MAX_CLIENTS {
            assert_eq!(clients.get(id(number), made("again")).await, Ok("first"), "{number}");
        }
        assert_eq!(clients.get(id(0), made("again")).await, Ok("again"));
    }
}
