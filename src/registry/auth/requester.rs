//! Identity under which a request is sent, and the headers for it.

use reqwest::header::HeaderValue;

use super::credentials::Credential;
use crate::oci::Repository;
use crate::registry::net::budget::Account;
use crate::registry::{RegistryError, Transport};

/// Rights that a token is requested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Actions<'a> {
    /// None: the token only shows that the credentials are accepted.
    Login,
    /// Reading of the repository.
    Pull,
    /// Reading and writing of the repository, and reading of another repository from which a blob is mounted.
    Push { from: Option<&'a Repository> },
}

impl Actions<'_> {
    /// Returns the scopes of a token (distribution-spec, token authentication).
    pub(super) fn scopes(self, repository: &Repository) -> Vec<String> {
        let scope = |repository: &Repository, actions| format!("repository:{}:{actions}", repository.path());
        match self {
            Self::Login => Vec::new(),
            Self::Pull => vec![scope(repository, "pull")],
            Self::Push { from } => {
                let of_source = from.filter(|from| *from != repository).map(|from| scope(from, "pull"));
                std::iter::once(scope(repository, "pull,push")).chain(of_source).collect()
            }
        }
    }

    /// Describes the rights in messages.
    pub(in crate::registry) fn verb(self) -> &'static str {
        match self {
            Self::Login => "use",
            Self::Pull => "read",
            Self::Push { .. } => "write to",
        }
    }
}

/// Sender of requests: credential, transport, repository and rights of a request.
#[derive(Clone, Copy)]
pub(in crate::registry) struct Requester<'a> {
    pub(in crate::registry) credential: Option<&'a Credential>,
    pub(in crate::registry) transport: &'a Transport,
    pub(in crate::registry) repository: &'a Repository,
    pub(in crate::registry) actions: Actions<'a>,
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
            has_credentials: self.credential.is_some(),
        }
    }
}
