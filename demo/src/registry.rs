//! Registry in memory: as much of the OCI distribution API as one client needs, over HTTP on a loopback port of its own.
//!
//! Documents are kept by the path of their URL, so a tag is one more path with the same document, and moving the tag
//! replaces it. An upload is one request (distribution-spec, "POST then PUT"); there is no list of referrers, so clients
//! keep one under a tag.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::artifact::{Artifact, MANIFEST, digest};

/// Maximum bytes of the head and of the body of a request.
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 4 * 1024 * 1024;
const BLOB: &str = "application/octet-stream";

type Documents = Arc<Mutex<HashMap<String, Document>>>;

#[derive(Clone)]
struct Document {
    media_type: String,
    digest: String,
    bytes: Arc<Vec<u8>>,
}

/// Running registry; it ends with the runtime.
pub(crate) struct Registry {
    address: SocketAddr,
    documents: Documents,
}

impl Registry {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on a loopback port")?;
        let (address, documents) = (listener.local_addr()?, Documents::default());
        tokio::spawn(serve(listener, Arc::clone(&documents)));
        Ok(Self { address, documents })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stores an artifact that no honest client would push, and moves the tag to it; returns the digest of the manifest.
    pub(crate) fn hold(&self, repository: &str, tag: &str, artifact: Artifact) -> String {
        for bytes in artifact.blobs {
            store(&self.documents, &format!("/v2/{repository}/blobs/"), None, BLOB, bytes);
        }
        store(&self.documents, &format!("/v2/{repository}/manifests/"), Some(tag), MANIFEST, artifact.manifest)
    }
}

/// Stores a document under its digest, and under a tag; returns the digest.
fn store(documents: &Documents, parent: &str, tag: Option<&str>, media_type: &str, bytes: Vec<u8>) -> String {
    let digest = digest(&bytes);
    let document = Document { media_type: media_type.to_owned(), digest: digest.clone(), bytes: Arc::new(bytes) };
    let mut documents = documents.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tag) = tag {
        documents.insert(format!("{parent}{tag}"), document.clone());
    }
    documents.insert(format!("{parent}{digest}"), document);
    digest
}

async fn serve(listener: TcpListener, documents: Documents) {
    while let Ok((stream, _)) = listener.accept().await {
        let documents = Arc::clone(&documents);
        tokio::spawn(async move {
            // A client that has gone needs no response.
            let _ = answer(stream, &documents).await;
        });
    }
}

/// Responds to one request and closes the connection.
async fn answer(mut stream: TcpStream, documents: &Documents) -> Result<()> {
    let (head, body) = read(&mut stream).await?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (head, body) = match method {
        "POST" => (format!("202 Accepted\r\nLocation: {path}1\r\nContent-Length: 0"), Arc::default()),
        "PUT" => (put(documents, target, header(&head, "content-type").unwrap_or(BLOB), body), Arc::default()),
        _ => get(documents, path),
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    if method == "GET" {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await?;
    Ok(())
}

/// Stores the body of an upload or a manifest, and returns the head of the response.
fn put(documents: &Documents, target: &str, media_type: &str, body: Vec<u8>) -> String {
    let (parent, name, media_type) = if let Some((repository, upload)) = target.split_once("/blobs/uploads/") {
        let named = upload.split_once("digest=").map(|(_, digest)| digest.replace("%3A", ":"));
        (format!("{repository}/blobs/"), named.unwrap_or_default(), BLOB)
    } else {
        let (parent, name) = target.rsplit_once('/').unwrap_or_default();
        (format!("{parent}/"), name.to_owned(), media_type)
    };
    let tag = (!name.contains(':')).then_some(name.as_str());
    if tag.is_none() && name != digest(&body) {
        return "400 Bad Request\r\nContent-Length: 0".to_owned();
    }
    let digest = store(documents, &parent, tag, media_type, body);
    format!("201 Created\r\nLocation: {parent}{digest}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0")
}

/// Returns the head of the response, and the document.
fn get(documents: &Documents, path: &str) -> (String, Arc<Vec<u8>>) {
    let found = documents.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    let Some(Document { media_type, digest, bytes }) = found else {
        return ("404 Not Found\r\nContent-Length: 0".to_owned(), Arc::default());
    };
    let length = bytes.len();
    let head =
        format!("200 OK\r\nContent-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {length}");
    (head, bytes)
}

/// Returns the value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Reads the head of a request, and as many bytes after it as it announces.
async fn read(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let (mut read, end) = (Vec::new(), b"\r\n\r\n");
    let head = loop {
        if let Some(at) = read.windows(end.len()).position(|window| window == end) {
            break at + end.len();
        }
        ensure!(read.len() <= MAX_HEAD && stream.read_buf(&mut read).await? > 0, "a request without an end");
    };
    let mut body = read.split_off(head);
    let head = String::from_utf8(read)?;
    let length = header(&head, "content-length").map_or(Ok(0), str::parse::<usize>)?;
    ensure!(length <= MAX_BODY, "a body of {length} bytes");
    while body.len() < length {
        ensure!(stream.read_buf(&mut body).await? > 0, "a body without an end");
    }
    Ok((head, body))
}
