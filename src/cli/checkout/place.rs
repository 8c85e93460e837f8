//! A directory of a repository, by the file that names it.

use std::path::{Component, Path, PathBuf};

use crate::api::Reason;
use crate::failure::{Class, Failure};

/// A directory below that of the file that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Directory of the file.
    base: PathBuf,
    /// Path below it.
    relative: PathBuf,
}

impl Place {
    /// Creates the place `relative` below `base`.
    pub(crate) fn new(base: &Path, relative: &Path) -> Self {
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        Self { base: base.to_owned(), relative: relative.to_owned() }
    }

    /// Directory of the file that names the place.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Path below [`Self::base`].
    pub(crate) fn relative(&self) -> &Path {
        &self.relative
    }

    /// Returns the whole path.
    pub(crate) fn path(&self) -> PathBuf {
        if self.base == Path::new(".") { self.relative.clone() } else { self.base.join(&self.relative) }
    }

    /// Returns the path relative to the directory `dir`, which has no links: the name in the record there.
    pub(super) fn key(&self, dir: &Path) -> Result<String, Failure> {
        let failed = |problem: &dyn std::fmt::Display| {
            Failure::new(Class::Stalled, Reason::StorageFailed, format!("{}: {problem}", self.path().display()))
        };
        let whole = fs_err::canonicalize(&self.base).map_err(|error| failed(&error))?.join(&self.relative);
        let common = whole.components().zip(dir.components()).take_while(|(one, other)| one == other).count();
        let up = dir.components().skip(common).map(|_| Component::ParentDir);
        let key: PathBuf = up.chain(whole.components().skip(common)).collect();
        key.into_os_string().into_string().map_err(|_| failed(&"is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_relative_to_the_record_and_independent_of_the_current_directory() {
        let root = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(root.path()).unwrap();
        fs_err::create_dir_all(root.join("apps/a")).unwrap();
        let rows = [
            ("", "vendor/rules", "", "vendor/rules"),
            ("apps", "vendor/rules", "", "apps/vendor/rules"),
            ("apps/a", "rules", "apps", "a/rules"),
            ("", "rules", "apps/a", "../../rules"),
        ];
        for (base, relative, dir, want) in rows {
            let place = Place::new(&root.join(base), Path::new(relative));
            assert_eq!(place.key(&root.join(dir)).unwrap(), want);
        }
        assert_eq!(Place::new(Path::new(""), Path::new("a")).path(), Path::new("a"));
    }
}
