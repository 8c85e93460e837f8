//! A private temporary directory.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::files::unwritable;
use crate::cli::output::complaint::Complaint;

/// Number of names that are tried: other processes may have left theirs.
const NAMES: u32 = 100;

/// A directory that is removed with this value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Creates a directory that no other user can read, below `$TMPDIR` or `/tmp`.
    pub(super) fn create() -> Result<Self, Complaint> {
        let (parent, process) = (std::env::temp_dir(), std::process::id());
        let mut last = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        for number in 0..NAMES {
            let path = parent.join(format!("supercargo-diff-{process}-{number}"));
            // A name that exists, also as a link of another user, is an error and not followed.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        let place = format!("temporary directory below {}", parent.display());
        Err(unwritable(&place, &last).with_remedy("Set TMPDIR to a directory that is writable.".to_owned()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The result matters more than what may be left.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_is_private_and_removed() {
        let [one, two] = [Scratch::create().unwrap(), Scratch::create().unwrap()];
        assert_ne!(one.0, two.0);
        let path = one.path("a");
        fs_err::create_dir_all(path.join("b")).unwrap();
        assert_eq!(fs_err::metadata(&one.0).unwrap().permissions().mode() & 0o777, 0o700);
        drop(one);
        assert!(!path.exists() && two.0.exists());
    }
}
