//! Referrers of a manifest, wherever a registry keeps them.

use super::{Place, PublishError, found, tags};
use crate::oci::manifest::ManifestError;
use crate::oci::{Descriptor, Digest, referrers};
use crate::registry::retry::repeated;
use crate::registry::{self, Registry, RegistryError};

/// Place in which a registry keeps a list of referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lists {
    /// The registry's own list; `None` if it has none.
    pub(super) of_registry: Option<Vec<Descriptor>>,
    /// The list that clients maintain under a tag.
    pub(super) of_clients: Vec<Descriptor>,
}

impl Lists {
    /// Returns all entries once, those of the registry first.
    pub(super) fn all(self) -> Vec<Descriptor> {
        let mut all = self.of_registry.unwrap_or_default();
        for entry in self.of_clients {
            if !all.iter().any(|other| other.digest == entry.digest) {
                all.push(entry);
            }
        }
        all
    }
}

/// Reads both lists of the referrers of a digest: a registry that has gained the API later still has the tag.
pub(super) async fn lists<R: Registry>(place: Place<'_, R>, digest: &Digest) -> Result<Lists, PublishError> {
    let Place { registry, access, repository } = place;
    let of_registry = repeated(|| registry.referrers(access, repository, digest)).await?;
    let Some(list) = tags::current(place, &referrers::tag(digest)).await? else {
        return Ok(Lists { of_registry, of_clients: Vec::new() });
    };
    let listed = found(repeated(|| registry::referrers_in(&**registry, access, repository, &list)).await);
    let of_clients = match listed {
        // The tag names something else.
        Err(RegistryError::Manifest(ManifestError::Type(_))) => Vec::new(),
        Err(RegistryError::Manifest(error)) => {
            let reference = format!("{repository}:{}", referrers::tag(digest));
            return Err(PublishError::NotAList { reference, problem: error.to_string() });
        }
        listed => listed?.unwrap_or_default(),
    };
    Ok(Lists { of_registry, of_clients })
}
