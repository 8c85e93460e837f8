//! Files in a directory of objects, and what can be wrong with them.

use std::path::{Path, PathBuf};

use super::reason;
use crate::api::Reason;

/// Maximum depth of directories that are read.
const MAX_DEPTH: usize = 16;

/// Error in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// A file or directory that cannot be read.
    #[error("{0}")]
    Unreadable(std::io::Error),
    /// A file with other content than such objects.
    #[error("{}: {problem}", file.display())]
    Invalid { file: PathBuf, problem: String },
}

impl InputError {
    /// Returns the reason at a command line.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Unreadable(error) => reason(error),
            Self::Invalid { .. } => Reason::FileInvalid,
        }
    }
}

/// Returns the file, or every `.yaml`, `.yml` and `.json` below a directory, sorted.
pub(super) fn files(path: &Path, depth: usize) -> Result<Vec<PathBuf>, InputError> {
    let metadata = fs_err::metadata(path).map_err(InputError::Unreadable)?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if depth >= MAX_DEPTH {
        let problem = format!("directories are nested more than {MAX_DEPTH} deep");
        return Err(InputError::Invalid { file: path.to_owned(), problem });
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(path).map_err(InputError::Unreadable)? {
        let path = entry.map_err(InputError::Unreadable)?.path();
        let is_yaml = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if path.is_dir() || is_yaml {
            found.extend(files(&path, depth + 1)?);
        }
    }
    found.sort();
    Ok(found)
}
