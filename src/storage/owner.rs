//! Owner of a root, and detection of overlapping roots.
//!
//! Two clusters on one NFS export would publish into the same directories and remove each other's files. The file
//! `.supercargo/owner` names the installation that claimed the root first; every other installation is refused.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::{During, StorageError};
use super::handle::{create_file, open_any_dir, open_dir, open_file, random_name, sync};
use super::passing::PRIVATE;
use super::volume::Volume;

/// Name of the owner file in the private directory.
const OWNER: &str = "owner";
/// Maximum number of bytes read from the owner file.
const MAX_OWNER: u64 = 64 * 1024;
/// Maximum number of directories above a root.
const MAX_ABOVE: usize = 256;

/// Error of a claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The root belongs to another installation.
    #[error(
        "{} belongs to the installation {owner}, not to {own}. To hand it over, stop the operator of {owner} and remove {}",
        root.display(),
        file(root).display()
    )]
    Foreign {
        /// The root.
        root: PathBuf,
        /// Installation that owns the root.
        owner: String,
        /// Installation of this operator.
        own: String,
    },
    /// The owner file exists, but names no installation.
    #[error(
        "{}: invalid owner file: expected JSON with the field installation. If no other operator uses this volume, delete this file, and nothing else, and restart the operator",
        file(root).display()
    )]
    Invalid {
        /// The root.
        root: PathBuf,
    },
    /// Refused filesystem call.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Content of the owner file.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    installation: String,
}

fn file(root: &Path) -> PathBuf {
    root.join(PRIVATE).join(OWNER)
}

impl Volume {
    /// Claims the root for an installation: the first claim is written, later ones are compared with it.
    pub fn claim(&self, installation: &str) -> Result<(), ClaimError> {
        let private = open_dir(self.root.as_fd(), PRIVATE)?;
        if self.owner_in(&private)?.is_none() {
            write(&private, installation)?;
        }
        match self.owner_in(&private)? {
            Some(owner) if owner == installation => Ok(()),
            Some(owner) => {
                Err(ClaimError::Foreign { root: self.path().to_owned(), owner, own: installation.to_owned() })
            }
            // The file was removed in between, by an administrator. The next start claims the root.
            None => Err(ClaimError::Invalid { root: self.path().to_owned() }),
        }
    }

    fn owner_in(&self, private: &OwnedFd) -> Result<Option<String>, ClaimError> {
        read(private, self.path())
    }
}

