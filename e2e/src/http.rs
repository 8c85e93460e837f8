//! Plain HTTP requests to loopback services: readiness, metrics, etcd's JSON gateway.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer; the body is text in every case that the harness meets.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub async fn get(address: &str, path: &str) -> Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: supercargo-e2e\r\n\r\n")).await
}

pub async fn delete(address: &str, path: &str) -> Result<Answer> {
    exchange(address, &format!("DELETE {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: supercargo-e2e\r\n\r\n")).await
}

pub async fn post_json(address: &str, path: &str, body: &str) -> Result<Answer> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    exchange(address, &format!("{head}\r\n\r\n{body}")).await
}

/// HTTP/1.0: the server ends the body by closing the connection.
async fn exchange(address: &str, request: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
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
