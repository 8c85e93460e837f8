//! Writing of blobs, manifests and names: each file complete and durable before it gets its name.

use std::io::Write;
use std::os::fd::AsFd;

use super::LayoutError;
use super::directory::{BLOBS, Layout};
use super::index::{INDEX, Index, MAX_ENTRIES, is_name};
use super::ours::{Ingest, Scratch};
use crate::failpoint;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document, Hasher, Repository};
use crate::storage::{self, StorageError};

/// A blob that is being written, hashed on the way. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: Ingest,
    hasher: Hasher,
    size: u64,
}

impl Layout {
    /// Begins a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter, LayoutError> {
        Ok(BlobWriter { layout: self.clone(), file: self.ours()?.file()?, hasher: Hasher::default(), size: 0 })
    }

    /// Writes a blob.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|error| StorageError::from_io("write a blob", &error))?;
        writer.finish(media_type)
    }

    /// Writes a manifest or an index, and gives it names in `index.json`, which are taken from the manifests that had
    /// them. Without a name it is in `index.json` only if it has a subject, so that referrers are found. Fails if a blob
    /// or manifest that it lists is missing, so that a name never leads to a part of an artifact.
    pub fn put_manifest(&self, media_type: &str, bytes: &[u8], names: &[&str]) -> Result<Descriptor, LayoutError> {
        self.put_manifest_of(None, media_type, bytes, names)
    }

    /// As [`Self::put_manifest`], for a manifest of this repository: without a name, it is a referrer in that repository
    /// alone.
    pub(super) fn put_manifest_of(
        &self,
        repository: Option<&Repository>,
        media_type: &str,
        bytes: &[u8],
        names: &[&str],
    ) -> Result<Descriptor, LayoutError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            let what = format!("manifest {}", Digest::of(bytes).short());
            return Err(LayoutError::TooLarge { layout: self.shown(), what, limit: MAX_MANIFEST_BYTES });
        }
        check_names(names)?;
        let document = Document::parse(bytes, Some(media_type))?;
        if let Some(missing) = self.missing(&document)? {
            return Err(LayoutError::Incomplete { manifest: Digest::of(bytes), missing });
        }
        let descriptor = self.put_blob(media_type, bytes)?;
        let has_subject = matches!(document, Document::Manifest(manifest) if manifest.subject.is_some());
        if !names.is_empty() {
            self.change_index(|index| names.iter().all(|name| index.name(&descriptor, name, &[])))?;
        } else if has_subject {
            let repository = repository.map(Repository::to_string);
            self.change_index(|index| index.list(&descriptor, repository.as_deref()))?;
        }
        Ok(descriptor)
    }

    /// Gives a manifest of this layout names, with annotations of the entries. The names are taken from the manifests
    /// that had them. Fails if the manifest, or a blob or manifest that it lists, is missing.
    pub fn name(&self, manifest: &Descriptor, names: &[&str], annotations: &[(&str, &str)]) -> Result<(), LayoutError> {
        check_names(names)?;
        let incomplete =
            |missing: &Digest| LayoutError::Incomplete { manifest: manifest.digest.clone(), missing: missing.clone() };
        let bytes = self.read_blob(&manifest.digest, MAX_MANIFEST_BYTES)?;
        let bytes = bytes.ok_or_else(|| incomplete(&manifest.digest))?;
        let document = Document::parse(&bytes, Some(&manifest.media_type))?;
        if let Some(missing) = self.missing(&document)? {
            return Err(incomplete(&missing));
        }
        self.change_index(|index| names.iter().all(|name| index.name(manifest, name, annotations)))
    }

    /// Reads, changes and replaces `index.json` under its lock. `change` returns false if the index has no room.
    pub(super) fn change_index(&self, change: impl FnOnce(&mut Index) -> bool) -> Result<(), LayoutError> {
        let _lock = self.ours()?.lock_index()?;
        let mut index = self.index()?;
        if !change(&mut index) {
            let (layout, what) = (self.shown(), format!("the list of {INDEX}"));
            return Err(LayoutError::TooLarge { layout, what, limit: MAX_ENTRIES as u64 });
        }
        // The blobs that the index leads to must be durable before it.
        let blobs = storage::open_dir(self.dir(), BLOBS)?;
        storage::sync(blobs.as_fd(), BLOBS)?;
        failpoint::reach("layout-before-index");
        self.replace(INDEX, index.to_json().as_bytes())
    }

    /// Replaces a file at the top of the layout, so that readers see the earlier content or the new.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let mut file = self.ours()?.file()?;
        file.file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {name}"), &error))?;
        file.move_to(self.dir(), name)?;
        Ok(storage::sync(self.dir(), name)?)
    }

    /// Creates a private directory for a command, which is removed when dropped.
    pub fn scratch(&self) -> Result<Scratch, LayoutError> {
        Ok(self.ours()?.scratch(self.path())?)
    }
}

fn check_names(names: &[&str]) -> Result<(), LayoutError> {
    let invalid = names.iter().find(|name| !is_name(name));
    invalid.map_or(Ok(()), |name| Err(LayoutError::Name((*name).to_owned())))
}

impl BlobWriter {
    /// Number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the blob: durable, and in its place under its digest. A blob of the same digest is replaced, so that
    /// damage on the disk is repaired.
    pub fn finish(self, media_type: &str) -> Result<Descriptor, LayoutError> {
        let Self { layout, file, hasher, size } = self;
        let digest = hasher.finish();
        failpoint::reach("layout-before-blob");
        file.move_to(storage::open_dir(layout.dir(), BLOBS)?.as_fd(), &digest.hex())?;
        failpoint::reach("layout-after-blob");
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// As [`Self::finish`], but fails if the bytes are not those of the descriptor, and then leaves nothing.
    pub fn finish_as(self, expected: &Descriptor) -> Result<(), LayoutError> {
        let digest = self.hasher.clone().finish();
        if (&digest, self.size) != (&expected.digest, expected.size) {
            let (layout, digest) = (self.layout.shown(), expected.digest.clone());
            return Err(LayoutError::Corrupt { layout, digest });
        }
        self.finish(&expected.media_type).map(drop)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size = self.size.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.file.flush()
    }
}
