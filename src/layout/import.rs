//! Layouts of other machines and other programs into the cache: from an archive, or from a directory.
//!
//! Blobs are hashed while they are written, and a name is added only if all that it leads to is there. So an archive
//! that is cut off or altered adds no name; its blobs are removed with the next pruning.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::cache::{Cache, is_about_another};
use super::directory::{BLOBS, Layout, OCI_LAYOUT};
use super::export::{IMAGE_NAME, TRUSTED_ROOT};
use super::graph::listed;
use super::index::{self, INDEX, Index, LeftOut, REPOSITORY_OF};
use super::{Entry, LayoutError};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document, Reference, Repository};
use crate::storage::StorageError;

/// The imported layout in messages.
const SOURCE: &str = "SOURCE";
/// Maximum size of the trusted root in an archive, in bytes.
const MAX_TRUSTED_ROOT: u64 = 4 * 1024 * 1024;
/// Maximum number of entries of an archive.
const MAX_MEMBERS: usize = 200_000;

/// Result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// References that were added, with the digests that they lead to.
    pub artifacts: Vec<(Reference, Digest)>,
    /// Number of manifests that refer to an artifact, such as signatures.
    pub referrers: usize,
    /// Sigstore's trusted root in the archive. It comes from the archive's author, so nothing trusts it by itself.
    pub trusted_root: Option<Vec<u8>>,
}

impl Cache {
    /// Adds the artifacts of a tar archive with an OCI image layout. `repository` is that of entries that are named by
    /// a tag alone, or not at all.
    pub fn import_archive(
        &self,
        archive: impl Read,
        repository: Option<&Repository>,
        now: Timestamp,
    ) -> Result<Imported, LayoutError> {
        let (mut index, mut trusted_root, mut has_version) = (None, None, false);
        let mut archive = tar::Archive::new(archive);
        let members = archive.entries().map_err(|error| unreadable(&error))?.raw(true);
        for (number, file) in members.enumerate() {
            let mut file = file.map_err(|error| unreadable(&error))?;
            if number == MAX_MEMBERS {
                let (layout, what) = (SOURCE.to_owned(), "the list of members".to_owned());
                return Err(LayoutError::TooLarge { layout, what, limit: MAX_MEMBERS as u64 });
            }
            // Extended headers, and files that are not of a layout, are passed over. Raw members have no long names and
            // no holes: nothing is read but the bytes in the archive.
            if !matches!(file.header().entry_type(), tar::EntryType::Regular) {
                continue;
            }
            let path = file.path_bytes().into_owned();
            let path = std::str::from_utf8(&path).unwrap_or_default();
            match path.strip_prefix("./").unwrap_or(path) {
                OCI_LAYOUT => has_version = true,
                INDEX => index = Some(member(&mut file, INDEX, index::MAX_BYTES)?),
                TRUSTED_ROOT => trusted_root = Some(member(&mut file, TRUSTED_ROOT, MAX_TRUSTED_ROOT)?),
                path => {
                    let hex = path.strip_prefix(BLOBS).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
                    if let Ok(digest) = format!("sha256:{hex}").parse() {
                        self.take(&digest, &mut file)?;
                    }
                }
            }
        }
        let (Some(index), true) = (index, has_version) else {
            return Err(LayoutError::Missing(SOURCE.to_owned()));
        };
        let index = Index::parse(&index).map_err(|problem| invalid(&problem))?;
        Ok(Imported { trusted_root, ..self.add_all(&all(&index)?, repository, now)? })
    }

    /// Adds the artifacts of a layout in a directory, as [`Self::import_archive`].
    pub fn import_layout(
        &self,
        source: &Layout,
        repository: Option<&Repository>,
        now: Timestamp,
    ) -> Result<Imported, LayoutError> {
        let entries = all(&source.index()?)?;
        let mut reached = HashSet::new();
        for entry in &entries {
            source.reach(&entry.descriptor, &mut reached);
        }
        for digest in reached {
            if let Some((mut file, _)) = source.open_blob(&digest)? {
                self.take(&digest, &mut file)?;
            }
        }
        let trusted_root = source.read(TRUSTED_ROOT, MAX_TRUSTED_ROOT)?;
        Ok(Imported { trusted_root, ..self.add_all(&entries, repository, now)? })
    }

