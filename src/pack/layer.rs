//! Layers: an archive of a directory, or a file as it is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::error::PackError;
use super::gzip::Gzip;
use super::options::Compression;
use super::tar::{CopyError, Kind, TarWriter};
use super::walk::{Found, Manner, Source, Visit};
use crate::layout::{BlobWriter, Layout};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::storage::StorageError;
use crate::unpack::path::EntryPath;

/// Level of zstd: its default.
const ZSTD_LEVEL: i32 = 3;
/// Mode of symbolic links, which have none of their own on Linux.
const LINK_MODE: u32 = 0o777;

/// Form of an archive.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    /// Directory in the archive to which the entries are moved; empty for the top.
    pub(super) prefix: &'a str,
    /// True if modes stay as they are.
    pub(super) keep_modes: bool,
    pub(super) compression: Compression,
    /// Content in place of that of files.
    pub(super) substitutes: &'a BTreeMap<EntryPath, Vec<u8>>,
}

/// A written layer.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) descriptor: Descriptor,
    /// Digest of the bytes before compression.
    pub(super) content_digest: Digest,
    /// Number of regular files and links.
    pub(super) files: u64,
    /// Size of the regular files, in bytes.
    pub(super) bytes: u64,
}

/// Writes the archive of `start` and everything below it. `start` itself becomes the prefix.
pub(super) fn archive(
    layout: &Layout,
    source: &Source,
    start: &EntryPath,
    manner: Manner<'_>,
    form: Form<'_>,
    media_type: &str,
) -> Result<Written, PackError> {
    let encoder = Encoder::new(layout.blob_writer()?, form.compression).map_err(unwritten)?;
    let tar = TarWriter::new(Hashed { out: encoder, hasher: Hasher::default() });
    let mut archive = Archive { tar, start, form, files: 0, bytes: 0 };
    source.walk(start, manner, &mut archive)?;
    let Archive { tar, files, bytes, .. } = archive;
    let Hashed { out, hasher } = tar.finish().map_err(unwritten)?;
    let descriptor = out.finish().map_err(unwritten)?.finish(media_type)?;
    Ok(Written { descriptor, content_digest: hasher.finish(), files, bytes })
}

/// Writes a file as it is.
pub(super) fn file(
    layout: &Layout,
    source: &Source,
    path: &EntryPath,
    manner: Manner<'_>,
    media_type: &str,
) -> Result<Written, PackError> {
    let mut raw = Raw { writer: layout.blob_writer()?, files: 0, bytes: 0 };
    source.walk(path, manner, &mut raw)?;
    let Raw { writer, files, bytes } = raw;
    let descriptor = writer.finish(media_type)?;
    Ok(Written { content_digest: descriptor.digest.clone(), descriptor, files, bytes })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unwritten(error: io::Error) -> PackError {
    StorageError::from_io("write a layer", &error).into()
}

/// An archive that is being written.
struct Archive<'a, W> {
    tar: TarWriter<W>,
    start: &'a EntryPath,
    form: Form<'a>,
    files: u64,
    bytes: u64,
}

impl<W: Write> Archive<'_, W> {
    fn name(&self, path: &EntryPath) -> String {
        let rest = path.strip_prefix(self.start).unwrap_or_default();
        match (self.form.prefix, rest.as_str()) {
            ("", "") => ".".to_owned(),
            ("", rest) => rest.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, rest) => format!("{prefix}/{rest}"),
        }
    }

    fn mode(&self, mode: u32, normalized: u32) -> u32 {
        if self.form.keep_modes { mode } else { normalized }
    }
}

impl<W: Write> Visit for Archive<'_, W> {
    fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError> {
        let name = self.name(path);
        match found {
            Found::Directory { mode } => {
                self.tar.entry(&name, self.mode(mode, 0o755), Kind::Directory).map_err(unwritten)
            }
            Found::Link { target } => {
                self.files += 1;
                self.tar.entry(&name, LINK_MODE, Kind::Link(target)).map_err(unwritten)
            }
            Found::File { mode, size, file } => {
                let mode = self.mode(mode, if mode & 0o111 == 0 { 0o644 } else { 0o755 });
                let written = match self.form.substitutes.get(path) {
                    Some(bytes) => self.tar.file(&name, mode, bytes.len() as u64, &mut bytes.as_slice()),
                    None => self.tar.file(&name, mode, size, file),
                };
                self.files += 1;
                self.bytes = self.bytes.saturating_add(size);
                written.map_err(|error| match error {
                    CopyError::Read(error) => StorageError::from_io(format!("read {path}"), &error).into(),
                    CopyError::Write(error) => unwritten(error),
                    CopyError::Length => PackError::Changed(path.to_string()),
                })
            }
        }
    }
}

/// A file that is being written as it is.
struct Raw {
    writer: BlobWriter,
    files: u64,
    bytes: u64,
}

impl Visit for Raw {
    fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError> {
        let Found::File { file, .. } = found else {
            return Err(PackError::Path { option: "--layer", path: path.to_string(), problem: "is not a file" });
        };
        let copied = io::copy(file, &mut self.writer);
        self.bytes = copied.map_err(|error| StorageError::from_io(format!("copy {path}"), &error))?;
        self.files += 1;
        Ok(())
    }
}

/// A writer whose bytes are hashed.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compression of what is written.
enum Encoder<W: Write> {
    Gzip(Gzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    None(W),
}

impl<W: Write> Encoder<W> {
    fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(Gzip::new(out)?),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            Compression::None => Self::None(out),
        })
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::None(out) => Ok(out),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(gzip) => gzip.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::None(out) => out.flush(),
        }
    }
}
