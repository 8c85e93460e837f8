//! Registry credentials from Kubernetes Secrets: parsed, matched to a host, never printed.
//!
//! A Secret that exists but is not valid credentials is an error. There is no fallback to anonymous access, and nothing
//! here executes a credential helper.

use std::collections::BTreeMap;
use std::fmt;

use super::docker_config;
use super::scope::{self, CredentialScope};
use crate::oci::Repository;

pub use super::credential::{Credential, SecretError};
pub use super::docker_config::{Helpers, TOKEN_USER, helper_for, is_key_of, server_name};

/// The parts of a Secret that are used for credentials: type, data and one annotation.
#[derive(Clone, Default)]
pub struct SecretData {
    /// The Secret's `type`.
    pub kind: String,
    /// Value of the annotation `supercargo.dev/registry`.
    pub registries: Option<String>,
    /// The decoded data.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretData({}, {} keys)", self.kind, self.data.len())
    }
}

/// Credentials in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    entries: Vec<(CredentialScope, Credential)>,
}

impl Keychain {
    /// Adds the credentials of one Secret. A basic-auth Secret, whose data names no host, must list the host of
    /// `repository` in its annotation: otherwise a tenant who may only use the Secret could read it by naming a host
    /// of their own.
    pub fn add(&mut self, secret: &str, data: &SecretData, repository: &Repository) -> Result<(), SecretError> {
        match data.kind.as_str() {
            "kubernetes.io/basic-auth" => {
                let scopes = scope::annotated_hosts(secret, data.registries.as_deref().unwrap_or_default())?;
                let scope = scopes.into_iter().find(|scope| scope.closeness(repository).is_some());
                let host = || repository.host().to_owned();
                let scope = scope.ok_or_else(|| SecretError::OtherHost { secret: secret.to_owned(), host: host() })?;
                let user = text(secret, data, "username")?;
                let password = text(secret, data, "password")?;
                self.entries.push((scope, Credential::Password { user, password }));
                Ok(())
            }
            "kubernetes.io/dockerconfigjson" => {
                self.add_docker_config(secret, value(secret, data, ".dockerconfigjson")?, Helpers::Refused)
            }
            "kubernetes.io/dockercfg" => {
                self.entries.extend(docker_config::parse_auths(secret, value(secret, data, ".dockercfg")?)?);
                Ok(())
            }
            _ => Err(SecretError::malformed(
                secret,
                "unsupported type; expected kubernetes.io/dockerconfigjson, kubernetes.io/dockercfg or kubernetes.io/basic-auth",
            )),
        }
    }

    /// Returns the credentials for `repository`: longest path first, exact hosts before wildcards, then in the order
    /// of the Secrets.
    pub fn matching(&self, repository: &Repository) -> Vec<&Credential> {
        let mut found: Vec<((usize, bool), &Credential)> = self
            .entries
            .iter()
            .filter_map(|(scope, credential)| scope.closeness(repository).map(|closeness| (closeness, credential)))
            .collect();
        found.sort_by_key(|(closeness, _)| std::cmp::Reverse(*closeness));
        found.into_iter().map(|(_, credential)| credential).collect()
    }

    /// Adds the entries of a docker configuration.
    pub fn add_docker_config(&mut self, from: &str, json: &[u8], helpers: Helpers) -> Result<(), SecretError> {
        self.entries.extend(docker_config::parse(from, json, helpers)?);
        Ok(())
    }

    /// Adds the credentials of another keychain, to be tried after those that match as well.
    pub fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// Adds a credential for the host of a repository.
    pub fn add_for(&mut self, repository: &Repository, credential: Credential) {
        self.entries.push((CredentialScope::of_host(repository.canonical_host()), credential));
    }
}

fn value<'a>(secret: &str, data: &'a SecretData, key: &'static str) -> Result<&'a [u8], SecretError> {
    data.data.get(key).map(Vec::as_slice).ok_or_else(|| SecretError::KeyMissing { secret: secret.to_owned(), key })
}

