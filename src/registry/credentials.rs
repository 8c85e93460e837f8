//! Registry credentials from Kubernetes Secrets: parsed, matched to a host, never printed.
//!
//! A Secret that is there but cannot be read as credentials is an error. Nothing here falls back to
//! going without, and nothing named in a document (a credential helper) is ever executed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::oci::reference::split_port;
use crate::oci::{Digest, Repository};

/// The type and data of a Secret, as far as credentials need them.
#[derive(Clone)]
pub struct SecretData {
    /// The Secret's `type`.
    pub kind: String,
    /// Its data, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretData({}, {} keys)", self.kind, self.data.len())
    }
}

/// A user and a password for one registry. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    user: String,
    password: String,
}

impl Credential {
    /// The value of an `Authorization: Basic` header (RFC 7617), without the scheme.
    pub(crate) fn basic(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    /// Tells credentials apart without holding them: the key of the token cache.
    pub(crate) fn identity(&self) -> Digest {
        Digest::of(self.basic().as_bytes())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

/// Why a Secret is not registry credentials. Never quotes the Secret's content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// The key that the Secret's type promises is missing.
    #[error("Secret {secret} has no key {key}")]
    KeyMissing {
        /// Name of the Secret.
        secret: String,
        /// The key that was expected.
        key: &'static str,
    },
    /// The content is not what its type says.
    #[error("Secret {secret} is not usable as registry credentials: {problem}")]
    Malformed {
        /// Name of the Secret.
        secret: String,
        /// What is wrong, without content.
        problem: &'static str,
    },
}

/// Credentials in the order in which they are to be tried.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    entries: Vec<(Scope, Credential)>,
}

/// What a credential is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    /// A basic-auth Secret: whatever host the object names.
    AnyHost,
    /// A key of a docker configuration, read as the kubelet does: a host whose labels may have `*`,
    /// and a path prefix that ends at a slash.
    Host { host: String, path: String },
}

impl Keychain {
    /// Adds the credentials of one Secret.
    pub fn add(&mut self, secret: &str, data: &SecretData) -> Result<(), SecretError> {
        match data.kind.as_str() {
            "kubernetes.io/basic-auth" => {
                let user = text(secret, data, "username")?;
                let password = text(secret, data, "password")?;
                self.entries.push((Scope::AnyHost, Credential { user, password }));
                Ok(())
            }
            "kubernetes.io/dockerconfigjson" => self.add_docker_config(secret, data),
            _ => Err(malformed(
                secret,
                "its type is neither kubernetes.io/dockerconfigjson nor kubernetes.io/basic-auth",
            )),
        }
    }

    /// Those that are for `repository`: longest path first, a host by name before one by wildcard,
    /// then in the order of the Secrets.
    pub fn matching(&self, repository: &Repository) -> Vec<&Credential> {
        let mut found: Vec<((usize, bool), &Credential)> = self
            .entries
            .iter()
            .filter_map(|(scope, credential)| scope.closeness(repository).map(|closeness| (closeness, credential)))
            .collect();
        found.sort_by_key(|(closeness, _)| std::cmp::Reverse(*closeness));
        found.into_iter().map(|(_, credential)| credential).collect()
    }

