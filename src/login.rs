//! A user's own docker configurations, and the credential helpers that they name.
//!
//! Only commands use this module: it is in the tier of the process, so neither the controller nor a pass can import
//! it. A Secret of a cluster can therefore never cause a program to be started; `registry::credentials` refuses one
//! that leaves credentials to a helper.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::mutex::lock;
use crate::oci::Repository;
use crate::registry::credentials::{Credential, Helpers, Keychain, SecretError, helper_for, server_name};

mod error;
mod helper;
mod places;
mod store;

pub use error::{HelperError, LoginError};
pub use places::Place;
pub use store::Stored;

use helper::Helper;

/// Docker configurations, in the order in which they are searched for credentials.
#[derive(Default)]
pub struct Logins {
    configs: Vec<Config>,
    /// Answers of helpers by helper and server, so that a command with many artifacts runs each once.
    answers: Mutex<HashMap<(String, String), Answer>>,
}

/// The answer of a helper. Concurrent requests for it wait for the first.
type Answer = Arc<OnceCell<Option<Credential>>>;

/// One docker configuration, as read.
struct Config {
    path: PathBuf,
    json: Vec<u8>,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.configs.iter().map(|config| &config.path)).finish()
    }
}

impl Logins {
    /// Reads the configurations at these places; the ones that do not exist are left out, unless an option or a
    /// variable names them.
    pub fn read(places: &[Place]) -> Result<Self, LoginError> {
        let mut configs = Vec::new();
        for place in places {
            let Some(json) = place.read()? else { continue };
            let config = Config { path: place.path.clone(), json };
            config.add_to(&mut Keychain::default())?;
            configs.push(config);
        }
        Ok(Self { configs, answers: Mutex::default() })
    }

    /// Adds the credentials for one repository, of the first file that has any, and returns their origins for messages.
    ///
    /// As in docker, the helper of a host comes before an entry of the same file. A helper that fails is an error:
    /// without its answer, requests would be anonymous, or be sent in the name of another user.
    pub async fn add_to(&self, keychain: &mut Keychain, repository: &Repository) -> Result<Vec<String>, LoginError> {
        let mut origins = Vec::new();
        for config in &self.configs {
            let mut own = Keychain::default();
            if let Some(name) = helper_for(&config.json, repository) {
                let failed = |error| LoginError::Helper { path: config.path.clone(), error };
                let helper = Helper::find(&name).map_err(failed)?;
                if let Some(credential) = self.answer(&helper, &server_name(repository)).await.map_err(failed)? {
                    origins.push(helper.program().to_owned());
                    own.add_for(repository, credential);
                }
            }
            config.add_to(&mut own)?;
            let credentials = own.matching(repository).len();
            if credentials > origins.len() {
                origins.push(config.path.display().to_string());
            }
            if credentials > 0 {
                keychain.append(own);
                break;
            }
        }
        let from = if origins.is_empty() { "none, requests are anonymous".to_owned() } else { origins.join(", then ") };
        tracing::debug!("credentials for {repository}: {from}");
        Ok(origins)
    }

    async fn answer(&self, helper: &Helper, server: &str) -> Result<Option<Credential>, HelperError> {
        let answer = {
            // The map is consistent between any two statements, so a poisoned lock is safe to use.
            let mut answers = lock(&self.answers);
            Arc::clone(answers.entry((helper.program().to_owned(), server.to_owned())).or_default())
        };
        answer.get_or_try_init(|| helper.get(server)).await.cloned()
    }
}

impl Config {
    fn add_to(&self, keychain: &mut Keychain) -> Result<(), LoginError> {
        let unusable = |error: SecretError| LoginError::unusable(&self.path, &error);
        keychain.add_docker_config("", &self.json, Helpers::Separate).map_err(unusable)
    }
}

#[cfg(test)]
mod tests;
