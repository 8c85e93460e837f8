//! Tags: which of them are replaced, and the last step of every publication.

use super::graph::Node;
use super::{Place, PublishError, found};
use crate::oci::{Digest, version};
use crate::registry::retry::repeated;
use crate::registry::{ManifestName, Push, Registry};

/// Rule for tags that refer to another digest. A tag of the same digest is always left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Tags are replaced, except complete versions such as `1.2.3`: consumers take those for immutable.
    #[default]
    Moving,
    /// No tag is replaced.
    Never,
    /// Every tag is replaced.
    Always,
}

impl Overwrite {
    fn allows(self, tag: &str) -> bool {
        match self {
            Self::Moving => !version::is_complete(tag),
            Self::Never => false,
            Self::Always => true,
        }
    }
}

/// Returns the tags that do not refer to the digest yet; fails for one that may not be replaced.
pub(super) async fn check<'t, D: Registry>(
    to: Place<'_, D>,
    tags: &'t [String],
    wanted: &Digest,
    overwrite: Overwrite,
) -> Result<Vec<&'t String>, PublishError> {
    let mut missing = Vec::new();
    for tag in tags {
        match current(to, tag).await? {
            Some(found) if found == *wanted => {}
            Some(found) if !overwrite.allows(tag) => {
                let reference = format!("{}:{tag}", to.repository);
                return Err(PublishError::TagExists { reference, found, wanted: wanted.clone() });
            }
            Some(_) | None => missing.push(tag),
        }
    }
    Ok(missing)
}

/// Sets a tag to a document that the repository holds, and checks that the tag refers to it.
pub(super) async fn set<D: Registry + Push>(to: Place<'_, D>, tag: &str, node: &Node) -> Result<(), PublishError> {
    let Place { registry, access, repository } = to;
    let media_type = node.document.media_type();
    registry.put_manifest(access, repository, ManifestName::Tag(tag), media_type, node.bytes.clone()).await?;
    let found = repeated(|| registry.tag_digest(access, repository, tag)).await?;
    if found == node.digest {
        return Ok(());
    }
    Err(PublishError::TagMoved { reference: format!("{repository}:{tag}"), found, wanted: node.digest.clone() })
}

/// Returns the digest that a tag refers to; `None` if the tag does not exist.
pub(super) async fn current<R: Registry>(place: Place<'_, R>, tag: &str) -> Result<Option<Digest>, PublishError> {
    let Place { registry, access, repository } = place;
    Ok(found(repeated(|| registry.tag_digest(access, repository, tag)).await)?)
}
