//! Layers: an archive of a directory, or a file as it is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::error::PackError;
use super::gzip::Gzip;
use super::options::{Compression, MAX_CHART, MAX_CHART_FILE};
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
    /// True for a chart, whose files Helm limits.
    pub(super) is_chart: bool,
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
    let archiving = Archiving::begin(layout, form.compression)?;
    let mut archive = Archive { archiving, start, form };
    source.walk(start, manner, &mut archive)?;
    archive.archiving.finish(media_type)
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

/// An archive that is being written into a layout.
pub(super) struct Archiving {
    tar: TarWriter<Hashed<Encoder<BlobWriter>>>,
    files: u64,
    bytes: u64,
}

impl Archiving {
    pub(super) fn begin(layout: &Layout, compression: Compression) -> Result<Self, PackError> {
        let encoder = Encoder::new(layout.blob_writer()?, compression).map_err(unwritten)?;
        let tar = TarWriter::new(Hashed { out: encoder, hasher: Hasher::default() });
        Ok(Self { tar, files: 0, bytes: 0 })
    }

    fn directory(&mut self, name: &str, mode: u32) -> Result<(), PackError> {
        self.tar.entry(name, mode, Kind::Directory).map_err(unwritten)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), PackError> {
        self.files += 1;
        self.tar.entry(name, LINK_MODE, Kind::Link(target)).map_err(unwritten)
    }

    /// Writes a file of exactly `size` bytes.
    pub(super) fn file(&mut self, name: &str, mode: u32, size: u64, from: &mut impl Read) -> Result<(), PackError> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.tar.file(name, mode, size, from).map_err(|error| match error {
            CopyError::Read(error) => StorageError::from_io(format!("read {name}"), &error).into(),
            CopyError::Write(error) => unwritten(error),
            CopyError::Length => PackError::Changed(name.to_owned()),
        })
    }

    /// Ends the archive, which becomes a blob of the layout.
    pub(super) fn finish(self, media_type: &str) -> Result<Written, PackError> {
        let Self { tar, files, bytes } = self;
        let Hashed { out, hasher } = tar.finish().map_err(unwritten)?;
        let descriptor = out.finish().map_err(unwritten)?.finish(media_type)?;
        Ok(Written { descriptor, content_digest: hasher.finish(), files, bytes })
    }
}

/// Archive of a part of the source.
struct Archive<'a> {
    archiving: Archiving,
    start: &'a EntryPath,
    form: Form<'a>,
}

impl Archive<'_> {
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

    /// Fails for a file with which Helm would refuse the chart.
    fn check_chart(&self, path: &EntryPath, size: u64) -> Result<(), PackError> {
        if size > MAX_CHART_FILE {
            return Err(PackError::TooLarge { path: path.to_string(), limit: MAX_CHART_FILE });
        }
        if self.archiving.bytes.saturating_add(size) > MAX_CHART {
            return Err(PackError::TooLarge { path: "the chart".to_owned(), limit: MAX_CHART });
        }
        Ok(())
    }
}

impl Visit for Archive<'_> {
    fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError> {
        let name = self.name(path);
        match found {
            Found::Directory { mode } => self.archiving.directory(&name, self.mode(mode, 0o755)),
            Found::Link { target } => self.archiving.link(&name, target),
            Found::File { mode, size, file } => {
                if self.form.is_chart {
                    self.check_chart(path, size)?;
                }
                let mode = self.mode(mode, if mode & 0o111 == 0 { 0o644 } else { 0o755 });
                match self.form.substitutes.get(path) {
                    Some(bytes) => self.archiving.file(&name, mode, bytes.len() as u64, &mut bytes.as_slice()),
                    None => self.archiving.file(&name, mode, size, file),
                }
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
