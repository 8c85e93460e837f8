//! TUF repository (The Update Framework), signed and served by the harness: valid, or invalid in any way.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::log::{hex, sha256};

/// Expiry long after any run.
const NEVER: &str = "2999-01-01T00:00:00Z";

/// Key for all roles of a repository.
#[derive(Debug)]
pub struct TufOwner(KeyPair);

/// Content of a repository at one time.
#[derive(Debug, Clone)]
pub struct Edition<'a> {
    /// Version of all metadata except the root.
    pub version: u64,
    /// Expiry, in RFC 3339.
    pub expires: &'a str,
    /// Bytes of `trusted_root.json`.
    pub trusted_root: &'a [u8],
}

impl<'a> Edition<'a> {
    /// Makes an edition that does not expire.
    pub fn new(version: u64, trusted_root: &'a [u8]) -> Self {
        Self { version, expires: NEVER, trusted_root }
    }
}

/// Repository on loopback; dropping it closes the port.
#[derive(Debug)]
pub struct TufRepository {
    /// `http://127.0.0.1:port/tuf`.
    pub url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<Content>,
    /// True while requests wait for a response.
    is_silent: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Content {
    files: BTreeMap<String, Vec<u8>>,
    is_down: bool,
    asked: Vec<String>,
}

impl TufOwner {
    pub fn new() -> Result<Self> {
        Ok(Self(KeyPair::generate_for(&PKCS_ED25519)?))
    }

    /// Makes the root of a repository for this owner's key, signed by this owner and the previous owner `before`, if
    /// any.
    pub fn root(&self, version: u64, before: Option<&Self>) -> Result<Vec<u8>> {
        let key = json!({
            "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex(self.0.der_bytes())},
        });
        let role = json!({"keyids": [self.id()], "threshold": 1});
        let root = json!({
            "_type": "root", "spec_version": "1.0.0", "version": version, "expires": NEVER, "consistent_snapshot": true,
            "keys": {self.id(): key},
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
        });
        let signers: Vec<&Self> = std::iter::once(self).chain(before).collect();
        signed(&root, &signers)
    }

    /// Returns the files of an edition, in the layout of consistent snapshots.
    fn files(&self, edition: &Edition<'_>) -> Result<BTreeMap<String, Vec<u8>>> {
        let Edition { version, expires, trusted_root } = edition;
        let hash = hex(&sha256(trusted_root));
        let part = |kind: &str, name: &str, content: Value| {
            let common = json!({
                "_type": kind, "spec_version": "1.0.0", "version": version, "expires": expires, name: content,
            });
            signed(&common, &[self])
        };
        let pinned = |name: &str| json!({name: {"version": version}});
        let target = json!({"trusted_root.json": {"length": trusted_root.len(), "hashes": {"sha256": hash}}});
        Ok(BTreeMap::from([
            (target_name(trusted_root), trusted_root.to_vec()),
            (format!("{version}.targets.json"), part("targets", "targets", target)?),
            (format!("{version}.snapshot.json"), part("snapshot", "meta", pinned("targets.json"))?),
            ("timestamp.json".to_owned(), part("timestamp", "meta", pinned("snapshot.json"))?),
        ]))
    }

    fn id(&self) -> String {
        hex(&sha256(self.0.der_bytes()))
    }
}

/// Returns metadata with its signatures. Signatures are over canonical JSON: sorted names, no whitespace. This
/// serialization is canonical as long as no text in it must be escaped.
fn signed(metadata: &Value, signers: &[&TufOwner]) -> Result<Vec<u8>> {
    let canonical = metadata.to_string();
    let mut signatures = Vec::new();
    for signer in signers {
        let signature = signer.0.sign(canonical.as_bytes())?;
        signatures.push(json!({"keyid": signer.id(), "sig": hex(&signature)}));
    }
    Ok(json!({"signed": metadata, "signatures": signatures}).to_string().into_bytes())
}

/// Returns the path of a target with this content.
fn target_name(content: &[u8]) -> String {
    format!("targets/{}.trusted_root.json", hex(&sha256(content)))
}

impl TufRepository {
    /// Starts an empty repository.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let router = Router::new().route("/tuf/{*name}", get(serve)).with_state(Arc::clone(&shared));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/tuf", port.local_addr()?);
        let serving = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(port, router).await;
        });
        Ok(Self { url, shared, serving })
    }

    /// Replaces all files except roots.
    pub fn publish(&self, owner: &TufOwner, edition: &Edition<'_>) -> Result<()> {
        let files = owner.files(edition)?;
        let mut content = self.shared.content();
        content.files.retain(|name, _| name.ends_with(".root.json"));
        content.files.extend(files);
        Ok(())
    }

    /// Adds a root to the chain of roots.
    pub fn add_root(&self, version: u64, root: Vec<u8>) {
        self.shared.content().files.insert(format!("{version}.root.json"), root);
    }

    /// Removes a root.
    pub fn remove_root(&self, version: u64) {
        self.shared.content().files.remove(&format!("{version}.root.json"));
    }

    /// Replaces the bytes of the target with this content.
    pub fn replace_target(&self, content: &[u8], bytes: &[u8]) {
        self.shared.content().files.insert(target_name(content), bytes.to_vec());
    }

    /// Sets whether the repository answers every request with status 500.
    pub fn set_down(&self, is_down: bool) {
        self.shared.content().is_down = is_down;
    }

    /// Sets whether requests wait for a response; waiting requests are answered once silence ends.
    pub fn set_silent(&self, is_silent: bool) {
        self.shared.is_silent.send_replace(is_silent);
    }

    /// Returns the names of the files requested so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.content().asked.clone()
    }
}

impl Shared {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TufRepository {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    // The sender cannot be dropped while this request holds `shared`.
    let _ = shared.is_silent.subscribe().wait_for(|is_silent| !is_silent).await;
    let mut content = shared.content();
    content.asked.push(name.clone());
    if content.is_down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match content.files.get(&name) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
