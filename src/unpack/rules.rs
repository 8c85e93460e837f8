//! Rules for single entries. `pack` applies them to its source, and so refuses what would be refused here.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::budget::Budget;
use super::error::UnpackError;
use super::path::{EntryPath, PathError, link_target, shortened};
use crate::api::vocabulary::Symlinks;
use crate::request::Limits;
use crate::storage::{self, During};

/// Rules for the entries of an artifact that is no container image.
#[derive(Clone, Debug)]
pub(crate) struct EntryRules {
    symlinks: Symlinks,
    budget: Arc<Budget>,
}

impl EntryRules {
    /// Of the limits only those on the lengths and depth of paths are applied.
    pub(crate) fn new(symlinks: Symlinks, limits: &Limits) -> Self {
        Self { symlinks, budget: Arc::new(Budget::new(limits)) }
    }

    /// Parses and checks the name of an entry.
    pub(crate) fn path(&self, raw: &[u8]) -> Result<EntryPath, UnpackError> {
        let path = EntryPath::parse(raw).map_err(|problem| UnpackError::name(raw, problem))?;
        refuse_whiteout(&path)?;
        self.budget.path(&path)?;
        Ok(path)
    }

    /// Checks the target of the symbolic link at `path`, lexically.
    pub(crate) fn link(&self, path: &EntryPath, target: &[u8]) -> Result<String, UnpackError> {
        let target = checked_target(path, path, target, &self.budget.limits)?;
        refuse_symlink(path, self.symlinks)?;
        Ok(target)
    }
}

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
pub(crate) fn check_link(dir: impl AsFd, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
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
    pub(crate) fn spelling(path: &EntryPath, other: &str) -> Self {
        Self::entry(path, format!("differs from {other:?} only in case or Unicode form"))
    }

    /// Returns the error for an entry that is neither a file, a directory nor a link. `kind` is the kind with its
    /// article.
    pub(super) fn kind(path: &EntryPath, kind: &str) -> Self {
        Self::entry(path, format!("is {kind}; expected a file, directory or link"))
    }

    /// As [`Self::kind`], for an entry of a filesystem.
    pub(crate) fn file_type(path: &EntryPath, kind: FileType) -> Self {
        Self::kind(
            path,
            match kind {
                FileType::BlockDevice | FileType::CharacterDevice => "a device",
                FileType::Fifo => "a FIFO",
                FileType::Socket => "a socket",
                FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown => {
                    "of an unknown kind"
                }
            },
        )
    }
}
