//! Files as the keys of a ConfigMap: in a cluster by server-side apply, without one as a manifest.
//!
//! Keys are the paths with `/` replaced by the separator. Whatever does not fit (two paths on one
//! key, an illegal key, too many bytes) is refused before anything is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource};

use super::{OutputError, Published};
use crate::api::{self, OCIArtifact};
use crate::metrics::Metrics;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{ObjectId, Request};
use crate::storage::StorageError;
use content::Content;

pub(super) mod content;

/// `kind` of this output in status.
pub const KIND: &str = "ConfigMap";

/// Where ConfigMaps are.
#[derive(Clone)]
pub enum ConfigMaps {
    /// In a cluster.
    Cluster(Client),
    /// As manifests `<directory>/<namespace>/<object>/<name>.yaml`, for later use with kubectl.
    Directory(PathBuf),
}

impl std::fmt::Debug for ConfigMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(_) => f.write_str("Cluster"),
            Self::Directory(path) => write!(f, "Directory({})", path.display()),
        }
    }
}

/// A ConfigMap that can be applied.
pub(crate) struct Prepared {
    map: ConfigMap,
    published: Published,
}

/// Puts content, owner, labels and annotations together.
pub(super) fn prepare(
    request: &Request,
    output: &str,
    name: &str,
    immutable: bool,
    pinned: &Pinned,
    content: Content,
) -> Prepared {
    let object = &request.object;
    let revision = Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.as_str().to_owned() };
    let published = Published {
        output: output.to_owned(),
        kind: KIND,
        location: name.to_owned(),
        revision: revision.clone(),
        list_digest: None,
        files: (content.text.len() + content.binary.len()) as u64,
        bytes: content.bytes,
        skipped: content.skipped,
    };
    let mut map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(object.namespace.clone()),
            labels: Some(BTreeMap::from([
                (api::LABEL_MANAGED_BY.to_owned(), api::MANAGER.to_owned()),
                (api::LABEL_OBJECT.to_owned(), label_value(&object.name)),
            ])),
            owner_references: owner(object).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        immutable: immutable.then_some(true),
        data: (!content.text.is_empty()).then_some(content.text),
        binary_data: (!content.binary.is_empty()).then_some(content.binary),
    };
    map.metadata.annotations = Some(BTreeMap::from([
        (api::ANNOTATION_REFERENCE.to_owned(), pinned.to_string()),
        (api::ANNOTATION_DIGEST.to_owned(), revision.digest.to_string()),
        (api::ANNOTATION_FINGERPRINT.to_owned(), revision.fingerprint),
        (api::ANNOTATION_CONTENT.to_owned(), content::digest(&map)),
    ]));
    Prepared { map, published }
}

impl ConfigMaps {
    /// What the ConfigMap holds now: `None` where it is missing or was changed by somebody.
    pub(super) async fn probe(
        &self,
        object: &ObjectId,
        output: &str,
        name: &str,
    ) -> Result<Option<Published>, OutputError> {
        let found = match self {
            Self::Cluster(client) => {
                let found = api(client, object).get_opt(name).await.map_err(|error| api_error(name, error))?;
                if let Some(map) = &found {
                    check_owner(map, object, name)?;
                }
                found
            }
            Self::Directory(root) => read_manifest(&manifest_path(root, object, name)),
        };
        Ok(found.and_then(|map| as_published(&map, output, name)))
    }

    pub(super) async fn commit(
        &self,
        object: &ObjectId,
        prepared: Prepared,
        metrics: &Metrics,
    ) -> Result<Published, OutputError> {
        match self {
            Self::Cluster(client) => apply(&api(client, object), object, &prepared, metrics).await?,
            Self::Directory(root) => {
                write_manifest(&manifest_path(root, object, &prepared.published.location), &prepared.map)?;
            }
        }
        Ok(prepared.published)
    }

