//! Access to registries; the only boundary of this crate that tests may fake.
//!
//! [`Registry`] transfers bytes and guarantees nothing about them. Their digest, size and format are checked here, in
//! [`resolve`] and [`manifest`], and in [`crate::blob`], for every implementation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{self, Descriptor, Digest, Document, Manifest, Platform, Reference, Repository, TagSelection};
use crate::permits::Seat;

pub mod address;
mod authorization;
mod budget;
mod challenge;
pub mod credentials;
pub mod egress;
mod error;
pub mod host_pattern;
pub mod http;
mod local;
mod recent;
mod sender;
pub mod tls;
mod transport;

pub use error::RegistryError;
pub use local::LocalFile;
pub use sender::{Begun, Sender};

use credentials::Keychain;
use tls::TlsOptions;

/// Maximum number of indexes on the way to a manifest: one, and at most one nested in it.
const MAX_INDEXES: usize = 2;

/// Maximum number of tags listed for a repository.
pub const MAX_TAGS: usize = 10_000;
/// Maximum number of referrers listed for a manifest.
pub const MAX_REFERRERS: usize = 1000;

/// Credentials and transport with which one object accesses its registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Credentials in the order in which they are tried.
    pub keychain: Keychain,
    /// TLS or plain HTTP.
    pub transport: Transport,
}

/// TLS or plain HTTP, as configured; there is no fallback.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTPS.
    Tls(TlsOptions),
    /// HTTP without TLS.
    PlainHttp,
}

impl Default for Transport {
    fn default() -> Self {
        Self::Tls(TlsOptions::default())
    }
}

/// Identity of a transport. State of a host is shared only between equal transports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TransportId {
    /// HTTPS, with the value of [`TlsOptions::identity`].
    Tls(Option<Digest>),
    /// HTTP without TLS.
    PlainHttp,
}

impl Transport {
    /// Returns the same transport without the client certificate, for a host that must not receive it.
    pub(crate) fn without_client_certificate(&self) -> Self {
        match self {
            Self::Tls(options) => Self::Tls(options.without_client_certificate()),
            Self::PlainHttp => Self::PlainHttp,
        }
    }

    pub(crate) fn id(&self) -> TransportId {
        match self {
            Self::Tls(options) => TransportId::Tls(options.identity()),
            Self::PlainHttp => TransportId::PlainHttp,
        }
    }
}

impl Access {
    /// Returns the origin of the content of `repository`: transport and host.
    ///
    /// A granted right applies only to bytes of the same origin, so everything that decides whether a response can be
    /// trusted must be part of the origin.
    pub fn origin(&self, repository: &Repository) -> String {
        let host = repository.api_host();
        match self.transport.id() {
            TransportId::PlainHttp => format!("http://{host}"),
            TransportId::Tls(None) => format!("https://{host}"),
            TransportId::Tls(Some(options)) => format!("https://{host} as {options}"),
        }
    }
}

/// A repository and a digest in it. Only [`resolve`] creates this value; the tag is informational from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    repository: Repository,
    tag: Option<String>,
    digest: Digest,
}

impl Pinned {
    /// The repository that contains the digest.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag that was resolved to the digest, or was written beside it.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest, which is approved, fetched and reported.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, "@{}", self.digest)
    }
}

/// A manifest as received: only its length has been checked.
#[derive(Debug)]
pub struct RawManifest {
    /// The response body.
    pub bytes: Bytes,
    /// The origin that sent it.
    pub sender: Sender,
    /// The Content-Type header.
    pub content_type: Option<String>,
    /// Memory reservation, held while the body is processed.
    pub room: Option<Room>,
}

/// A memory reservation for a large body. There are few, so that many large bodies wait for each other.
#[derive(Debug)]
pub struct Room {
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// The bytes of a blob, as they arrive.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// A blob, or the rest of a blob.
pub struct BlobBody {
    /// Offset of the stream's first byte: the requested one, or 0 if the blob restarts.
    pub from: u64,
    /// The origin that sends it.
    pub sender: Sender,
    /// The bytes from that offset.
    pub stream: BlobStream,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobBody").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Result of checking read access to a blob. Denied access is a [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// The registry grants access.
    Granted,
    /// The registry does not answer the check; only a download can show it.
    Untold,
}

/// Requests to a registry. The implementation enforces a size limit on every body.
pub trait Registry: Send + Sync + 'static {
    /// Resolves `tag` to its current digest, with one HEAD if the registry supports it.
    fn tag_digest(
        &self,
        access: &Access,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Digest, RegistryError>> + Send;

    /// Lists the repository's tags in any order, at most [`MAX_TAGS`].
    fn tags(
        &self,
        access: &Access,
        repository: &Repository,
    ) -> impl Future<Output = Result<Vec<String>, RegistryError>> + Send;

    /// Lists the manifests that refer to the given one (distribution-spec, "Listing Referrers"), at most
    /// [`MAX_REFERRERS`]; `None` if the registry does not keep such a list.
    fn referrers(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Vec<Descriptor>>, RegistryError>> + Send;

    /// Fetches the manifest of a digest, at most `limit` bytes.
    fn raw_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> impl Future<Output = Result<RawManifest, RegistryError>> + Send;

    /// Fetches a blob, or the rest of it after `begun`. The stream fails at most one chunk beyond the descriptor's
    /// size. If the blob is shorter than the part that was received before, the stream is empty.
    fn blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        begun: Option<&Begun>,
    ) -> impl Future<Output = Result<BlobBody, RegistryError>> + Send;

    /// Returns the blob if it is a local file, which need not be transferred.
    fn local(&self, _descriptor: &Descriptor) -> Option<LocalFile> {
        None
    }

    /// Checks with one HEAD whether `access` may read a blob.
    fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Right, RegistryError>> + Send;
}

/// Resolves a reference to a digest. A digest in the reference is used without any request. Without a digest and a
/// tag, `selection` chooses among the repository's tags, which takes a processor permit of `seat`.
pub async fn resolve<R: Registry>(
    registry: &R,
    access: &Access,
    reference: &Reference,
    selection: Option<&TagSelection>,
    seat: &Seat,
) -> Result<Pinned, RegistryError> {
    let repository = reference.repository.clone();
    let (tag, digest) = match (&reference.digest, &reference.tag) {
        (Some(digest), tag) => (tag.clone(), digest.clone()),
        (None, tag) => {
            let tag = match (tag, selection) {
                (Some(tag), _) => tag.clone(),
                (None, Some(selection)) => select(registry, access, &repository, selection, seat).await?,
                (None, None) => "latest".to_owned(),
            };
            let digest = registry.tag_digest(access, &repository, &tag).await?;
            (Some(tag), digest)
        }
    };
    Ok(Pinned { repository, tag, digest })
}

async fn select<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    selection: &TagSelection,
    seat: &Seat,
) -> Result<String, RegistryError> {
    let tags = registry.tags(access, repository).await?;
    let in_thread = selection.clone();
    // A filter can take a millisecond for each of ten thousand tags.
    let permit = seat.permit().await;
    let choose = move || {
        let _permit = permit;
        in_thread.select(tags.iter().map(String::as_str)).map(str::to_owned)
    };
    let chosen = tokio::task::spawn_blocking(choose).await.ok().flatten();
    chosen.ok_or_else(|| RegistryError::NoMatchingTag {
        repository: repository.to_string(),
        range: selection.to_string(),
    })
}

