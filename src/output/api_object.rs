//! Files as the keys of a ConfigMap or a Secret: by server-side apply in a cluster, as a manifest without one.
//!
//! ```text
//! read ─▶ ours? of another manager? immutable? ─▶ rehearsal (dry run) ─▶ switch: create or apply ─▶ foreign keys removed
//! ```
//!
//! The rehearsal finds quotas, policies, missing rights and conflicts before any output is switched. An absent object
//! is created, and a present one is applied with its resourceVersion, so a write in between is never taken over. Apply
//! leaves the keys of other managers, so the response is compared with the wanted content, and foreign keys are
//! removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::damage::{Damage, Difference, Held, MAX_DIFFERENCES, Probed, What};
use super::location::{Location, OutputKind};
use super::{OutputError, Published};
use crate::api::{self, OCIArtifact};
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{KeyedObject, ObjectId, Request};
use content::Content;
pub(crate) use hmac_key::ContentKey;

pub(super) mod content;
mod hmac_key;
mod managers;

/// Number of hex digits of the content digest in the name of an immutable object.
const NAME_HEX: usize = 10;

/// Kinds of API objects that hold files.
pub(crate) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const KIND: OutputKind;

    /// Builds an object with this content. `secret_type` is for Secrets.
    fn build(metadata: ObjectMeta, content: &Content, immutable: bool, secret_type: Option<&str>) -> Self;

    /// Returns keys and values, texts before binary ones, each in the order of keys.
    fn entries(&self) -> Vec<(&str, &[u8])>;

    fn is_immutable(&self) -> bool;

    /// Returns the type of a Secret; `None` for other kinds.
    fn secret_type(&self) -> Option<&str>;

    /// Returns the location of an object of this kind.
    fn location(name: String) -> Location;

    /// Returns the same object without content.
    fn without_content(self) -> Self;

    /// Returns the digest of keys and values. Keyed for a Secret, because annotations have more readers than content.
    fn mark_of(entries: &[(&str, &[u8])], key: &ContentKey) -> String;

    /// Returns the digest of this object's content.
    fn mark(&self, key: &ContentKey) -> String {
        Self::mark_of(&self.entries(), key)
    }

    /// Returns the digest for the name of an immutable object: the same for the same content, even after a restart.
    fn naming_digest(&self, revision: &Revision) -> Digest;
}

impl Kind for ConfigMap {
    const KIND: OutputKind = OutputKind::ConfigMap;

    fn build(metadata: ObjectMeta, content: &Content, immutable: bool, _: Option<&str>) -> Self {
        Self {
            metadata,
            immutable: immutable.then_some(true),
            data: (!content.text.is_empty()).then(|| content.text.clone()),
            binary_data: (!content.binary.is_empty()).then(|| content.binary.clone()),
        }
    }

    fn entries(&self) -> Vec<(&str, &[u8])> {
        let text = self.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
        let binary = self.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
        text.chain(binary).collect()
    }

    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }

    fn secret_type(&self) -> Option<&str> {
        None
    }

    fn location(name: String) -> Location {
        Location::ConfigMap(name)
    }

    fn without_content(self) -> Self {
        Self { data: None, binary_data: None, ..self }
    }

    fn mark_of(entries: &[(&str, &[u8])], _: &ContentKey) -> String {
        content::digest(entries).to_string()
    }

    fn naming_digest(&self, _: &Revision) -> Digest {
        content::digest(&self.entries())
    }
}

impl Kind for Secret {
    const KIND: OutputKind = OutputKind::Secret;

    fn build(metadata: ObjectMeta, content: &Content, immutable: bool, secret_type: Option<&str>) -> Self {
        let text = content.text.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = content.binary.iter().map(|(key, value)| (key.clone(), value.0.clone()));
        let data: BTreeMap<_, _> =
            text.chain(binary).map(|(key, value)| (key, k8s_openapi::ByteString(value))).collect();
        Self {
            metadata,
            immutable: immutable.then_some(true),
            data: (!data.is_empty()).then_some(data),
            type_: secret_type.map(str::to_owned),
            ..Self::default()
        }
    }

    fn entries(&self) -> Vec<(&str, &[u8])> {
        self.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
    }

    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }

    fn secret_type(&self) -> Option<&str> {
        self.type_.as_deref()
    }

    fn location(name: String) -> Location {
        Location::Secret(name)
    }

    fn without_content(self) -> Self {
        Self { data: None, ..self }
    }

    fn mark_of(entries: &[(&str, &[u8])], key: &ContentKey) -> String {
        key.mark(entries)
    }

    /// Hashes the content's source, so that the name does not allow guessing the content.
    fn naming_digest(&self, revision: &Revision) -> Digest {
        Digest::of(format!("{} {}", revision.digest, revision.fingerprint).as_bytes())
    }
}

