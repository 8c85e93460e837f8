//! Repositories to which a credential is sent.

use super::credential::SecretError;
use crate::oci::Repository;
use crate::oci::host::Host;
use crate::registry::net::host_pattern::{HostPattern, labels_match};

/// Repositories to which a credential is sent: a key of a docker configuration, interpreted as the kubelet does, a host
/// listed in the annotation of a basic-auth Secret, or the host that a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CredentialScope {
    /// Its labels may contain `*`.
    host: Host,
    /// Path prefix that ends at a slash of the repository; empty for every repository.
    path: String,
}

impl CredentialScope {
    /// Parses keys such as `https://index.docker.io/v1/`, `ghcr.io` and `r.example:5000/team`.
    pub(super) fn of_key(key: &str) -> Self {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_end_matches('/');
        // The docker client appends API paths to hosts; they are not repository prefixes.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: Host::read(host), path: path.to_owned() }
    }

    /// Returns the scope of every repository of a host.
    pub(super) fn of_host(host: Host) -> Self {
        Self { host, path: String::new() }
    }

    /// Returns the length of the matching path, and true if the host matches exactly; `None` if the scope does not
    /// match.
    pub(super) fn closeness(&self, repository: &Repository) -> Option<(usize, bool)> {
        let Self { host, path } = self;
        let is_below =
            |own: &String| own == path || own.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let below = path.is_empty() || repository.paths().iter().any(is_below);
        let asked = repository.canonical_host();
        (below && host_matches(host, &asked)).then_some((path.len(), *host == asked))
    }
}

/// Applies the kubelet's rule: `*` stands for any part of one label, and the ports must be equal.
pub(super) fn host_matches(pattern: &Host, host: &Host) -> bool {
    pattern.port() == host.port() && labels_match(pattern.name(), host.name())
}

/// Parses the hosts in an annotation such as `supercargo.dev/registry: ghcr.io, r.example:5000`.
pub(super) fn annotated_hosts(secret: &str, annotation: &str) -> Result<Vec<CredentialScope>, SecretError> {
    let scope = |host: &str| match host.parse::<HostPattern>() {
        Ok(_) => Ok(CredentialScope::of_host(Host::read(host))),
        Err(_) => Err(SecretError::malformed(
            secret,
            "invalid host in its annotation supercargo.dev/registry; expected hosts such as ghcr.io or \
             registry.example:5000, separated by commas, without https:// and without a path",
        )),
    };
    annotation.split(',').map(str::trim).filter(|host| !host.is_empty()).map(scope).collect()
}
