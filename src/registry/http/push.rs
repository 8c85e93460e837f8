//! [`Push`] over HTTP (distribution-spec, "Push"): the same transport, budget and rules for hosts as for reading.
//!
//! ```text
//! HEAD blob ── 200 ─▶ GET of the first byte ── 206 ─▶ nothing to do
//!    │ 404                  │ 404
//! POST uploads ─▶ Location ─▶ PUT (small) or PATCH … PUT (large) ─▶ 201 ─▶ HEAD blob
//!                    │ another origin: without credentials, and without private addresses
//! ```

use reqwest::{Method, Response, StatusCode, header};

use super::HttpRegistry;
use super::call::{Content, HttpCall, Item};
use crate::oci::{Descriptor, Digest, Repository};
use crate::registry::net::transport::refused;
use crate::registry::retry::repeated;
use crate::registry::{Access, BlobSource, ManifestName, Push, RegistryError, Stored};

mod body;
mod location;
mod upload;

pub(super) use location::UploadUrl;

/// Maximum size of an error response that is read for its code, in bytes.
const MAX_ERROR: u64 = 16 * 1024;
/// Maximum length of an error code that is shown.
const MAX_CODE: usize = 64;

/// Answer to a HEAD of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// The response is not about the blob: another origin's, or that of a registry without HEAD.
    Unknown,
}

