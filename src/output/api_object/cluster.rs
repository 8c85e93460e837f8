//! Reads and writes of API objects in a cluster.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::found::{added_keys, check_form, check_owner, damage, is_ours, published_in};
use super::hmac_key::ContentKey;
use super::kind::Kind;
use super::managers;
use super::refusal::{refused, unpatchable};
use super::wanted::{own_metadata, placeholder};
use crate::api;
use crate::metrics::Metrics;
use crate::output::damage::Damage;
use crate::output::error::OutputError;
use crate::output::published::Published;
use crate::request::ObjectId;

/// The API server.
pub(in crate::output) struct Cluster<'a> {
    pub(in crate::output) client: &'a Client,
    pub(in crate::output) metrics: &'a Metrics,
}

/// An object that the API server has accepted in a rehearsal.
#[derive(Clone, Debug)]
pub(crate) struct Ready<K> {
    wanted: K,
    /// The object as read before the write.
    existing: Option<K>,
    published: Published,
}

/// State after a switch, for [`Cluster::revert`].
#[derive(Debug)]
pub(crate) struct Switched<K> {
    written: K,
    previous: Option<K>,
    /// Keys of other managers that were removed.
    pub(in crate::output) removed: Option<Damage>,
}

impl<K: Kind> Ready<K> {
    /// Returns the state after the switch.
    pub(in crate::output) fn published(&self) -> &Published {
        &self.published
    }

    /// True if no write is needed.
    pub(in crate::output) fn is_there(&self) -> bool {
        let Some(existing) = &self.existing else { return false };
        let has = |wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| there.get(key) == Some(value))
        };
        existing.entries() == self.wanted.entries()
            && has(self.wanted.annotations(), existing.annotations())
            && has(self.wanted.labels(), existing.labels())
    }

    fn name(&self) -> String {
        self.wanted.name_any()
    }
}

