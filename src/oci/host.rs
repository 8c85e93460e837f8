//! Registry hosts in a canonical form. Policies, credentials and turns compare this form, never the text, so that a
//! rule about a host cannot be bypassed by another spelling.
//!
//! | written | compared as |
//! |---|---|
//! | capitals | lower case |
//! | `:443`, `:0443` | no port |
//! | `:05000` | `:5000` |
//! | `127.1`, `2130706433`, `0x7f.1`, `[::ffff:127.0.0.1]` | `127.0.0.1` |
//! | `[0:0::1]` | `[::1]` |
//! | `index.docker.io`, `registry-1.docker.io`, `registry.hub.docker.com` | `docker.io` |

use std::fmt;
use std::net::Ipv6Addr;

/// Default port of HTTPS.
const DEFAULT_PORT: u16 = 443;
/// Names of Docker Hub. The first is the canonical one.
pub(crate) const DOCKER_HUB: [&str; 4] =
    ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// `host[:port]` in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    name: String,
    port: u16,
}

impl Host {
    /// Parses `host[:port]` or `[address][:port]`. Any other text becomes a name that equals only itself.
    pub(crate) fn read(text: &str) -> Self {
        let unread = || Self { name: text.to_ascii_lowercase(), port: DEFAULT_PORT };
        let Some((name, port)) = split(text) else { return unread() };
        let Some(port) = port.map_or(Some(DEFAULT_PORT), parse_port) else { return unread() };
        let Some(name) = canonical_name(name) else { return unread() };
        Self { name, port }
    }

    /// The name or address; an IPv6 address in brackets.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns true for Docker Hub, on any port.
    pub(crate) fn is_docker_hub(&self) -> bool {
        self.name == DOCKER_HUB[0]
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.port == DEFAULT_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Splits a host from its port; an IPv6 address keeps its brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if !text.starts_with('[') {
        return Some(text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))));
    }
    let (address, rest) = text.split_at_checked(text.find(']')? + 1)?;
    match rest.strip_prefix(':') {
        Some(port) => Some((address, Some(port))),
        None => rest.is_empty().then_some((address, None)),
    }
}

/// Parses a port from 1 to 65535, with any number of leading zeros.
pub(crate) fn parse_port(port: &str) -> Option<u16> {
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|port| is_number && *port != 0)
}

fn canonical_name(name: &str) -> Option<String> {
    if let Some(address) = name.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        // An IPv4-mapped IPv6 address connects to the IPv4 address in it.
        return Some(address.to_ipv4_mapped().map_or_else(|| format!("[{address}]"), |inside| inside.to_string()));
    }
    // Normalizes every form of an IPv4 address that a resolver accepts.
    let name = url::Host::parse(name).ok()?.to_string();
    Some(if DOCKER_HUB.contains(&name.as_str()) { DOCKER_HUB[0].to_owned() } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let rows: [(&str, &[&str]); 7] = [
            ("ghcr.io", &["ghcr.io", "GHCR.io", "ghcr.io:443", "ghcr.io:0443"]),
            ("ghcr.io:80", &["ghcr.io:80", "ghcr.io:080"]),
            ("r.example:5000", &["R.example:05000", "r.example:5000"]),
            (
                "127.0.0.1:5000",
                &["127.0.0.1:5000", "127.1:5000", "0x7f.1:5000", "[::ffff:127.0.0.1]:5000", "[::FFFF:7f00:1]:5000"],
            ),
            ("[::1]:5000", &["[::1]:5000", "[0:0:0:0:0:0:0:1]:05000"]),
            ("docker.io", &["docker.io", "index.docker.io", "registry-1.docker.io:443", "Registry.Hub.Docker.com"]),
            ("*.example.com", &["*.example.com", "*.Example.com:443"]),
        ];
        for (meant, written) in rows {
            for text in written {
                assert_eq!(Host::read(text).to_string(), meant, "{text}");
            }
        }
        for text in ["r.example:", "r.example:x", "r.example:0", "r.example:+1", "r.example:99999", "[::1]x", "[::1"] {
            assert_eq!(Host::read(text).name(), text, "{text} is no host, and equals only itself");
        }
    }
}
