//! Rules for single entries.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::error::{UnpackError, shortened};
use super::path::{EntryPath, PathError, link_target};
use crate::api::vocabulary::Symlinks;
use crate::request::Limits;
use crate::storage::{self, During};

/// Fails for the name of a whiteout.
pub(super) fn refuse_whiteout(path: &EntryPath) -> Result<(), UnpackError> {
    if path.has_whiteout() {
        return Err(UnpackError::entry(path, PathError::Whiteout.to_string()));
    }
    Ok(())
}

/// Fails if symbolic links are to be rejected.
pub(super) fn refuse_symlink(path: &EntryPath, symlinks: Symlinks) -> Result<(), UnpackError> {
    match symlinks {
        Symlinks::Reject => Err(UnpackError::Symlink { entry: shortened(path.as_str()) }),
        Symlinks::Keep => Ok(()),
    }
}

/// Checks the target of a symbolic link lexically. `named` is the entry's name in messages, `path` its place.
pub(super) fn checked_target(
    named: &EntryPath,
    path: &EntryPath,
    target: &[u8],
    limits: &Limits,
) -> Result<String, UnpackError> {
    link_target(path, target).map_err(|problem| {
        if problem == PathError::TooLong {
            return UnpackError::limit_at(named, limits.path_bytes.exceeded());
        }
        UnpackError::entry(named, format!("is a link whose target {problem}"))
    })
}

/// Resolves a link of the tree in `dir` as a reader would, confined to the tree. A dangling link is accepted.
pub(super) fn check_link(dir: impl AsFd, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
    match storage::follow(dir.as_fd(), path.as_str()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::XDEV | Errno::LOOP | Errno::NOTDIR) => Err(UnpackError::entry(
            path,
            format!("is a link to {:?}, which leads outside the published files", shortened(target)),
        )),
        Err(errno) => Err(errno).during(|| format!("check link {path}")).map_err(UnpackError::from),
    }
}

impl UnpackError {
    /// Returns the error for a path that differs from another path only in its spelling.
    pub(super) fn spelling(path: &EntryPath, other: &str) -> Self {
        Self::entry(path, format!("differs from {other:?} only in case or Unicode form"))
    }

    /// Returns the error for an entry that is neither a file, a directory nor a link. `kind` is the kind with its
    /// article.
    pub(super) fn kind(path: &EntryPath, kind: &str) -> Self {
        Self::entry(path, format!("is {kind}; expected a file, directory or link"))
    }
}
