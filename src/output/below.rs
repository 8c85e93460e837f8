//! Directories of objects below a root, `<root>/<namespace>/<name>`, read without a volume: nothing is locked, created
//! or claimed.

use std::os::fd::{AsFd, OwnedFd};

use crate::request::ObjectId;
use crate::storage::{self, StorageError};

/// Maximum number of entries that are listed of a directory.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// Returns the findings of `read` in the directory of each object. The objects have no uid. Entries that are not
/// directories are left out.
pub(super) fn in_each<T, I: IntoIterator<Item = T>>(
    root: &OwnedFd,
    read: impl Fn(&OwnedFd, ObjectId) -> Result<I, StorageError>,
) -> Result<Vec<T>, StorageError> {
    let mut found = Vec::new();
    for namespace in storage::names_up_to(root, MAX_ENTRIES)? {
        let Ok(dir) = storage::open_dir(root.as_fd(), &namespace) else { continue };
        for name in storage::names_up_to(&dir, MAX_ENTRIES)? {
            let Ok(dir) = storage::open_dir(dir.as_fd(), &name) else { continue };
            let object = ObjectId { namespace: namespace.clone(), name, uid: String::new() };
            found.extend(read(&dir, object)?);
        }
    }
    Ok(found)
}
