//! Replacement of files that a command edits.

use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::content;
use super::parts::{self, Part};

/// A regular file that may be replaced: its own path, without symbolic links, and its content.
#[derive(Debug)]
pub(crate) struct Original {
    /// Path without symbolic links.
    pub(crate) path: PathBuf,
    /// Content when it was read.
    pub(crate) bytes: Vec<u8>,
}

impl Original {
    /// Reads a file. A link leads to the file that is replaced, and stays.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let path = fs_err::canonicalize(path)?;
        if !fs_err::metadata(&path)?.is_file() {
            let problem = format!("{}: not a regular file", path.display());
            return Err(Error::new(ErrorKind::InvalidInput, problem));
        }
        let bytes = content(&path)?;
        Ok(Self { path, bytes })
    }

    fn is_unchanged(&self) -> Result<(), Error> {
        if content(&self.path)? == self.bytes {
            return Ok(());
        }
        Err(Error::other(format!("{}: changed while the command was running", self.path.display())))
    }

    /// Removes unfinished files that killed commands left beside the file.
    pub(crate) fn sweep(&self) {
        parts::sweep(&self.path);
    }

    fn write_beside(&self, bytes: &[u8]) -> Result<Part, Error> {
        let permissions = fs_err::metadata(&self.path)?.permissions();
        let mut part = Part::create(&self.path)?;
        // First, because the content may be private.
        part.file.set_permissions(permissions)?;
        part.file.write_all(bytes)?;
        part.file.sync_all()?;
        Ok(part)
    }
}

/// Replaces files: every new file is complete before the first old one is replaced. Each has the mode of the old one.
pub(crate) fn replace(files: &[(&Original, Vec<u8>)]) -> Result<(), Error> {
    let new = files.iter().map(|(original, bytes)| original.write_beside(bytes)).collect::<Result<Vec<_>, _>>()?;
    files.iter().try_for_each(|(original, _)| original.is_unchanged())?;
    new.iter().zip(files).try_for_each(|(part, (original, _))| part.rename(&original.path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs_err::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_target_of_a_link_is_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs_err::write(&file, "old").unwrap();
        fs_err::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        fs_err::os::unix::fs::symlink("file", &link).unwrap();
        let original = Original::read(&link).unwrap();
        // A command for the same file was killed.
        let left = dir.path().join("file.4194304.part");
        fs_err::write(&left, "half").unwrap();
        replace(&[(&original, b"new".to_vec())]).unwrap();
        assert_eq!(fs_err::read(&file).unwrap(), b"new");
        assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_failure_replaces_no_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let originals = ["a", "b"].map(|name| {
            fs_err::write(dir.path().join(name), name).unwrap();
            Original::read(&dir.path().join(name)).unwrap()
        });
        fs_err::write(dir.path().join("b"), "another").unwrap();
        let new: Vec<_> = originals.iter().map(|original| (original, b"new".to_vec())).collect();
        assert!(replace(&new).unwrap_err().to_string().contains("changed"));
        let left = dir.path().join("a.4194304.part");
        fs_err::write(&left, "half").unwrap();
        originals[0].sweep();
        assert_eq!(fs_err::read(dir.path().join("a")).unwrap(), b"a");
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert!(Original::read(dir.path()).is_err());
    }
}
