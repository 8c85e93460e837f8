//! Headers of an upload: its URL, and the bytes that the registry holds (distribution-spec, "Pushing Blobs").

use reqwest::header::{self, HeaderMap};
use reqwest::{Response, Url};

use crate::oci::Digest;
use crate::registry::RegistryError;
use crate::registry::http::call::HttpCall;
use crate::registry::net::egress::Reach;
use crate::registry::net::transport::Client;

/// Maximum length of the URL of an upload. Registries put a signed state into it.
const MAX_URL: usize = 8 * 1024;

/// URL of an upload, as the registry named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry::http) struct UploadUrl {
    url: Url,
    /// Addresses to which requests for it may go: the registry has chosen the URL.
    pub(in crate::registry::http) reach: Reach,
}

impl UploadUrl {
    /// Returns the URL, with the digest that completes the upload.
    pub(in crate::registry::http) fn with_digest(&self, digest: Option<&Digest>) -> Url {
        let mut url = self.url.clone();
        if let Some(digest) = digest {
            url.query_pairs_mut().append_pair("digest", &digest.to_string());
        }
        url
    }

    /// Reads `Location`. Credentials are sent to it only if it has the registry's origin, and private addresses are
    /// reachable only at the registry's own host.
    pub(super) fn of(client: &Client, call: &HttpCall<'_>, response: &Response) -> Result<Self, RegistryError> {
        let url = target(response.url(), response.headers(), call.repository.host())?;
        let registry = call.at_registry("")?;
        let reach =
            if url.host_str() == registry.host_str() { client.reach_of_named(response) } else { Reach::Foreign };
        Ok(Self { url, reach })
    }
}

/// Returns the URL in `Location`, which may be relative to the one that was requested.
fn target(requested: &Url, headers: &HeaderMap, host: &str) -> Result<Url, RegistryError> {
    let refuse = |problem: &str| RegistryError::Protocol { host: host.to_owned(), problem: problem.to_owned() };
    let text = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let text = text.ok_or_else(|| refuse("it names no Location of the upload"))?;
    let mut url = requested.join(text).map_err(|_| refuse("the Location of the upload is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the Location of the upload is not http or https, or contains a user or password"));
    }
    if requested.scheme() == "https" && url.scheme() != "https" {
        return Err(refuse("the Location of the upload leads from HTTPS to plain HTTP; check the registry's proxy"));
    }
    if url.as_str().len() > MAX_URL {
        return Err(refuse("the Location of the upload is too long"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Returns the number of bytes in a `Range: 0-<last>` header; `None` without the header. Registries write an empty
/// upload as `0-0`, which is also an upload of one byte, or as `0--1`.
pub(super) fn stored(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let range = text.strip_prefix("bytes=").unwrap_or(text);
    if matches!(range, "0-0" | "0--1") {
        return Ok(Some(0));
    }
    let last = range.strip_prefix("0-").filter(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let last = last.and_then(|last| last.parse::<u64>().ok());
    last.map(|last| Some(last.saturating_add(1)))
        .ok_or_else(|| format!("invalid Range of the upload {text:?}; expected 0-<last byte>"))
}

/// Returns the smallest part that the registry accepts (`OCI-Chunk-Min-Length`).
pub(super) fn minimum(headers: &HeaderMap) -> Option<u64> {
    headers.get("oci-chunk-min-length")?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_url_of_an_upload_never_leaves_tls_and_has_no_user() {
        let requested = Url::parse("https://r.example:5000/v2/a/blobs/uploads/").unwrap();
        let long = format!("/{}", "x".repeat(MAX_URL));
        let rows = [
            ("/v2/a/blobs/uploads/1?_state=x%3D", Some("https://r.example:5000/v2/a/blobs/uploads/1?_state=x%3D")),
            ("1", Some("https://r.example:5000/v2/a/blobs/uploads/1")),
            ("https://store.example/x#part", Some("https://store.example/x")),
            ("//store.example/x", Some("https://store.example/x")),
            ("http://r.example:5000/x", None),
            ("https://u@r.example:5000/x", None),
            ("https://:p@r.example:5000/x", None),
            ("file:///etc/passwd", None),
            ("https://[", None),
            (long.as_str(), None),
        ];
        for (location, want) in rows {
            let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_str(location).unwrap())]);
            let found = target(&requested, &headers, "r.example");
            assert_eq!(found.as_ref().ok().map(Url::as_str), want, "{location}");
            assert!(found.is_ok() || matches!(found, Err(RegistryError::Protocol { .. })), "{location}");
        }
        assert!(target(&requested, &HeaderMap::new(), "r.example").is_err());
    }

    #[test]
    fn the_digest_is_added_to_the_query_as_it_is() {
        let url = Url::parse("https://r.example/u?_state=a%3Db+c&x").unwrap();
        let upload = UploadUrl { url, reach: Reach::Named };
        let digest = Digest::of(b"x");
        let want = format!("https://r.example/u?_state=a%3Db+c&x&digest=sha256%3A{}", digest.hex());
        assert_eq!(upload.with_digest(Some(&digest)).as_str(), want);
        assert_eq!(upload.with_digest(None).as_str(), "https://r.example/u?_state=a%3Db+c&x");
    }

    #[test]
    fn the_range_of_an_upload_starts_at_its_first_byte() {
        let rows = [
            ("0-9", Ok(Some(10))),
            ("bytes=0-9", Ok(Some(10))),
            ("0-0", Ok(Some(0))),
            ("0--1", Ok(Some(0))),
            ("1-9", Err(())),
            ("0-", Err(())),
            ("0-+9", Err(())),
            ("9", Err(())),
            ("", Err(())),
            ("0-99999999999999999999999", Err(())),
        ];
        for (text, want) in rows {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(text))]);
            assert_eq!(stored(&headers).map_err(drop), want, "{text}");
        }
        assert_eq!(stored(&HeaderMap::new()), Ok(None));
    }
}
