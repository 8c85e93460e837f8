//! Storing of credentials: in a docker configuration, or in the helper that it names.
//!
//! A file is replaced by one rename and is never readable to others. Every other field of it is kept. The directory is
//! locked meanwhile, so that of two logins at once neither is lost.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::error::LoginError;
use super::helper::Helper;
use super::places::Place;
use crate::oci::Repository;
use crate::registry::credentials::{Credential, helper_for, is_key_of, server_name};

/// Ending of the name of a file that is being written.
const NEW: &str = ".supercargo-new";

/// Place in which a credential was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The credential helper of this name.
    Helper(String),
    /// This file, without encryption.
    File(PathBuf),
}

impl Place {
    /// Stores the credential for the host of a repository, in place of an earlier one.
    pub async fn store(&self, repository: &Repository, credential: &Credential) -> Result<Stored, LoginError> {
        let (server, helper) = (server_name(repository), self.helper(repository)?);
        let entry = match &helper {
            Some(helper) => {
                helper.store(&server, credential).await.map_err(|error| self.failed(error))?;
                // As docker leaves it: the entry names the server, and its credential is in the helper.
                json!({})
            }
            None => entry(credential),
        };
        self.update(|auths| {
            auths.retain(|key, _| !is_key_of(key, repository));
            auths.insert(server.clone(), entry.clone());
        })?;
        Ok(helper.map_or_else(|| Stored::File(self.path.clone()), |helper| Stored::Helper(helper.program().to_owned())))
    }

    /// Removes the credentials for the host of a repository; returns false if there are none.
    pub async fn erase(&self, repository: &Repository) -> Result<bool, LoginError> {
        let Some(mut config) = self.parsed()? else { return Ok(false) };
        let mut servers: Vec<_> = auths(&mut config).map(|auths| auths.keys().cloned().collect()).unwrap_or_default();
        servers.retain(|key| is_key_of(key, repository));
        let mut was_there = !servers.is_empty();
        if was_there {
            self.update(|auths| auths.retain(|key, _| !is_key_of(key, repository)))?;
        }
        if let Some(helper) = self.helper(repository)? {
            servers.push(server_name(repository));
            servers.sort();
            servers.dedup();
            for server in servers {
                was_there |= helper.erase(&server).await.map_err(|error| self.failed(error))?;
            }
        }
        Ok(was_there)
    }

    /// Returns the helper to which the file leaves the host of a repository.
    fn helper(&self, repository: &Repository) -> Result<Option<Helper>, LoginError> {
        let Some(json) = self.content().map_err(|error| self.unreadable(error))? else { return Ok(None) };
        let name = helper_for(&json, repository);
        name.map(|name| Helper::find(&name).map_err(|error| self.failed(error))).transpose()
    }

    fn parsed(&self) -> Result<Option<Map<String, Value>>, LoginError> {
        let Some(json) = self.content().map_err(|error| self.unreadable(error))? else { return Ok(None) };
        // The parser's own message is dropped: it could quote a password.
        let parsed = serde_json::from_slice(&json);
        parsed.map(Some).map_err(|_| self.unusable("the docker configuration is not a JSON object"))
    }

    /// Changes the entries of the file, which is created if it does not exist.
    fn update(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), LoginError> {
        let failed = |error| LoginError::Unwritable { path: self.path.clone(), error };
        // A link is kept, as docker keeps it: dotfiles are often links.
        let path = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let lock = fs_err::File::open(directory).map_err(failed)?;
        // Some network filesystems lock no directories; there the last of two logins at once wins.
        let _ = lock.lock();
        let mut config = self.parsed()?.unwrap_or_default();
        change(auths(&mut config).ok_or_else(|| self.unusable("\"auths\" is not a JSON object"))?);
        replace(&path, &serialized(&config).map_err(|error| failed(error.into()))?).map_err(failed)
    }

    fn unusable(&self, problem: &str) -> LoginError {
        LoginError::Unusable { path: self.path.clone(), problem: problem.to_owned() }
    }
}

/// Returns the entries of a configuration, which are created if there are none; `None` if they are of another type.
fn auths(config: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let auths = config.entry("auths").or_insert(Value::Null);
    if auths.is_null() {
        *auths = json!({});
    }
    auths.as_object_mut()
}

/// Returns the entry of a credential, in docker's form.
fn entry(credential: &Credential) -> Value {
    match credential {
        Credential::Password { user, password } => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
        Credential::IdentityToken(token) => json!({"identitytoken": token}),
    }
}

/// Serializes a configuration as docker does: indented by tabs.
fn serialized(config: &Map<String, Value>) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    config.serialize(&mut Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"\t")))?;
    Ok(json)
}

/// Replaces a file by one rename. The directory is locked, so a file with the temporary name is a leftover.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(NEW);
    let new = path.with_file_name(name);
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let written = (|| {
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&new, path)
    })();
    if written.is_err() {
        // The write has failed already; what is left is removed by the next one.
        let _ = fs_err::remove_file(&new);
    }
    written
}
