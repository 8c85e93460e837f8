//! JSON Web Tokens in the form that distribution requires (RFC 7519, ES256), and the public key to verify them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// `iss` of the tokens, `auth.token.issuer` of the registry.
pub(crate) const ISSUER: &str = "supercargo-e2e-tokens";
/// `aud` of the tokens, `auth.token.service` of the registry.
pub(crate) const SERVICE: &str = "supercargo-e2e-registry";
/// ID of the only key.
const KEY_ID: &str = "e2e";

/// Entry of the `access` claim of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

/// Issuer of tokens, with a key of this run.
pub(super) struct Issuer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    issued: AtomicU64,
}

impl Issuer {
    pub(super) fn new() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(Self { key, random: SystemRandom::new(), issued: AtomicU64::new(0) })
    }

    /// Returns the public key as a JSON Web Key Set.
    pub(super) fn key_set(&self) -> Result<Value> {
        // The byte 4, then both coordinates (SEC 1 section 2.3.3).
        let point = self.key.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| {
            let bytes = point.get(range).context("not an uncompressed point of P-256")?;
            anyhow::Ok(URL_SAFE_NO_PAD.encode(bytes))
        };
        let (x, y) = (coordinate(1..33)?, coordinate(33..65)?);
        Ok(json!({"keys": [
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y},
        ]}))
    }

    /// Issues a token for `subject` that is valid from now on.
    pub(super) fn token(&self, subject: &str, access: &[Access], lifetime: Duration) -> Result<String> {
        let now = UNIX_EPOCH.elapsed()?.as_secs();
        let entry = |access: &Access| json!({"type": access.kind, "name": access.name, "actions": access.actions});
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE,
            "iat": now, "nbf": now, "exp": now + lifetime.as_secs(),
            "jti": self.issued.fetch_add(1, Ordering::Relaxed).to_string(),
            "access": access.iter().map(entry).collect::<Vec<_>>(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ES256", "kid": KEY_ID})), part(&claims));
        let signature = self.key.sign(&self.random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
