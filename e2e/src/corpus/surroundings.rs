//! Surroundings of a root that must stay unchanged: siblings, parents, and links into them.
//!
//! ```text
//! <top>/canary/...            a sibling of the root's parent
//! <top>/house/root/           the root under test, the only directory that may change
//! <top>/house/root/foreign/   foreign content inside the root
//! <top>/house/canary/...      a sibling of the root
//! <top>/house/tmp/            world-writable, like /tmp
//! <top>/house/cwd/            working directory of the process
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::hostile::artifact::digest;

/// Directories that contain canary files.
const CANARIES: [&str; 5] = ["canary", "house/canary", "house/tmp", "house/cwd/canary", "house/root/foreign"];

#[derive(Debug)]
pub struct Surroundings {
    top: PathBuf,
    before: BTreeMap<PathBuf, Fact>,
}

/// State of a path, without attributes that reading changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    /// Kind and mode.
    mode: u32,
    owner: (u32, u32),
    links: u64,
    inode: u64,
    size: u64,
    /// mtime and ctime, each as seconds and nanoseconds.
    times: [i64; 4],
    /// Digest of a file, target of a link.
    content: String,
}

impl Surroundings {
    /// Creates the surroundings below `top`, which is created too.
    pub fn make(top: &Path) -> Result<Self> {
        for place in CANARIES {
            let place = top.join(place);
            fs_err::create_dir_all(place.join("private"))?;
            for (name, mode) in
                [("file", 0o644), ("secret", 0o600), ("script", 0o755), ("setuid", 0o4711), ("mallory", 0o640)]
            {
                fs_err::write(place.join(name), format!("{name} in {}", place.display()))?;
                fs_err::set_permissions(place.join(name), std::fs::Permissions::from_mode(mode))?;
            }
            fs_err::hard_link(place.join("file"), place.join("second-name"))?;
            fs_err::os::unix::fs::symlink("file", place.join("link"))?;
            fs_err::os::unix::fs::symlink(top.join("house/root"), place.join("link-to-root"))?;
            fs_err::os::unix::fs::symlink("/nonexistent", place.join("dangling"))?;
            fs_err::set_permissions(place.join("private"), std::fs::Permissions::from_mode(0o700))?;
        }
        fs_err::set_permissions(top.join("house/tmp"), std::fs::Permissions::from_mode(0o1777))?;
        let mut made = Self { top: top.to_owned(), before: BTreeMap::new() };
        made.before = made.look()?;
        Ok(made)
    }

    pub fn root(&self) -> PathBuf {
        self.top.join("house/root")
    }

    /// Returns the working directory for the process.
    pub fn working_directory(&self) -> PathBuf {
        self.top.join("house/cwd")
    }

    /// Checks that every path is unchanged and that no path was added.
    pub fn check(&self) -> Result<()> {
        let now = self.look()?;
        for (path, before) in &self.before {
            ensure!(now.get(path) == Some(before), "{} is {:?} and was {before:?}", path.display(), now.get(path));
        }
        let new = now.keys().filter(|path| !self.before.contains_key(*path)).collect::<Vec<_>>();
        ensure!(new.is_empty(), "there is something new: {new:?}");
        Ok(())
    }

    fn look(&self) -> Result<BTreeMap<PathBuf, Fact>> {
        let mut facts = BTreeMap::new();
        look(&self.top, &self.root(), &mut facts)?;
        look(&self.root().join("foreign"), &self.root(), &mut facts)?;
        Ok(facts)
    }
}

/// Records a path and everything below it, except `root`, which may change.
fn look(path: &Path, root: &Path, facts: &mut BTreeMap<PathBuf, Fact>) -> Result<()> {
    if path == root {
        return Ok(());
    }
    let found = fs_err::symlink_metadata(path)?;
    let content = if found.is_symlink() {
        fs_err::read_link(path)?.display().to_string()
    } else if found.is_file() {
        digest(&fs_err::read(path)?)
    } else {
        String::new()
    };
    let fact = Fact {
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        links: found.nlink(),
        inode: found.ino(),
        size: found.size(),
        times: [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()],
        content,
    };
    facts.insert(path.to_owned(), fact);
    if found.is_dir() {
        for entry in fs_err::read_dir(path)? {
            look(&entry?.path(), root, facts)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_done_to_them_is_noticed() {
        type Harm = fn(&Path) -> std::io::Result<()>;
        let rows: [(&str, Harm); 9] = [
            ("new file", |top| fs_err::write(top.join("house/mallory"), "")),
            ("new file in a private directory", |top| fs_err::write(top.join("canary/private/mallory"), "")),
            ("other content", |top| fs_err::write(top.join("house/root/foreign/file"), "x")),
            ("other mode", |top| {
                fs_err::set_permissions(top.join("canary/script"), std::fs::Permissions::from_mode(0o777))
            }),
            ("the same mode again", |top| {
                fs_err::set_permissions(top.join("canary/script"), std::fs::Permissions::from_mode(0o755))
            }),
            ("another name", |top| fs_err::hard_link(top.join("house/tmp/file"), top.join("house/root/x"))),
            ("gone", |top| fs_err::remove_file(top.join("house/cwd/canary/link"))),
            ("link instead", |top| {
                fs_err::remove_file(top.join("canary/file"))?;
                fs_err::os::unix::fs::symlink("second-name", top.join("canary/file"))
            }),
            ("moved and back", |top| {
                fs_err::rename(top.join("canary/file"), top.join("canary/other"))?;
                fs_err::rename(top.join("canary/other"), top.join("canary/file"))
            }),
        ];
        for (label, harm) in rows {
            let directory = tempfile::tempdir().unwrap();
            let surroundings = Surroundings::make(&directory.path().join("top")).unwrap();
            fs_err::write(surroundings.root().join("mine"), "").unwrap();
            surroundings.check().unwrap();
            harm(&directory.path().join("top")).unwrap();
            assert!(surroundings.check().is_err(), "{label}");
        }
    }
}
