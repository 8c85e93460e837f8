//! Registry that serves a good revision of every name, until a test switches all names to the other revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::hostile::artifact::Artifact;
use crate::hostile::ask::{Ask, Item};
use crate::hostile::reply::Reply;
use crate::hostile::server::{Manner, Port, Server};

/// The two revisions of one name.
#[derive(Debug, Clone)]
pub struct Revisions {
    pub good: Artifact,
    pub other: Artifact,
}

/// Running registry; dropping it closes its port.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    other: Arc<AtomicBool>,
}

impl Registry {
    pub async fn open(served: BTreeMap<String, Revisions>) -> Result<Self> {
        let other = Arc::new(AtomicBool::new(false));
        let switched = Arc::clone(&other);
        let script = move |ask: &Ask| match repository(ask).and_then(|name| served.get(name)) {
            Some(revisions) if switched.load(Ordering::SeqCst) => revisions.other.answer(ask),
            Some(revisions) => revisions.good.answer(ask),
            None => Reply::of("404 Not Found", &[], b""),
        };
        let server = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(script)), None);
        Ok(Self { server, other })
    }

    /// Switches all names to the other revision.
    pub fn turn(&self) {
        self.other.store(true, Ordering::SeqCst);
    }

    /// Returns the image reference of a name.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:1", self.server.address)
    }

    /// Returns the number of GET requests for the content of a name: manifests by digest, and blobs.
    pub fn fetched(&self, name: &str) -> usize {
        let asks = self.server.seen.asks();
        let content = |ask: &&Ask| matches!(ask.item(), Item::Manifest(_) | Item::Blob(_)) && !ask.is_head();
        asks.iter().filter(|ask| repository(ask) == Some(name)).filter(content).count()
    }

    /// Returns the number of all requests for a name.
    pub fn asked(&self, name: &str) -> usize {
        self.server.seen.asks().iter().filter(|ask| repository(ask) == Some(name)).count()
    }
}

/// Returns the first path component after `/v2/`.
fn repository(ask: &Ask) -> Option<&str> {
    ask.target.strip_prefix("/v2/")?.split('/').next()
}
