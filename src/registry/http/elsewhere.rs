//! Responses from origins other than the registry.

use reqwest::Response;

use super::HttpRegistry;
use super::call::HttpCall;
use crate::registry::net::transport;
use crate::registry::{RegistryError, Sender};

/// Maximum size of a page, in bytes.
const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;

impl HttpRegistry {
    pub(super) fn sender(call: &HttpCall<'_>, response: &Response) -> Result<Sender, RegistryError> {
        let (url, origin) = (response.url(), transport::origin(response.url()));
        Ok(Sender { host: transport::authority(url), is_registry: origin == transport::origin(&call.url()?), origin })
    }

    /// Fails for a response from another host at an address that is not public, because nothing may be derived from
    /// it: a digest in it would be requested from the registry, whose owner would learn it.
    pub(super) fn check_open(
        &self,
        call: &HttpCall<'_>,
        response: &Response,
        sender: &Sender,
    ) -> Result<(), RegistryError> {
        let is_same_host = response.url().host_str() == call.url()?.host_str();
        if sender.is_registry || is_same_host || self.client.is_public(response) {
            return Ok(());
        }
        let problem = format!(
            "it redirects {} to {}; tags, manifests and lists are accepted only from the registry's own host or a public host, \
             even with --allow-host",
            call.what(),
            sender.host
        );
        Err(RegistryError::Protocol { host: call.repository.host().to_owned(), problem })
    }

    /// Reads and parses a page of a list. An error about a page from another origin does not describe the page.
    pub(super) async fn page<T>(
        &self,
        call: &HttpCall<'_>,
        response: Response,
        parse: impl FnOnce(&[u8]) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let sender = Self::sender(call, &response)?;
        self.check_open(call, &response, &sender)?;
        let (host, namespace) = (call.repository.host(), &call.access.namespace);
        let body = self.client.body(response, host, &call.what(), MAX_PAGE_BYTES, namespace).await;
        match body.and_then(|body| parse(&body.bytes)) {
            Err(RegistryError::TooLarge { .. } | RegistryError::Protocol { .. }) if !sender.is_registry => {
                let problem = format!(
                    "it redirects {} to {}, whose response is not a list of this kind",
                    call.what(),
                    sender.host
                );
                Err(RegistryError::Protocol { host: call.repository.host().to_owned(), problem })
            }
            result => result,
        }
    }
}
