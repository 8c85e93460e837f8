//! The object as it is to be written: content, owner, labels and annotations. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::content::Content;
use super::hmac_key::ContentKey;
use super::kind::Kind;
use crate::api::{self, OCIArtifact};
use crate::oci::Digest;
use crate::output::published::Published;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{Fingerprint, KeyedObject, ObjectId, Request, Target};

/// Number of hex digits of the content digest in the name of an immutable object.
const NAME_HEX: usize = 10;

/// One output of one object, without its content.
#[derive(Clone, Copy, Debug)]
pub(in crate::output) struct Place<'a> {
    pub(in crate::output) object: &'a ObjectId,
    /// Name of the output.
    pub(in crate::output) output: &'a str,
    pub(in crate::output) keyed: &'a KeyedObject,
    /// Type of a Secret.
    pub(in crate::output) secret_type: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(in crate::output) fn new(
        object: &'a ObjectId,
        target: &'a Target,
        keyed: &'a KeyedObject,
        secret_type: Option<&'a String>,
    ) -> Self {
        Self { object, output: &target.output, keyed, secret_type: secret_type.map(String::as_str) }
    }
}

/// Builds the object.
pub(in crate::output) fn build<K: Kind>(
    place: Place<'_>,
    request: &Request,
    pinned: &Pinned,
    content: &Content,
    key: &ContentKey,
) -> (K, Published) {
    let Place { object, keyed, .. } = place;
    let revision = Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.clone() };
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
        (api::ANNOTATION_FINGERPRINT.to_owned(), revision.fingerprint.to_string()),
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

/// Returns the part of an object's metadata that we write.
pub(super) fn own_metadata<K: Kind>(found: &K, object: &ObjectId) -> ObjectMeta {
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

/// Stands for an object without revision annotations, where only its location matters.
pub(super) fn placeholder<K: Kind>(found: &K) -> Published {
    Published {
        output: String::new(),
        location: K::location(found.name_any()),
        revision: Revision { digest: Digest::of(b""), fingerprint: Fingerprint::default() },
        list_digest: None,
        files: 0,
        bytes: 0,
        skipped: 0,
    }
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
