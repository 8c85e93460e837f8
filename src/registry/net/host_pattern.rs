//! Host patterns in the operator's options and in pull secrets: names with `*` inside a label, with or without a
//! port. Pure.

use std::fmt;
use std::str::FromStr;

use crate::oci::reference::split_port;

/// `registry.example.com`, `*.svc.cluster.local`, `127.0.0.1:5000`. Without a port it matches every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    port: Option<u16>,
}

/// Reason why a text is not a valid [`HostPattern`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a host such as registry.example.com, *.svc.cluster.local or 10.0.0.5:5000")]
pub struct ParseHostPatternError(String);

impl FromStr for HostPattern {
    type Err = ParseHostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseHostPatternError(text.to_owned());
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, rest)) => (address, Some(rest.strip_prefix(':').ok_or_else(refuse)?)),
            None => split_port(text),
        };
        let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*' | ':');
        // A pattern of only `*` would match everything by accident.
        let named = name.chars().any(|c| c.is_ascii_alphanumeric());
        if !named || !name.chars().all(character) || (name.contains(':') && !text.starts_with('[')) {
            return Err(refuse());
        }
        let port = port.map(str::parse).transpose().map_err(|_| refuse())?;
        Ok(Self { name: name.to_ascii_lowercase(), port })
    }
}

impl HostPattern {
    /// Returns true if the pattern matches a host and port; an IPv6 address may have brackets.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port) && self.matches_name(host)
    }

    /// Returns true if the pattern matches a host whose port is unknown or irrelevant.
    pub fn matches_name(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        labels_match(&self.name, &host.to_ascii_lowercase())
    }

    /// Returns true if the pattern matches one port only.
    pub fn has_port(&self) -> bool {
        self.port.is_some()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Compares label by label: `*` matches any part of one label, never a dot.
pub(in crate::registry) fn labels_match(pattern: &str, host: &str) -> bool {
    pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, label)| label_matches(pattern, label))
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut left) = label.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, behind)) => left = behind,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_hosts_by_label_and_port() {
        let rows = [
            ("registry.example.com", "registry.example.com", 443, true),
            ("registry.example.com", "Registry.Example.com.", 5000, true),
            ("registry.example.com:5000", "registry.example.com", 443, false),
            ("registry.example.com:5000", "registry.example.com", 5000, true),
            ("*.svc.cluster.local", "zot.svc.cluster.local", 80, true),
            ("*.svc.cluster.local", "a.b.svc.cluster.local", 80, false),
            ("*.svc.cluster.local", "svc.cluster.local", 80, false),
            ("*.example.com", "example.com.evil.io", 443, false),
            ("127.0.0.1", "127.0.0.1", 40123, true),
            ("[::1]:5000", "[::1]", 5000, true),
            ("[::1]", "::1", 1, true),
        ];
        for (pattern, host, port, want) in rows {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(host, port), want, "{pattern} {host}:{port}");
        }
    }

    #[test]
    fn a_star_stands_for_part_of_one_label() {
        let rows = [
            ("*.example.com", "registry.example.com", true),
            ("reg*.example.com", "registry.example.com", true),
            ("r*g*y.example.com", "registry.example.com", true),
            ("r*x*y.example.com", "registry.example.com", false),
            ("reg*y.example.com", "regy.example.com", true),
            ("regi*istry.example.com", "registry.example.com", false),
            ("*", "localhost", true),
            ("*", "ghcr.io", false),
            ("*.*", "ghcr.io", true),
        ];
        for (pattern, host, want) in rows {
            assert_eq!(labels_match(pattern, host), want, "{pattern} {host}");
        }
    }

    #[test]
    fn an_invalid_host_pattern_is_refused() {
        for text in ["", "*", "*.*", "https://a.example", "a.example/path", "a.example:port", "a b", "::1", "[::1]x"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
