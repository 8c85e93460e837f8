//! Rules for a directory that exists already: whose files it has, and what a new revision does to them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};

use super::entry::unlisted;
use crate::oci::Digest;
use crate::output::{Loss, OutputError};
use crate::request::Limits;
use crate::storage::{self, During, StorageError};
use crate::unpack::listing::{Listing, ListingError};
use crate::unpack::path::EntryPath;
use crate::unpack::staged::Node;

/// Maximum number of paths of one kind in a message.
const SHOWN: usize = 3;

/// Rule for a directory that is not empty.
#[derive(Debug)]
pub enum Existing {
    /// The directory is refused.
    Refuse,
    /// The directory is replaced, whatever it contains.
    Replace,
    /// The directory is replaced if its files are those of the record.
    Recorded(Box<Recorded>),
}

impl Existing {
    /// Notes the files that are about to be put in place.
    pub(super) fn note(&self, files: &Listing) -> Result<(), StorageError> {
        match self {
            Self::Recorded(recorded) => recorded.intent.as_ref().map_or(Ok(()), |intent| intent.note(files)),
            Self::Refuse | Self::Replace => Ok(()),
        }
    }
}

/// Notes the files of a directory right before they are put in place: a process that is killed before it can record
/// them leaves the note, by which the next one knows them.
pub trait Intent: std::fmt::Debug + Send + Sync {
    /// Writes the note to disk.
    fn note(&self, files: &Listing) -> Result<(), StorageError>;
}

/// Files that were written into a directory earlier, and the treatment of everything else.
#[derive(Debug)]
pub struct Recorded {
    /// Files of the record; none for a directory that the record does not have.
    pub files: Listing,
    /// True if files of ours that were changed or removed are replaced, and foreign files removed.
    pub force: bool,
    /// True if foreign files are kept.
    pub keep_foreign: bool,
    /// Limits on the directory.
    pub limits: Limits,
    /// Digest of the list of files that the artifact must have.
    pub expected: Option<Digest>,
    /// Receives the new files before the directory is exchanged.
    pub intent: Option<Arc<dyn Intent>>,
}

/// Next step for a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The directory holds the files already.
    Nothing,
    /// The directory is exchanged for the new tree, after these files of others were added to it.
    Exchange(Vec<EntryPath>),
}

/// Reason not to replace a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Rest of a sentence about the directory.
    text: String,
    loss: Loss,
}

impl Refusal {
    /// Returns the error about a directory.
    pub(super) fn of(self, path: &Path) -> OutputError {
        OutputError::Differs { text: format!("{} {}", path.display(), self.text), loss: self.loss }
    }
}

/// Differences of a directory that forbid a replacement.
#[derive(Debug, Default)]
struct Differences {
    /// True if the record has no file of the directory.
    is_unrecorded: bool,
    changed: Vec<EntryPath>,
    removed: Vec<EntryPath>,
    foreign: Vec<EntryPath>,
}

impl Recorded {
    /// Creates the strictest rule for a directory with the files of a record.
    pub fn new(files: Listing) -> Self {
        let limits = Limits::default();
        Self { files, force: false, keep_foreign: false, limits, expected: None, intent: None }
    }

    /// Decides about a directory with the files of `disk`, for a tree with the files of `wanted`.
    pub(super) fn step(&self, disk: &Listing, wanted: &Listing) -> Result<Step, Refusal> {
        // An empty directory has nothing to lose.
        if disk.content().next().is_none() {
            let is_same = wanted.content().next().is_none();
            return Ok(if is_same { Step::Nothing } else { Step::Exchange(Vec::new()) });
        }
        if disk.has_content_of(wanted) {
            return Ok(Step::Nothing);
        }
        let found = self.differences(disk, wanted);
        if !self.force {
            found.check(self.keep_foreign)?;
        }
        if !self.keep_foreign {
            return Ok(Step::Exchange(Vec::new()));
        }
        let mut whole = wanted.clone();
        for path in &found.foreign {
            let node = disk.nodes().get(path).cloned().unwrap_or(Node::Directory);
            whole.insert(path.clone(), node).map_err(|path| {
                let text = format!("has a file that sync did not write where the artifact has another one: {path:?}");
                Refusal { text, loss: Loss::Collision }
            })?;
        }
        Ok(if disk.has_content_of(&whole) { Step::Nothing } else { Step::Exchange(found.foreign) })
    }

