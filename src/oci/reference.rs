//! Image references: `[oci://]host[:port]/repository[:tag][@digest]`; one grammar, without defaults.
//!
//! The grammar is that of `distribution/reference` without its short names: a host has a dot or a port, or is
//! `localhost`, so that a short name never silently refers to a default registry.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, ParseDigestError};
use super::host::{DOCKER_HUB, Host, parse_port};

/// Maximum length of `host/repository`, as in distribution/reference.
const MAX_NAME: usize = 255;
/// Default ports: of HTTPS, and of HTTP where plain HTTP is enabled.
const DEFAULT_PORTS: [u16; 2] = [443, 80];
/// Docker Hub's path prefix of repositories that have no path of their own.
const LIBRARY: &str = "library/";
/// Maximum length of a tag (distribution-spec, "Pulling manifests").
const MAX_TAG: usize = 128;

/// Location of a repository: `host[:port]` and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// The `host[:port]` as written, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the host to connect to: Docker Hub's API has another name than its references.
    pub fn api_host(&self) -> &str {
        match self.host.as_str() {
            "docker.io" | "index.docker.io" | "docker.io:443" | "index.docker.io:443" => "registry-1.docker.io",
            host => host,
        }
    }

    /// Returns the host in canonical form.
    pub(crate) fn canonical_host(&self) -> Host {
        Host::read(&self.host)
    }

    /// Returns every path of this repository: on Docker Hub, `nginx` is also `library/nginx`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let Self { path, .. } = self;
        let mut paths = vec![path.clone()];
        if self.canonical_host().is_docker_hub() {
            match path.strip_prefix(LIBRARY) {
                Some(rest) if !rest.contains('/') => paths.push(rest.to_owned()),
                None if !path.contains('/') => paths.push(format!("{LIBRARY}{path}")),
                Some(_) | None => {}
            }
        }
        paths
    }

    /// Returns every name by which a rule may refer to this repository, so that no spelling bypasses a rule: default
    /// ports of HTTPS and HTTP may be written or omitted, an address has several forms, and Docker Hub has several
    /// names.
    pub fn names(&self) -> Vec<String> {
        let host = self.canonical_host();
        let hosts = if host.is_docker_hub() { DOCKER_HUB.to_vec() } else { vec![host.name()] };
        let port = host.port();
        let mut names = vec![self.to_string()];
        for path in self.paths() {
            for host in &hosts {
                if DEFAULT_PORTS.contains(&port) {
                    names.push(format!("{host}/{path}"));
                    names.extend(DEFAULT_PORTS.map(|port| format!("{host}:{port}/{path}")));
                } else {
                    names.push(format!("{host}:{port}/{path}"));
                }
            }
        }
        names
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// A parsed image reference. If it has a digest, the digest decides and the tag is informational.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry host and repository path.
    pub repository: Repository,
    /// The tag, if present.
    pub tag: Option<String>,
    /// The digest, if present.
    pub digest: Option<Digest>,
}