/// Returns the owner of a root; `None` if it is unclaimed or does not exist. Creates nothing.
pub fn owner(root: &Path) -> Result<Option<String>, ClaimError> {
    let opened = open_any_dir(root).and_then(|dir| open_dir(dir.as_fd(), PRIVATE));
    match opened {
        Ok(private) => read(&private, root),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(private: &OwnedFd, root: &Path) -> Result<Option<String>, ClaimError> {
    let file = match open_file(private.as_fd(), OWNER) {
        Ok(file) => file,
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let failed = |error| StorageError::from_io(format!("read {}", self::file(root).display()), &error);
    file.take(MAX_OWNER).read_to_end(&mut bytes).map_err(failed)?;
    let owner: Owner = serde_json::from_slice(&bytes).map_err(|_| ClaimError::Invalid { root: root.to_owned() })?;
    Ok(Some(owner.installation))
}

/// Writes the owner file if it does not exist. It is written under another name and linked: of two racing installations
/// one link fails, and a crash never leaves an incomplete file under the final name. Filesystems without hard links
/// fall back to exclusive creation.
fn write(private: &OwnedFd, installation: &str) -> Result<(), StorageError> {
    let owner = Owner { installation: installation.to_owned() };
    let text = serde_json::to_vec(&owner).map_err(|error| StorageError::from_io(OWNER, &error.into()))?;
    let temporary = format!(".{OWNER}.{}", random_name()?);
    put(private, &temporary, &text)?;
    let linked = rustix::fs::linkat(private, &temporary, private, OWNER, AtFlags::empty());
    let removed = rustix::fs::unlinkat(private, &temporary, AtFlags::empty());
    match linked {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => match put(private, OWNER, &text) {
            Err(error) if !error.is_there() => return Err(error),
            Ok(()) | Err(_) => {}
        },
        Err(errno) => return Err(errno).during(|| format!("link {OWNER}")),
    }
    removed.during(|| format!("remove {temporary}"))?;
    sync(private.as_fd(), PRIVATE)
}

fn put(private: &OwnedFd, name: &str, text: &[u8]) -> Result<(), StorageError> {
    let mut file = create_file(private.as_fd(), name, Mode::from_raw_mode(0o600))?;
    file.write_all(text).map_err(|error| StorageError::from_io(format!("write {name}"), &error))?;
    rustix::fs::fsync(file.file()).during(|| format!("sync {name}"))
}

/// Identity of a directory: device and inode.
pub type Inode = (u64, u64);

/// Returns the identities of a directory and of all directories above it, the directory itself first. Uses handles, so
/// that links in the path hide no overlap.
pub fn ancestry(path: &Path) -> Result<Vec<Inode>, StorageError> {
    let mut dir = open_any_dir(path)?;
    let mut found = vec![inode(&dir, path)?];
    for _ in 0..MAX_ABOVE {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = match rustix::fs::openat(&dir, "..", flags, Mode::empty()) {
            Ok(above) => above,
            // An inaccessible directory; the directories above it are not ours either.
            Err(Errno::ACCESS) => break,
            Err(errno) => return Err(errno).during(|| format!("open the directory above {}", path.display())),
        };
        let next = inode(&above, path)?;
        if found.last() == Some(&next) {
            break;
        }
        found.push(next);
        dir = above;
    }
    Ok(found)
}

fn inode(dir: &OwnedFd, path: &Path) -> Result<Inode, StorageError> {
    let stat = rustix::fs::fstat(dir).during(|| format!("stat {}", path.display()))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns two roots that are the same directory, or of which the first is inside the second.
pub fn overlap<'a>(roots: &[(&'a str, Vec<Inode>)]) -> Option<(&'a str, &'a str)> {
    roots.iter().enumerate().find_map(|(index, (name, above))| {
        let others = roots.iter().enumerate().filter(|(other, _)| *other != index);
        let is_around =
            |(_, (_, other)): &(usize, &(&str, Vec<Inode>))| other.first().is_some_and(|root| above.contains(root));
        others.into_iter().find(is_around).map(|(_, (other, _))| (*name, *other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_installation_is_refused_and_the_owner_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("v");
        assert_eq!(owner(&path).unwrap(), None);
        assert!(!path.exists(), "a look creates nothing");
        let volume = Volume::open(&path).unwrap();
        assert_eq!(owner(&path).unwrap(), None);
        for _ in 0..2 {
            volume.claim("uid-1/supercargo").unwrap();
        }
        assert_eq!(owner(&path).unwrap().as_deref(), Some("uid-1/supercargo"));
        let error = Volume::open(&path).unwrap().claim("uid-2/supercargo").unwrap_err();
        assert!(
            matches!(&error, ClaimError::Foreign { owner, own, .. } if owner == "uid-1/supercargo" && own == "uid-2/supercargo")
        );
        let file = file(&path).display().to_string();
        assert!(error.to_string().contains(&format!("remove {file}")), "{error}");
        let left: Vec<_> =
            fs_err::read_dir(path.join(PRIVATE)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
        fs_err::remove_file(&file).unwrap();
        volume.claim("uid-2/supercargo").unwrap();
    }

    #[test]
    fn exactly_one_of_many_concurrent_claims_succeeds() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let volume = &volume;
                    scope.spawn(move || volume.claim(&format!("installation-{number}")).is_ok())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn an_invalid_owner_file_is_refused_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        for broken in ["", "{}", "supercargo", "{\"installation\": 1}"] {
            fs_err::write(file(root.path()), broken).unwrap();
            let error = volume.claim("a").unwrap_err();
            assert!(matches!(error, ClaimError::Invalid { .. }), "{broken:?}: {error}");
            assert!(error.to_string().contains(".supercargo/owner"), "{error}");
        }
        fs_err::remove_file(file(root.path())).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", file(root.path())).unwrap();
        assert!(matches!(volume.claim("a"), Err(ClaimError::Storage(_))), "a link is not followed");
    }

    #[test]
    fn equal_and_nested_roots_are_detected_under_any_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["a/deep/er", "b"] {
            fs_err::create_dir_all(at(path)).unwrap();
        }
        std::os::unix::fs::symlink("a/deep", at("link")).unwrap();
        let rows = [
            (vec!["a", "b"], None),
            (vec!["a/deep", "b"], None),
            (vec!["a", "a"], Some(("0", "1"))),
            (vec!["b", "a", "a/deep/er"], Some(("2", "1"))),
            (vec!["a/deep/er", "b", "a"], Some(("0", "2"))),
            (vec!["a/deep", "link"], Some(("0", "1"))),
        ];
        let names = ["0", "1", "2"];
        for (paths, want) in rows {
            let roots: Vec<_> = names.into_iter().zip(paths.iter().map(|path| ancestry(&at(path)).unwrap())).collect();
            assert_eq!(overlap(&roots), want, "{paths:?}");
        }
        assert!(overlap(&[("a", Vec::new()), ("b", Vec::new())]).is_none());
    }
}
