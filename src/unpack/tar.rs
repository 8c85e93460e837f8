//! Tar archives: the `tar` crate locates the fields of a header, every decision is made here.
//!
//! The crate's `unpack` is not used: it skips entries with `..` silently, creates links to any target, and has no
//! limits.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::Dropped;
use super::error::UnpackError;
use super::extension::Extensions;
use super::header::{self, Blocks, End};
use super::layer::Extract;
use super::path::{EntryPath, Meaning};
use super::rules::checked_target;
use super::tree::LayerTree;
use crate::oci::Hasher;

/// Bits of a mode that are not applied: setuid, setgid, sticky.
const SPECIAL_BITS: u64 = 0o7000;

/// Extracts a tar into the tree, up to the end of `decoded`. `broken` converts read errors.
pub(super) fn extract(
    tree: &mut LayerTree,
    decoded: impl Read,
    how: &Extract,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<Dropped, UnpackError> {
    let refuse = |problem: &str| broken(io::Error::other(problem.to_owned()));
    let hasher = how.content_digest.is_some().then(Hasher::default);
    let mut blocks = Blocks::new(decoded, hasher);
    let (mut extensions, mut dropped) = (Extensions::default(), Dropped::default());
    while let Some(header) = blocks.header().map_err(broken)? {
        if !extensions.take_in(&header, &mut blocks, tree.limits().header_bytes, broken)? {
            let extensions = std::mem::take(&mut extensions);
            dropped.count(&header, &extensions);
            extract_entry(tree, &header, &mut blocks, &extensions, how, broken)?;
        }
    }
    if extensions.is_pending() {
        return Err(refuse("the archive ends after an extended header; expected its entry"));
    }
    match blocks.end().map_err(broken)? {
        (End::Data, _) => Err(refuse("trailing data after the end of the archive")),
        (End::Unmarked, _) => Err(refuse("no end marker: the archive may be truncated")),
        (End::Marked, digest) if digest == how.content_digest => Ok(dropped),
        (End::Marked, _) => Err(UnpackError::ContentDigest { layer: how.layer.clone() }),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every kind that is not listed is refused")]
fn extract_entry<R: Read>(
    tree: &mut LayerTree,
    header: &Header,
    blocks: &mut Blocks<R>,
    extensions: &Extensions,
    how: &Extract,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let kind = header.entry_type();
    let raw = extensions.path(header);
    let named = EntryPath::parse(&raw).map_err(|problem| UnpackError::name(&raw, problem))?;
    let path = how.place(&named)?;
    let refuse = |problem: String| Err(UnpackError::entry(&named, problem));
    let size = header::size(header).map_err(|problem| UnpackError::entry(&named, problem))?;
    if header::has_bytes_behind_nul(header) {
        return refuse("has a name with bytes after the terminating NUL".to_owned());
    }
    if extensions.disagrees_on_size(size) {
        return refuse("has two different sizes".to_owned());
    }
    // Programs differ in whether they skip this content.
    let is_file = kind == EntryType::Regular;
    if size > 0 && (!is_file || raw.ends_with(b"/")) {
        return refuse(format!("is {} with content; expected none", kind_name(kind)));
    }
    if how.is_image {
        match path.in_image().map_err(|problem| UnpackError::name(&raw, problem))? {
            Meaning::Entry => {}
            Meaning::Whiteout(_) | Meaning::Opaque(_) if size > 0 || !is_file => {
                return refuse("is a whiteout; expected an empty file".to_owned());
            }
            Meaning::Whiteout(hidden) => return tree.hide(hidden),
            Meaning::Opaque(directory) => return tree.hide_all_in(directory),
        }
    }
    match kind {
        EntryType::Directory => tree.add_directory(&path),
        // Directories were written in this form before they had a type of their own, and other programs still accept
        // it.
        EntryType::Regular if raw.ends_with(b"/") => tree.add_directory(&path),
        EntryType::Regular => {
            let mode = header::mode(header).map_err(|problem| UnpackError::entry(&named, problem))?;
            tree.add_file(&path, mode & 0o111 != 0, size, &mut blocks.content(size), broken)
        }
        EntryType::Symlink => add_link(tree, &named, &path, &extensions.link(header)),
        EntryType::Link => add_hard_link(tree, &named, &path, &extensions.link(header), how),
        _ => Err(UnpackError::kind(&named, kind_name(kind))),
    }
}

/// Adds a symbolic link, whose target must stay inside the tree.
fn add_link(tree: &mut LayerTree, named: &EntryPath, path: &EntryPath, target: &[u8]) -> Result<(), UnpackError> {
    let target = checked_target(named, path, target, tree.limits())?;
    tree.add_link(path, &target)
}

/// Adds a copy of the file that a hard link names.
fn add_hard_link(
    tree: &mut LayerTree,
    named: &EntryPath,
    path: &EntryPath,
    target: &[u8],
    how: &Extract,
) -> Result<(), UnpackError> {
    let target = EntryPath::parse(target)
        .map_err(|problem| UnpackError::entry(named, format!("is a hard link whose target {problem}")))?;
    match how.place(&target) {
        Ok(target) => tree.add_copy(path, &target),
        Err(_) => Err(UnpackError::entry(named, "is a hard link to a target outside the layer's title")),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind is unknown to POSIX and to us")]
fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Regular | EntryType::Directory => "a directory",
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Block | EntryType::Char => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file",
        EntryType::Continuous => "a contiguous file",
        _ => "of an unknown kind",
    }
}

impl Dropped {
    /// Counts the properties that are not applied. Unreadable fields are ignored here, and checked where they are
    /// used.
    fn count(&mut self, header: &Header, extensions: &Extensions) {
        let is_owned = header.uid().is_ok_and(|uid| uid != 0) || header.gid().is_ok_and(|gid| gid != 0);
        self.owners += u64::from(is_owned);
        self.special_bits += u64::from(header::mode(header).is_ok_and(|mode| mode & SPECIAL_BITS != 0));
        self.attributes += extensions.attributes;
    }
}