    /// Writes a blob, whose bytes must have the digest.
    fn take(&self, digest: &Digest, from: &mut impl Read) -> Result<(), LayoutError> {
        let mut writer = self.layout().blob_writer()?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let written = writer.write_all(buffer.get(..read).unwrap_or_default());
                    written.map_err(|error| StorageError::from_io("write a blob", &error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
        let size = writer.size();
        writer.finish_as(&Descriptor::new("application/octet-stream", digest.clone(), size))
    }

    /// Adds the entries of an index to this cache, once all that they lead to is there.
    fn add_all(
        &self,
        entries: &[Entry],
        repository: Option<&Repository>,
        now: Timestamp,
    ) -> Result<Imported, LayoutError> {
        let mut children = HashSet::new();
        for entry in entries {
            self.check_whole(&entry.descriptor, &mut children)?;
        }
        let mut imported = Imported { artifacts: Vec::new(), referrers: 0, trusted_root: None };
        let mut planned = Vec::new();
        for entry in entries {
            let is_child = children.contains(&entry.descriptor.digest);
            planned.push((entry, self.reference(entry, repository, is_child)?));
        }
        let mut digests = HashMap::new();
        for (entry, reference) in &planned {
            let Some(reference) = reference else { continue };
            let digest = &entry.descriptor.digest;
            if digests.insert(reference.to_string(), digest).is_some_and(|other| other != digest) {
                return Err(invalid(&format!("{INDEX}: two digests have the name {reference}")));
            }
        }
        for (entry, reference) in planned {
            let manifest = &entry.descriptor;
            match reference {
                Some(reference) if is_about_another(&reference, manifest) => {
                    imported.referrers += 1;
                    self.layout().name(manifest, &[&reference.to_string()], &[])?;
                }
                Some(reference) => {
                    self.add(&reference, manifest, None, now)?;
                    imported.artifacts.push((reference, manifest.digest.clone()));
                }
                None if self.layout().has_subject(manifest) => {
                    imported.referrers += 1;
                    let repository = manifest.annotations.get(REPOSITORY_OF).map(String::as_str);
                    self.layout().change_index(|index| index.list(manifest, repository))?;
                }
                None => {}
            }
        }
        Ok(imported)
    }

    /// Fails unless a manifest, and all that it lists at any depth, is in this cache. Adds the manifests that others
    /// list to `children`.
    fn check_whole(&self, manifest: &Descriptor, children: &mut HashSet<Digest>) -> Result<(), LayoutError> {
        let (mut next, mut seen) = (vec![manifest.clone()], HashSet::new());
        while let Some(descriptor) = next.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let missing =
                || LayoutError::Incomplete { manifest: manifest.digest.clone(), missing: descriptor.digest.clone() };
            let bytes = self.layout().read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)?.ok_or_else(missing)?;
            let document = Document::parse(&bytes, Some(&descriptor.media_type))?;
            if let Some(missing) = self.layout().missing(&document)? {
                return Err(LayoutError::Incomplete { manifest: descriptor.digest, missing });
            }
            if matches!(document, Document::Index(_)) {
                next.extend(listed(&document).cloned());
                children.extend(listed(&document).map(|child| child.digest.clone()));
            }
        }
        Ok(())
    }

    /// Returns the reference of an entry; `None` for an entry that needs none, because others lead to it.
    fn reference(
        &self,
        entry: &Entry,
        repository: Option<&Repository>,
        is_child: bool,
    ) -> Result<Option<Reference>, LayoutError> {
        let whole = |name: &str| name.parse::<Reference>().ok().filter(|one| one.tag.is_some() || one.digest.is_some());
        let annotated = entry.descriptor.annotations.get(IMAGE_NAME).map(String::as_str);
        if let Some(reference) = annotated.into_iter().chain(entry.name.as_deref()).find_map(whole) {
            return Ok(Some(reference));
        }
        let digest = &entry.descriptor.digest;
        let Some(name) = &entry.name else {
            if is_child || self.layout().has_subject(&entry.descriptor) {
                return Ok(None);
            }
            let reference = repository.map(|repository| format!("{repository}@{digest}"));
            let unnamed = || invalid(&format!("{} has no name, and no repository is given for it", digest.short()));
            return reference.ok_or_else(unnamed).map(|text| whole(&text));
        };
        let repository =
            repository.ok_or_else(|| invalid(&format!("{name:?} names no repository, and none is given for it")))?;
        let text = format!("{repository}:{name}");
        whole(&text).map(Some).ok_or(LayoutError::Name(text))
    }
}

/// Reads a small member of an archive.
fn member(from: &mut impl Read, what: &str, limit: u64) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit {
        return Err(LayoutError::TooLarge { layout: SOURCE.to_owned(), what: what.to_owned(), limit });
    }
    Ok(bytes)
}

/// Returns the entries of an index, all of which must be valid.
fn all(index: &Index) -> Result<Vec<Entry>, LayoutError> {
    index.left_out(LeftOut::Any).map_or_else(|| Ok(index.entries()), |problem| Err(invalid(&problem)))
}

fn unreadable(error: &io::Error) -> LayoutError {
    invalid(&format!("it cannot be read to its end: {error}"))
}

fn invalid(problem: &str) -> LayoutError {
    LayoutError::Invalid { layout: SOURCE.to_owned(), problem: problem.to_owned() }
}
