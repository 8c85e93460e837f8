//! Lookups of the cluster objects that one look depends on, with a mark that changes if any of them does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::named::{Found, LookUp, Name, Unanswered, Value};
use crate::api::Reason;
use crate::api::verify::{CosignSpec, VerifySpec};
use crate::api::vocabulary::CaSource;
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Hasher};
use crate::request::{Referred, RequestError};

/// Names of keys, roots and labels, and the digests of their content.
pub(super) type Trusted = Vec<(Name, Digest)>;

/// Reason for the absence of a request.
pub(super) enum Unread {
    /// State of the object.
    Failed(Failure),
    /// State of the API server.
    Unanswered(Unanswered),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RequestError> for Unread {
    fn from(error: RequestError) -> Self {
        Self::Failed(error.into())
    }
}

/// A series of lookups, with a mark that changes if any result does.
pub(super) struct Lookups<'a> {
    pub(super) look_up: LookUp<'a>,
    pub(super) mark: Hasher,
    pub(super) trusted: Trusted,
    /// True if a change of any object wakes the artifact, not only of keys and roots.
    is_awaited: bool,
}

impl<'a> Lookups<'a> {
    pub(super) fn new(look_up: LookUp<'a>, is_awaited: bool) -> Self {
        Self { look_up, mark: Hasher::default(), trusted: Vec::new(), is_awaited }
    }

    pub(super) async fn get(&mut self, name: Name, wakes: bool) -> Result<Arc<Found>, Unread> {
        let found = self.look_up.get(name, wakes || self.is_awaited).await.map_err(Unread::Unanswered)?;
        self.mark.field(found.mark.hex().as_bytes());
        match &found.value {
            Value::Forbidden(message) => Err(Failure::new(Class::Wait, Reason::SecretNotFound, message).into()),
            Value::TooLarge(message) => Err(Failure::new(Class::Wait, Reason::SecretInvalid, message).into()),
            Value::Absent | Value::Secret(_) | Value::ConfigMap(_) | Value::Account(_) | Value::Labels(_) => Ok(found),
        }
    }

    /// Adds a referenced object; with `wakes`, one that decides about trust. Returns false if it is absent.
    pub(super) async fn add(&mut self, name: Name, referred: &mut Referred, wakes: bool) -> Result<bool, Unread> {
        let (kind, text) = (name.kind(), name.name().to_owned());
        let found = self.get(name.clone(), wakes).await?;
        if wakes {
            self.trusted.push((name, found.mark.clone()));
        }
        match &found.value {
            Value::Secret(data) => {
                let known = referred.secrets.entry(text).or_default();
                match known {
                    // Another key of the same Secret.
                    Some(known) => known.data.extend(data.data.clone()),
                    None => *known = Some(data.clone()),
                }
                Ok(true)
            }
            Value::ConfigMap(data) => {
                referred.config_maps.entry(text).or_default().get_or_insert_default().extend(data.clone());
                Ok(true)
            }
            Value::Absent | Value::Forbidden(_) | Value::TooLarge(_) | Value::Account(_) | Value::Labels(_) => {
                match kind {
                    CaSource::Secret => drop(referred.secrets.entry(text).or_default()),
                    CaSource::ConfigMap => drop(referred.config_maps.entry(text).or_default()),
                }
                Ok(false)
            }
        }
    }

    /// Adds the objects that requirements name in a namespace, up to the first absent one.
    pub(super) async fn add_trusted(
        &mut self,
        namespace: &str,
        verify: &[VerifySpec],
        referred: &mut Referred,
    ) -> Result<(), Unread> {
        for VerifySpec { cosign: CosignSpec { keys, trusted_root_ref, .. }, .. } in verify {
            let keys = keys.iter().filter_map(|key| key.secret_ref.as_ref());
            let keys = keys.map(|key| Name::key(CaSource::Secret, namespace, &key.name, &key.key));
            let root = trusted_root_ref.iter().map(|root| Name::root(root.kind, namespace, &root.name, &root.key));
            for name in keys.chain(root) {
                if !self.add(name, referred, true).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns the labels of a namespace; a change wakes the object.
    pub(super) async fn labels(&mut self, namespace: &str) -> Result<BTreeMap<String, String>, Unread> {
        let name = Name::labels(namespace);
        let found = self.get(name.clone(), true).await?;
        self.trusted.push((name, found.mark.clone()));
        if let Value::Labels(labels) = &found.value { Ok(labels.clone()) } else { Ok(BTreeMap::new()) }
    }
}
