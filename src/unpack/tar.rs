//! Reading tar archives by hand: the `tar` crate parses headers, every decision is here.
//!
//! Its `unpack` is never used: that skips entries with `..` silently, makes links to anywhere, and
//! has no limits. Its entries are read raw, so that extended headers are ours too.

use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use super::decoder::{Compression, Decoder, LimitReached, fill, limit_for, rest_is_zeros};
use super::extension::Extensions;
use super::layer::Extract;
use super::path::{EntryPath, link_target};
use super::tree::Tree;
use super::{Stop, UnpackError};
use crate::oci::Hasher;

/// Extracts a tar into the tree, to the archive's very end.
pub(super) fn extract(
    tree: &mut Tree,
    blob: impl Read,
    compression: Compression,
    how: &Extract,
    layer: &str,
    stop: &Stop,
) -> Result<(), UnpackError> {
    let limits = tree.limits();
    let limit = limit_for(limits.extracted_bytes, limits.entries);
    let broken = |error: io::Error| {
        if stop.is_cancelled() { UnpackError::Stopped } else { broken(layer, limits.extracted_bytes, &error) }
    };
    let decoder = Decoder::new(blob, compression, limit, how.content_digest.is_some(), stop.clone()).map_err(broken)?;
    let mut archive = Archive::new(decoder);
    let mut extensions = Extensions::default();
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        if !extensions.take_in(&mut entry, &broken)? {
            extract_entry(tree, entry, &std::mem::take(&mut extensions), how, &broken)?;
        }
    }
    if extensions.is_pending() {
        let problem = "it ends behind an extended header".to_owned();
        return Err(UnpackError::Archive { layer: layer.to_owned(), problem });
    }
    let mut decoder = archive.into_inner();
    if !rest_is_zeros(&mut decoder).map_err(broken)? {
        let problem = "there is data behind the end of the archive".to_owned();
        return Err(UnpackError::Archive { layer: layer.to_owned(), problem });
    }
    let digest = decoder.into_hasher().map(Hasher::finish);
    if how.content_digest.is_some() && how.content_digest != digest {
        return Err(UnpackError::ContentDigest { layer: layer.to_owned() });
    }
    Ok(())
}

/// True where the decompressed bytes start with a tar header, or with the end of an empty tar.
pub(super) fn is_tar(blob: impl Read, compression: Compression) -> io::Result<bool> {
    let mut decoder = Decoder::new(blob, compression, 1 << 20, false, Stop::new())?;
    let mut header = tar::Header::new_old();
    if fill(&mut decoder, header.as_mut_bytes())? != header.as_bytes().len() {
        return Ok(false);
    }
    let zeros = header.as_bytes().iter().all(|byte| *byte == 0);
    Ok(zeros || header.cksum().is_ok_and(|sum| sum == checksum(header.as_bytes())))
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
    tree: &mut Tree,
    mut entry: Entry<'_, R>,
    extensions: &Extensions,
    how: &Extract,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let kind = entry.header().entry_type();
    let raw = extensions.path(&entry);
    let named = EntryPath::parse(&raw).map_err(|problem| UnpackError::name(&raw, problem))?;
    let path = place(&named, how)?;
    let size = entry.size();
    if extensions.disagrees_on_size(size) {
        return Err(UnpackError::entry(&named, "has two different sizes"));
    }
    match kind {
        EntryType::Directory => tree.add_directory(&path),
        // How a directory was written before there was a kind for it, and is still read by others.
        EntryType::Regular if raw.ends_with(b"/") && size == 0 => tree.add_directory(&path),
        EntryType::Regular | EntryType::Continuous => {
            let executable = entry.header().mode().map_err(broken)? & 0o111 != 0;
            tree.add_file(&path, executable, size, &mut entry, broken)
        }
        EntryType::Symlink => {
            let target = extensions.link(&entry);
            let target = link_target(&path, &target)
                .map_err(|problem| UnpackError::entry(&named, format!("is a link whose target {problem}")))?;
            tree.add_link(&path, &target)
        }
        EntryType::Link => {
            let target = extensions.link(&entry);
            let target = EntryPath::parse(&target)
                .map_err(|problem| UnpackError::entry(&named, format!("is a hard link whose target {problem}")))?;
            tree.add_copy(&path, &place(&target, how)?)
        }
        _ => Err(UnpackError::entry(&named, format!("is {}, which is refused", kind_name(kind)))),
    }
}

/// Where in the tree a name goes: every name must be below the layer's title.
fn place(named: &EntryPath, how: &Extract) -> Result<EntryPath, UnpackError> {
    if named.strip_prefix(&how.title).is_some() {
        return Ok(named.clone());
    }
    Err(UnpackError::entry(named, format!("is outside of the layer's title {:?}", how.title.to_string())))
}

fn kind_name(kind: EntryType) -> &'static str {
    if kind.is_character_special() || kind.is_block_special() {
        "a device"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_gnu_sparse() {
        "a sparse file"
    } else {
        "of an unknown kind"
    }
}

/// Tells a reached limit from a broken archive.
fn broken(layer: &str, limit: u64, error: &io::Error) -> UnpackError {
    // The tar reader wraps an error in one of its own that shows only in its text.
    if error.to_string().contains(&LimitReached.to_string()) {
        return UnpackError::Limit { what: "bytes", limit, flag: "--max-extracted-bytes" };
    }
    UnpackError::Archive { layer: layer.to_owned(), problem: error.to_string() }
}
