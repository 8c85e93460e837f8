//! ConfigMaps and Secrets as one trait.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::content::{self, Content};
use super::hmac_key::ContentKey;
use crate::oci::Digest;
use crate::output::location::Location;
use crate::plan::Revision;
use crate::request::OutputKind;

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
        Location::new(OutputKind::ConfigMap, name)
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
        Location::new(OutputKind::Secret, name)
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