/// Reason why a text is not a valid [`Reference`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseReferenceError {
    /// A URL that begins with `http://` or `https://`.
    #[error("unsupported URL scheme; expected host/repository:tag without http:// or https://")]
    Scheme,
    /// No host, or a first component that is not a valid host.
    #[error(
        "no registry host; expected a host with a dot or a port, such as ghcr.io/team/app:1.0 (short names are not completed)"
    )]
    Host,
    /// An invalid repository path.
    #[error("invalid repository path \"{0}\": expected lower-case letters, digits and single . _ - / between them")]
    Repository(String),
    /// An invalid tag.
    #[error("invalid tag \"{0}\": expected at most 128 letters, digits, . _ -, not starting with . or -")]
    Tag(String),
    /// An invalid digest.
    #[error("invalid digest after @: {0}")]
    Digest(#[from] ParseDigestError),
    /// Longer than any registry accepts.
    #[error("host and repository have more than 255 characters")]
    TooLong,
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("oci://").unwrap_or(text);
        if text.starts_with("http://") || text.starts_with("https://") {
            return Err(ParseReferenceError::Scheme);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (host, rest) = rest.split_once('/').ok_or(ParseReferenceError::Host)?;
        // The host was split off first, so this colon can only precede a tag.
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(ParseReferenceError::TooLong);
        }
        if !is_host(host) {
            return Err(ParseReferenceError::Host);
        }
        if !is_repository_path(path) {
            return Err(ParseReferenceError::Repository(path.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ParseReferenceError::Tag(tag.to_owned()));
        }
        Ok(Self {
            repository: Repository { host: host.to_ascii_lowercase(), path: path.to_owned() },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Returns true for a valid host of a reference.
pub(crate) fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port_fits;
    }
    let (name, port) = split_port(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label)
        && port.is_none_or(is_port)
        && (name.contains('.') || port.is_some() || name == "localhost")
}

/// Splits `host[:port]`. Not for IPv6 addresses in brackets.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)))
}

fn is_port(port: &str) -> bool {
    parse_port(port).is_some()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes (distribution-spec, "Pulling manifests").
fn is_repository_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Returns true for a valid path component.
pub(crate) fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separator = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|run| !run.is_empty()).all(separator)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec, "Pulling manifests").
pub(super) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn equal_repositories_compare_equal_in_every_spelling() {
        let rows: [(&str, &[&str]); 8] = [
            ("ghcr.io", &["ghcr.io", "GHCR.io", "ghcr.io:443", "ghcr.io:0443", "ghcr.io:80"]),
            ("127.0.0.1:5000", &["[::ffff:127.0.0.1]:5000", "[::ffff:7f00:1]:5000"]),
            ("docker.io", &["registry.hub.docker.com", "registry.hub.docker.com:443"]),
            ("r.example:5000", &["r.example:5000", "R.example:05000"]),
            ("127.0.0.1:5000", &["127.0.0.1:5000", "127.1:5000", "2130706433:5000", "0x7f.1:5000", "0177.0.0.1:5000"]),
            ("[::1]:5000", &["[::1]:5000", "[0:0:0:0:0:0:0:1]:5000", "[::0001]:5000"]),
            ("docker.io", &["docker.io", "index.docker.io", "registry-1.docker.io", "registry-1.docker.io:443"]),
            ("registry-1.docker.io:443", &["docker.io", "index.docker.io:443"]),
        ];
        let names = |host: &str| format!("{host}/acme/app:1").parse::<Reference>().unwrap().repository.names();
        for (meant, written) in rows {
            for host in written {
                let names = names(host);
                assert!(names.contains(&format!("{meant}/acme/app")), "{host}: {names:?}");
            }
        }
        let paths = |text: &str| text.parse::<Reference>().unwrap().repository.names();
        assert!(paths("docker.io/nginx").contains(&"docker.io/library/nginx".to_owned()));
        assert!(paths("registry-1.docker.io/library/nginx").contains(&"docker.io/nginx".to_owned()));
        assert!(!paths("ghcr.io/nginx").contains(&"ghcr.io/library/nginx".to_owned()));
        for (meant, other) in [("ghcr.io", "ghcr.io:8443"), ("r.example:5000", "r.example"), ("ghcr.io", "xghcr.io")] {
            assert!(!names(other).contains(&format!("{meant}/acme/app")), "{other}");
        }
    }

    #[test]
    fn accepted_references_read_back_the_same() {
        let rows = [
            "ghcr.io/home-operations/k8s-schemas:latest".to_owned(),
            "localhost/app:1".to_owned(),
            "localhost:5000/app".to_owned(),
            "[::1]:5000/a/b:t".to_owned(),
            "[::1]/a".to_owned(),
            "r.example/a__b/c--d/e.f_g:V1.0_x-y".to_owned(),
            format!("r.example/app@{HEX}"),
            format!("r.example:443/app:1.2@{HEX}"),
        ];
        for text in rows {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(text.clone()), "{text}");
            let with_scheme = format!("oci://{text}");
            assert_eq!(with_scheme.parse::<Reference>().map(|r| r.to_string()), Ok(text));
        }
    }

    #[test]
    fn port_and_tag_are_not_confused() {
        let parsed: Reference = "r.example:5000/app:5001".parse().unwrap();
        assert_eq!(parsed.repository.host(), "r.example:5000");
        assert_eq!(parsed.tag.as_deref(), Some("5001"));
    }

    #[test]
    fn refused_references() {
        use ParseReferenceError as E;
        let rows = [
            ("scheme", "https://ghcr.io/a/b:1".to_owned()),
            ("short name", "nginx:1".to_owned()),
            ("short name with path", "library/nginx:1".to_owned()),
            ("userinfo", "user:pw@ghcr.io/a/b".to_owned()),
            ("empty component", "ghcr.io/a//b".to_owned()),
            ("dots", "ghcr.io/a/../b".to_owned()),
            ("upper case repository", "ghcr.io/A/b".to_owned()),
            ("percent", "ghcr.io/a%2fb".to_owned()),
            ("two tags", "ghcr.io/a:b:c".to_owned()),
            ("two digests", format!("ghcr.io/a@{HEX}@{HEX}")),
            ("empty tag", "ghcr.io/a:".to_owned()),
            ("long tag", format!("ghcr.io/a:{}", "t".repeat(129))),
            ("long name", format!("ghcr.io/{}", "a".repeat(256))),
            ("port 0", "ghcr.io:0/a".to_owned()),
            ("port 99999", "ghcr.io:99999/a".to_owned()),
            ("IPv6 zone", "[fe80::1%eth0]/a".to_owned()),
            ("text behind IPv6", "[::1].example/a".to_owned()),
            ("fragment behind IPv6", "[::1]#00:00000/a".to_owned()),
            ("port behind more than IPv6", "[::1]x:5000/a".to_owned()),
            ("empty port behind IPv6", "[::1]:/a".to_owned()),
            ("IDN", "gh\u{441}r.io/a".to_owned()),
            ("space", "ghcr.io/a b".to_owned()),
            ("newline", "ghcr.io/a:b\n".to_owned()),
            ("query", "ghcr.io/a?x=y".to_owned()),
            ("nothing", String::new()),
        ];
        for (label, text) in rows {
            assert!(text.parse::<Reference>().is_err(), "{label}: {text}");
        }
        assert_eq!("http://a.b/c".parse::<Reference>(), Err(E::Scheme));
        assert_eq!("nginx".parse::<Reference>(), Err(E::Host));
    }
}
