//! Handmade artifacts, byte for byte, of producers that cannot run here.
//!
//! Each use names the version or source of the producer from which the format is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::files::{Entry, Tree};
use crate::hostile::artifact::{MANIFEST, digest};

/// Media type of the empty config, for artifacts without a config (image-spec manifest.md).
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Manifest and its blobs; the fields of the manifest are in the order in which the producers' libraries write them.
#[derive(Debug, Clone)]
pub struct Fixture {
    manifest: Manifest,
    blobs: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

impl Fixture {
    /// Makes an artifact with this config and without layers.
    pub fn new(config_type: &str, config: &[u8]) -> Self {
        let mut fixture = Self {
            manifest: Manifest {
                schema_version: 2,
                media_type: Some(MANIFEST.to_owned()),
                artifact_type: None,
                config: descriptor(config_type, config),
                layers: Vec::new(),
                subject: None,
                annotations: BTreeMap::new(),
            },
            blobs: Vec::new(),
        };
        fixture.blobs.push(config.to_vec());
        fixture
    }

    /// Makes an artifact with the empty config and an artifact type, as oras-go packs since image-spec 1.1.
    pub fn artifact(artifact_type: &str) -> Self {
        let mut fixture = Self::new(EMPTY, b"{}");
        fixture.manifest.artifact_type = Some(artifact_type.to_owned());
        fixture
    }

    /// Sets the artifact type beside a config that is not empty.
    #[must_use]
    pub fn with_artifact_type(mut self, artifact_type: &str) -> Self {
        self.manifest.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Sets the artifact type of the config descriptor, as cosign writes it.
    #[must_use]
    pub fn with_config_artifact_type(mut self, artifact_type: &str) -> Self {
        self.manifest.config.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Appends a layer.
    #[must_use]
    pub fn layer(mut self, media_type: &str, bytes: &[u8], annotations: &[(&str, &str)]) -> Self {
        self.manifest.layers.push(Descriptor { annotations: pairs(annotations), ..descriptor(media_type, bytes) });
        self.blobs.push(bytes.to_vec());
        self
    }

    /// Adds annotations to the manifest.
    #[must_use]
    pub fn annotations(mut self, annotations: &[(&str, &str)]) -> Self {
        self.manifest.annotations.extend(pairs(annotations));
        self
    }

    /// Sets the subject: the manifest that this artifact refers to.
    #[must_use]
    pub fn about(mut self, digest: &str, size: usize) -> Self {
        let no = BTreeMap::new();
        let subject = Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: digest.to_owned(),
            size,
            annotations: no,
            artifact_type: None,
        };
        self.manifest.subject = Some(subject);
        self
    }

    /// Removes `mediaType` from the manifest; only the Content-Type names the type.
    #[must_use]
    pub fn without_media_type(mut self) -> Self {
        self.manifest.media_type = None;
        self
    }

    /// Returns the bytes of the manifest.
    pub fn manifest(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.manifest)?)
    }

    /// Writes manifest and blobs to a directory, which is created; returns the paths of the manifest and of the blobs.
    pub(crate) fn write(&self, directory: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
        fs_err::create_dir_all(directory)?;
        let manifest = directory.join("manifest.json");
        fs_err::write(&manifest, self.manifest()?)?;
        let mut blobs = Vec::new();
        for (number, bytes) in self.blobs.iter().enumerate() {
            let path = directory.join(format!("blob-{number}"));
            fs_err::write(&path, bytes)?;
            blobs.push(path);
        }
        Ok((manifest, blobs))
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest(bytes),
        size: bytes.len(),
        annotations: BTreeMap::new(),
        artifact_type: None,
    }
}

fn pairs(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Compresses bytes into one zstd frame.
pub fn zstd(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(::zstd::bulk::compress(bytes, 3)?)
}

/// Makes a tar of files as common tools write it: sorted, each directory before its content, without times and owners.
/// Names begin with `prefix`, byte for byte. A prefix that is not empty ends in a slash and has an entry of its own;
/// the directories above it have none.
pub fn tar(files: &Tree, prefix: &str) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    for (path, entry) in files {
        let name = format!("{prefix}{path}");
        for (end, _) in name.match_indices('/').filter(|(end, _)| end + 1 >= prefix.len()) {
            let directory = name.get(..=end).unwrap_or_default().to_owned();
            if made.insert(directory.clone()) {
                add(&mut builder, &directory, EntryType::Directory, 0o755, "", b"")?;
            }
        }
        match entry {
            Entry::File { content, executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                add(&mut builder, &name, EntryType::Regular, mode, "", content)?;
            }
            Entry::Link(target) => add(&mut builder, &name, EntryType::Symlink, 0o777, target, b"")?,
            Entry::EmptyDirectory => add(&mut builder, &format!("{name}/"), EntryType::Directory, 0o755, "", b"")?,
        }
    }
    Ok(builder.into_inner()?)
}

/// Appends an entry under its exact name: the library would strip `./`, which some producers write.
fn add(
    builder: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    mode: u32,
    target: &str,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    let old = header.as_old_mut();
    for (field, text) in [(&mut old.name, name), (&mut old.linkname, target)] {
        ensure!(text.len() < field.len(), "{text:?} is too long for this");
        field.iter_mut().zip(text.bytes()).for_each(|(slot, byte)| *slot = byte);
    }
    header.set_cksum();
    Ok(builder.append(&header, content)?)
}
