//! Resolution of a reference to a digest.

use std::fmt;

use super::{Access, Registry, RegistryError};
use crate::oci::{Digest, Reference, Repository, TagSelection};
use crate::permits::Seat;

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
    let (in_thread, number) = (selection.clone(), tags.len());
    // A filter can take a millisecond for each of ten thousand tags.
    let permit = seat.permit().await;
    let choose = move || {
        let _permit = permit;
        in_thread.select(tags.iter().map(String::as_str)).map(str::to_owned)
    };
    let chosen = tokio::task::spawn_blocking(choose).await.ok().flatten();
    if let Some(tag) = &chosen {
        tracing::debug!("version {tag} of {repository} chosen by {selection}, tags: {number}");
    }
    chosen.ok_or_else(|| RegistryError::NoMatchingTag {
        repository: repository.to_string(),
        range: selection.to_string(),
    })
}
