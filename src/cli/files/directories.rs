//! Directories that objects in files name for their content, in place of outputs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::lock;
use crate::unpack::path::EntryPath;

/// Maximum number of directories.
const MAX_DIRECTORIES: usize = 1000;
/// Maximum length of a directory, in bytes.
const MAX_LENGTH: usize = 1024;
/// Maximum length of a name in a path (`NAME_MAX`), in bytes.
const MAX_NAME: usize = 255;

/// Directories by their path without symbolic links, each with its text in the files.
///
/// Each one is replaced as a whole, so none may be inside another one, and none may contain a file that is read.
#[derive(Debug, Default)]
pub(super) struct Directories(BTreeMap<PathBuf, String>);

impl Directories {
    /// Adds a directory relative to `base`, and returns its path below `base`.
    pub(super) fn add(&mut self, base: &Path, directory: &EntryPath) -> Result<PathBuf, String> {
        if self.0.len() >= MAX_DIRECTORIES {
            return Err(format!("more than {MAX_DIRECTORIES} directories are named"));
        }
        let path = base.join(directory.as_str());
        let resolved = resolved(&path);
        // Paths are ordered by component: what is inside a directory follows it, with nothing in between.
        let before = self.0.range::<Path, _>((Bound::Unbounded, Bound::Included(resolved.as_path()))).next_back();
        let after = self.0.range::<Path, _>((Bound::Excluded(resolved.as_path()), Bound::Unbounded)).next();
        if let Some((other, shown)) = before.filter(|(other, _)| resolved.starts_with(other)) {
            let relation = if *other == resolved { "named twice, also as" } else { "inside the directory" };
            return Err(format!("{directory} is {relation} {shown}"));
        }
        if let Some((_, shown)) = after.filter(|(other, _)| other.starts_with(&resolved)) {
            return Err(format!("{directory} contains the directory {shown}"));
        }
        self.0.insert(resolved, directory.to_string());
        Ok(path)
    }

    /// Returns the first directory that contains `path` or is in it, as its text in the files.
    pub(super) fn overlapping(&self, path: &Path) -> Option<&str> {
        let path = resolved(path);
        let inside = || {
            let next = self.0.range::<Path, _>((Bound::Excluded(path.as_path()), Bound::Unbounded)).next();
            next.filter(|(directory, _)| directory.starts_with(&path)).map(|(_, shown)| shown.as_str())
        };
        self.containing(&path).or_else(inside)
    }

    /// Returns the directory that a path without symbolic links is in, or is itself, as its text in the files.
    pub(super) fn containing(&self, path: &Path) -> Option<&str> {
        let before = self.0.range::<Path, _>((Bound::Unbounded, Bound::Included(path))).next_back();
        before.filter(|(directory, _)| path.starts_with(directory)).map(|(_, shown)| shown.as_str())
    }
}

/// Parses a directory: a relative path of plain names, which stays below its file.
pub(super) fn parse(text: &str) -> Result<EntryPath, String> {
    let invalid = |problem: &dyn std::fmt::Display| {
        Err(format!("{text:?} {problem}; expected a path below the file, such as vendor/rules"))
    };
    let path = match EntryPath::parse(text.as_bytes()) {
        Ok(path) => path,
        Err(error) => return invalid(&error),
    };
    if path.is_root() {
        return invalid(&"is the directory of the file itself");
    }
    if path.as_str().len() > MAX_LENGTH || path.as_str().split('/').any(|name| name.len() > MAX_NAME) {
        return Err(format!(
            "a path of {} bytes is too long; expected at most {MAX_LENGTH}, and {MAX_NAME} for a name",
            text.len()
        ));
    }
    if path.is_in_git() {
        return invalid(&"is in a .git directory");
    }
    if path.as_str().split('/').any(|name| [lock::FILE, lock::RECORD, lock::PENDING].contains(&name)) {
        return invalid(&"has the name of a lock or a record");
    }
    Ok(path)
}

/// Returns a path without symbolic links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { found } else { found.join(rest) };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_relative_path_below_its_file() {
        for (text, want) in [("vendor/rules", "vendor/rules"), ("./a//b/.", "a/b"), ("ä b/c", "ä b/c")] {
            assert_eq!(parse(text).unwrap().as_str(), want);
        }
        let (long, name) = ("a/".repeat(600), "a".repeat(256));
        for bad in [
            "",
            ".",
            "./",
            "/etc",
            "..",
            "a/../../b",
            "a\0b",
            "a\nb",
            "a/.GIT/hooks",
            ".git",
            "supercargo.record",
            "a/supercargo.lock.yaml",
            ".supercargo.record.pending",
            "git~1",
            &long,
            &name,
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_directory_is_named_twice_or_inside_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs_err::create_dir_all(base.join("real")).unwrap();
        fs_err::os::unix::fs::symlink("real", base.join("link")).unwrap();
        let mut directories = Directories::default();
        let mut add = |base: &Path, text: &str| directories.add(base, &parse(text).unwrap());
        for free in ["a/b", "a/bc", "a/b-", "real/x", "z"] {
            assert_eq!(add(&base, free).unwrap(), base.join(free));
        }
        for (bad, other) in [("a/b", "a/b"), ("a", "a/b"), ("a/b/c/d", "a/b"), ("link/x", "real/x"), ("link", "real/x")]
        {
            let error = add(&base, bad).unwrap_err();
            assert!(error.contains(bad) && error.contains(other), "{error}");
        }
        assert!(add(&base.join("a"), "b").is_err(), "two files can name one directory");
        assert_eq!(directories.containing(&base.join("a/b/c.yaml")), Some("a/b"));
        assert_eq!(directories.containing(&base.join("a/b")), Some("a/b"));
        assert_eq!(directories.containing(&base.join("a/b.yaml")), None);
        assert_eq!(directories.containing(&base.join("a")), None);
        for (path, want) in [
            ("a/b/c", Some("a/b")),
            ("real", Some("real/x")),
            ("link/x", Some("real/x")),
            ("other", None),
            ("a/c", None),
        ] {
            assert_eq!(directories.overlapping(&base.join(path)), want, "{path}");
        }
        for number in 0..MAX_DIRECTORIES - 5 {
            directories.add(&base, &parse(&format!("many/{number}")).unwrap()).unwrap();
        }
        assert!(directories.add(&base, &parse("last").unwrap()).is_err());
    }
}
