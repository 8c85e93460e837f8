//! Files outside of registries, fetched under the same rules.

use bytes::Bytes;
use reqwest::{Method, Url};

use super::HttpRegistry;
use crate::registry::net::budget::Account;
use crate::registry::net::egress::Reach;
use crate::registry::net::transport::{Part, Payload, Redirects, Sent, authority, refused};
use crate::registry::{RegistryError, Transport};

impl HttpRegistry {
    /// Fetches the file at a URL, at most `limit` bytes; `None` if there is none. No credentials are sent. An `http`
    /// URL is fetched without TLS, if the operator allows it.
    pub async fn file(&self, url: &Url, limit: u64) -> Result<Option<Bytes>, RegistryError> {
        let (host, what) = (authority(url), url.to_string());
        let transport = if url.scheme() == "http" { Transport::PlainHttp } else { Transport::default() };
        let sent = Sent {
            account: Account::new(None, &transport.id(), &host, ""),
            is_elsewhere: false,
            transport,
            method: Method::GET,
            url: url.clone(),
            accept: "*/*",
            authorization: None,
            part: Part::All,
            payload: Payload::Nothing,
            operation: "file",
            redirects: Redirects::Follow,
            reach: Reach::Named,
        };
        let response = self.client.send(sent).await?;
        match response.status() {
            status if status.is_success() => {
                let body = self.client.body(response, &host, &what, limit, "").await?;
                Ok(Some(body.bytes))
            }
            // Object stores answer 403 for a missing object if the client may not list objects.
            status if matches!(status.as_u16(), 403 | 404) => Ok(None),
            _ => Err(refused(&response, &host, || what)),
        }
    }
}
