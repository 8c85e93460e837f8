//! The record of a repository's directories, read from its file, and the files in it, which are content.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{regular, unreadable, up_to};
use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::lock::RECORD;
use crate::output::directory::record::Record;
use crate::unpack::listing::Listing;
use crate::unpack::path::EntryPath;

/// Largest record that is read.
const MAX_RECORD: u64 = 256 << 20;

/// Reads a record; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Record>, Complaint> {
    let invalid = |problem: &dyn std::fmt::Display| {
        let complaint = Complaint::new(Reason::FileInvalid, format!("{}: {problem}", path.display()));
        complaint
            .with_remedy("Restore it, or remove it: directories with the wanted content are adopted again.".to_owned())
    };
    let file = match regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable("the record", &error)),
    };
    let bytes = up_to(MAX_RECORD, file).map_err(|error| invalid(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(&"not UTF-8 text"))?;
    Record::parse(&text).map(Some).map_err(|error| invalid(&error))
}

/// Files that `sync` wrote into directories. They are content: none is an object, also if no object names their
/// directory any more.
#[derive(Debug, Default)]
pub(crate) struct Written(BTreeMap<PathBuf, Listing>);

impl Written {
    /// Reads the record in a directory. A directory that cannot be found has none.
    pub(crate) fn read(dir: &Path) -> Result<Self, Complaint> {
        let Some(record) = read(&dir.join(RECORD))? else { return Ok(Self::default()) };
        let directory = |key: &str| {
            let path = dir.join(key).canonicalize().ok()?;
            Some((path, record.get(key)?.clone()))
        };
        Ok(Self(record.directories().filter_map(directory).collect()))
    }

    /// Returns true if the record has the file.
    pub(super) fn has(&self, file: &Path) -> bool {
        // Most repositories have no record, and most files are in none of its directories.
        if self.0.is_empty() {
            return false;
        }
        let Ok(file) = file.canonicalize() else { return false };
        file.ancestors().any(|directory| {
            let below = file.strip_prefix(directory).ok().and_then(Path::to_str);
            let path = below.and_then(|below| EntryPath::parse(below.as_bytes()).ok());
            self.0.get(directory).zip(path).is_some_and(|(files, path)| files.nodes().contains_key(&path))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Limits;

    #[test]
    fn files_of_the_record_are_told_from_others_in_the_same_directory() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("vendor/rules");
        fs_err::create_dir_all(rules.join("in")).unwrap();
        fs_err::write(rules.join("in/a.yaml"), "1").unwrap();
        assert!(!Written::read(dir.path()).unwrap().has(&rules.join("in/a.yaml")), "without a record");
        let mut record = Record::default();
        record.set("vendor/rules", Listing::read(&rules, &Limits::default()).unwrap());
        record.set("vendor/gone", Listing::default());
        fs_err::write(dir.path().join(RECORD), record.text()).unwrap();
        fs_err::write(rules.join("in/a.yaml"), "edited").unwrap();
        fs_err::write(rules.join("mine.yaml"), "").unwrap();
        let written = Written::read(dir.path()).unwrap();
        assert!(written.has(&rules.join("in/a.yaml")) && !written.has(&rules.join("mine.yaml")));
        assert!(!written.has(&dir.path().join("a.yaml")) && !written.has(&rules.join("missing")));
        fs_err::write(dir.path().join(RECORD), "<<<<<<<").unwrap();
        assert_eq!(Written::read(dir.path()).unwrap_err().reason(), Reason::FileInvalid);
    }
}
