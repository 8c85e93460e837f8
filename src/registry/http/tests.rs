//! Tests of the HTTP registry against a scripted server on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use tokio::net::TcpListener;

use super::*;
use crate::oci::{Descriptor, Reference};
use crate::registry::address::AddressPolicy;
use crate::registry::credentials::{Credential, Keychain, SecretData};
use crate::registry::egress::{PlainHttp, Proxy};
use crate::registry::{Sender, Transport};

mod blobs;
mod elsewhere;
mod files;
mod logging;
mod login;
mod push;
mod reach;
mod requests;

/// Received requests: method, path with query, Authorization, Range.
type Log = Arc<std::sync::Mutex<Vec<(String, String, Option<String>, Option<String>)>>>;

struct Server {
    host: String,
    log: Log,
}

impl Server {
    /// Answers every request with `script`, which receives the server's own host.
    async fn start<F>(script: F) -> Self
    where
        F: Fn(&str, &Request) -> Response + Clone + Send + Sync + 'static,
    {
        Self::start_at("127.0.0.1:0", script).await
    }

    async fn start_at<F>(address: &str, script: F) -> Self
    where
        F: Fn(&str, &Request) -> Response + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let router = Router::new().fallback({
            let (log, host) = (Arc::clone(&log), host.clone());
            move |request: Request| {
                let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                let (authorization, range) = (header("authorization"), header("range"));
                let line = (request.method().to_string(), request.uri().to_string(), authorization, range);
                log.lock().unwrap().push(line);
                let response = script(&host, &request);
                async move { response }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { host, log }
    }

    fn repository(&self) -> Repository {
        format!("{}/team/app", self.host).parse::<Reference>().unwrap().repository
    }

    fn paths(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(method, path, ..)| format!("{method} {path}")).collect()
    }
}

fn registry() -> HttpRegistry {
    registry_with("127.0.0.0/8 ::1/128")
}

/// Creates a registry client that may connect to the networks in `open` and to the public internet only.
fn registry_with(open: &str) -> HttpRegistry {
    registry_that_names(open, &[])
}

/// Creates such a client for an operator that names hosts to which registries may redirect.
fn registry_that_names(open: &str, hosts: &[&str]) -> HttpRegistry {
    HttpRegistry::new(Arc::default(), egress(open, hosts), 10_000).unwrap()
}

fn egress(open: &str, hosts: &[&str]) -> Egress {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let networks = open.split_whitespace().map(|network| network.parse().unwrap()).collect();
    let addresses = AddressPolicy::new(networks, Vec::new());
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Egress { addresses, hosts, plain_http: PlainHttp::Anyone, ..Egress::default() }
}

fn password(user: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: "hunter2".to_owned() }
}

fn access(user: Option<(&Repository, &str)>) -> Access {
    let mut keychain = Keychain::default();
    if let Some((repository, user)) = user {
        keychain.add_for(repository, password(user));
    }
    Access { keychain, transport: Transport::PlainHttp, ..Access::default() }
}

fn with_digest(digest: &Digest) -> Response {
    ([("docker-content-digest", digest.to_string())], "").into_response()
}

fn challenge(text: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [("www-authenticate", text.to_owned())], "").into_response()
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let value = serde_json::json!({"mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len()});
    serde_json::from_value(value).unwrap()
}