    fn add_docker_config(&mut self, secret: &str, data: &SecretData) -> Result<(), SecretError> {
        let bytes = value(secret, data, ".dockerconfigjson")?;
        // The parser's own message could quote a password.
        let config: DockerConfig =
            serde_json::from_slice(bytes).map_err(|_| malformed(secret, ".dockerconfigjson is not valid JSON"))?;
        for (key, entry) in config.auths {
            let Some(credential) = entry.credential(secret)? else { continue };
            self.entries.push((Scope::of_key(&key), credential));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl DockerAuth {
    /// `auth` wins over `username` and `password`, as in the docker client. An entry with neither
    /// says that the credential is elsewhere, where we do not look.
    fn credential(self, secret: &str) -> Result<Option<Credential>, SecretError> {
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let (user, password) =
                pair.ok_or_else(|| malformed(secret, "an \"auth\" is not base64 of user:password"))?;
            return Ok(Some(Credential { user: user.to_owned(), password: password.to_owned() }));
        }
        match (self.username, self.password) {
            (Some(user), Some(password)) => Ok(Some(Credential { user, password })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                Err(malformed(secret, "an entry has only one of username and password"))
            }
        }
    }
}

impl Scope {
    /// `https://index.docker.io/v1/`, `ghcr.io`, `r.example:5000/team` and their like.
    fn of_key(key: &str) -> Self {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_end_matches('/');
        // The docker client writes API paths behind hosts; they are no repository prefix.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self::Host { host: canonical_host(host), path: path.to_owned() }
    }

    /// Length of the path that matches, and whether the host was named; `None` for no match.
    fn closeness(&self, repository: &Repository) -> Option<(usize, bool)> {
        match self {
            Self::AnyHost => Some((0, false)),
            Self::Host { host, path } => {
                let below = path.is_empty()
                    || repository.path() == path
                    || repository.path().strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'));
                let asked = canonical_host(repository.host());
                (below && host_matches(host, &asked)).then_some((path.len(), *host == asked))
            }
        }
    }
}

/// `*` stands for any part of one label, never for a dot or a port.
fn host_matches(pattern: &str, host: &str) -> bool {
    let ((pattern, pattern_port), (host, port)) = (split_port(pattern), split_port(host));
    pattern_port == port
        && pattern.split('.').count() == host.split('.').count()
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

/// One name for Docker Hub's several.
fn canonical_host(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

fn value<'a>(secret: &str, data: &'a SecretData, key: &'static str) -> Result<&'a [u8], SecretError> {
    data.data.get(key).map(Vec::as_slice).ok_or_else(|| SecretError::KeyMissing { secret: secret.to_owned(), key })
}

fn text(secret: &str, data: &SecretData, key: &'static str) -> Result<String, SecretError> {
    String::from_utf8(value(secret, data, key)?.to_vec()).map_err(|_| malformed(secret, "a value is not UTF-8 text"))
}

fn malformed(secret: &str, problem: &'static str) -> SecretError {
    SecretError::Malformed { secret: secret.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker_config(json: &str) -> SecretData {
        SecretData {
            kind: "kubernetes.io/dockerconfigjson".to_owned(),
            data: BTreeMap::from([(".dockerconfigjson".to_owned(), json.as_bytes().to_vec())]),
        }
    }

    fn repository(text: &str) -> Repository {
        text.parse::<crate::oci::Reference>().unwrap().repository
    }

    #[test]
    fn hosts_match_whole_and_the_longest_path_wins() {
        let entry = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:pw")));
        let json = format!(
            r#"{{"auths":{{"ghcr.io":{},"ghcr.io/team":{},"https://index.docker.io/v1/":{},"r.example:5000":{}}}}}"#,
            entry("host"),
            entry("team"),
            entry("hub"),
            entry("port")
        );
        let mut keychain = Keychain::default();
        keychain.add("s", &docker_config(&json)).unwrap();
        let rows = [
            ("ghcr.io/other/app", Some("host")),
            ("ghcr.io/team/app", Some("team")),
            ("ghcr.io/team", Some("team")),
            ("ghcr.io/teammate/app", Some("host")),
            ("docker.io/library/nginx", Some("hub")),
            ("registry-1.docker.io/library/nginx", Some("hub")),
            ("r.example:5000/a", Some("port")),
            ("r.example/a", None),
            ("r.example:5001/a", None),
            ("ghcr.io.evil.example/a", None),
            ("evil-ghcr.io/a", None),
        ];
        for (image, want) in rows {
            let repository = repository(image);
            let found = keychain.matching(&repository);
            assert_eq!(found.first().map(|c| c.user.as_str()), want, "{image}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_part_of_one_label() {
        let rows = [
            ("*.example.com", "registry.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "registry.example.com.evil.io", false),
            ("*.example.com", "registry.example.com:5000", false),
            ("*.example.com:5000", "registry.example.com:5000", true),
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
            assert_eq!(host_matches(pattern, host), want, "{pattern} {host}");
        }
        let entry = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:pw")));
        let json = format!(r#"{{"auths":{{"*.example.com":{},"r.example.com":{}}}}}"#, entry("wild"), entry("named"));
        let mut keychain = Keychain::default();
        keychain.add("s", &docker_config(&json)).unwrap();
        let found = |image: &str| keychain.matching(&repository(image)).first().map(|c| c.user.clone());
        assert_eq!(found("r.example.com/a").as_deref(), Some("named"));
        assert_eq!(found("s.example.com/a").as_deref(), Some("wild"));
    }

    #[test]
    fn a_broken_secret_is_an_error_and_is_not_quoted() {
        let rows = [
            ("not JSON", r#"{"auths": {"ghcr.io": {"auth": "hunter2" "#),
            ("no auths", r#"{"hunter2": {}}"#),
            ("auth without colon", r#"{"auths":{"ghcr.io":{"auth":"aHVudGVyMg=="}}}"#),
            ("user only", r#"{"auths":{"ghcr.io":{"username":"hunter2"}}}"#),
        ];
        for (label, json) in rows {
            let error = Keychain::default().add("s", &docker_config(json)).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{label}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{label}");
        }
        let empty = SecretData { kind: "kubernetes.io/dockerconfigjson".to_owned(), data: BTreeMap::new() };
        assert!(matches!(Keychain::default().add("s", &empty), Err(SecretError::KeyMissing { .. })));
    }

    #[test]
    fn nothing_that_holds_a_password_prints_it() {
        let mut keychain = Keychain::default();
        let data = docker_config(r#"{"auths":{"ghcr.io":{"username":"bob","password":"hunter2"}}}"#);
        keychain.add("s", &data).unwrap();
        assert!(!format!("{keychain:?} {data:?}").contains("hunter2"));
    }
}
