//! Writing of blobs, manifests and names: each file complete and durable before it gets its name.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode};
use serde_json::json;

use super::index::{INDEX, Index, MAX_ENTRIES, is_name};
use super::{BLOBS, Layout, LayoutError, lock, unlink};
use crate::failpoint;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document, Hasher};
use crate::storage::{self, During, StorageError};

/// Directory for unfinished files.
pub(super) const INGEST: &str = "ingest";
/// Mode of files.
const FILE: Mode = Mode::from_raw_mode(0o644);

/// A blob that is being written, hashed on the way. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: Ingest,
    hasher: Hasher,
    size: u64,
}

/// A file in `ingest/`, removed unless it was moved to its place.
#[derive(Debug)]
struct Ingest {
    dir: OwnedFd,
    name: String,
    file: fs_err::File,
    is_moved: bool,
}

impl Layout {
    /// Begins a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter, LayoutError> {
        Ok(BlobWriter { layout: self.clone(), file: self.ingest()?, hasher: Hasher::default(), size: 0 })
    }

    /// Writes a blob.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|error| StorageError::from_io("write a blob", &error))?;
        writer.finish(media_type)
    }

    /// Writes a manifest or an index, and gives it names in `index.json`, which are taken from the manifests that had
    /// them. Without a name it is in `index.json` only if it has a subject, so that referrers are found.
    pub fn put_manifest(&self, media_type: &str, bytes: &[u8], names: &[&str]) -> Result<Descriptor, LayoutError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            let what = format!("manifest {}", Digest::of(bytes).short());
            return Err(LayoutError::TooLarge { layout: self.shown(), what, limit: MAX_MANIFEST_BYTES });
        }
        let document = Document::parse(bytes, Some(media_type))?;
        let descriptor = self.put_blob(media_type, bytes)?;
        let has_subject = matches!(document, Document::Manifest(manifest) if manifest.subject.is_some());
        if !names.is_empty() {
            self.name(&descriptor, names, &[])?;
        } else if has_subject {
            self.change_index(|index| index.list(&descriptor))?;
        }
        Ok(descriptor)
    }

    /// Gives a manifest of this layout names, with annotations of the entries. The names are taken from the manifests
    /// that had them.
    pub fn name(&self, manifest: &Descriptor, names: &[&str], annotations: &[(&str, &str)]) -> Result<(), LayoutError> {
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(LayoutError::Name((*name).to_owned()));
        }
        self.change_index(|index| names.iter().all(|name| index.name(manifest, name, annotations)))
    }

    /// Reads, changes and replaces `index.json` under its lock. `change` returns false if the index has no room.
    pub(super) fn change_index(&self, change: impl FnOnce(&mut Index) -> bool) -> Result<(), LayoutError> {
        let _lock = self.lock_index()?;
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

    /// Takes the lock of `index.json`; it ends with the returned handle.
    pub(super) fn lock_index(&self) -> Result<OwnedFd, LayoutError> {
        Ok(lock(self.ours()?, "index", FlockOperation::LockExclusive)?)
    }

    /// Replaces a file at the top of the layout, so that readers see the earlier content or the new.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let mut file = self.ingest()?;
        file.file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {name}"), &error))?;
        file.move_to(self, name)?;
        Ok(storage::sync(self.dir(), name)?)
    }

    fn ours(&self) -> Result<&OwnedFd, LayoutError> {
        self.root.ours.as_ref().ok_or_else(|| LayoutError::ReadOnly(self.shown()))
    }

    fn ingest(&self) -> Result<Ingest, LayoutError> {
        let dir = storage::open_dir(self.ours()?.as_fd(), INGEST)?;
        let name = storage::random_name()?;
        let file = storage::create_file(dir.as_fd(), &name, FILE)?;
        Ok(Ingest { dir, name, file, is_moved: false })
    }
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
        file.move_to(&layout, &format!("{BLOBS}/{}", digest.hex()))?;
        failpoint::reach("layout-after-blob");
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        serde_json::from_value(descriptor).map_err(|error| layout.invalid(error))
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

impl Ingest {
    /// Makes the file durable and gives it its name.
    fn move_to(mut self, layout: &Layout, path: &str) -> Result<(), LayoutError> {
        rustix::fs::fdatasync(self.file.file()).during(|| format!("sync {path}"))?;
        let renamed = match path.rsplit_once('/') {
            None => rustix::fs::renameat(&self.dir, &self.name, layout.dir(), path),
            Some((dir, name)) => {
                rustix::fs::renameat(&self.dir, &self.name, storage::open_dir(layout.dir(), dir)?, name)
            }
        };
        renamed.during(|| format!("rename {path}"))?;
        self.is_moved = true;
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.is_moved
            && let Err(error) = unlink(self.dir.as_fd(), &self.name)
        {
            tracing::debug!(%error, "an unfinished file is left");
        }
    }
}
