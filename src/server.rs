//! `/healthz`, `/readyz` and `/metrics` over plain HTTP.
//!
//! Any pod in the cluster may connect, so clients get no lasting resources: one small request, one answer, a few
//! seconds for both, and above the connection limit the oldest connection is closed. Probes and Prometheus need no more
//! HTTP than this. It is written here because library servers have no timeout for a slow request head.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::controller::Health;
use crate::metrics::{self, Metrics};

/// Timeout from a connection to the end of its answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Maximum number of concurrent connections.
const CONNECTIONS: usize = 64;
/// Maximum size of a request head, in bytes.
const HEAD: usize = 8 * 1024;
/// Pause after a failed accept: without it, running out of file descriptors would cause a busy loop.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled. Clients do not delay the shutdown.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, health: Arc<Health>, shutdown: CancellationToken) {
    serve_within(listener, metrics, health, shutdown, WITHIN).await;
}

#[expect(clippy::disallowed_methods, reason = "a pause where nothing can be waited for")]
async fn serve_within(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    shutdown: CancellationToken,
    within: Duration,
) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if connections.len() >= CONNECTIONS && let Some(oldest) = oldest_first.pop_front() {
                        oldest.abort();
                    }
                    let (metrics, health) = (Arc::clone(&metrics), Arc::clone(&health));
                    let answering = tokio::time::timeout(within, async move { answer(stream, &metrics, &health).await });
                    oldest_first.push_back(connections.spawn(async move { drop(answering.await) }));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to --listen");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            },
            Some(_) = connections.join_next() => oldest_first.retain(|one| !one.is_finished()),
            () = shutdown.cancelled() => return,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics, health: &Health) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if read == 0 || head.len() > HEAD {
            return Ok(());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Answer { status, kind, body } = route(&String::from_utf8_lossy(line), metrics, health);
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

/// Answers the first line of a request.
fn route(line: &str, metrics: &Metrics, health: &Health) -> Answer {
    let text = |status, body| Answer { status, kind: "text/plain; charset=utf-8", body };
    let state = |problem: Option<String>| match problem {
        None => text("200 OK", "ok\n".to_owned()),
        Some(problem) => text("503 Service Unavailable", format!("{problem}\n")),
    };
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" {
        return text("405 Method Not Allowed", String::new());
    }
    match target.split('?').next().unwrap_or_default() {
        "/healthz" => state(health.stuck(Instant::now())),
        "/readyz" => state(health.unready(Instant::now())),
        "/metrics" => match metrics.encode() {
            Ok(body) => Answer { status: "200 OK", kind: metrics::CONTENT_TYPE, body },
            Err(error) => text("500 Internal Server Error", error.to_string()),
        },
        _ => text("404 Not Found", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn start(within: Duration) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(serve_within(listener, Arc::default(), Arc::default(), shutdown.clone(), within));
        (address, shutdown, server)
    }

    async fn get(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let (address, _shutdown, _server) = start(WITHIN).await;
        let rows = [
            ("GET /healthz HTTP/1.1", "200"),
            ("GET /readyz HTTP/1.1", "503"),
            ("GET /metrics?x=1 HTTP/1.1", "200"),
            ("GET /other HTTP/1.1", "404"),
            ("POST /metrics HTTP/1.1", "405"),
            ("", "405"),
        ];
        for (line, wanted) in rows {
            let answer = get(address, &format!("{line}\r\nHost: x\r\n\r\n")).await;
            assert_eq!(answer.split(' ').nth(1), Some(wanted), "{line}: {answer}");
        }
        let metrics = get(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(metrics.contains("supercargo_watch_errors") && metrics.ends_with("# EOF\n"), "{metrics}");
    }

    #[tokio::test]
    async fn slow_clients_delay_neither_probes_nor_the_shutdown() {
        let (address, shutdown, server) = start(WITHIN).await;
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS * 3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may have closed the connection already.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await;
            slow.push(stream);
        }
        let probe = get(address, "GET /healthz HTTP/1.1\r\n\r\n");
        let answer = tokio::time::timeout(Duration::from_secs(5), probe).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let (oldest, mut byte) = (slow.first_mut().unwrap(), [0; 1]);
        let closed = tokio::time::timeout(Duration::from_secs(5), oldest.read(&mut byte)).await.unwrap();
        assert!(closed.is_err() || closed.is_ok_and(|read| read == 0), "the oldest is still there");
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_is_closed_in_time() {
        let (address, _shutdown, _server) = start(Duration::from_millis(100)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await.unwrap();
        assert!(closed.is_err() || closed.is_ok_and(|read| read == 0));
    }
}