/// The API server.
pub(super) struct Cluster<'a> {
    pub(super) client: &'a Client,
    pub(super) metrics: &'a Metrics,
}

/// One output of one object, without its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) object: &'a ObjectId,
    /// Name of the output.
    pub(super) output: &'a str,
    pub(super) keyed: &'a KeyedObject,
    /// Type of a Secret.
    pub(super) secret_type: Option<&'a str>,
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
    pub(super) removed: Option<Damage>,
}

impl<K: Kind> Ready<K> {
    /// Returns the state after the switch.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    fn name(&self) -> String {
        self.wanted.name_any()
    }
}

/// Builds the object from content, owner, labels and annotations. Pure.
pub(super) fn build<K: Kind>(
    place: Place<'_>,
    request: &Request,
    pinned: &Pinned,
    content: &Content,
    key: &ContentKey,
) -> (K, Published) {
    let Place { object, keyed, .. } = place;
    let revision = Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.as_str().to_owned() };
    let metadata = ObjectMeta {
        namespace: Some(object.namespace.clone()),
        labels: Some(BTreeMap::from([
            (api::LABEL_MANAGED_BY.to_owned(), api::MANAGER.to_owned()),
            (api::LABEL_OBJECT.to_owned(), label_value(&object.name)),
        ])),
        owner_references: owner(object).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    let mut wanted = K::build(metadata, content, keyed.immutable, place.secret_type);
    let mark = wanted.mark(key);
    let name = if keyed.immutable {
        let hex = wanted.naming_digest(&revision).hex();
        format!("{}-{}", keyed.name, hex.get(..NAME_HEX).unwrap_or_default())
    } else {
        keyed.name.clone()
    };
    wanted.meta_mut().name = Some(name.clone());
    wanted.meta_mut().annotations = Some(BTreeMap::from([
        (api::ANNOTATION_REFERENCE.to_owned(), pinned.to_string()),
        (api::ANNOTATION_DIGEST.to_owned(), revision.digest.to_string()),
        (api::ANNOTATION_FINGERPRINT.to_owned(), revision.fingerprint.clone()),
        (api::ANNOTATION_CONTENT.to_owned(), mark),
    ]));
    let published = Published {
        output: place.output.to_owned(),
        location: K::location(name),
        revision,
        list_digest: None,
        files: (content.text.len() + content.binary.len()) as u64,
        bytes: content.bytes,
        skipped: content.skipped,
    };
    (wanted, published)
}

/// Returns the state of an object that was read.
pub(super) fn probed<K: Kind>(
    found: Option<&K>,
    place: Place<'_>,
    key: &ContentKey,
    is_in_cluster: bool,
) -> Result<Probed, OutputError> {
    let Some(found) = found else { return Ok(Held::Nothing.into()) };
    if is_in_cluster {
        check_owner(found, place.object)?;
    }
    let version = is_in_cluster.then(|| format!("{}/{}", found.uid().unwrap_or_default(), version_of(found)));
    let held = match published_in(found, place.output) {
        None => Held::Nothing,
        Some(published) if found.annotations().get(api::ANNOTATION_CONTENT) == Some(&found.mark(key)) => {
            Held::Whole(published)
        }
        // The digest was made by an earlier process with another key, so the content cannot be compared.
        Some(published)
            if K::KIND == OutputKind::Secret && !key.made(found.annotations().get(api::ANNOTATION_CONTENT)) =>
        {
            Held::Unknown(published)
        }
        Some(published) => {
            let is_additive = added_keys(found, key).is_some();
            Held::Damaged(Damage { is_additive, ..damage(found, place.output) }, published)
        }
    };
    Ok(Probed { held, version })
}

/// Returns the keys set by other managers, according to `managedFields`.
fn damage<K: Kind>(found: &K, output: &str) -> Damage {
    let foreign = managers::foreign_keys(found.managed_fields()).into_iter().take(MAX_DIFFERENCES);
    let mut differences: Vec<_> =
        foreign.map(|(key, manager)| Difference::new(key.as_bytes(), What::SetBy(manager))).collect();
    if differences.is_empty() {
        differences.push(Difference::new(b"", What::Content));
    }
    Damage { output: output.to_owned(), location: K::location(found.name_any()), differences, is_additive: false }
}

