//! Artifacts of the cache as one tar archive with an OCI image layout, for machines without a network.
//!
//! ```text
//! oci-layout, index.json, blobs/sha256/<hex>   as in a directory; read by other clients too
//! trusted_root.json                            Sigstore's trusted root, if it was added; other clients ignore it
//! ```
//!
//! An entry of `index.json` is named by its tag, which other clients look for, and has the whole reference in
//! `io.containerd.image.name`, as container runtimes write it. If the archive has several repositories, whole references
//! are the names. The same content is always the same archive: sorted, without times and users.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read, Write};

use serde_json::{Value, json};

use super::cache::{self, Cache, Cached};
use super::directory::{BLOBS, Layout, OCI_LAYOUT, VERSION};
use super::index::{INDEX, REF_NAME, REPOSITORY_OF};
use super::{Entry, LayoutError};
use crate::oci::media_type::OCI_INDEX;
use crate::oci::{Descriptor, Digest, Hasher, Reference, Repository};
use crate::storage::StorageError;

/// Annotation with a whole reference.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// File with Sigstore's trusted root.
pub(super) const TRUSTED_ROOT: &str = "trusted_root.json";

/// Content of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of blobs: manifests, configs and layers, of artifacts and of what refers to them.
    pub blobs: usize,
    /// Number of manifests that refer to an artifact, such as signatures.
    pub referrers: usize,
    /// Bytes of all blobs.
    pub bytes: u64,
}

impl Cache {
    /// Writes artifacts of this cache, with all that refers to them, to `archive`. Each blob's digest is checked while
    /// it is written; after an error the archive is useless.
    pub fn export(
        &self,
        artifacts: &[Cached],
        trusted_root: Option<&[u8]>,
        archive: impl Write,
    ) -> Result<Exported, LayoutError> {
        let layout = self.layout();
        let (entries, reached) = selected(layout, artifacts)?;
        let index = index(&entries);
        let mut tar = Tar(tar::Builder::new(archive));
        tar.file(OCI_LAYOUT, VERSION.as_bytes())?;
        tar.file(INDEX, index.to_string().as_bytes())?;
        if let Some(json) = trusted_root {
            tar.file(TRUSTED_ROOT, json)?;
        }
        tar.directory("blobs/")?;
        tar.directory(&format!("{BLOBS}/"))?;
        let referrers = entries.iter().filter(|entry| !is_artifact(entry)).count();
        let mut exported = Exported { blobs: reached.len(), referrers, bytes: 0 };
        for digest in reached {
            exported.bytes = exported.bytes.saturating_add(tar.blob(layout, &digest)?);
        }
        tar.finish()?;
        Ok(exported)
    }
}

/// Returns the entries of artifacts and of what refers to them, and the digests of all that they lead to.
fn selected(layout: &Layout, artifacts: &[Cached]) -> Result<(Vec<Entry>, BTreeSet<Digest>), LayoutError> {
    let names: HashSet<String> =
        artifacts.iter().map(|one| cache::name_of(&one.reference, &one.manifest.digest)).collect();
    let is_wanted = |entry: &Entry| match &entry.name {
        Some(name) => names.contains(name) || !is_artifact(entry),
        None => layout.has_subject(&entry.descriptor),
    };
    let mut entries: Vec<Entry> = layout.entries()?.into_iter().filter(is_wanted).collect();
    let about: HashSet<&Repository> = artifacts.iter().map(|one| &one.reference.repository).collect();
    // What refers to them only of the repositories that are exported.
    entries.retain(|entry| about.iter().any(|repository| entry.may_be_in(repository)));
    let reached = layout.reachable(&entries);
    entries.retain(|entry| reached.contains(&entry.descriptor.digest));
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            let Entry { descriptor, name } = entry.clone();
            (name.is_none(), name, descriptor.digest, descriptor.annotations.get(REPOSITORY_OF).cloned())
        };
        key(a).cmp(&key(b))
    });
    Ok((entries, reached.into_iter().collect()))
}

/// Returns true for an entry that is an artifact of its own.
fn is_artifact(entry: &Entry) -> bool {
    cache::artifact(entry.clone()).is_some()
}

/// Returns `index.json` of an archive.
fn index(entries: &[Entry]) -> Value {
    let reference = |entry: &Entry| entry.name.as_deref().and_then(|name| name.parse::<Reference>().ok());
    let repositories: HashSet<_> = entries.iter().filter_map(reference).map(|one| one.repository).collect();
    let manifest = |entry: &Entry| {
        let Descriptor { media_type, digest, size, .. } = &entry.descriptor;
        let mut manifest = Descriptor::new(media_type, digest.clone(), *size);
        if let (Some(name), Some(reference)) = (&entry.name, reference(entry)) {
            let tag = if repositories.len() > 1 { Some(name.clone()) } else { reference.tag };
            manifest.annotations.extend(tag.map(|tag| (REF_NAME.to_owned(), tag)));
            manifest = manifest.with_annotation(IMAGE_NAME, name);
        }
        let repository = entry.descriptor.annotations.get(REPOSITORY_OF);
        manifest.annotations.extend(repository.map(|repository| (REPOSITORY_OF.to_owned(), repository.clone())));
        manifest
    };
    let manifests: Vec<Descriptor> = entries.iter().map(manifest).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
}

/// An archive whose headers have no times, users or umasks.
struct Tar<W: Write>(tar::Builder<W>);

impl<W: Write> Tar<W> {
    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        Ok(self.append(path, tar::EntryType::Regular, bytes.len() as u64, bytes)?)
    }

    fn directory(&mut self, path: &str) -> Result<(), LayoutError> {
        Ok(self.append(path, tar::EntryType::Directory, 0, io::empty())?)
    }

    /// Adds a blob, and returns its size.
    fn blob(&mut self, layout: &Layout, digest: &Digest) -> Result<u64, LayoutError> {
        let corrupt = || LayoutError::Corrupt { layout: layout.shown(), digest: digest.clone() };
        let (file, size) = layout.open_blob(digest)?.ok_or_else(corrupt)?;
        let mut hashing = Hashing { file: file.take(size), hasher: Hasher::default(), read: 0 };
        self.append(&format!("{BLOBS}/{}", digest.hex()), tar::EntryType::Regular, size, &mut hashing)?;
        if hashing.read != size || hashing.hasher.finish() != *digest {
            return Err(corrupt());
        }
        Ok(size)
    }

    fn append(&mut self, path: &str, kind: tar::EntryType, size: u64, content: impl Read) -> Result<(), StorageError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        self.0
            .append_data(&mut header, path, content)
            .map_err(|error| StorageError::from_io("write the archive", &error))
    }

    fn finish(self) -> Result<(), LayoutError> {
        let written = self.0.into_inner().and_then(|mut archive| archive.flush());
        Ok(written.map_err(|error| StorageError::from_io("write the archive", &error))?)
    }
}

/// A reader that hashes.
struct Hashing<R> {
    file: R,
    hasher: Hasher,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.read = self.read.saturating_add(read as u64);
        Ok(read)
    }
}
