//! Blobs: downloads, continued downloads, and checks of access.

use futures::StreamExt;
use reqwest::{Response, StatusCode, header};

use super::call::HttpCall;
use super::{HttpRegistry, a_page, is_html};
use crate::registry::net::transport;
use crate::registry::{BlobBody, BlobStream, RegistryError, Right, Sender};

impl HttpRegistry {
    /// Fetches a blob of `size` bytes, or its rest.
    pub(super) async fn receive_blob(&self, call: &HttpCall<'_>, size: u64) -> Result<BlobBody, RegistryError> {
        let response = self.request(call).await?;
        let sender = Self::sender(call, &response)?;
        let (host, what) = (call.repository.host(), call.what());
        let problem = |problem: String| {
            if sender.is_registry {
                RegistryError::Protocol { host: host.to_owned(), problem }
            } else {
                sender.other_bytes(what.clone())
            }
        };
        // The rest was requested only from the origin that sent the first part.
        let rest = call.begun.filter(|begun| begun.sender.origin == sender.origin).map(|begun| begun.bytes);
        let left = size.saturating_sub(rest.unwrap_or_default());
        let is_other_length = response.content_length().is_some_and(|length| length != left);
        if is_html(response.headers()) && sender.is_registry && is_other_length {
            return Err(a_page(call));
        }
        let from = match (response.status(), rest) {
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(from)) if sender.is_registry => {
                return Ok(BlobBody { from, sender, stream: Box::pin(futures::stream::empty()) });
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => return Err(problem(format!("it returned 416 for {what}"))),
            (StatusCode::PARTIAL_CONTENT, Some(from)) => {
                let sent = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                if !sent.is_some_and(|sent| is_rest(sent, from, size)) {
                    return Err(problem(format!("it returned a range other than bytes {from} to {size} of {what}")));
                }
                from
            }
            _ => 0,
        };
        if !sender.is_registry && response.content_length().is_some_and(|length| length != size.saturating_sub(from)) {
            return Err(sender.other_bytes(what));
        }
        let stream = self.checked_stream(response, host.to_owned(), what, from, size, sender.clone());
        Ok(BlobBody { from, sender, stream })
    }

    /// Returns the body as a stream that fails at most one chunk after `size` bytes.
    fn checked_stream(
        &self,
        response: Response,
        host: String,
        what: String,
        from: u64,
        size: u64,
        sender: Sender,
    ) -> BlobStream {
        let (mut seen, metrics) = (from, self.client.metrics());
        let chunks = response.bytes_stream().map(Some).chain(futures::stream::iter([None]));
        Box::pin(chunks.filter_map(move |chunk| {
            let checked = match chunk {
                Some(Ok(chunk)) => {
                    seen = seen.saturating_add(chunk.len() as u64);
                    metrics.registry_bytes(chunk.len());
                    let longer = || RegistryError::LongerThanNamed { what: what.clone(), size };
                    Some(if seen > size { Err(sender.veil(longer(), || what.clone())) } else { Ok(chunk) })
                }
                Some(Err(error)) => Some(Err(transport::error(&host, &error))),
                // For another origin, a wrong length is the uniform error; for the registry, the caller reports the
                // length.
                None if seen != size && !sender.is_registry => Some(Err(sender.other_bytes(what.clone()))),
                None => None,
            };
            std::future::ready(checked)
        }))
    }

    /// Checks by the response to a HEAD whether the registry grants access to a blob of `size` bytes.
    pub(super) async fn check_blob(&self, head: &HttpCall<'_>, size: u64) -> Result<Right, RegistryError> {
        let response = self.request(head).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_from_registry = Self::sender(head, &response)?.is_registry;
        // Any other response is not about the blob: an empty response or a redirect may belong to a login page.
        let is_granted = match response.status() {
            StatusCode::OK => header(header::CONTENT_LENGTH) == Some(size.to_string().as_str()),
            StatusCode::PARTIAL_CONTENT if !is_from_registry => {
                header(header::CONTENT_RANGE) == Some(format!("bytes 0-0/{size}").as_str())
            }
            _ => false,
        };
        Ok(if is_granted { Right::Granted } else { Right::Unknown })
    }
}

/// Returns true if a Content-Range (RFC 9110 section 14.4) begins at `from` and lies within `size` bytes.
fn is_rest(content_range: &str, from: u64, size: u64) -> bool {
    let rest = || {
        let (range, total) = content_range.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let is_size = |total: &str| total == "*" || number(total) == Some(size);
        Some(number(start)? == from && number(end)? < size && is_size(total.trim()))
    };
    rest().unwrap_or(false)
}
