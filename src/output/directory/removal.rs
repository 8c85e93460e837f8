//! Removal of a directory that no file names any more, and of stages of killed processes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::entry::{Entry, unlisted};
use super::existing::check_unchanged;
use crate::output::OutputError;
use crate::request::Limits;
use crate::storage::{self, During, Volume};
use crate::unpack::listing::Listing;

/// Removes a directory with the recorded files: by one rename beside it, then with its content. One that was changed is
/// refused unless `force` is set. Returns false if there is none.
pub fn remove(path: &Path, recorded: &Listing, force: bool, limits: &Limits) -> Result<bool, OutputError> {
    let obstacle = |why: &str| OutputError::Obstacle(format!("{} {why}", path.display()));
    let entry = match Entry::of(path) {
        Err(OutputError::Storage(error)) if error.is_absent() => return Ok(false),
        entry => entry?,
    };
    let Some(found) = entry.look()? else { return Ok(false) };
    if !found.is_dir || found.is_mount {
        return Err(obstacle("is not a directory that can be removed"));
    }
    let is_unchanged = |dir: &OwnedFd| {
        let disk = Listing::read_open(dir, limits).map_err(|error| unlisted(path, error))?;
        check_unchanged(recorded, &disk).map_err(|refusal| refusal.of(path))
    };
    if !force {
        is_unchanged(&entry.open()?)?;
    }
    let (trash, gone) = Volume::passing(&entry.parent_path, &entry.stages())?;
    let scratch = trash.scratch()?;
    let moved =
        match rustix::fs::renameat_with(&entry.parent, &entry.name, scratch.dir(), "removed", RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(&entry.parent, &entry.name, scratch.dir(), "removed")
            }
            moved => moved,
        };
    moved.during(|| format!("remove {}", path.display()))?;
    let moved = || is_unchanged(&storage::open_dir(scratch.dir(), "removed")?);
    if !force && let Err(error) = moved() {
        // Another process has written to it meanwhile: it goes back, and nothing of its files is lost.
        let back = rustix::fs::renameat(scratch.dir(), "removed", &entry.parent, &entry.name);
        back.during(|| format!("restore {}", path.display()))?;
        return Err(error);
    }
    // The caller forgets the directory only after nothing of it is left.
    drop((scratch, trash));
    gone.wait_blocking();
    Ok(true)
}

/// Removes stages for a directory that killed processes left beside it.
pub fn sweep(path: &Path) -> Result<(), OutputError> {
    let entry = Entry::of(path)?;
    let prefix = entry.stages();
    if storage::names(&entry.parent)?.iter().any(|name| name.starts_with(&prefix)) {
        // Each new stage is preceded by a removal of those that no process uses.
        Volume::passing(&entry.parent_path, &prefix)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_removed_only_as_it_was_recorded() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("rules");
        let limits = Limits::default();
        assert!(!remove(&path, &Listing::default(), false, &limits).unwrap());
        assert!(!remove(&base.path().join("missing/rules"), &Listing::default(), false, &limits).unwrap());
        fs_err::create_dir_all(path.join("in")).unwrap();
        fs_err::write(path.join("in/file"), "1").unwrap();
        let recorded = Listing::read(&path, &limits).unwrap();
        for change in ["in/file", "in/mine"] {
            fs_err::write(path.join(change), "2").unwrap();
            let refused = remove(&path, &recorded, false, &limits).unwrap_err().to_string();
            assert!(refused.contains(change), "{refused}");
        }
        assert!(remove(&path, &recorded, true, &limits).unwrap());
        assert_eq!(fs_err::read_dir(base.path()).unwrap().count(), 0);
    }
}
