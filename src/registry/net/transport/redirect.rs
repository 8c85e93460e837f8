//! Redirects: which of them are followed, and what a request loses on the way to another origin.

use reqwest::header;
use reqwest::{Method, Response, Url};

use super::request::{Part, Redirects, Sent, authority};
use crate::registry::RegistryError;
use crate::registry::net::egress::Reach;

/// Maximum number of redirects of one request.
pub(super) const MAX_REDIRECTS: usize = 5;

/// Returns the target of a redirect that the request follows; `None` if the response is final. A target that leaves TLS
/// or contains a user or password is an error.
pub(super) fn next(sent: &Sent<'_>, response: &Response) -> Result<Option<Url>, RegistryError> {
    let Some(next) = target(response)? else { return Ok(None) };
    let is_same_request = matches!(response.status().as_u16(), 307 | 308);
    match sent.redirects {
        Redirects::Refuse => Err(refused(
            sent,
            format!("it redirects a request for a token to {}; expected the token", authority(&next)),
        )),
        // After 301, 302 and 303 clients send GET, so the body would not be stored.
        Redirects::WithinOrigin | Redirects::SameMethod if !is_same_request => {
            let problem = format!("it redirects a {} with {}; expected 307 or 308", sent.method, response.status());
            Err(refused(sent, problem))
        }
        Redirects::WithinOrigin if next.origin() != sent.url.origin() => {
            let problem = format!("it redirects a {} to {}, another origin", sent.method, authority(&next));
            Err(refused(sent, problem))
        }
        Redirects::Probe if !is_same_request => Ok(None),
        Redirects::Probe | Redirects::Follow | Redirects::WithinOrigin | Redirects::SameMethod => Ok(Some(next)),
    }
}

/// Directs the request to `next`. Credentials are sent only to the origin (scheme, host and port) that they are meant
/// for.
pub(super) fn follow(sent: &mut Sent<'_>, next: Url, reach: Reach) {
    if next.origin() != sent.url.origin() {
        sent.authorization = None;
        sent.is_elsewhere = true;
        sent.transport = sent.transport.without_client_certificate();
        if sent.redirects == Redirects::Probe {
            (sent.method, sent.part) = (Method::GET, Part::First);
        }
    }
    (sent.url, sent.reach) = (next, reach);
}

/// Returns the error for a request that was redirected too often.
pub(super) fn too_many(sent: &Sent<'_>) -> RegistryError {
    refused(sent, format!("it redirects more than {MAX_REDIRECTS} times"))
}

fn refused(sent: &Sent<'_>, problem: String) -> RegistryError {
    RegistryError::Protocol { host: authority(&sent.url), problem }
}

fn target(response: &Response) -> Result<Option<Url>, RegistryError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let url = response.url();
    let refuse = |problem: &str| RegistryError::Protocol { host: authority(url), problem: problem.to_owned() };
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next =
        location.and_then(|text| url.join(text).ok()).ok_or_else(|| refuse("it redirects without a valid Location"))?;
    if !matches!(next.scheme(), "http" | "https") || !next.username().is_empty() || next.password().is_some() {
        return Err(refuse("it redirects to a URL that is not http or https, or contains a user or password"));
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refuse("it redirects from HTTPS to plain HTTP"));
    }
    Ok(Some(next))
}
