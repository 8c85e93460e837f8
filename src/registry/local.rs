//! A local file in place of a blob, used without a copy.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use tokio_util::sync::CancellationToken;

use crate::oci::digest::hash_chunks;
use crate::oci::{Descriptor, Digest};

/// A file that was read to its end, with its digest and size at that time, and a stamp that reveals later writes.
#[derive(Clone, Debug)]
pub struct LocalFile {
    file: Arc<fs_err::File>,
    digest: Digest,
    size: u64,
    stamp: Stamp,
}

/// Metadata that changes with every write: the size, and `st_ctime`, which the kernel sets and no process can forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(file: &fs_err::File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { size: metadata.len(), seconds: metadata.ctime(), nanoseconds: metadata.ctime_nsec() })
    }
}

impl LocalFile {
    /// Reads the file up to its current size. Blocking; fails when stopped.
    pub fn read(file: Arc<fs_err::File>, stop: &CancellationToken) -> std::io::Result<Self> {
        let stamp = Stamp::of(&file)?;
        let read_at = |to: &mut [u8], at| file.read_at(to, at);
        let (digest, size) = hash_chunks(
            stamp.size,
            read_at,
            |error| error,
            |_| {
                if stop.is_cancelled() { Err(std::io::Error::other("stopped")) } else { Ok(()) }
            },
        )?;
        Ok(Self { file, digest, size, stamp })
    }

    /// The digest of the file's bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns true if the size and digest are the descriptor's.
    pub fn is(&self, descriptor: &Descriptor) -> bool {
        (&self.digest, self.size) == (&descriptor.digest, descriptor.size)
    }

    /// The open file.
    pub(crate) fn file(&self) -> &Arc<fs_err::File> {
        &self.file
    }

    /// Returns true if the file was not written to since it was read. Called after use, it vouches for the bytes that
    /// were used.
    pub(crate) fn is_unchanged(&self) -> std::io::Result<bool> {
        Ok(Stamp::of(&self.file)? == self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_to_the_file_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs_err::write(&path, b"content").unwrap();
        let read = || LocalFile::read(Arc::new(fs_err::File::open(&path).unwrap()), &CancellationToken::new()).unwrap();
        let local = read();
        assert_eq!((local.digest(), local.size()), (&Digest::of(b"content"), 7));
        assert!(local.is_unchanged().unwrap());
        let mut writer = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b"x").unwrap();
        assert!(!local.is_unchanged().unwrap(), "something was added");
        let longer = read();
        assert_eq!(longer.size(), 8);
        // The kernel's clock for timestamps ticks a few hundred times per second.
        let since = std::time::Instant::now();
        while longer.is_unchanged().unwrap() {
            assert!(since.elapsed() < std::time::Duration::from_secs(5), "the write was not detected");
            fs_err::write(&path, b"CONTENTx").unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(LocalFile::read(Arc::new(fs_err::File::open(&path).unwrap()), &stop).is_err());
    }
}
