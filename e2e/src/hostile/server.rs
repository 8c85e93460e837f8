//! Ports with scripted replies, and records of their connections and requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::ask::Ask;
use super::frames;
use super::reply::Reply;
use super::wire::Wire;

/// Function that answers requests.
pub type Script = Arc<dyn Fn(&Ask) -> Reply + Send + Sync>;
/// Function that answers the requests of an HTTP/2 connection in frames, given their number from 1 and their stream.
pub type FrameScript = Arc<dyn Fn(u32, u32) -> Reply + Send + Sync>;
/// Function that answers the head of a request, if the body is not to be read.
pub type Early = Arc<dyn Fn(&Ask) -> Option<Reply> + Send + Sync>;

/// Treatment of connections to a port.
#[derive(Clone)]
pub enum Manner {
    /// HTTP/1.1 until either side ends the connection.
    Http(Script),
    /// The same, with replies that do not wait for the body.
    Hasty(Early, Script),
    /// This reply only, sent before any request is read.
    Greets(Reply),
    /// HTTP/2.
    Frames(FrameScript),
}

/// Record of connections and requests.
#[derive(Debug, Default)]
pub struct Seen {
    connections: AtomicU64,
    asks: Mutex<Vec<Ask>>,
}

impl Seen {
    /// Returns the number of accepted TCP connections, failed ones included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns all requests, in order.
    pub fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, ask: &Ask) {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner).push(ask.clone());
    }
}

/// Bound port that is not served yet: scripts need its address.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// Served port; dropping it ends its connections.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, {:?})", self.address, self.seen)
    }
}

impl Port {
    pub async fn take(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub fn serve(self, manner: Manner, tls: Option<TlsAcceptor>) -> Server {
        let (seen, address) = (Arc::new(Seen::default()), self.address);
        let serving = tokio::spawn(accept(self.listener, manner, tls, Arc::clone(&seen)));
        Server { address, seen, serving }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, manner: Manner, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        while connections.try_join_next().is_some() {}
        let (manner, tls, seen) = (manner.clone(), tls.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            // The client may close the connection at any time; the tests rely on that.
            let _ = converse(stream, manner, tls, &seen).await;
        });
    }
}

async fn converse(stream: TcpStream, manner: Manner, tls: Option<TlsAcceptor>, seen: &Seen) -> io::Result<()> {
    let mut wire = match tls {
        Some(tls) => Wire::Tls(Box::new(tls.accept(stream).await?)),
        None => Wire::Plain(stream),
    };
    match manner {
        Manner::Greets(reply) => reply.write(&mut wire).await.map(drop),
        Manner::Frames(script) => frames::converse(&mut wire, &*script).await,
        Manner::Http(script) => converse_by_http(&mut wire, |_| None, &*script, seen).await,
        Manner::Hasty(early, script) => converse_by_http(&mut wire, &*early, &*script, seen).await,
    }
}

async fn converse_by_http(
    wire: &mut Wire,
    early: impl Fn(&Ask) -> Option<Reply>,
    script: impl Fn(&Ask) -> Reply,
    seen: &Seen,
) -> io::Result<()> {
    loop {
        let mut ask = match Ask::read_head(wire).await {
            Ok(Some(ask)) => ask,
            Ok(None) => return Ok(()),
            Err(no_http) => {
                // As plain HTTP servers reply to a TLS handshake.
                Reply::head("400 Bad Request", &[], &[]).write(wire).await?;
                return Err(no_http);
            }
        };
        if let Some(reply) = early(&ask) {
            seen.add(&ask);
            return reply.write(wire).await.map(drop);
        }
        ask.read_body(wire).await?;
        seen.add(&ask);
        let reply = script(&ask);
        let reply = if ask.is_head() { reply.into_head() } else { reply };
        if !reply.write(wire).await? {
            return Ok(());
        }
    }
}