/// Refuses a write that an admission webhook changes, because the published content would not be the verified content.
fn check_answer<K: Kind>(answer: &K, ready: &Ready<K>) -> Result<(), OutputError> {
    let there: BTreeMap<_, _> = answer.entries().into_iter().collect();
    match ready.wanted.entries().into_iter().find(|(key, value)| there.get(key) != Some(value)) {
        None => Ok(()),
        Some((key, _)) => Err(OutputError::Obstacle(format!(
            "{} {}: the key {key:?} is changed by an admission webhook. Exempt the object from it",
            K::KIND,
            ready.name()
        ))),
    }
}

/// Returns the keys of other managers, if the remaining content is the published one.
fn added_keys<K: Kind>(found: &K, key: &ContentKey) -> Option<BTreeSet<String>> {
    let foreign: BTreeSet<_> = managers::foreign_keys(found.managed_fields()).into_iter().map(|(key, _)| key).collect();
    let own: Vec<_> = found.entries().into_iter().filter(|(key, _)| !foreign.contains(*key)).collect();
    let is_whole = found.annotations().get(api::ANNOTATION_CONTENT) == Some(&K::mark_of(&own, key));
    (is_whole && !foreign.is_empty()).then_some(foreign)
}

impl Cluster<'_> {
    fn api<K: Kind>(&self, object: &ObjectId) -> Api<K> {
        Api::namespaced(self.client.clone(), &object.namespace)
    }

    /// Reads an object; `None` if it does not exist.
    pub(super) async fn get<K: Kind>(&self, object: &ObjectId, name: &str) -> Result<Option<K>, OutputError> {
        self.api::<K>(object).get_opt(name).await.map_err(|error| refused::<K>(name, error))
    }

    /// Reads the existing object, checks that it is ours, and rehearses the write.
    pub(super) async fn prepare<K: Kind>(
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
    pub(super) async fn rehearse<K: Kind>(&self, object: &ObjectId, wanted: &K) -> Result<(), OutputError> {
        self.prepare(object, wanted.clone(), placeholder(wanted)).await.map(drop)
    }

    /// Writes the prepared object.
    pub(super) async fn switch<K: Kind>(
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
    pub(super) async fn revert<K: Kind>(&self, object: &ObjectId, switched: &Switched<K>) -> Result<(), OutputError> {
        let Some(previous) = &switched.previous else { return self.delete(object, &switched.written).await };
        let mut wanted = previous.clone();
        *wanted.meta_mut() = own_metadata(previous, object);
        let published = published_in(&wanted, "").unwrap_or_else(|| placeholder(&wanted));
        let ready = Ready { wanted, existing: Some(switched.written.clone()), published };
        let written = self.write(object, &ready, false).await?;
        self.without_foreign_keys(object, &ready, written).await.map(drop)
    }

    /// Deletes the object's own ConfigMap or Secret of this name. Absent and foreign are success.
    pub(super) async fn remove<K: Kind>(&self, object: &ObjectId, name: &str) -> Result<(), OutputError> {
        match self.get::<K>(object, name).await? {
            Some(found) if is_ours(&found, object) => self.delete(object, &found).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Removes keys that others have added to an object whose own content is intact.
    pub(super) async fn remove_added_keys<K: Kind>(
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

impl<K: Kind> Ready<K> {
    /// True if no write is needed.
    pub(super) fn is_there(&self) -> bool {
        let Some(existing) = &self.existing else { return false };
        let has = |wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| there.get(key) == Some(value))
        };
        existing.entries() == self.wanted.entries()
            && has(self.wanted.annotations(), existing.annotations())
            && has(self.wanted.labels(), existing.labels())
    }
}

/// Returns the part of an object's metadata that we write.
fn own_metadata<K: Kind>(found: &K, object: &ObjectId) -> ObjectMeta {
    let is_label = |key: &str| key == api::LABEL_MANAGED_BY || key == api::LABEL_OBJECT;
    let is_annotation = |key: &str| {
        [api::ANNOTATION_REFERENCE, api::ANNOTATION_DIGEST, api::ANNOTATION_FINGERPRINT, api::ANNOTATION_CONTENT]
            .contains(&key)
    };
    let those = |all: &BTreeMap<String, String>, is_ours: &dyn Fn(&str) -> bool| {
        all.iter().filter(|(key, _)| is_ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    ObjectMeta {
        name: found.meta().name.clone(),
        namespace: found.meta().namespace.clone(),
        labels: Some(those(found.labels(), &is_label)),
        annotations: Some(those(found.annotations(), &is_annotation)),
        owner_references: owner(object).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn version_of<K: Kind>(found: &K) -> String {
    found.resource_version().unwrap_or_default()
}

/// Returns the revision in the annotations, without comparing the content.
fn published_in<K: Kind>(found: &K, output: &str) -> Option<Published> {
    let annotations = found.annotations();
    let entries = found.entries();
    Some(Published {
        output: output.to_owned(),
        location: K::location(found.name_any()),
        revision: Revision {
            digest: annotations.get(api::ANNOTATION_DIGEST)?.parse().ok()?,
            fingerprint: annotations.get(api::ANNOTATION_FINGERPRINT)?.clone(),
        },
        list_digest: None,
        files: entries.len() as u64,
        bytes: entries.iter().map(|(_, value)| value.len() as u64).sum(),
        skipped: 0,
    })
}

/// Stands for an object without revision annotations, where only its location matters.
fn placeholder<K: Kind>(found: &K) -> Published {
    Published {
        output: String::new(),
        location: K::location(found.name_any()),
        revision: Revision { digest: Digest::of(b""), fingerprint: String::new() },
        list_digest: None,
        files: 0,
        bytes: 0,
        skipped: 0,
    }
}

fn check_owner<K: Kind>(found: &K, object: &ObjectId) -> Result<(), OutputError> {
    if is_ours(found, object) {
        return Ok(());
    }
    let (kind, name) = (K::KIND, found.name_any());
    let earlier = controllers(found).find(|owner| {
        owner.kind == OCIArtifact::kind(&()) && owner.name == object.name && owner.api_version.starts_with(api::GROUP)
    });
    if let Some(earlier) = earlier {
        return Err(OutputError::Earlier { what: format!("{kind} {name}"), uid: earlier.uid.clone() });
    }
    Err(OutputError::Obstacle(format!(
        "{kind} {name} exists and is not this object's. Delete it, or choose another name"
    )))
}

/// Refuses an object that no write can change as wanted.
fn check_form<K: Kind>(existing: &K, wanted: &K) -> Result<(), OutputError> {
    let (kind, name) = (K::KIND, existing.name_any());
    if existing.is_immutable() && (!wanted.is_immutable() || existing.entries() != wanted.entries()) {
        return Err(OutputError::Obstacle(format!(
            "{kind} {name} is immutable and holds other content. Delete it, or choose another name"
        )));
    }
    if existing.secret_type() != wanted.secret_type() {
        return Err(OutputError::Obstacle(format!(
            "{kind} {name} has type {:?}, which cannot be changed. Delete it, or choose another name",
            existing.secret_type().unwrap_or_default()
        )));
    }
    Ok(())
}

fn controllers<K: Kind>(found: &K) -> impl Iterator<Item = &OwnerReference> {
    found.owner_references().iter().filter(|owner| owner.controller == Some(true))
}

fn is_ours<K: Kind>(found: &K, object: &ObjectId) -> bool {
    controllers(found).any(|owner| owner.uid == object.uid)
}

/// Returns the owner reference; `None` without a cluster, where objects have no uid.
fn owner(object: &ObjectId) -> Option<OwnerReference> {
    (!object.uid.is_empty()).then(|| OwnerReference {
        api_version: OCIArtifact::api_version(&()).into_owned(),
        kind: OCIArtifact::kind(&()).into_owned(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    })
}

/// Truncates an object's name to a label value: names may have 253 characters, label values 63.
fn label_value(name: &str) -> String {
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.', '_']).to_owned()
}

/// Separates refusals by the API server, which last until an administrator acts, from temporary errors.
fn refused<K: Kind>(name: &str, error: kube::Error) -> OutputError {
    let (kind, name) = (K::KIND, name.to_owned());
    let kube::Error::Api(status) = &error else { return OutputError::Api { kind, name, source: Box::new(error) } };
    let is_manager_conflict = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "FieldManagerConflict")
    };
    match status.code {
        409 if is_manager_conflict() => OutputError::Obstacle(format!(
            "{kind} {name} has keys that another manager has set ({}). Delete it, or let the other manager give them up",
            status.message
        )),
        // Not 429, 503 and 504: these mean a busy server, and kube has retried them.
        400 | 403 | 405 | 413 | 422 => {
            let mut message = status.message.clone();
            if kind == OutputKind::Secret && is_missing_right(status) {
                message += ". Secret outputs need rights on Secrets: set the chart value rbac.secretOutputs to true";
            }
            OutputError::Refused { kind, name, code: status.code, message, rehearsal: None }
        }
        _ => OutputError::Api { kind, name, source: Box::new(error) },
    }
}

/// True for a 403 by RBAC, as opposed to a quota or an admission policy.
fn is_missing_right(status: &kube::core::Status) -> bool {
    status.code == 403 && status.message.contains(" cannot ") && status.message.contains(" resource ")
}

fn unpatchable<K: Kind>(name: &str, error: &serde_json::Error) -> OutputError {
    let (kind, name, message) = (K::KIND, name.to_owned(), error.to_string());
    OutputError::Refused { kind, name, code: 0, message, rehearsal: None }
}
