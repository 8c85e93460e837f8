//! Proxy in front of the API server that injects configured failures and counts requests.
//!
//! The operator connects to the proxy over plain HTTP with its own token; the proxy connects to the API server over
//! TLS. Each request gets its own connection to the API server; responses are streamed as they arrive, so watches work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::Kubeconfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::control_plane::ControlPlane;
use crate::tls;

/// Maximum size of a request in bytes, head included.
const MOST: usize = 4 << 20;

/// Treatment of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    Good,
    /// Connections are closed at once, without a response.
    Down,
    /// Connections are accepted and requests never answered.
    Silent,
    /// This percentage of requests is answered with an error, late, partially or not at all.
    Random(u64),
    /// Requests whose path has this prefix get this status.
    Refused(&'static str, u16),
}

/// Running proxy; dropping it closes the port.
pub struct ApiProxy {
    pub address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: String,
    connector: TlsConnector,
    treatment: Mutex<Treatment>,
    /// Number of requests by method and path without query.
    asked: Mutex<BTreeMap<String, u64>>,
    cut: Notify,
    random: Mutex<u64>,
}

impl ApiProxy {
    pub async fn open(control_plane: &ControlPlane) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let target = control_plane.admin.server.trim_start_matches("https://").to_owned();
        let shared = Arc::new(Shared {
            target,
            connector: tls::connector(&control_plane.admin.authority, None)?,
            treatment: Mutex::new(Treatment::Good),
            asked: Mutex::default(),
            cut: Notify::new(),
            random: Mutex::new(0x9e37_79b9_7f4a_7c15),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    // Either side may close its connection at any time.
                    tokio::select! {
                        _ = serve(client, &shared) => {}
                        () = shared.cut.notified() => {}
                    }
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Writes a copy of a kubeconfig whose server is the proxy.
    pub fn kubeconfig(&self, original: &Path, directory: &Path) -> Result<PathBuf> {
        let mut config = Kubeconfig::read_from(original)?;
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("http://{}", self.address));
            cluster.certificate_authority = None;
        }
        let path = directory.join("through-a-proxy.kubeconfig");
        fs_err::write(&path, serde_json::to_string(&config)?)?;
        Ok(path)
    }

    /// Changes the treatment of requests. Unless it is [`Treatment::Good`], existing connections are closed, also of
    /// watches.
    pub fn set(&self, treatment: Treatment) {
        let cuts = treatment != Treatment::Good;
        *self.shared.treatment.lock().unwrap_or_else(PoisonError::into_inner) = treatment;
        if cuts {
            self.shared.cut.notify_waiters();
        }
    }

    /// Returns the number of requests whose method and path have this prefix, such as `GET
    /// /api/v1/namespaces/x/secrets/`.
    pub fn asked(&self, begin: &str) -> u64 {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(line, _)| line.starts_with(begin)).map(|(_, count)| count).sum()
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// Returns the next pseudo-random number; the sequence is the same in each run.
    fn random(&self, below: u64) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % below
    }

    fn treatment(&self) -> Treatment {
        self.treatment.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> Result<()> {
    if shared.treatment() == Treatment::Down {
        return Ok(());
    }
    let request = read_request(&mut client).await?;
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let plain =
        format!("{} {}", line.split(' ').next().unwrap_or_default(), path.split('?').next().unwrap_or_default());
    *shared.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(plain).or_default() += 1;
    match shared.treatment() {
        Treatment::Down => Ok(()),
        Treatment::Silent => std::future::pending().await,
        Treatment::Refused(begin, code) if path.starts_with(begin) => answer(&mut client, code).await,
        Treatment::Random(share) if shared.random(100) < share => fail(client, &path, &request, shared).await,
        Treatment::Good | Treatment::Refused(..) | Treatment::Random(_) => {
            forward(client, &request, shared, u64::MAX).await
        }
    }
}

async fn fail(mut client: TcpStream, path: &str, request: &[u8], shared: &Shared) -> Result<()> {
    let is_watch = path.contains("watch=");
    match shared.random(9) {
        0 => answer(&mut client, 429).await,
        1 => answer(&mut client, 500).await,
        2 => answer(&mut client, 503).await,
        3 => answer(&mut client, 410).await,
        4 => Ok(()),
        // The API server carries out the request; the response is truncated.
        5 => forward(client, request, shared, shared.random(2000)).await,
        6 if is_watch => gone(&mut client).await,
        7 if is_watch => {
            let life = Duration::from_millis(100 + shared.random(4000));
            let _ = tokio::time::timeout(life, forward(client, request, shared, u64::MAX)).await;
            Ok(())
        }
        _ => {
            wait(Duration::from_millis(shared.random(3000))).await;
            forward(client, request, shared, u64::MAX).await
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a delay is what is wanted")]
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Ends a watch with the event for a resource version that is too old (410).
async fn gone(client: &mut TcpStream) -> Result<()> {
    let event = json!({"type": "ERROR", "object": status(410)});
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    client.write_all(format!("{head}{event}\n").as_bytes()).await?;
    Ok(client.shutdown().await?)
}

async fn answer(client: &mut TcpStream, code: u16) -> Result<()> {
    let body = status(code).to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(client.shutdown().await?)
}

fn status(code: u16) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": "Unknown", "message": format!("the proxy answers {code}"),
    })
}

/// Forwards a request, and at most `most` bytes of its response.
async fn forward(mut client: TcpStream, request: &[u8], shared: &Shared, most: u64) -> Result<()> {
    let name = ServerName::try_from("127.0.0.1")?;
    let mut server = shared.connector.connect(name, TcpStream::connect(&shared.target).await?).await?;
    // The response ends with the connection, so the proxy need not parse it.
    let end = request.iter().position(|byte| *byte == b'\n').context("no line")? + 1;
    let (line, rest) = request.split_at(end);
    server.write_all(&[line, b"connection: close\r\n", rest].concat()).await?;
    let mut answers = server.take(most);
    tokio::io::copy(&mut answers, &mut client).await?;
    Ok(client.shutdown().await?)
}

/// Reads head and body of a request.
async fn read_request(client: &mut TcpStream) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(request.get(..end).unwrap_or_default()).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(request);
            }
        }
        let read = client.read(&mut buffer).await?;
        anyhow::ensure!(read > 0 && request.len() < MOST, "the request has no end");
        request.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}
