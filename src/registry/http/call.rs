//! One request to a registry: its URL, and the possible meanings of its response.

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url};

use super::paging::Page;
use super::push::UploadUrl;
use crate::oci::{Digest, Repository, media_type};
use crate::registry::auth::requester::Actions;
use crate::registry::net::egress::Reach;
use crate::registry::net::transport::{Part, Payload, Redirects};
use crate::registry::{Access, Begun, BlobStream, ManifestName, RegistryError, Transport};

/// Number of tags requested per page. Registries may return fewer.
const TAGS_PER_PAGE: usize = 1000;

/// One request to a registry.
pub(super) struct HttpCall<'a> {
    pub(super) access: &'a Access,
    pub(super) repository: &'a Repository,
    pub(super) method: Method,
    pub(super) item: Item<'a>,
    /// The part of a blob that was received before.
    pub(super) begun: Option<&'a Begun>,
    /// True to request only the first byte.
    pub(super) is_probe: bool,
    /// Rights that a token is requested for.
    pub(super) actions: Actions<'a>,
    pub(super) content: Content<'a>,
    /// Index of the only credential to try, in the keychain's order: the one that began an upload.
    pub(super) credential: Option<usize>,
}

/// Content of a request that writes.
#[derive(Clone)]
pub(super) enum Content<'a> {
    Nothing,
    /// Bytes of a media type.
    Document(&'a str, Bytes),
    /// A part of a blob, from an offset: the length, and a function that opens it.
    Part(u64, u64, &'a (dyn Fn() -> BlobStream + Send + Sync)),
}

/// Subject of a request.
pub(super) enum Item<'a> {
    /// The interface itself, without a repository.
    Root,
    /// A page of tags: the first, or the one at the URL that the registry named.
    Tags(Option<&'a Page>),
    Tag(&'a str),
    /// A page of a manifest's referrers: the first, or the one at the URL that the registry named.
    Referrers(&'a Digest, Option<&'a Page>),
    Manifest(&'a Digest),
    Blob(&'a Digest),
    /// The start of an upload, or the mount of a blob from another repository.
    Uploads(Option<(&'a Digest, &'a Repository)>),
    /// An upload that has begun; the digest completes it.
    Upload(&'a UploadUrl, Option<&'a Digest>),
    /// A manifest that is written.
    NewManifest(ManifestName<'a>),
}

impl<'a> HttpCall<'a> {
    pub(super) fn get(access: &'a Access, repository: &'a Repository, item: Item<'a>) -> Self {
        let (actions, content) = (Actions::Pull, Content::Nothing);
        let (method, is_probe) = (Method::GET, false);
        Self { access, repository, method, item, begun: None, is_probe, actions, content, credential: None }
    }

    /// Returns a request that needs the right to write.
    pub(super) fn write(access: &'a Access, repository: &'a Repository, method: Method, item: Item<'a>) -> Self {
        let from = if let Item::Uploads(Some((_, from))) = item { Some(from) } else { None };
        Self { method, actions: Actions::Push { from }, ..Self::get(access, repository, item) }
    }

    pub(super) fn url(&self) -> Result<Url, RegistryError> {
        let path = match self.item {
            Item::Root => return self.below_root(""),
            Item::Tags(Some(page)) | Item::Referrers(_, Some(page)) => return Ok(page.url.clone()),
            Item::Tags(None) => format!("tags/list?n={TAGS_PER_PAGE}"),
            Item::Tag(tag) => format!("manifests/{tag}"),
            Item::Referrers(digest, None) => format!("referrers/{digest}"),
            Item::Manifest(digest) => format!("manifests/{digest}"),
            Item::Blob(digest) => format!("blobs/{digest}"),
            Item::Uploads(None) => "blobs/uploads/".to_owned(),
            Item::Uploads(Some((digest, from))) => format!("blobs/uploads/?mount={digest}&from={}", from.path()),
            Item::Upload(upload, digest) => return Ok(upload.with_digest(digest)),
            Item::NewManifest(name) => format!("manifests/{name}"),
        };
        self.at_registry(&path)
    }

    /// Returns the URL of a path below the repository.
    pub(super) fn at_registry(&self, path: &str) -> Result<Url, RegistryError> {
        self.below_root(&format!("{}/{path}", self.repository.path()))
    }

    fn below_root(&self, path: &str) -> Result<Url, RegistryError> {
        let scheme = match self.access.transport {
            Transport::Tls(_) => "https",
            Transport::PlainHttp => "http",
        };
        let host = self.repository.api_host();
        Url::parse(&format!("{scheme}://{host}/v2/{path}")).map_err(|error| RegistryError::Protocol {
            host: self.repository.host().to_owned(),
            problem: format!("invalid URL: {error}"),
        })
    }

    /// Returns true if a URL has the registry's origin, so that credentials may be sent to it.
    pub(super) fn is_at_registry(&self, url: &Url) -> Result<bool, RegistryError> {
        Ok(self.at_registry("")?.origin() == url.origin())
    }

    pub(super) fn payload(&self) -> Payload<'a> {
        match &self.content {
            Content::Nothing => Payload::Nothing,
            Content::Document(media_type, bytes) => Payload::Document { media_type, bytes: bytes.clone() },
            Content::Part(from, length, open) => Payload::Upload { from: *from, length: *length, open: *open },
        }
    }

    pub(super) fn accept(&self) -> &'static str {
        match self.item {
            Item::Tag(_) | Item::Manifest(_) => media_type::MANIFEST_ACCEPT,
            Item::Root | Item::Tags(_) => "application/json",
            Item::Referrers(..) => media_type::OCI_INDEX,
            Item::Blob(_) | Item::Uploads(_) | Item::Upload(..) | Item::NewManifest(_) => "*/*",
        }
    }

    /// Returns the request's label in metrics.
    pub(super) fn operation(&self) -> &'static str {
        match self.item {
            Item::Root => "login",
            Item::Tags(_) => "tags",
            Item::Tag(_) => "resolve",
            Item::Referrers(..) => "referrers",
            Item::Manifest(_) => "manifest",
            Item::Blob(_) if self.method == Method::HEAD => "blob_right",
            Item::Blob(_) => "blob",
            Item::Uploads(Some(_)) => "mount",
            Item::Uploads(None) | Item::Upload(..) => "upload",
            Item::NewManifest(_) => "put_manifest",
        }
    }

    /// Returns the requested bytes.
    pub(super) fn part(&self) -> Part {
        if self.is_probe {
            return Part::First;
        }
        self.begun.map_or(Part::All, |begun| Part::Rest { from: begun.bytes, of: begun.sender.origin.clone() })
    }

    /// Returns the addresses that the request may go to.
    pub(super) fn reach(&self) -> Reach {
        match self.item {
            Item::Tags(Some(page)) | Item::Referrers(_, Some(page)) => page.reach,
            Item::Upload(upload, _) => upload.reach,
            Item::Root
            | Item::Tags(None)
            | Item::Referrers(_, None)
            | Item::Tag(_)
            | Item::Manifest(_)
            | Item::Blob(_)
            | Item::Uploads(_)
            | Item::NewManifest(_) => Reach::Named,
        }
    }

    /// Returns the handling of redirects. A redirect of an access check may lead to a blob store or to a login page.
    pub(super) fn redirects(&self) -> Redirects {
        match self.item {
            Item::Blob(_) if self.method == Method::HEAD => Redirects::Probe,
            Item::Root | Item::Uploads(_) | Item::NewManifest(_) => Redirects::WithinOrigin,
            Item::Upload(..) => Redirects::SameMethod,
            Item::Blob(_) | Item::Tags(_) | Item::Tag(_) | Item::Referrers(..) | Item::Manifest(_) => Redirects::Follow,
        }
    }

    /// Returns true for a status that is a valid response although it is not a success.
    pub(super) fn settles(&self, status: StatusCode, is_from_registry: bool) -> bool {
        let no_head = self.method == Method::HEAD
            && matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        match self.item {
            // The status of a blob store is not the registry's decision about access.
            Item::Blob(_) if self.method == Method::HEAD => status.is_redirection() || no_head || !is_from_registry,
            Item::Tag(_) => no_head,
            Item::Blob(_) => self.begun.is_some() && status == StatusCode::RANGE_NOT_SATISFIABLE,
            // A registry without the list returns 404, or one of these if the endpoint is unknown to it.
            Item::Referrers(_, None) => matches!(status.as_u16(), 400 | 404 | 405 | 406 | 501),
            // The state machine of the upload interprets these: too large a body, another offset, an unknown upload.
            Item::Upload(..) => matches!(status.as_u16(), 400 | 404 | 405 | 413 | 416 | 501),
            // Registries without mounts answer with one of these.
            Item::Uploads(Some(_)) => matches!(status.as_u16(), 400 | 404 | 405 | 501),
            Item::Root
            | Item::Tags(_)
            | Item::Referrers(_, Some(_))
            | Item::Manifest(_)
            | Item::Uploads(None)
            | Item::NewManifest(_) => false,
        }
    }

    /// Describes the item in messages.
    pub(super) fn what(&self) -> String {
        match self.item {
            Item::Root => format!("the registry interface (/v2/) of {}", self.repository.host()),
            Item::Tags(_) => format!("the tags of {}", self.repository),
            Item::Tag(tag) | Item::NewManifest(ManifestName::Tag(tag)) => format!("{}:{tag}", self.repository),
            Item::Referrers(digest, _) => format!("the referrers of {}@{}", self.repository, digest.short()),
            Item::Manifest(digest) | Item::NewManifest(ManifestName::Digest(digest)) => {
                format!("manifest {}@{}", self.repository, digest.short())
            }
            Item::Blob(digest) => format!("blob {} of {}", digest.short(), self.repository),
            Item::Uploads(Some((digest, from))) => {
                format!("the mount of blob {} from {} to {}", digest.short(), from.path(), self.repository)
            }
            Item::Uploads(None) | Item::Upload(..) => format!("an upload to {}", self.repository),
        }
    }
}
