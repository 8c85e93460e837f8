//! One request, and the parts of its URL.

use std::net::IpAddr;

use reqwest::header::{self, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};

use crate::registry::Transport;
use crate::registry::net::budget::Account;
use crate::registry::net::egress::Reach;

/// One request.
#[derive(Debug)]
pub(in crate::registry) struct Sent {
    pub(in crate::registry) transport: Transport,
    pub(in crate::registry) method: Method,
    pub(in crate::registry) url: Url,
    pub(in crate::registry) accept: &'static str,
    pub(in crate::registry) authorization: Option<HeaderValue>,
    /// The requested bytes.
    pub(in crate::registry) part: Part,
    /// A body of type `application/x-www-form-urlencoded`.
    pub(in crate::registry) form: Option<String>,
    /// The request's label in metrics.
    pub(in crate::registry) operation: &'static str,
    pub(in crate::registry) redirects: Redirects,
    /// The account that the budget attributes the request to.
    pub(in crate::registry) account: Account,
    /// True if the registry redirected to another origin than its own.
    pub(in crate::registry) is_elsewhere: bool,
    /// Addresses to which the request may be sent.
    pub(in crate::registry) reach: Reach,
}

/// Requested part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Part {
    All,
    /// The bytes after the first `from`, requested only from the origin `of` that sent those: no other origin learns
    /// their number.
    Rest {
        from: u64,
        of: String,
    },
    /// The first byte, to learn whether the body exists, and its size.
    First,
}

/// Handling of redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Redirects {
    /// Redirects are followed, up to five.
    Follow,
    /// A redirect is an error.
    Refuse,
    /// 301, 302 and 303 are returned as the response, because they may lead to a login page. 307 and 308 to another
    /// origin are followed by a GET of the first byte, because signed URLs of blob stores are often valid for GET
    /// only.
    Probe,
}

impl Sent {
    /// Prepares the request for a client.
    pub(super) fn build(&self, client: &reqwest::Client) -> RequestBuilder {
        let mut request = client.request(self.method.clone(), self.url.clone()).header(header::ACCEPT, self.accept);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        match &self.part {
            Part::Rest { from, of } if *of == origin(&self.url) => {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            Part::First => request = request.header(header::RANGE, "bytes=0-0"),
            Part::All | Part::Rest { .. } => {}
        }
        if let Some(form) = &self.form {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(header::CONTENT_TYPE, form_type).body(form.clone());
        }
        request
    }
}

/// Returns scheme, host and port.
pub(in crate::registry) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns `host[:port]` of a URL, for messages.
pub(in crate::registry) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Returns the address of a URL whose host is a literal address. `url` has normalized every numeric form.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
