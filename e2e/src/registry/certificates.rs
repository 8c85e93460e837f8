//! Certificates of a registry with TLS, and of its clients.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::options::Transport;
use crate::credentials::USERNAME;
use crate::pki::{Authority, Identity};

/// Files that clients of a registry with TLS need.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate of the authority, a PEM file.
    pub authority: PathBuf,
    /// Client certificate, if the registry requires one.
    pub identity: Option<Identity>,
}

/// Certificates of the server and for its clients.
pub(super) struct Certificates {
    pub(super) server: Identity,
    pub(super) clients: Tls,
}

/// Creates new certificates for a registry, in its directory.
pub(super) fn create(directory: &Path, name: &str, transport: Transport) -> Result<Option<Certificates>> {
    let asks = match transport {
        Transport::Plain => return Ok(None),
        Transport::Tls => false,
        Transport::MutualTls => true,
    };
    let authority = Authority::create(directory, &format!("supercargo-e2e registry {name}"))?;
    let server = authority.server("registry", &[])?;
    let identity = asks.then(|| authority.client(USERNAME)).transpose()?;
    Ok(Some(Certificates { server, clients: Tls { authority: authority.certificate, identity } }))
}
