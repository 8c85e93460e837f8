//! One command at a time in a directory with a record.

use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::cli::output::complaint::Complaint;
use crate::cli::output::notes;
use crate::failure::Failure;
use crate::storage;

/// Pause between two attempts to get the lock of another command.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for the lock of a directory with a record; `None` on a filesystem without such locks.
#[expect(clippy::disallowed_methods, reason = "a thread that waits for the lock could not be given up")]
pub(crate) async fn alone(dir: &Path) -> Result<Option<std::os::fd::OwnedFd>, Complaint> {
    let handle = storage::open_any_dir(dir).map_err(Failure::from)?;
    let mut is_waiting = false;
    loop {
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(handle)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                if !std::mem::replace(&mut is_waiting, true) {
                    notes::note(format_args!("waiting for another supercargo in {}", dir.display()));
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => return Ok(None),
        }
    }
}