    pub(super) async fn withdraw(&self, object: &ObjectId, name: &str, metrics: &Metrics) -> Result<(), OutputError> {
        match self {
            Self::Cluster(client) => {
                let maps = api(client, object);
                match maps.get_opt(name).await.map_err(|error| api_error(name, error))? {
                    Some(map) if is_ours(&map, object) => delete(&maps, &map, name, metrics).await,
                    Some(_) | None => Ok(()),
                }
            }
            Self::Directory(root) => match fs_err::remove_file(manifest_path(root, object, name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StorageError::from_io(format!("remove the manifest of ConfigMap {name}"), &error).into())
                }
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }
}

async fn apply(
    maps: &Api<ConfigMap>,
    object: &ObjectId,
    prepared: &Prepared,
    metrics: &Metrics,
) -> Result<(), OutputError> {
    let name = &prepared.published.location;
    let existing = maps.get_opt(name).await.map_err(|error| api_error(name, error))?;
    if let Some(existing) = &existing {
        check_owner(existing, object, name)?;
        if existing.immutable == Some(true) && content::digest(existing) != content::digest(&prepared.map) {
            delete(maps, existing, name, metrics).await?;
        }
    }
    metrics.api_write("configmap");
    match maps.patch(name, &PatchParams::apply(api::MANAGER), &Patch::Apply(&prepared.map)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Err(OutputError::Conflict(format!(
            "ConfigMap {name} was changed by somebody else ({}); delete it to have it made again",
            status.message
        ))),
        Err(error) => Err(api_error(name, error)),
    }
}

async fn delete(maps: &Api<ConfigMap>, map: &ConfigMap, name: &str, metrics: &Metrics) -> Result<(), OutputError> {
    let uid = map.metadata.uid.clone();
    let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
    metrics.api_write("configmap");
    match maps.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(api_error(name, error)),
    }
}

fn check_owner(map: &ConfigMap, object: &ObjectId, name: &str) -> Result<(), OutputError> {
    if is_ours(map, object) {
        return Ok(());
    }
    Err(OutputError::Conflict(format!(
        "ConfigMap {name} exists and is not this object's; delete it or choose another name"
    )))
}

fn is_ours(map: &ConfigMap, object: &ObjectId) -> bool {
    let owners = map.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == object.uid)
}

fn as_published(map: &ConfigMap, output: &str, name: &str) -> Option<Published> {
    let annotations = map.metadata.annotations.as_ref()?;
    if annotations.get(api::ANNOTATION_CONTENT) != Some(&content::digest(map)) {
        return None;
    }
    let text = map.data.iter().flatten().map(|(_, value)| value.len());
    let binary = map.binary_data.iter().flatten().map(|(_, value)| value.0.len());
    Some(Published {
        output: output.to_owned(),
        kind: KIND,
        location: name.to_owned(),
        revision: Revision {
            digest: annotations.get(api::ANNOTATION_DIGEST)?.parse().ok()?,
            fingerprint: annotations.get(api::ANNOTATION_FINGERPRINT)?.clone(),
        },
        list_digest: None,
        files: (map.data.iter().flatten().count() + map.binary_data.iter().flatten().count()) as u64,
        bytes: text.chain(binary).sum::<usize>() as u64,
        skipped: 0,
    })
}

/// `None` where there is no cluster, and so no uid to own anything.
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

/// Object names may have 253 characters, label values 63.
fn label_value(name: &str) -> String {
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.', '_']).to_owned()
}

fn api(client: &Client, object: &ObjectId) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), &object.namespace)
}

fn api_error(name: &str, error: kube::Error) -> OutputError {
    OutputError::Api { name: name.to_owned(), source: Box::new(error) }
}

fn manifest_path(root: &std::path::Path, object: &ObjectId, name: &str) -> PathBuf {
    root.join(&object.namespace).join(&object.name).join(format!("{name}.yaml"))
}

/// A manifest that cannot be read is written again.
fn read_manifest(path: &std::path::Path) -> Option<ConfigMap> {
    serde_saphyr::from_str(&fs_err::read_to_string(path).ok()?).ok()
}

fn write_manifest(path: &std::path::Path, map: &ConfigMap) -> Result<(), StorageError> {
    let failed = |error: std::io::Error| StorageError::from_io(format!("write {}", path.display()), &error);
    let text = serde_saphyr::to_string(map).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let temporary = path.with_extension("yaml.new");
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent).map_err(failed)?;
    }
    fs_err::write(&temporary, text).map_err(failed)?;
    fs_err::rename(&temporary, path).map_err(failed)
}
