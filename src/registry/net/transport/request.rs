//! One request, and the parts of its URL.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};

use super::progress::Progress;
use crate::registry::net::budget::Account;
use crate::registry::net::egress::Reach;
use crate::registry::{BlobStream, Transport};

/// One request.
#[derive(Debug)]
pub(in crate::registry) struct Sent<'a> {
    pub(in crate::registry) transport: Transport,
    pub(in crate::registry) method: Method,
    pub(in crate::registry) url: Url,
    pub(in crate::registry) accept: &'static str,
    pub(in crate::registry) authorization: Option<HeaderValue>,
    /// The requested bytes.
    pub(in crate::registry) part: Part,
    pub(in crate::registry) payload: Payload<'a>,
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

/// Part of a path after which some registries write the state of an upload.
const UPLOADS: &str = "/blobs/uploads/";

impl Sent<'_> {
    /// Returns the line of the request in the log: method, address, status code and time. Queries, paths at another
    /// origin than the registry's and the states of uploads can grant access, so they are left out; 0 is no response.
    pub(super) fn line(&self, code: u16, took: Duration) -> String {
        let (scheme, host, path) = (self.url.scheme(), authority(&self.url), self.url.path());
        let path = match path.find(UPLOADS) {
            _ if self.is_elsewhere || self.reach == Reach::Foreign => "/...",
            Some(at) => path.get(..at + UPLOADS.len()).unwrap_or_default(),
            None => path,
        };
        let code = if code == 0 { "no response".to_owned() } else { code.to_string() };
        format!("{} {scheme}://{host}{path} {code} {}ms", self.method, took.as_millis())
    }
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

/// Body of a request.
pub(in crate::registry) enum Payload<'a> {
    Nothing,
    /// A body of type `application/x-www-form-urlencoded`.
    Form(String),
    /// A body in memory, sent as it is.
    Document {
        media_type: &'a str,
        bytes: Bytes,
    },
    /// A part of a blob, from an offset: `length` bytes, which `open` returns as often as the request is sent.
    Upload {
        from: u64,
        length: u64,
        open: &'a (dyn Fn() -> BlobStream + Send + Sync),
    },
}

impl Payload<'_> {
    /// Returns the number of bytes that are read while they are sent.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Upload { length, .. } => *length,
            Self::Nothing | Self::Form(_) | Self::Document { .. } => 0,
        }
    }

    /// True for bodies that a registry stores, which takes longer than a usual response.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Document { .. } | Self::Upload { .. })
    }
}

impl std::fmt::Debug for Payload<'_> {
    /// Prints the kind and the length; a form may contain a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Form(_) => f.write_str("Form"),
            Self::Document { media_type, bytes } => write!(f, "Document({media_type}, {} bytes)", bytes.len()),
            Self::Upload { from, length, .. } => write!(f, "Upload({length} bytes from {from})"),
        }
    }
}

/// Handling of redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Redirects {
    /// Redirects are followed, up to five.
    Follow,
    /// A redirect is an error.
    Refuse,
    /// For requests that write: 307 and 308 within the origin are followed; every other redirect is an error.
    WithinOrigin,
    /// For uploads: 307 and 308 are followed, to another origin without credentials; every other redirect is an error.
    SameMethod,
    /// 301, 302 and 303 are returned as the response, because they may lead to a login page. 307 and 308 to another
    /// origin are followed by a GET of the first byte, because signed URLs of blob stores are often valid for GET
    /// only.
    Probe,
}

impl Sent<'_> {
    /// Prepares the request for a client.
    pub(super) fn build(&self, client: &reqwest::Client, progress: &Progress) -> RequestBuilder {
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
        match &self.payload {
            Payload::Nothing => request,
            Payload::Form(form) => {
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.header(header::CONTENT_TYPE, form_type).body(form.clone())
            }
            // The length of an empty body is sent too: some servers answer 411 to a PUT without it.
            Payload::Document { media_type, bytes } => request
                .header(header::CONTENT_TYPE, *media_type)
                .header(header::CONTENT_LENGTH, bytes.len())
                .body(bytes.clone()),
            Payload::Upload { from, length, open } => {
                // A PUT ends an upload, whatever its offset.
                if let (Some(last), Method::PATCH) = (length.checked_sub(1), self.method.clone()) {
                    let range = format!("{from}-{}", from.saturating_add(last));
                    request = request.header(header::CONTENT_RANGE, range);
                }
                request
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_LENGTH, *length)
                    .body(reqwest::Body::wrap_stream(progress.watch(open())))
            }
        }
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
