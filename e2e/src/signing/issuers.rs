//! OIDC issuers in the harness: all with one key, each under its own path.

use std::net::Ipv4Addr;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::identity::IssuerKind;

/// Audience of the tokens.
pub(super) const CLIENT_ID: &str = "sigstore";
/// ID of the only key.
const KEY_ID: &str = "e2e";
/// Lifetime of a token in seconds.
const LIFETIME: u64 = 600;

/// Issuers on loopback; dropping them closes the port.
#[derive(Debug)]
pub(super) struct Issuers {
    /// `http://127.0.0.1:port`.
    pub(super) base: String,
    key: RsaKeyPair,
    serving: JoinHandle<()>,
}

impl Issuers {
    pub(super) async fn start() -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).context("making the key of the issuers")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", port.local_addr()?);
        let keys = key_set(&key).to_string();
        let mut router = Router::new();
        for kind in IssuerKind::ALL {
            let issuer = format!("{base}{}", kind.path());
            let configuration = configuration(&issuer).to_string();
            let keys = keys.clone();
            router = router
                .route(
                    &format!("{}/.well-known/openid-configuration", kind.path()),
                    get(async || answer(configuration)),
                )
                .route(&format!("{}/jwks", kind.path()), get(async || answer(keys)));
        }
        let serving = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(port, router).await;
        });
        Ok(Self { base, key, serving })
    }

    pub(super) fn url(&self, kind: IssuerKind) -> String {
        format!("{}{}", self.base, kind.path())
    }

    /// Issues a token that is valid from now on, with these claims and those that every token has (RFC 7519, RS256).
    pub(super) fn token(&self, kind: IssuerKind, claims: &Value) -> Result<String> {
        let now = UNIX_EPOCH.elapsed()?.as_secs();
        let mut all = json!({
            "iss": self.url(kind), "aud": CLIENT_ID, "iat": now, "nbf": now, "exp": now + LIFETIME,
        });
        for (name, value) in claims.as_object().into_iter().flatten() {
            if let Some(claim) = all.as_object_mut() {
                claim.insert(name.clone(), value.clone());
            }
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "RS256", "kid": KEY_ID})), part(&all));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Returns the metadata that OIDC Discovery 1.0, section 3, requires.
fn configuration(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
}

/// Returns the public key as a JSON Web Key Set.
fn key_set(key: &RsaKeyPair) -> Value {
    let public = key.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (
        number(public.modulus().big_endian_without_leading_zero()),
        number(public.exponent().big_endian_without_leading_zero()),
    );
    json!({"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KEY_ID, "n": n, "e": e}]})
}

fn answer(json: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], json)
}