    fn differences(&self, disk: &Listing, wanted: &Listing) -> Differences {
        let is_unrecorded = self.files.content().next().is_none();
        let mut found = Differences { is_unrecorded, ..Differences::default() };
        let is_wanted = |path: &EntryPath, node: Option<&Node>| wanted.nodes().get(path) == node;
        for (path, node) in disk.content() {
            match self.files.nodes().get(path) {
                Some(recorded) if recorded == node => {}
                _ if is_wanted(path, Some(node)) => {}
                Some(Node::File { .. } | Node::Link { .. }) => found.changed.push(path.clone()),
                Some(Node::Directory) | None => found.foreign.push(path.clone()),
            }
        }
        let is_there = |path: &EntryPath| matches!(disk.nodes().get(path), Some(Node::File { .. } | Node::Link { .. }));
        let gone = self.files.content().filter(|(path, _)| !is_there(path) && !is_wanted(path, None));
        found.removed.extend(gone.map(|(path, _)| path.clone()));
        found
    }
}

/// Returns true if a directory has exactly the recorded files, so that nothing is lost with it.
pub(super) fn check_unchanged(files: &Listing, disk: &Listing) -> Result<(), Refusal> {
    let nothing = Listing::default();
    Recorded::new(files.clone()).differences(disk, &nothing).check(false)
}

/// Returns an error if a directory has files that a tree with other files must not replace. Nothing is changed.
pub fn check(path: &Path, recorded: &Recorded) -> Result<(), OutputError> {
    let disk = match Listing::read(path, &recorded.limits) {
        Err(ListingError::Storage(error)) if error.is_absent() => return Ok(()),
        disk => disk.map_err(|error| unlisted(path, error))?,
    };
    if recorded.force {
        return Ok(());
    }
    let found = recorded.differences(&disk, &Listing::default());
    found.check(recorded.keep_foreign).map_err(|refusal| refusal.of(path))
}

impl Differences {
    fn check(&self, keep_foreign: bool) -> Result<(), Refusal> {
        let is_foreign = !self.foreign.is_empty() && !keep_foreign;
        let loss = if is_foreign { Loss::Foreign } else { Loss::Changed };
        if is_foreign && self.is_unrecorded {
            return Err(Refusal {
                text: format!("contains files that sync did not write: {}", shown(&self.foreign)),
                loss,
            });
        }
        let kinds = [
            ("changed", &self.changed, false),
            ("removed", &self.removed, false),
            ("not written by sync", &self.foreign, keep_foreign),
        ];
        let refused = kinds.iter().filter(|(_, paths, is_allowed)| !paths.is_empty() && !is_allowed);
        let parts: Vec<_> = refused.map(|(kind, paths, _)| format!("{}: {kind}", shown(paths))).collect();
        if parts.is_empty() {
            return Ok(());
        }
        Err(Refusal { text: format!("differs from what sync wrote: {}", parts.join("; ")), loss })
    }
}

fn shown(paths: &[EntryPath]) -> String {
    let first: Vec<_> = paths.iter().take(SHOWN).map(EntryPath::as_str).collect();
    let more = paths.len().saturating_sub(SHOWN);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", first.join(", "))
}

