//! A proxy in front of the API server that fails as it is told, and counts what it is asked.
//!
//! The operator speaks plain HTTP to it, with its own token; the proxy speaks TLS to the API server. Each request has a
//! connection of its own to the API server, and its answer is passed on as it comes, so watches work.

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

/// Most bytes of a request.
const MOST: usize = 4 << 20;

/// Treatment of requests from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// Connections are closed at once, as by a host where nothing listens.
    Down,
    /// Connections are taken and nothing is answered.
    Silent,
    /// So many of a hundred requests are answered wrongly, late, in part or not at all.
    Random(u64),
    /// Requests whose path begins so get this status.
    Refused(&'static str, u16),
}

/// A proxy; dropping it closes the port.
pub struct ApiProxy {
    pub address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: String,
    connector: TlsConnector,
    mood: Mutex<Mood>,
    /// Requests by method and path.
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
            mood: Mutex::new(Mood::Good),
            asked: Mutex::default(),
            cut: Notify::new(),
            random: Mutex::new(0x9e37_79b9_7f4a_7c15),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    // Either side may go away at any time.
                    tokio::select! {
                        _ = serve(client, &shared) => {}
                        () = shared.cut.notified() => {}
                    }
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// A copy of a kubeconfig whose server is the proxy.
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

    /// Changes what becomes of requests. Connections that exist are cut, watches among them, unless all is well from now on.
    pub fn set(&self, mood: Mood) {
        let cuts = mood != Mood::Good;
        *self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        if cuts {
            self.shared.cut.notify_waiters();
        }
    }

    /// Requests so far whose method and path begin so, such as `GET /api/v1/namespaces/x/secrets/`.
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
    /// The next of a row of numbers that look random and are the same in each run.
    fn random(&self, below: u64) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % below
    }

    fn mood(&self) -> Mood {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> Result<()> {
    if shared.mood() == Mood::Down {
        return Ok(());
    }
    let request = read_request(&mut client).await?;
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let plain =
        format!("{} {}", line.split(' ').next().unwrap_or_default(), path.split('?').next().unwrap_or_default());
    *shared.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(plain).or_default() += 1;
    match shared.mood() {
        Mood::Down => Ok(()),
        Mood::Silent => std::future::pending().await,
        Mood::Refused(begin, code) if path.starts_with(begin) => answer(&mut client, code).await,
        Mood::Random(share) if shared.random(100) < share => fail(client, &path, &request, shared).await,
        Mood::Good | Mood::Refused(..) | Mood::Random(_) => forward(client, &request, shared, u64::MAX).await,
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
        // After it was carried out.
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

/// The end of a watch whose version is too old.
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

/// Passes on a request and at most so many bytes of its answer.
async fn forward(mut client: TcpStream, request: &[u8], shared: &Shared, most: u64) -> Result<()> {
    let name = ServerName::try_from("127.0.0.1")?;
    let mut server = shared.connector.connect(name, TcpStream::connect(&shared.target).await?).await?;
    // The answer ends with the connection, so nothing of it has to be understood.
    let end = request.iter().position(|byte| *byte == b'\n').context("no line")? + 1;
    let (line, rest) = request.split_at(end);
    server.write_all(&[line, b"connection: close\r\n", rest].concat()).await?;
    let mut answers = server.take(most);
    tokio::io::copy(&mut answers, &mut client).await?;
    Ok(client.shutdown().await?)
}

/// Head and body of a request.
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
