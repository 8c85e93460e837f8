//! Addresses, artifact and secrets of a registry that misbehaves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::artifact::Artifact;
use super::canary::Canary;

/// Addresses, artifact and secrets that a script can use.
#[derive(Debug, Clone)]
pub struct Place {
    /// `host:port` of the registry itself.
    pub address: String,
    /// `host:port` of the same host at another port.
    pub other_port: String,
    /// `host:port` of another host.
    pub other_host: String,
    pub artifact: Artifact,
    pub login: Known,
    /// Secret that only the site hands out: a token, a signature in a URL, a cookie.
    pub confidence: Canary,
}

/// User and password that no other site has.
#[derive(Debug, Clone)]
pub struct Known {
    pub user: String,
    pub password: Canary,
}

impl Known {
    /// Returns the `Authorization` header for this login.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password.text)))
    }
}
