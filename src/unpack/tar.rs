//! Reading tar archives by hand: the `tar` crate parses headers, every decision is here.
//!
//! Its `unpack` is never used: that skips entries with `..` silently, makes links to anywhere, and
//! has no limits. Its entries are read raw, so that extended headers are ours too.

use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use super::extension::Extensions;
use super::layer::Extract;
use super::path::{EntryPath, Meaning, PathError, link_target};
use super::tree::LayerTree;
use super::{Dropped, UnpackError};
use crate::oci::Hasher;

/// Bytes of a block, which everything in a tar is a multiple of.
const BLOCK: usize = 512;
/// Bits of a mode that are not applied: setuid, setgid, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// Extracts a tar into the tree, to the very end of `decoded`. `broken` names what is being read.
pub(super) fn extract(
    tree: &mut LayerTree,
    decoded: impl Read,
    how: &Extract,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<Dropped, UnpackError> {
    let refuse = |problem: &str| broken(io::Error::other(problem.to_owned()));
    let hasher = how.content_digest.is_some().then(Hasher::default);
    let mut archive = Archive::new(Blocks { inner: decoded, hasher, at_end: false });
    let (mut extensions, mut dropped) = (Extensions::default(), Dropped::default());
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        if !extensions.take_in(&mut entry, tree.limits().header_bytes, broken)? {
            let extensions = std::mem::take(&mut extensions);
            dropped.count(&entry, &extensions);
            extract_entry(tree, entry, &extensions, how, broken)?;
        }
    }
    if extensions.is_pending() {
        return Err(refuse("it ends behind an extended header"));
    }
    // The reader has stopped at a block of zeros, or else at the end. Two of them mark it (POSIX pax, "ustar
    // Interchange Format").
    let mut blocks = archive.into_inner();
    let is_marked = !blocks.at_end;
    match zeros_to_the_end(&mut blocks).map_err(broken)? {
        None => return Err(refuse("there is data behind the end of the archive")),
        Some(zeros) if is_marked && zeros >= BLOCK as u64 => {}
        Some(_) => return Err(refuse("it ends without an end marker, so something may be missing")),
    }
    match blocks.hasher.map(Hasher::finish) {
        digest if digest == how.content_digest => Ok(dropped),
        _ => Err(UnpackError::ContentDigest { layer: how.layer.clone() }),
    }
}

/// True where the bytes start with a tar header, or with the end of an empty tar.
pub(super) fn is_tar(start: &[u8]) -> bool {
    let mut header = tar::Header::new_old();
    let Some(block) = start.get(..BLOCK) else { return false };
    header.as_mut_bytes().copy_from_slice(block);
    let zeros = block.iter().all(|byte| *byte == 0);
    zeros || header.cksum().is_ok_and(|sum| sum == checksum(block))
}

/// What is wrong with an archive, in words for people: the tar reader's own speak of blocks, and repeat the bytes it met.
pub(super) fn problem(error: &io::Error) -> String {
    let text = error.to_string();
    if text == "failed to read entire block" || text == "unexpected EOF during skip" {
        return "it ends in the middle, so something is missing".to_owned();
    }
    let field = text.split_once(" when getting ").map_or("", |(_, field)| field);
    if field.starts_with("cksum for ") || text == "archive header checksum mismatch" {
        return "a header of the tar is none by its checksum; it is broken there, or no tar archive".to_owned();
    }
    text
}

