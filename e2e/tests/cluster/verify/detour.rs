//! A registry as it is, but for what it says about signatures.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use supercargo_e2e::hostile::ask::Ask;
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Server};
use supercargo_e2e::registry::Registry;

/// What is answered in place of the registry to a question of somebody who looks for signatures of a digest, if anything.
pub(super) type Trouble = fn(&Ask, &str) -> Option<Reply>;

/// A port that leads to a registry; dropping it closes it.
pub(super) struct Detour {
    server: Server,
    trouble: Arc<Mutex<(Trouble, String)>>,
}

impl Detour {
    /// Opens a port on which nothing is different yet.
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

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// From now on there is this trouble with signatures of the digest.
    pub(super) fn set(&self, trouble: Trouble, digest: &str) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = (trouble, digest.to_owned());
    }

    /// From now on there is none.
    pub(super) fn clear(&self) {
        self.set(none, "");
    }

    /// How often anything was asked.
    pub(super) fn asked(&self) -> usize {
        self.server.seen.asks().len()
    }
}

fn none(_: &Ask, _: &str) -> Option<Reply> {
    None
}
