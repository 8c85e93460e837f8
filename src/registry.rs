//! Reading from registries: the one boundary of this crate that tests may fake.
//!
//! [`Registry`] moves bytes; it promises nothing about them. What they are is checked here, in
//! [`resolve`] and [`manifest`], and in [`crate::blob`], whatever the implementation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{self, Descriptor, Digest, Document, Manifest, Platform, Reference, Repository, TagSelection};
use crate::processors::Seat;

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
pub mod turns;

pub use error::RegistryError;
pub use local::LocalFile;
pub use sender::{Begun, Sender};

use credentials::Keychain;
use tls::TlsOptions;

/// Indexes that lead to a manifest: one, and at most one more inside it.
const MAX_INDEXES: usize = 2;

/// Most tags of a repository that are listed.
pub const MAX_TAGS: usize = 10_000;
/// Most manifests that refer to one and are listed.
pub const MAX_REFERRERS: usize = 1000;

/// How one object may talk to its registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Credentials, in the order in which they are tried.
    pub keychain: Keychain,
    /// With TLS or without.
    pub transport: Transport,
}

/// With TLS or without: asked for, never fallen back to.
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

/// Tells transports apart: what is remembered of a host is shared only between equal ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TransportId {
    /// HTTPS, with what [`TlsOptions::identity`] says.
    Tls(Option<Digest>),
    /// HTTP without TLS.
    PlainHttp,
}

impl Transport {
    /// The same, for a host that the object's certificate is not meant for.
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
    /// Who answers when something of `repository` is asked for: how it is spoken to, and the host.
    ///
    /// An answer about a right is worth something for bytes of the same origin only. Whatever decides
    /// whether an answer can be believed belongs in here.
    pub fn origin(&self, repository: &Repository) -> String {
        let host = repository.api_host();
        match self.transport.id() {
            TransportId::PlainHttp => format!("http://{host}"),
            TransportId::Tls(None) => format!("https://{host}"),
            TransportId::Tls(Some(options)) => format!("https://{host} as {options}"),
        }
    }
}

/// A repository and a digest in it. Only [`resolve`] makes one; the tag is for people from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    repository: Repository,
    tag: Option<String>,
    digest: Digest,
}

impl Pinned {
    /// Where the digest was found.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag that led to the digest, or stood beside it.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest: what is approved, fetched and reported.
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

/// A manifest as it came: nothing about it has been checked but its length.
#[derive(Debug)]
pub struct RawManifest {
    /// The body.
    pub bytes: Bytes,
    /// The origin that sent it.
    pub sender: Sender,
    /// The Content-Type header.
    pub content_type: Option<String>,
    /// Kept while the body is looked at.
    pub room: Option<Room>,
}

/// Room in memory for a large body: there is little of it, so that many of them wait for each other.
#[derive(Debug)]
pub struct Room {
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// A blob's bytes as they come.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// A blob, or what is left of it.
pub struct BlobBody {
    /// The place of the stream's first byte: the one asked for, or 0 where the blob begins anew.
    pub from: u64,
    /// The origin that sends it.
    pub sender: Sender,
    /// The bytes from there on.
    pub stream: BlobStream,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobBody").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Whether somebody may read a blob. That they may not is a [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// The registry says so.
    Granted,
    /// The registry does not answer this question; only a download tells.
    Untold,
}

/// What a registry is asked for. Every body has a limit in bytes that the implementation keeps.
pub trait Registry: Send + Sync + 'static {
    /// The digest that `tag` names now, by one HEAD where the registry can.
    fn tag_digest(
        &self,
        access: &Access,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Digest, RegistryError>> + Send;

    /// The repository's tags, in whatever order, at most [`MAX_TAGS`].
    fn tags(
        &self,
        access: &Access,
        repository: &Repository,
    ) -> impl Future<Output = Result<Vec<String>, RegistryError>> + Send;

    /// What says of itself that it is about the manifest of that digest (distribution-spec, "Listing Referrers"), at most
    /// [`MAX_REFERRERS`]; `None` where the registry keeps no such list.
    fn referrers(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Vec<Descriptor>>, RegistryError>> + Send;

    /// The manifest of that digest, at most `limit` bytes.
    fn raw_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> impl Future<Output = Result<RawManifest, RegistryError>> + Send;

    /// The blob of that descriptor, or the rest of it. It ends, with an error, no later than one chunk behind the
    /// descriptor's size. A blob that is shorter than what there is of it is an empty stream.
    fn blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        begun: Option<&Begun>,
    ) -> impl Future<Output = Result<BlobBody, RegistryError>> + Send;

    /// The blob of that descriptor where it is a file of this machine, which need not be moved.
    fn local(&self, _descriptor: &Descriptor) -> Option<LocalFile> {
        None
    }

    /// Asks whether `access` may read the blob of that descriptor, by one HEAD.
    fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Right, RegistryError>> + Send;
}

/// Settles which digest a reference means. A digest in the reference decides without any request; without
/// a tag too, the selection chooses one of those that there are, which keeps a processor of `seat` busy.
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
    // A filter can cost a millisecond for each of ten thousand tags.
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

/// Asks for what a pinned digest names, and checks that the answer has that digest. What it is does not matter.
pub async fn confirm<R: Registry>(registry: &R, access: &Access, pinned: &Pinned) -> Result<(), RegistryError> {
    checked(registry, access, &pinned.repository, &pinned.digest, MAX_MANIFEST_BYTES).await.map(drop)
}

/// The manifest of a pinned digest: of at most `limit` bytes, of that digest, and understood. Where the digest
/// is an index's, the one that is meant, reached by digests only.
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

/// The bytes of a small blob, at most `limit`: of the size and digest that its descriptor says.
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

/// The document of a digest, and its size in bytes.
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

/// A list of referrers that clients keep where the registry has none (distribution-spec, "Referrers Tag Schema"), as of that
/// digest.
pub async fn referrers_in<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let raw = checked(registry, access, repository, digest, MAX_MANIFEST_BYTES).await?;
    Ok(oci::referrers::parse(&raw.bytes, raw.content_type.as_deref())?)
}

/// The bytes of a digest.
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