fn text(secret: &str, data: &SecretData, key: &'static str) -> Result<String, SecretError> {
    String::from_utf8(value(secret, data, key)?.to_vec())
        .map_err(|_| SecretError::malformed(secret, "a value is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::scope::host_matches;
    use super::*;
    use crate::oci::host::Host;

    fn docker_config(json: &str) -> SecretData {
        SecretData {
            kind: "kubernetes.io/dockerconfigjson".to_owned(),
            data: BTreeMap::from([(".dockerconfigjson".to_owned(), json.as_bytes().to_vec())]),
            ..SecretData::default()
        }
    }

    /// Adds a Secret that lists its hosts itself.
    fn add(keychain: &mut Keychain, secret: &SecretData) -> Result<(), SecretError> {
        keychain.add("s", secret, &repository("ghcr.io/a"))
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
        add(&mut keychain, &docker_config(&json)).unwrap();
        let rows = [
            ("ghcr.io/other/app", Some("host")),
            ("ghcr.io/team/app", Some("team")),
            ("ghcr.io/team", Some("team")),
            ("ghcr.io/teammate/app", Some("host")),
            ("docker.io/library/nginx", Some("hub")),
            ("registry-1.docker.io/library/nginx", Some("hub")),
            ("registry.hub.docker.com/nginx", Some("hub")),
            ("r.example:5000/a", Some("port")),
            ("r.example:05000/a", Some("port")),
            ("ghcr.io:443/other/app", Some("host")),
            ("ghcr.io:80/other/app", None),
            ("r.example/a", None),
            ("r.example:5001/a", None),
            ("ghcr.io.evil.example/a", None),
            ("evil-ghcr.io/a", None),
        ];
        for (image, want) in rows {
            let repository = repository(image);
            let found = keychain.matching(&repository);
            assert_eq!(found.first().copied().map(user).as_deref(), want, "{image}");
        }
    }

    fn user(credential: &Credential) -> String {
        match credential {
            Credential::Password { user, .. } => user.clone(),
            Credential::IdentityToken(token) => format!("token {token}"),
        }
    }

    #[test]
    fn a_host_by_name_comes_before_one_by_wildcard_and_ports_must_be_the_same() {
        let ports =
            [("*.example.com", "a.example.com:5000", false), ("*.example.com:5000", "a.example.com:5000", true)];
        for (pattern, host, want) in ports {
            assert_eq!(host_matches(&Host::read(pattern), &Host::read(host)), want, "{pattern} {host}");
        }
        let entry = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:pw")));
        let json = format!(r#"{{"auths":{{"*.example.com":{},"r.example.com":{}}}}}"#, entry("wild"), entry("named"));
        let mut keychain = Keychain::default();
        add(&mut keychain, &docker_config(&json)).unwrap();
        let found = |image: &str| keychain.matching(&repository(image)).first().copied().map(user);
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
            ("left to a helper", r#"{"auths":{"ghcr.io":{}},"credsStore":"hunter2"}"#),
        ];
        for (label, json) in rows {
            let error = add(&mut Keychain::default(), &docker_config(json)).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{label}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{label}");
        }
        let empty = SecretData { kind: "kubernetes.io/dockerconfigjson".to_owned(), ..SecretData::default() };
        assert!(matches!(add(&mut Keychain::default(), &empty), Err(SecretError::KeyMissing { .. })));
    }

    #[test]
    fn every_form_of_an_entry_is_parsed() {
        let token = format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("<token>:it"));
        let rows = [
            (r#"{"username":"bob","password":"pw"}"#.to_owned(), "bob"),
            (format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("bob:p:w")), "bob"),
            (r#"{"auth":"Ym9iOnB3","identitytoken":"it"}"#.to_owned(), "token it"),
            (token, "token it"),
        ];
        for (entry, want) in rows {
            let mut keychain = Keychain::default();
            add(&mut keychain, &docker_config(&format!(r#"{{"auths":{{"ghcr.io":{entry}}}}}"#))).unwrap();
            assert_eq!(
                keychain.matching(&repository("ghcr.io/a")).first().copied().map(user).as_deref(),
                Some(want),
                "{entry}"
            );
        }
        let old = SecretData {
            kind: "kubernetes.io/dockercfg".to_owned(),
            data: BTreeMap::from([(".dockercfg".to_owned(), br#"{"ghcr.io":{"auth":"Ym9iOnB3"}}"#.to_vec())]),
            ..SecretData::default()
        };
        let mut keychain = Keychain::default();
        add(&mut keychain, &old).unwrap();
        assert_eq!(keychain.matching(&repository("ghcr.io/a")).len(), 1);
    }

    #[test]
    fn a_users_own_file_may_leave_entries_to_a_helper() {
        let json = br#"{"auths":{"ghcr.io":{},"quay.io":{"auth":"Ym9iOnB3"}},"credsStore":"desktop"}"#;
        let mut keychain = Keychain::default();
        keychain.add_docker_config("config.json", json, Helpers::Separate).unwrap();
        assert!(keychain.matching(&repository("ghcr.io/a")).is_empty());
        assert_eq!(keychain.matching(&repository("quay.io/a")).len(), 1);
        assert!(keychain.add_docker_config("config.json", b"{}", Helpers::Separate).is_ok());
        assert!(keychain.add_docker_config("s", b"{}", Helpers::Refused).is_err());
    }

    #[test]
    fn the_helper_of_a_host_is_named() {
        let rows = [
            (r#"{"credsStore":"desktop","credHelpers":{"ghcr.io":"gh","quay.io":"q"}}"#, Some("gh")),
            (r#"{"credsStore":"desktop","credHelpers":{"quay.io":"q"}}"#, Some("desktop")),
            (r#"{"credHelpers":{"quay.io":"q"}}"#, None),
            (r#"{"credHelpers":{"*.io":"wild","ghcr.io":"gh"}}"#, Some("gh")),
            (r#"{"credsStore":"desktop","credHelpers":{"ghcr.io":""}}"#, Some("desktop")),
            (r#"{"credsStore":""}"#, None),
            ("not JSON", None),
        ];
        for (json, want) in rows {
            assert_eq!(helper_for(json.as_bytes(), &repository("ghcr.io/a")).as_deref(), want, "{json}");
        }
    }

    #[test]
    fn nothing_that_holds_a_password_prints_it() {
        let mut keychain = Keychain::default();
        let data = docker_config(r#"{"auths":{"ghcr.io":{"username":"bob","password":"hunter2"}}}"#);
        add(&mut keychain, &data).unwrap();
        assert!(!format!("{keychain:?} {data:?}").contains("hunter2"));
    }

    #[test]
    fn a_basic_auth_secret_is_sent_only_to_the_hosts_of_its_annotation() {
        let data = BTreeMap::from(
            [("username", "bob"), ("password", "hunter2")]
                .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())),
        );
        let named = |registries: Option<&str>| SecretData {
            kind: "kubernetes.io/basic-auth".to_owned(),
            registries: registries.map(str::to_owned),
            data: data.clone(),
        };
        let rows = [
            (None, "ghcr.io/a", Some("other")),
            (Some(""), "ghcr.io/a", Some("other")),
            (Some("ghcr.io"), "ghcr.io/a", None),
            (Some(" quay.io, ghcr.io "), "ghcr.io/a", None),
            (Some("quay.io"), "ghcr.io/a", Some("other")),
            (Some("ghcr.io"), "ghcr.io.evil.example/a", Some("other")),
            (Some("ghcr.io"), "ghcr.io:8443/a", Some("other")),
            (Some("r.example:5000"), "r.example:5000/a", None),
            (Some("docker.io"), "registry-1.docker.io/library/nginx", None),
            (Some("*.corp.example"), "zot.corp.example/a", None),
            (Some("*"), "localhost/a", Some("malformed")),
            (Some("ghcr.io/team"), "ghcr.io/team", Some("malformed")),
            (Some("https://ghcr.io"), "ghcr.io/a", Some("malformed")),
            (Some("hunter2 hunter2"), "ghcr.io/a", Some("malformed")),
        ];
        for (registries, image, want) in rows {
            let (mut keychain, repository) = (Keychain::default(), repository(image));
            let added = keychain.add("s", &named(registries), &repository);
            let told = added.as_ref().err().map(|error| match error {
                SecretError::OtherHost { host, .. } if *host == repository.host() => "other",
                SecretError::Malformed { .. } => "malformed",
                SecretError::OtherHost { .. } | SecretError::KeyMissing { .. } => "something else",
            });
            assert_eq!(told, want, "{registries:?} {image}");
            assert_eq!(keychain.matching(&repository).len(), usize::from(want.is_none()), "{registries:?} {image}");
            assert!(!format!("{added:?}").contains("hunter2"), "{registries:?}");
        }
    }
}
