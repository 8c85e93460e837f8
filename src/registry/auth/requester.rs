//! Identity under which a request is sent, and the headers for it.

use reqwest::header::HeaderValue;

use super::credentials::Credential;
use crate::oci::Repository;
use crate::registry::net::budget::Account;
use crate::registry::{RegistryError, Transport};

/// Sender of requests: credential, transport and repository of a request.
#[derive(Clone, Copy)]
pub(in crate::registry) struct Requester<'a> {
    pub(in crate::registry) credential: Option<&'a Credential>,
    pub(in crate::registry) transport: &'a Transport,
    pub(in crate::registry) repository: &'a Repository,
}

impl Requester<'_> {
    /// Returns the account to which the budget attributes the requests.
    pub(in crate::registry) fn account(&self) -> Account {
        let credential = self.credential.map(Credential::identity);
        Account::new(credential.as_ref(), &self.transport.id(), self.repository.api_host(), self.repository.path())
    }

    /// Returns the header for user and password (RFC 7617).
    pub(super) fn basic_header(self) -> Result<HeaderValue, RegistryError> {
        let basic = self.credential.and_then(Credential::basic).ok_or_else(|| self.unauthorized())?;
        self.secret_header(&format!("Basic {basic}"))
    }

    /// Returns a header whose value is never logged.
    pub(super) fn secret_header(self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Protocol {
            host: self.repository.host().to_owned(),
            problem: "invalid characters in the credentials or token".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns the error for a request that the registry rejected with 401.
    pub(in crate::registry) fn unauthorized(self) -> RegistryError {
        RegistryError::Unauthorized {
            host: self.repository.host().to_owned(),
            repository: self.repository.path().to_owned(),
            wanted: if self.credential.is_some() { "other credentials" } else { "credentials" },
        }
    }
}
