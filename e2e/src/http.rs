//! HTTP requests to loopback services: readiness, metrics, etcd's JSON gateway.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// User agent of the harness, and prefix of the user agents of its programs.
const USER_AGENT: &str = "supercargo-e2e";

/// Returns true for the user agents of the harness and of its publishing clients, which are not under test.
pub fn is_ours(user_agent: &str) -> bool {
    ["Helm/", "oras/", USER_AGENT].iter().any(|ours| user_agent.starts_with(ours))
}

/// Response; the body is text in every case that the harness meets.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub async fn get(address: &str, path: &str) -> Result<Answer> {
    exchange(TcpStream::connect(address).await?, &question("GET", address, path)).await
}

/// Sends a GET over TLS, and verifies the host name or address in `address`.
pub async fn get_tls(connector: &TlsConnector, address: &str, path: &str) -> Result<Answer> {
    let (host, _) = address.rsplit_once(':').context("an address without a port")?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
    exchange(stream, &question("GET", address, path)).await
}

pub async fn delete(address: &str, path: &str) -> Result<Answer> {
    exchange(TcpStream::connect(address).await?, &question("DELETE", address, path)).await
}

pub async fn post_json(address: &str, path: &str, body: &str) -> Result<Answer> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    exchange(TcpStream::connect(address).await?, &format!("{head}\r\n\r\n{body}")).await
}

fn question(method: &str, address: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: {USER_AGENT}\r\n\r\n")
}

/// Sends a request of HTTP/1.0, in which the server ends the body by closing the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok());
    match status {
        Some(status) => Ok(Answer { status, body: body.to_owned() }),
        None => bail!("not an HTTP answer: {}", head.lines().next().unwrap_or_default()),
    }
}
