//! Check of credentials before they are stored.

use super::HttpRegistry;
use super::call::{HttpCall, Item};
use crate::oci::Repository;
use crate::registry::auth::credentials::Credential;
use crate::registry::auth::requester::{Actions, Requester};
use crate::registry::net::egress::Reach;
use crate::registry::{Access, RegistryError};

impl HttpRegistry {
    /// Checks the credential in `access` for the host of a repository, with a request for the interface itself
    /// (distribution-spec, "Determining Support"). Returns false if the registry serves that request to anyone, so that
    /// the credential may not have been checked.
    pub async fn check_login(&self, access: &Access, repository: &Repository) -> Result<bool, RegistryError> {
        let call = HttpCall { actions: Actions::Login, ..HttpCall::get(access, repository, Item::Root) };
        self.request(&call).await?;
        let credential = access.keychain.matching(repository).first().copied();
        let requester = Requester { credential, transport: &access.transport, repository, actions: call.actions };
        if self.authorizations.is_challenged(requester) {
            return Ok(true);
        }
        // Registries that also allow anonymous access reject a wrong password if it is sent.
        if let Some(Credential::Password { .. }) = credential {
            self.authorizations.assume_basic(requester, Reach::Foreign);
            self.request(&call).await?;
        }
        Ok(false)
    }
}