/// Gives files of one directory a second name in another one on the same filesystem, so that an exchange of the two
/// loses nothing and needs no copy.
pub(super) fn link_into(from: &OwnedFd, to: &OwnedFd, paths: &[EntryPath]) -> Result<(), StorageError> {
    for path in paths {
        let during = || format!("keep {path}");
        let Some((parent, name)) = path.split() else { continue };
        let mut dir = to.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))?;
        let mut source = from.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))?;
        for component in parent.as_str().split('/').filter(|component| !component.is_empty()) {
            source = storage::open_dir(source.as_fd(), component)?;
            let mode = rustix::fs::fstat(&source).during(during)?.st_mode;
            dir = match storage::open_dir(dir.as_fd(), component) {
                Err(error) if error.is_absent() => storage::make_dir(&dir, component, Mode::from_raw_mode(mode))?,
                found => found?,
            };
        }
        rustix::fs::linkat(&source, name, &dir, name, AtFlags::empty()).during(during)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, &str)]) -> Listing {
        let mut listing = Listing::default();
        for (path, content) in files {
            let (size, digest) = (content.len() as u64, Digest::of(content.as_bytes()));
            let node = Node::File { size, executable: false, digest };
            listing.insert(EntryPath::parse(path.as_bytes()).unwrap(), node).unwrap();
        }
        listing
    }

    /// Expected step in words, or the expected refusal.
    type Want = Result<&'static str, (&'static str, Loss)>;

    /// Result of a step, in words.
    fn step(
        record: &[(&str, &str)],
        disk: &[(&str, &str)],
        (force, keep_foreign): (bool, bool),
    ) -> Result<String, Refusal> {
        let recorded = Recorded { force, keep_foreign, ..Recorded::new(listing(record)) };
        let wanted = listing(&[("a", "new"), ("d/b", "same")]);
        recorded.step(&listing(disk), &wanted).map(|step| match step {
            Step::Nothing => "nothing".to_owned(),
            Step::Exchange(kept) => format!("exchange {}", shown(&kept)),
        })
    }

    #[test]
    fn a_directory_is_replaced_only_if_nothing_of_others_is_lost() {
        let old: &[_] = &[("a", "old"), ("d/b", "same"), ("gone", "1")];
        let new: &[_] = &[("a", "new"), ("d/b", "same")];
        let edited: &[_] = &[("a", "mine"), ("d/b", "same"), ("gone", "1")];
        let foreign: &[_] = &[("a", "old"), ("d/b", "same"), ("gone", "1"), ("d/mine", "1")];
        let plain = (false, false);
        let rows: [(&[_], &[_], _, Want); 17] = [
            (&[], &[], plain, Ok("exchange ")),
            (old, &[], plain, Ok("exchange ")),
            (old, old, plain, Ok("exchange ")),
            // The process was killed before it wrote the record.
            (old, new, plain, Ok("nothing")),
            (&[], new, plain, Ok("nothing")),
            (old, edited, plain, Err(("a: changed", Loss::Changed))),
            (old, edited, (true, false), Ok("exchange ")),
            (old, edited, (false, true), Err(("a: changed", Loss::Changed))),
            (old, &[("a", "old"), ("d/b", "same")], plain, Ok("exchange ")),
            (old, &[("d/b", "same"), ("gone", "1")], plain, Err(("a: removed", Loss::Changed))),
            (old, foreign, plain, Err(("d/mine: not written by sync", Loss::Foreign))),
            (old, foreign, (false, true), Ok("exchange d/mine")),
            (old, foreign, (true, false), Ok("exchange ")),
            (old, foreign, (true, true), Ok("exchange d/mine")),
            (new, &[("a", "new"), ("d/b", "same"), ("mine", "1")], (false, true), Ok("nothing")),
            (&[], &[("a", "mine")], (false, true), Err(("\"a\"", Loss::Collision))),
            (&[], &[("a", "mine")], plain, Err(("contains files that sync did not write: a", Loss::Foreign))),
        ];
        for (number, (record, disk, options, want)) in rows.into_iter().enumerate() {
            match (step(record, disk, options), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "row {number}"),
                (Err(got), Err((want, loss))) => {
                    assert!(got.text.contains(want) && got.loss == loss, "row {number}: {got:?}");
                }
                (got, want) => panic!("row {number}: {got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn a_directory_of_the_record_may_be_removed_only_as_it_was_written() {
        let record = listing(&[("a", "1"), ("b", "2")]);
        assert_eq!(check_unchanged(&record, &record), Ok(()));
        for disk in [listing(&[("a", "1"), ("b", "3")]), listing(&[("a", "1"), ("b", "2"), ("c", "3")])] {
            assert!(check_unchanged(&record, &disk).is_err());
        }
    }

    #[test]
    fn kept_files_have_two_names_until_the_exchange() {
        let [old, new] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs_err::create_dir_all(old.path().join("d/e")).unwrap();
        fs_err::write(old.path().join("d/e/file"), "mine").unwrap();
        fs_err::os::unix::fs::symlink("file", old.path().join("d/e/link")).unwrap();
        let open = |dir: &tempfile::TempDir| storage::open_any_dir(dir.path()).unwrap();
        let paths = ["d/e/file", "d/e/link"].map(|path| EntryPath::parse(path.as_bytes()).unwrap());
        link_into(&open(&old), &open(&new), &paths).unwrap();
        for dir in [&old, &new] {
            assert_eq!(fs_err::read_to_string(dir.path().join("d/e/link")).unwrap(), "mine");
        }
    }
}
