//! Docker configurations (`config.json`, `.dockerconfigjson`), and their older form (`.dockercfg`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credential::{Credential, SecretError};
use super::scope::CredentialScope;
use crate::oci::Repository;

/// Docker Hub's key in docker configurations: the address of an interface that is no longer used.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// User in place of an identity token's, in credential helpers and in the `auth` of some clients.
pub const TOKEN_USER: &str = "<token>";

/// Treatment of credential helpers in a docker configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helpers {
    /// In a Secret: rejected, because the credentials are not in the Secret.
    Refused,
    /// In a user's own file: left to `login`, which runs them. The file has entries of many kinds.
    Separate,
}

/// Parses a docker configuration. The parser's own message is dropped: it could quote a password.
pub(super) fn parse(
    from: &str,
    json: &[u8],
    helpers: Helpers,
) -> Result<Vec<(CredentialScope, Credential)>, SecretError> {
    let malformed = |problem| Err(SecretError::malformed(from, problem));
    let Ok(config) = serde_json::from_slice::<DockerConfig>(json) else {
        return malformed("the docker configuration is not valid JSON");
    };
    let has_helper = config.creds_store.is_some() || !config.cred_helpers.is_empty();
    match (config.auths, helpers) {
        (None, Helpers::Separate) => Ok(Vec::new()),
        (None, Helpers::Refused) => malformed("the docker configuration has no \"auths\""),
        // Ignoring credentials that the document delegates to a helper would mean anonymous access.
        (Some(auths), Helpers::Refused) if has_helper && auths.values().any(DockerAuth::is_empty) => malformed(
            "it leaves credentials to a credential helper, and helpers are never executed; write them into \"auths\"",
        ),
        (Some(auths), Helpers::Separate | Helpers::Refused) => credentials(from, auths),
    }
}

/// Parses the `auths` alone, which are the whole of a `.dockercfg`.
pub(super) fn parse_auths(from: &str, json: &[u8]) -> Result<Vec<(CredentialScope, Credential)>, SecretError> {
    let auths = serde_json::from_slice(json);
    credentials(from, auths.map_err(|_| SecretError::malformed(from, ".dockercfg is not valid JSON"))?)
}

fn credentials(
    from: &str,
    auths: BTreeMap<String, DockerAuth>,
) -> Result<Vec<(CredentialScope, Credential)>, SecretError> {
    let mut found = Vec::new();
    for (key, entry) in auths {
        found.extend(entry.credential(from)?.map(|credential| (CredentialScope::of_key(&key), credential)));
    }
    Ok(found)
}

/// Returns the name of the credential helper to which a docker configuration leaves the host of `repository`. Only
/// `login` runs helpers, and only those of a user's own file.
pub fn helper_for(json: &[u8], repository: &Repository) -> Option<String> {
    let config: DockerConfig = serde_json::from_slice(json).ok()?;
    let closeness = |key: &str| CredentialScope::of_key(key).closeness(repository);
    let named = config.cred_helpers.into_iter().filter(|(_, helper)| !helper.is_empty());
    let named = named.filter_map(|(key, helper)| Some((closeness(&key)?, helper))).max_by_key(|(close, _)| *close);
    named.map(|(_, helper)| helper).or(config.creds_store).filter(|helper| !helper.is_empty())
}

/// Returns the key of a registry in docker configurations and credential helpers, as docker spells it.
pub fn server_name(repository: &Repository) -> String {
    let host = repository.canonical_host();
    if host.is_docker_hub() { DOCKER_HUB_KEY.to_owned() } else { host.to_string() }
}

/// Returns true if a key of `auths` is a spelling of the host of `repository`, without a path.
pub fn is_key_of(key: &str, repository: &Repository) -> bool {
    CredentialScope::of_key(key) == CredentialScope::of_host(repository.canonical_host())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    auths: Option<BTreeMap<String, DockerAuth>>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl DockerAuth {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken].iter().all(|field| field.is_none())
    }

    /// Returns the entry's credential. As in the docker client, an identity token takes precedence over `auth`, and
    /// `auth` over `username` and `password`. An entry without any of them refers to a credential store, which is not
    /// read.
    fn credential(self, secret: &str) -> Result<Option<Credential>, SecretError> {
        if let Some(token) = self.identitytoken.filter(|token| !token.is_empty()) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let (user, password) =
                pair.ok_or_else(|| SecretError::malformed(secret, "an \"auth\" is not base64 of user:password"))?;
            return Ok(Some(match user {
                // Some clients write an identity token in this form.
                TOKEN_USER => Credential::IdentityToken(password.to_owned()),
                _ => Credential::Password { user: user.to_owned(), password: password.to_owned() },
            }));
        }
        match (self.username, self.password) {
            (Some(user), Some(password)) => Ok(Some(Credential::Password { user, password })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                Err(SecretError::malformed(secret, "an entry has only one of username and password"))
            }
        }
    }
}