/// Fetches the manifest of a pinned digest and checks its digest; its content does not matter.
pub async fn confirm<R: Registry>(registry: &R, access: &Access, pinned: &Pinned) -> Result<(), RegistryError> {
    checked(registry, access, &pinned.repository, &pinned.digest, MAX_MANIFEST_BYTES).await.map(drop)
}

/// Fetches the manifest of a pinned digest, at most `limit` bytes, and checks its digest and format. For an index,
/// the manifest for `platform` is selected and fetched by its digest.
pub async fn manifest<R: Registry>(
    registry: &R,
    access: &Access,
    pinned: &Pinned,
    platform: Option<&Platform>,
    limit: u64,
) -> Result<Manifest, RegistryError> {
    let mut document = document(registry, access, &pinned.repository, &pinned.digest, limit).await?.0;
    let (mut chosen, mut indexes) = (None, 0);
    loop {
        let index = match document {
            Document::Manifest(manifest) => return Ok(Manifest { platform_digest: chosen, ..*manifest }),
            Document::Index(_) if indexes == MAX_INDEXES => return Err(ManifestError::Nested.into()),
            Document::Index(index) => index,
        };
        indexes += 1;
        let entry = index.choose(platform).map_err(ManifestError::from)?;
        let (child, bytes) = self::document(registry, access, &pinned.repository, &entry.digest, limit).await?;
        if child.media_type() != entry.media_type || bytes != entry.size {
            return Err(ManifestError::ChildDisagrees {
                digest: entry.digest.short(),
                entry: entry.media_type.clone(),
                size: entry.size,
                is: child.media_type().to_owned(),
                bytes,
            }
            .into());
        }
        chosen = Some(entry.digest.clone());
        document = child;
    }
}

/// Fetches a small blob, at most `limit` bytes, and checks its size and digest.
pub async fn small_blob<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Bytes, RegistryError> {
    let what = || format!("blob {} of {repository}", descriptor.digest.short());
    if descriptor.size > limit {
        return Err(RegistryError::TooLarge { what: what(), limit });
    }
    if let Some(data) = &descriptor.data {
        return Ok(data.clone());
    }
    let BlobBody { mut stream, sender, .. } = registry.blob(access, repository, descriptor, None).await?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > descriptor.size {
            return Err(sender.veil(RegistryError::LongerThanNamed { what: what(), size: descriptor.size }, what));
        }
    }
    if Digest::of(&bytes) != descriptor.digest {
        return Err(sender.other_bytes(what()));
    }
    Ok(bytes.freeze())
}

/// Fetches the document of a digest and returns it with its size in bytes.
pub async fn document<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
    limit: u64,
) -> Result<(Document, u64), RegistryError> {
    let raw = checked(registry, access, repository, digest, limit).await?;
    Ok((Document::parse(&raw.bytes, raw.content_type.as_deref())?, raw.bytes.len() as u64))
}

/// Fetches the list of referrers that clients maintain if the registry has none (distribution-spec, "Referrers Tag
/// Schema"), by the digest of the list.
pub async fn referrers_in<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let raw = checked(registry, access, repository, digest, MAX_MANIFEST_BYTES).await?;
    Ok(oci::referrers::parse(&raw.bytes, raw.content_type.as_deref())?)
}

/// Fetches a manifest and checks its digest.
async fn checked<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
    limit: u64,
) -> Result<RawManifest, RegistryError> {
    let raw = registry.raw_manifest(access, repository, digest, limit.min(MAX_MANIFEST_BYTES)).await?;
    if Digest::of(&raw.bytes) != *digest {
        return Err(raw.sender.other_bytes(format!("manifest {repository}@{}", digest.short())));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests;
