//! A proxy in front of a registry that changes answers about signatures only.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use supercargo_e2e::hostile::ask::Ask;
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Server};
use supercargo_e2e::registry::Registry;

/// Function that answers a request about the signatures of a digest in place of the registry; `None` passes the request
/// on.
pub(super) type Trouble = fn(&Ask, &str) -> Option<Reply>;

/// A port that leads to a registry; dropping it closes the port.
pub(super) struct Detour {
    server: Server,
    trouble: Arc<Mutex<(Trouble, String)>>,
}

impl Detour {
    /// Opens a port that passes every request on.
    pub(super) async fn open(registry: &Registry) -> Result<Self> {
        let trouble: Arc<Mutex<(Trouble, String)>> = Arc::new(Mutex::new((none, String::new())));
        let (shared, registry) = (Arc::clone(&trouble), registry.address.clone());
        let script = move |ask: &Ask| {
            let (trouble, digest) = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            trouble(ask, &digest).unwrap_or_else(|| Reply::of_another(&registry, ask))
        };
        let server = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(script)), None);
        Ok(Self { server, trouble })
    }

    /// Returns `host:port`.
    pub(super) fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// From now on applies this trouble to signatures of the digest.
    pub(super) fn set(&self, trouble: Trouble, digest: &str) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = (trouble, digest.to_owned());
    }

    /// From now on passes every request on.
    pub(super) fn clear(&self) {
        self.set(none, "");
    }

    /// Returns the number of requests.
    pub(super) fn asked(&self) -> usize {
        self.server.seen.asks().len()
    }
}

fn none(_: &Ask, _: &str) -> Option<Reply> {
    None
}