/// The sum of a header's bytes with its own checksum field taken as spaces (POSIX pax, "ustar Interchange Format").
fn checksum(header: &[u8]) -> u32 {
    header
        .iter()
        .enumerate()
        .map(|(offset, byte)| if (148..156).contains(&offset) { u32::from(b' ') } else { u32::from(*byte) })
        .sum()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds that are not named are those that are refused")]
fn extract_entry<R: Read>(
    tree: &mut LayerTree,
    mut entry: Entry<'_, R>,
    extensions: &Extensions,
    how: &Extract,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let kind = entry.header().entry_type();
    let raw = extensions.path(&entry);
    let named = EntryPath::parse(&raw).map_err(|problem| UnpackError::name(&raw, problem))?;
    let path = how.place(&named)?;
    let refuse = |problem: String| Err(UnpackError::entry(&named, problem));
    if has_bytes_behind_nul(entry.header()) {
        return refuse("has a name that goes on behind its end".to_owned());
    }
    let size = entry.size();
    if extensions.disagrees_on_size(size) {
        return refuse("has two different sizes".to_owned());
    }
    // Programs differ in whether they skip it.
    let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
    if size > 0 && (!is_file || raw.ends_with(b"/")) {
        return refuse(format!("is {}, and has content", kind_name(kind)));
    }
    if how.is_image {
        match path.in_image().map_err(|problem| UnpackError::name(&raw, problem))? {
            Meaning::Entry => {}
            Meaning::Whiteout(_) | Meaning::Opaque(_) if size > 0 || !is_file => {
                return refuse("is a whiteout, and not an empty file".to_owned());
            }
            Meaning::Whiteout(hidden) => return tree.hide(hidden),
            Meaning::Opaque(directory) => return tree.hide_all_in(directory),
        }
    }
    match kind {
        EntryType::Directory => tree.add_directory(&path),
        // How a directory was written before there was a kind for it, and is still read by others.
        EntryType::Regular if raw.ends_with(b"/") => tree.add_directory(&path),
        EntryType::Regular | EntryType::Continuous => {
            let mode = entry.header().mode();
            let mode = mode.map_err(|_| UnpackError::entry(&named, "has a mode that is no number"))?;
            tree.add_file(&path, mode & 0o111 != 0, size, &mut entry, broken)
        }
        EntryType::Symlink => {
            let target = extensions.link(&entry);
            let target = link_target(&path, &target).map_err(|problem| {
                if problem == PathError::TooLong {
                    return UnpackError::limit_at(&named, tree.limits().path_bytes.exceeded());
                }
                UnpackError::entry(&named, format!("is a link whose target {problem}"))
            })?;
            tree.add_link(&path, &target)
        }
        EntryType::Link => {
            let target = extensions.link(&entry);
            let target = EntryPath::parse(&target)
                .map_err(|problem| UnpackError::entry(&named, format!("is a hard link whose target {problem}")))?;
            tree.add_copy(&path, &how.place(&target)?)
        }
        _ => refuse(format!("is {}, which is refused", kind_name(kind))),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind is unknown to POSIX and to us")]
fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => "a directory",
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Block | EntryType::Char => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
    }
}

impl Dropped {
    /// What an unreadable field says is judged where it matters.
    fn count<R: Read>(&mut self, entry: &Entry<'_, R>, extensions: &Extensions) {
        let header = entry.header();
        let is_somebody = header.uid().is_ok_and(|uid| uid != 0) || header.gid().is_ok_and(|gid| gid != 0);
        self.owners += u64::from(is_somebody);
        self.special_bits += u64::from(header.mode().is_ok_and(|mode| mode & SPECIAL_BITS != 0));
        self.attributes += extensions.attributes;
    }
}

/// What the tar reader reads, hashed on demand.
struct Blocks<R> {
    inner: R,
    hasher: Option<Hasher>,
    /// Nothing came any more. The tar reader stops at an end marker before that, or else here.
    at_end: bool,
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        self.at_end = read == 0;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(read)
    }
}

/// Reads to the end: how many zeros come; `None` where anything else does.
fn zeros_to_the_end(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let (mut buffer, mut zeros) = (vec![0; 64 * 1024], 0_u64);
    loop {
        let read = reader.read(&mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Some(zeros));
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(None);
        }
        zeros = zeros.saturating_add(read as u64);
    }
}

/// True where a name, or what a link points to, goes on behind a NUL in its field: some programs stop there.
fn has_bytes_behind_nul(header: &tar::Header) -> bool {
    let old = header.as_old();
    let prefix = header.as_ustar().map_or(&[][..], |ustar| &ustar.prefix);
    [&old.name[..], &old.linkname, prefix].iter().any(|field| {
        let mut behind = field.iter().skip_while(|byte| **byte != 0);
        behind.any(|byte| *byte != 0)
    })
}
