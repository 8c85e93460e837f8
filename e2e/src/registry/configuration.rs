//! Configuration of distribution, and the files that it refers to.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::certificates::Certificates;
use super::options::{Auth, Options};
use crate::token_service::{ISSUER, SERVICE, TokenService};

/// User name and bcrypt hash of the password, at the lowest possible cost.
const HTPASSWD: &str = "reader:$2b$04$E77f6cUgcGAnJ7n9EbkYvuxDuP0PWnFuu8wo1mknL3bawJ6lZjdRO\n";

/// Returns the path of the token service's public key, which the registry reads once, at start.
pub(super) fn key_set(directory: &Path) -> PathBuf {
    directory.join("key_set.json")
}

/// Writes the configuration and returns its path.
pub(super) fn write(
    directory: &Path,
    address: &str,
    options: &Options,
    certificates: Option<&Certificates>,
    token_service: Option<&TokenService>,
) -> Result<PathBuf> {
    let storage = if options.durable {
        format!("filesystem: {{rootdirectory: {}}}", quoted(&directory.join("content")))
    } else {
        "inmemory: {}".to_owned()
    };
    let auth = match options.auth {
        Auth::Open => String::new(),
        Auth::Password => {
            let path = directory.join("htpasswd");
            fs_err::write(&path, HTPASSWD)?;
            format!("auth: {{htpasswd: {{realm: e2e, path: {}}}}}\n", quoted(&path))
        }
        Auth::Token => token_service.map(|service| token(service, directory)).unwrap_or_default(),
    };
    let tls = certificates.map(tls).unwrap_or_default();
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{{storage}, delete: {{enabled: true}}}}\n\
         http: {{addr: '{address}', secret: supercargo-e2e{tls}}}\n{auth}"
    );
    let path = directory.join("config.yml");
    fs_err::write(&path, text)?;
    Ok(path)
}

fn token(service: &TokenService, directory: &Path) -> String {
    format!(
        "auth: {{token: {{realm: '{}', service: {SERVICE}, issuer: {ISSUER}, jwks: {}, signingalgorithms: [ES256]}}}}\n",
        service.realm,
        quoted(&key_set(directory)),
    )
}

/// Returns the TLS part of the configuration. A client authority alone makes distribution require client certificates.
fn tls(certificates: &Certificates) -> String {
    let (server, clients) = (&certificates.server, &certificates.clients);
    let asked = match clients.identity {
        Some(_) => format!(", clientcas: [{}]", quoted(&clients.authority)),
        None => String::new(),
    };
    format!(", tls: {{certificate: {}, key: {}{asked}}}", quoted(&server.certificate), quoted(&server.key))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
