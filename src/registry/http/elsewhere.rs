//! Responses from origins other than the registry.

use reqwest::Response;

use super::call::Call;
use super::{HttpRegistry, MAX_PAGE_BYTES};
use crate::registry::{RegistryError, Sender, transport};

impl HttpRegistry {
    pub(super) fn sender(call: &Call<'_>, response: &Response) -> Result<Sender, RegistryError> {
        let (url, origin) = (response.url(), transport::origin(response.url()));
        Ok(Sender { host: transport::authority(url), is_registry: origin == transport::origin(&call.url()?), origin })
    }

    /// Fails for a response from another host at an address that is not public, because nothing may be derived from
    /// it: a digest in it would be requested from the registry, whose owner would learn it.
    pub(super) fn check_open(
        &self,
        call: &Call<'_>,
        response: &Response,
        sender: &Sender,
    ) -> Result<(), RegistryError> {
        let is_same_host = response.url().host_str() == call.url()?.host_str();
        if sender.is_registry || is_same_host || self.client.is_public(response) {
            return Ok(());
        }
        let problem = format!(
            "it redirects {} to {}; tags, manifests and lists are accepted from the registry's own host or a public one only, \
             also with --allow-host",
            call.what(),
            sender.host
        );
        Err(RegistryError::Protocol { host: call.repository.host().to_owned(), problem })
    }

    /// Reads and parses a page of a list. An error about a page from another origin does not describe the page.
    pub(super) async fn page<T>(
        &self,
        call: &Call<'_>,
        response: Response,
        parse: impl FnOnce(&[u8]) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let sender = Self::sender(call, &response)?;
        self.check_open(call, &response, &sender)?;
        let body = self.client.body(response, call.repository.host(), &call.what(), MAX_PAGE_BYTES).await;
        match body.and_then(|body| parse(&body.bytes)) {
            Err(RegistryError::TooLarge { .. } | RegistryError::Protocol { .. }) if !sender.is_registry => {
                let problem = format!("it redirects {} to {}, which sent no such list", call.what(), sender.host);
                Err(RegistryError::Protocol { host: call.repository.host().to_owned(), problem })
            }
            result => result,
        }
    }
}
