//! Copies of kept layers, hashed on the way.

use fs_err::os::unix::fs::FileExt;
use tokio_util::sync::CancellationToken;

use crate::oci::Digest;
use crate::oci::digest::hash_chunks;
use crate::storage::StorageError;

/// Copies up to `size` + 1 bytes, so that a longer file is detected, and returns the digest of the copy. Returns
/// `None` if `from` cannot be read. Fails if the copy cannot be written, for example because `room` is an error, and
/// when stopped.
///
/// On filesystems with reflinks (XFS, Btrfs) the copy shares its blocks with the file until either is written to. In
/// this case the copy is hashed, not the file.
pub(super) fn copied(
    from: &fs_err::File,
    to: &fs_err::File,
    size: u64,
    room: Result<(), StorageError>,
    stop: &CancellationToken,
) -> Result<Option<Digest>, StorageError> {
    let is_clone = rustix::fs::ioctl_ficlone(to.file(), from.file()).is_ok();
    if !is_clone {
        room?;
    }
    let source = if is_clone { to } else { from };
    let unreadable = |error: std::io::Error| {
        tracing::warn!(%error, "a cached layer cannot be read; it is fetched again");
        None
    };
    let mut at = 0_u64;
    let copied = hash_chunks(
        size.saturating_add(1),
        |to, at| source.read_at(to, at),
        unreadable,
        |bytes| {
            if stop.is_cancelled() {
                return Err(Some(StorageError::new("copy a cached layer", rustix::io::Errno::CANCELED)));
            }
            if !is_clone {
                let written = to.write_all_at(bytes, at);
                written.map_err(|error| Some(StorageError::from_io("copy a cached layer", &error)))?;
            }
            at = at.saturating_add(bytes.len() as u64);
            Ok(())
        },
    );
    match copied {
        Ok((digest, _)) => Ok(Some(digest)),
        Err(None) => Ok(None),
        Err(Some(error)) => Err(error),
    }
}
