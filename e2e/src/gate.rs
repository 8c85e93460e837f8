//! TCP forwarder in front of a registry that throttles, holds and breaks connections, refuses requests, and counts bytes
//! and connections.
//!
//! Only responses are throttled and counted by [`Gate::passed`]: they carry the content of a pull. [`Gate::moved`] counts
//! both directions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::wait;

/// Portions per second of a throttled connection: enough for a smooth flow.
const PACE: u64 = 50;
/// Maximum bytes that are forwarded at a time.
const PORTION: usize = 256 * 1024;
/// Response to a refused request.
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Running forwarder; dropping it closes the port.
#[derive(Debug)]
pub struct Gate {
    pub address: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    passed: AtomicU64,
    /// Total of `passed` at which every open connection breaks, once; zero means never.
    cut_at: AtomicU64,
    connections: AtomicU64,
    /// Limit of each connection; zero means no limit.
    bytes_per_second: AtomicU64,
    cut: Notify,
    /// Bytes of both directions.
    moved: AtomicU64,
    /// Total of `moved` beyond which no byte passes; zero means never.
    hold_at: AtomicU64,
    /// True while a byte is held.
    held: watch::Sender<bool>,
    /// True if bytes that were held pass at the end of the hold.
    resumes: AtomicBool,
    /// Text of requests that are refused; empty for none.
    refused: Mutex<String>,
}

impl State {
    /// Returns the number of bytes that may pass, of `bytes` that have arrived.
    fn admitted(&self, bytes: usize) -> usize {
        let before = self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        match self.hold_at.load(Ordering::Relaxed) {
            0 => bytes,
            at => usize::try_from(at.saturating_sub(before)).unwrap_or(usize::MAX).min(bytes),
        }
    }

    /// Keeps a connection open and silent until the hold ends. Returns true if the connection goes on then.
    async fn hold(&self) -> bool {
        let mut held = self.held.subscribe();
        self.held.send_replace(true);
        // The sender lives as long as this state.
        let _ = held.wait_for(|held| !held).await;
        self.resumes.load(Ordering::Relaxed)
    }

    /// Forwards bytes up to the hold, and the rest after it. Returns false if the connection ends with the hold.
    async fn write(&self, bytes: &[u8], to: &mut OwnedWriteHalf) -> std::io::Result<bool> {
        let (now, later) = bytes.split_at(self.admitted(bytes.len()));
        to.write_all(now).await?;
        if later.is_empty() {
            return Ok(true);
        }
        if !self.hold().await {
            return Ok(false);
        }
        to.write_all(later).await?;
        Ok(true)
    }

    fn refuses(&self, request: &[u8]) -> bool {
        let text = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        !text.is_empty() && request.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Gate {
    /// Opens a gate to `target` on its own port.
    pub async fn open(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let state = Arc::new(State::default());
        let (shared, target) = (Arc::clone(&state), target.to_owned());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (state, target) = (Arc::clone(&shared), target.clone());
                state.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // Either side may close its connection at any time; the tests rely on that.
                    let _ = forward(client, &target, &state).await;
                });
            }
        });
        Ok(Self { address, state, accepting })
    }

    /// Limits each connection; zero removes the limit.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.state.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Returns the number of bytes of responses forwarded so far.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::Relaxed)
    }

    /// Breaks every open connection once, as soon as this many bytes of responses have been forwarded in total; new
    /// connections are forwarded. The forwarder itself does so, because a test that waits for the bytes first can come
    /// late on a busy machine.
    pub fn cut_at(&self, bytes: u64) {
        self.state.cut_at.store(bytes, Ordering::Relaxed);
    }

    /// Returns the number of bytes that arrived so far, in both directions.
    pub fn moved(&self) -> u64 {
        self.state.moved.load(Ordering::Relaxed)
    }

    /// Lets this many more bytes pass, of both directions, then none, until [`Gate::release`]. The byte at which a client
    /// stops is exact, however busy the machine is.
    pub fn hold_after(&self, bytes: u64) {
        self.state.hold_at.store(self.moved() + bytes.max(1), Ordering::Relaxed);
    }

    /// Returns true if a byte is held.
    pub fn is_holding(&self) -> bool {
        *self.state.held.borrow()
    }

    /// Ends a hold: the connections with bytes that were held break, new ones are forwarded.
    pub fn release(&self) {
        self.end_hold(false);
    }

    /// Ends a hold: the bytes that were held pass, as if they had been slow.
    pub fn resume(&self) {
        self.end_hold(true);
    }

    fn end_hold(&self, resumes: bool) {
        self.state.resumes.store(resumes, Ordering::Relaxed);
        self.state.hold_at.store(0, Ordering::Relaxed);
        self.state.held.send_replace(false);
    }

    /// Answers requests in which this text arrives in one piece with 400, instead of forwarding them.
    pub fn refuse(&self, text: &str) {
        text.clone_into(&mut self.state.refused.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until this many bytes of responses have been forwarded in total.
    pub async fn wait_passed(&self, bytes: u64, limit: Duration) -> Result<()> {
        wait::until_true(limit, &format!("{bytes} bytes to pass the gate"), || Ok(self.passed() >= bytes)).await
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(client: TcpStream, target: &str, state: &State) -> std::io::Result<()> {
    let server = TcpStream::connect(target).await?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (refusing, refused) = oneshot::channel();
    tokio::select! {
        done = questions(client_read, server_write, state, refusing) => done,
        done = answers(server_read, client_write, state, refused) => done,
        () = state.cut.notified() => Ok(()),
    }
}

/// Forwards requests.
async fn questions(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    state: &State,
    refusing: oneshot::Sender<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0_u8; PORTION];
    loop {
        let read = client.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if state.refuses(bytes) {
            // The other half has the way back to the client.
            let _ = refusing.send(());
            return std::future::pending().await;
        }
        if !state.write(bytes, &mut server).await? || read == 0 {
            return Ok(());
        }
    }
}

/// Forwards responses, at the pace of the limit.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: &State,
    mut refused: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let mut ticks = interval(Duration::from_millis(1000 / PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0_u8; PORTION];
    loop {
        let limit = state.bytes_per_second.load(Ordering::Relaxed);
        let portion =
            if limit == 0 { buffer.len() } else { usize::try_from(limit / PACE).unwrap_or(usize::MAX).max(1) };
        let portion = portion.min(buffer.len());
        let read = tokio::select! {
            read = server.read(buffer.get_mut(..portion).unwrap_or_default()) => read?,
            Ok(()) = &mut refused => {
                client.write_all(REFUSAL).await?;
                return client.shutdown().await;
            }
        };
        if read == 0 {
            return client.shutdown().await;
        }
        if !state.write(buffer.get(..read).unwrap_or_default(), &mut client).await? {
            return Ok(());
        }
        let passed = state.passed.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        let cut_at = state.cut_at.load(Ordering::Relaxed);
        if cut_at != 0 && passed >= cut_at {
            state.cut_at.store(0, Ordering::Relaxed);
            state.cut.notify_waiters();
            return Ok(());
        }
        if limit != 0 {
            ticks.tick().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_connection_is_counted() {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Gate::open(&target.local_addr().unwrap().to_string()).await.unwrap();
        assert_eq!(gate.connections(), 0);
        for count in 1..=3 {
            let mut client = TcpStream::connect(&gate.address).await.unwrap();
            let (mut server, _) = target.accept().await.unwrap();
            server.write_all(b"x").await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 1);
            assert_eq!(gate.connections(), count);
        }
    }
}