impl HttpRegistry {
    /// Finds out whether the repository holds a blob.
    async fn held(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Held, RegistryError> {
        let head = HttpCall::write(access, repository, Method::HEAD, Item::Blob(&descriptor.digest));
        let response = match self.request(&head).await {
            Ok(response) => response,
            Err(RegistryError::NotFound(_)) => return Ok(Held::No),
            Err(error) => return Err(error),
        };
        let sender = Self::sender(&head, &response)?;
        if response.status() != StatusCode::OK || !sender.is_registry {
            return Ok(Held::Unknown);
        }
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length {
            Some(length) if length != descriptor.size.to_string() => Err(RegistryError::Protocol {
                host: repository.host().to_owned(),
                problem: format!("{} has {length} bytes there, not {}", head.what(), descriptor.size),
            }),
            Some(_) => Ok(Held::Yes),
            None => Ok(Held::Unknown),
        }
    }

    /// Returns true if the repository holds a blob that need not be sent: the response to a HEAD may come from a cache
    /// of descriptors that survived the removal of the bytes, so the first byte is read too.
    async fn has_bytes(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        if self.held(access, repository, descriptor).await? != Held::Yes {
            return Ok(false);
        }
        self.is_readable(access, repository, descriptor).await
    }

    /// Finds out if the first byte of a blob can be read. Where this client may not look, the HEAD decides.
    async fn is_readable(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        if descriptor.size == 0 {
            return Ok(true);
        }
        let get = HttpCall::write(access, repository, Method::GET, Item::Blob(&descriptor.digest));
        let response = match self.request(&HttpCall { is_probe: true, ..get }).await {
            Ok(response) => response,
            Err(
                error @ (RegistryError::Unavailable { .. }
                | RegistryError::RateLimited { .. }
                | RegistryError::HeldBack { .. }),
            ) => return Err(error),
            Err(RegistryError::NotFound(_) | RegistryError::Protocol { .. }) => return Ok(false),
            // The bytes may be at a host that is closed to this client, or to these credentials.
            Err(_) => return Ok(true),
        };
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let total = header(header::CONTENT_RANGE).and_then(|range| range.trim().strip_prefix("bytes 0-0/"));
                total.is_some_and(|total| total == "*" || total == descriptor.size.to_string())
            }
            StatusCode::OK => header(header::CONTENT_LENGTH) == Some(descriptor.size.to_string().as_str()),
            _ => false,
        })
    }

    /// Fails if the registry does not hold a blob that it has accepted.
    async fn check_held(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<(), RegistryError> {
        match repeated(|| self.held(access, repository, descriptor)).await? {
            Held::Yes | Held::Unknown => Ok(()),
            Held::No => Err(RegistryError::Protocol {
                host: repository.host().to_owned(),
                problem: format!("it accepted blob {} but returns 404 for it", descriptor.digest.short()),
            }),
        }
    }

    /// Converts the response to a request that was to store something.
    pub(super) async fn refusal(&self, call: &HttpCall<'_>, response: Response) -> RegistryError {
        let (host, status) = (call.repository.host(), response.status());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return refused(&response, host, || call.what());
        }
        // The text of another origin is not shown.
        let is_from_registry = call.is_at_registry(response.url()).unwrap_or(false);
        let code = if is_from_registry { self.error_code(call, response).await } else { None };
        let answer = code.map_or_else(|| status.to_string(), |code| format!("{status}, {code}"));
        RegistryError::Refused { host: host.to_owned(), what: call.what(), answer }
    }

    /// Reads the code of an error (distribution-spec, "Error Codes"); its other texts are the registry's own.
    async fn error_code(&self, call: &HttpCall<'_>, response: Response) -> Option<String> {
        let body = self
            .client
            .body(response, call.repository.host(), "an error", MAX_ERROR, &call.access.namespace)
            .await
            .ok()?;
        let document: serde_json::Value = serde_json::from_slice(&body.bytes).ok()?;
        let code = document.pointer("/errors/0/code")?.as_str()?;
        let is_code = code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_code.then(|| code.to_owned())
    }

    async fn mount(
        &self,
        access: &Access,
        repository: &Repository,
        from: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let item = Item::Uploads(Some((&descriptor.digest, from)));
        let call = HttpCall::write(access, repository, Method::POST, item);
        let (response, credential) = match self.request_by_any(&call).await {
            Ok(answered) => answered,
            // A registry may refuse a mount because the other repository may not be read.
            Err(
                RegistryError::Unauthorized { .. } | RegistryError::Forbidden { .. } | RegistryError::Refused { .. },
            ) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::CREATED => match self.held(access, repository, descriptor).await? {
                Held::Yes | Held::Unknown => self.is_readable(access, repository, descriptor).await,
                Held::No => Ok(false),
            },
            // An upload has begun instead. It is given up: the caller decides how to go on.
            StatusCode::ACCEPTED => {
                if let Ok(upload) = UploadUrl::of(&self.client, &call, &response) {
                    self.give_up(access, repository, &upload, credential).await;
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Ends an upload, so that the registry need not keep its bytes.
    async fn give_up(&self, access: &Access, repository: &Repository, upload: &UploadUrl, credential: usize) {
        let call = HttpCall::write(access, repository, Method::DELETE, Item::Upload(upload, None));
        // A registry removes unfinished uploads by itself, so a failure needs no report.
        let _ = self.request(&HttpCall { credential: Some(credential), ..call }).await;
    }

    async fn put(&self, call: &HttpCall<'_>, digest: &Digest) -> Result<Stored, RegistryError> {
        let response = self.request(call).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        check_digest(call, &response, digest)?;
        Ok(Stored { subject: header("oci-subject").and_then(|text| text.parse().ok()) })
    }
}

/// Fails if the registry reports another digest than that of the bytes that were sent.
fn check_digest(call: &HttpCall<'_>, response: &Response, digest: &Digest) -> Result<(), RegistryError> {
    let stored = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    match stored.map(str::parse::<Digest>) {
        None => Ok(()),
        Some(Ok(stored)) if stored == *digest => Ok(()),
        Some(_) => Err(RegistryError::Protocol {
            host: call.repository.host().to_owned(),
            problem: format!("it stored {} under another digest than {}", call.what(), digest.short()),
        }),
    }
}

fn new_manifest<'a>(
    access: &'a Access,
    repository: &'a Repository,
    name: ManifestName<'a>,
    media_type: &'a str,
    bytes: bytes::Bytes,
) -> (Digest, HttpCall<'a>) {
    let digest = Digest::of(&bytes);
    let call = HttpCall::write(access, repository, Method::PUT, Item::NewManifest(name));
    (digest, HttpCall { content: Content::Document(media_type, bytes), ..call })
}

impl Push for HttpRegistry {
    async fn has_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        repeated(|| self.has_bytes(access, repository, descriptor)).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        repository: &Repository,
        from: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        repeated(|| self.mount(access, repository, from, descriptor)).await
    }

    async fn upload_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), RegistryError> {
        upload::Upload::new(self, access, repository, descriptor, source).run().await
    }

    async fn put_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        name: ManifestName<'_>,
        media_type: &str,
        bytes: bytes::Bytes,
    ) -> Result<Stored, RegistryError> {
        let (digest, call) = new_manifest(access, repository, name, media_type, bytes);
        repeated(|| self.put(&call, &digest)).await
    }

    async fn put_shared_tag(
        &self,
        access: &Access,
        repository: &Repository,
        tag: &str,
        media_type: &str,
        bytes: bytes::Bytes,
    ) -> Result<Stored, RegistryError> {
        let (digest, call) = new_manifest(access, repository, ManifestName::Tag(tag), media_type, bytes);
        self.put(&call, &digest).await
    }
}
