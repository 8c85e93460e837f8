//! Answers of other origins than the registry.

use reqwest::Response;

use super::call::Call;
use super::{HttpRegistry, MAX_PAGE_BYTES};
use crate::registry::{RegistryError, Sender, transport};

impl HttpRegistry {
    pub(super) fn sender(call: &Call<'_>, response: &Response) -> Result<Sender, RegistryError> {
        let (url, origin) = (response.url(), transport::origin(response.url()));
        Ok(Sender { host: transport::authority(url), is_registry: origin == transport::origin(&call.url()?), origin })
    }

    /// Fails for an answer that nothing may follow from: of another host, inside. A digest in it would be asked for at the
    /// registry, which would learn it.
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

    /// The bytes of a page of a list. Of another origin it is not told what is wrong with them.
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