impl Cluster<'_> {
    fn api<K: Kind>(&self, object: &ObjectId) -> Api<K> {
        Api::namespaced(self.client.clone(), &object.namespace)
    }

    /// Reads an object; `None` if it does not exist.
    pub(in crate::output) async fn get<K: Kind>(
        &self,
        object: &ObjectId,
        name: &str,
    ) -> Result<Option<K>, OutputError> {
        self.api::<K>(object).get_opt(name).await.map_err(|error| refused::<K>(name, error))
    }

    /// Reads the existing object, checks that it is ours, and rehearses the write.
    pub(in crate::output) async fn prepare<K: Kind>(
        &self,
        object: &ObjectId,
        wanted: K,
        published: Published,
    ) -> Result<Ready<K>, OutputError> {
        let name = wanted.name_any();
        let existing = match self.get::<K>(object, &name).await? {
            Some(existing) => {
                check_owner(&existing, object)?;
                check_form(&existing, &wanted)?;
                Some(self.with_one_manager(object, existing).await?)
            }
            None => None,
        };
        let ready = Ready { wanted, existing, published };
        if !ready.is_there() {
            match self.write(object, &ready, true).await {
                Ok(answer) => check_answer(&answer, &ready)?,
                // A webhook with side effects refuses dry runs. It decides at the switch.
                Err(OutputError::Refused { code: 400, message, .. }) if message.contains("dry run") => {}
                Err(error) => return Err(error),
            }
        }
        crate::failpoint::reach("prepare-dry-run");
        Ok(ready)
    }

    /// Rehearses a write that was refused before.
    pub(in crate::output) async fn rehearse<K: Kind>(&self, object: &ObjectId, wanted: &K) -> Result<(), OutputError> {
        self.prepare(object, wanted.clone(), placeholder(wanted)).await.map(drop)
    }

    /// Writes the prepared object.
    pub(in crate::output) async fn switch<K: Kind>(
        &self,
        object: &ObjectId,
        ready: &Ready<K>,
    ) -> Result<Option<Switched<K>>, (OutputError, Option<Switched<K>>)> {
        if ready.is_there() {
            return Ok(None);
        }
        let written = self.write(object, ready, false).await.map_err(|error| (error, None))?;
        let switched = |written, removed| Switched { written, previous: ready.existing.clone(), removed };
        match self.without_foreign_keys(object, ready, written.clone()).await {
            Ok((written, removed)) => Ok(Some(switched(written, removed))),
            Err(error) => Err((error, Some(switched(written, None)))),
        }
    }

    /// Restores the state before a switch.
    pub(in crate::output) async fn revert<K: Kind>(
        &self,
        object: &ObjectId,
        switched: &Switched<K>,
    ) -> Result<(), OutputError> {
        let Some(previous) = &switched.previous else { return self.delete(object, &switched.written).await };
        let mut wanted = previous.clone();
        *wanted.meta_mut() = own_metadata(previous, object);
        let published = published_in(&wanted, "").unwrap_or_else(|| placeholder(&wanted));
        let ready = Ready { wanted, existing: Some(switched.written.clone()), published };
        let written = self.write(object, &ready, false).await?;
        self.without_foreign_keys(object, &ready, written).await.map(drop)
    }

    /// Deletes the object's own ConfigMap or Secret of this name. Absent and foreign are success.
    pub(in crate::output) async fn remove<K: Kind>(&self, object: &ObjectId, name: &str) -> Result<(), OutputError> {
        match self.get::<K>(object, name).await? {
            Some(found) if is_ours(&found, object) => self.delete(object, &found).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Removes keys that others have added to an object whose own content is intact.
    pub(in crate::output) async fn remove_added_keys<K: Kind>(
        &self,
        object: &ObjectId,
        name: &str,
        key: &ContentKey,
    ) -> Result<(), OutputError> {
        let Some(found) = self.get::<K>(object, name).await? else { return Ok(()) };
        check_owner(&found, object)?;
        let Some(added) = added_keys(&found, key) else { return Ok(()) };
        self.remove_keys(object, &found, |key| added.contains(key)).await.map(drop)
    }

    /// Removes keys from exactly the version that was read.
    async fn remove_keys<K: Kind>(
        &self,
        object: &ObjectId,
        found: &K,
        is_removed: impl Fn(&str) -> bool,
    ) -> Result<K, OutputError> {
        let name = found.name_any();
        let value = serde_json::to_value(found).map_err(|error| unpatchable::<K>(&name, &error))?;
        let mut patch =
            serde_json::Map::from_iter([("metadata".to_owned(), json!({"resourceVersion": found.resource_version()}))]);
        for part in ["data", "binaryData"] {
            let keys = value.get(part).and_then(|part| part.as_object()).into_iter().flat_map(|part| part.keys());
            let removed = keys.filter(|key| is_removed(key)).map(|key| (key.clone(), serde_json::Value::Null));
            let removed: serde_json::Map<_, _> = removed.collect();
            if !removed.is_empty() {
                patch.insert(part.to_owned(), removed.into());
            }
        }
        self.metrics.api_write(K::KIND.as_str());
        let params = PatchParams { field_manager: Some(api::MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api::<K>(object).patch(&name, &params, &Patch::Merge(&patch)).await;
        patched.map_err(|error| refused::<K>(&name, error))
    }

    async fn delete<K: Kind>(&self, object: &ObjectId, found: &K) -> Result<(), OutputError> {
        let params = DeleteParams::default().preconditions(Preconditions { uid: found.uid(), resource_version: None });
        self.metrics.api_write(K::KIND.as_str());
        match self.api::<K>(object).delete(&found.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(refused::<K>(&found.name_any(), error)),
        }
    }

    /// Creates an absent object, or applies to exactly the version that was read.
    async fn write<K: Kind>(&self, object: &ObjectId, ready: &Ready<K>, is_rehearsal: bool) -> Result<K, OutputError> {
        let (api, name) = (self.api::<K>(object), ready.name());
        if !is_rehearsal {
            self.metrics.api_write(K::KIND.as_str());
        }
        let written = match &ready.existing {
            None => {
                let params = PostParams { dry_run: is_rehearsal, field_manager: Some(api::MANAGER.to_owned()) };
                api.create(&params, &ready.wanted).await
            }
            Some(existing) => {
                let mut wanted = ready.wanted.clone();
                wanted.meta_mut().resource_version = existing.resource_version();
                wanted.meta_mut().uid = existing.uid();
                let params = PatchParams { dry_run: is_rehearsal, ..PatchParams::apply(api::MANAGER) };
                api.patch(&name, &params, &Patch::Apply(&wanted)).await
            }
        };
        let written = written.map_err(|error| refused::<K>(&name, error))?;
        if is_rehearsal || ready.existing.is_some() {
            return Ok(written);
        }
        // The content is written already; the next rehearsal tries again after a failure.
        Ok(self.with_one_manager(object, written.clone()).await.unwrap_or(written))
    }

    /// Records a created object's fields as applied. A create sets them as an update of our name, whose keys a later
    /// apply would not remove.
    async fn with_one_manager<K: Kind>(&self, object: &ObjectId, found: K) -> Result<K, OutputError> {
        let Some(fields) = managers::as_applied(found.managed_fields()) else { return Ok(found) };
        let (name, version) = (found.name_any(), found.resource_version());
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/metadata/managedFields", "value": fields},
        ]);
        let patch = serde_json::from_value(patch).map_err(|error| unpatchable::<K>(&name, &error))?;
        self.metrics.api_write(K::KIND.as_str());
        let params = PatchParams { field_manager: Some(api::MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api::<K>(object).patch(&name, &params, &Patch::Json::<()>(patch)).await;
        patched.map_err(|error| refused::<K>(&name, error))
    }

    /// Removes unwanted keys from the object in the API server's response.
    async fn without_foreign_keys<K: Kind>(
        &self,
        object: &ObjectId,
        ready: &Ready<K>,
        written: K,
    ) -> Result<(K, Option<Damage>), OutputError> {
        let name = ready.name();
        let is_meant = |found: &K| found.entries() == ready.wanted.entries();
        if is_meant(&written) {
            return Ok((written, None));
        }
        let damage = damage(&written, &ready.published.output);
        let meant: BTreeSet<_> = ready.wanted.entries().into_iter().map(|(key, _)| key).collect();
        let written = self.remove_keys(object, &written, |key| !meant.contains(key)).await?;
        if is_meant(&written) {
            return Ok((written, Some(damage)));
        }
        let kind = K::KIND;
        Err(OutputError::Obstacle(format!(
            "{kind} {name} was changed while it was written, by an admission webhook or another writer. Exempt objects with the \
             label app.kubernetes.io/managed-by: supercargo from the webhook"
        )))
    }
}

/// Refuses a write that an admission webhook changes, because the published content would not be the verified content.
fn check_answer<K: Kind>(answer: &K, ready: &Ready<K>) -> Result<(), OutputError> {
    let there: BTreeMap<_, _> = answer.entries().into_iter().collect();
    match ready.wanted.entries().into_iter().find(|(key, value)| there.get(key) != Some(value)) {
        None => Ok(()),
        Some((key, _)) => Err(OutputError::Obstacle(format!(
            "{} {}: an admission webhook changes the key {key:?}. Exempt the object from the webhook",
            K::KIND,
            ready.name()
        ))),
    }
}
