//! Registry in memory: the reading half of the OCI distribution API, over HTTP on a loopback port of its own.
//!
//! Documents are kept by the path of their URL, so a tag is one more path with the same document, and moving the tag
//! replaces it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::artifact::{Artifact, MANIFEST, digest};

/// Maximum bytes of the head of a request.
const MAX_HEAD: usize = 16 * 1024;

type Documents = Arc<Mutex<HashMap<String, Document>>>;

#[derive(Clone)]
struct Document {
    media_type: &'static str,
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

    /// Stores an artifact and moves the tag to it; returns the digest of the manifest.
    pub(crate) fn push(&self, repository: &str, tag: &str, artifact: Artifact) -> String {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        for bytes in artifact.blobs {
            let digest = digest(&bytes);
            let path = format!("/v2/{repository}/blobs/{digest}");
            documents.insert(path, Document { media_type: "application/octet-stream", digest, bytes: Arc::new(bytes) });
        }
        let digest = digest(&artifact.manifest);
        let bytes = Arc::new(artifact.manifest);
        for name in [tag, &digest] {
            let manifest = Document { media_type: MANIFEST, digest: digest.clone(), bytes: Arc::clone(&bytes) };
            documents.insert(format!("/v2/{repository}/manifests/{name}"), manifest);
        }
        digest
    }
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
    let head = read_head(&mut stream).await?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let found = documents.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    let (head, body) = match found {
        Some(Document { media_type, digest, bytes }) => {
            let length = bytes.len();
            let head = format!(
                "200 OK\r\nContent-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {length}"
            );
            (head, bytes)
        }
        None => ("404 Not Found\r\nContent-Length: 0".to_owned(), Arc::default()),
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    if method == "GET" {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await?;
    Ok(())
}

/// Reads a request up to the empty line; requests that read have no body.
async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await?;
        if read == 0 || head.len() > MAX_HEAD {
            bail!("a request without an end");
        }
    }
    Ok(String::from_utf8(head)?)
}
