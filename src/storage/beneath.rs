//! Opening below a directory: never outside of it, never on another filesystem, and through no link unless requested.
//!
//! With openat2 (Linux 5.6) the kernel does this in one call. An older kernel, or an older sandbox, does not have the
//! call; then the path is walked here: one handle per component, opened without following links, so that no component
//! is resolved twice. [`Way::here`] decides which.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// Maximum depth of a descent: each level is an open directory.
pub(super) const MAX_DEPTH: usize = 256;

/// Maximum number of links followed one after the other, as in the kernel.
const MAX_LINKS: usize = 40;

/// Flags of a handle that only identifies a location.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// Opens `path` below `dir` as openat does; no component may be a link, lead outside or be on another filesystem.
pub(super) fn open(dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    Way::here(dir).open(dir, path, flags, mode)
}

/// Follows `path` below `dir` to its end as a reader would, including links. Fails with XDEV or LOOP if the path leads
/// outside, with LOOP if it never ends, with NOENT or NOTDIR if it leads to nothing.
pub(crate) fn follow(dir: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    Way::here(dir).follow(dir, OsStr::new(path))
}

/// Mechanism that confines a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// openat2.
    Kernel,
    /// [`walk`] and [`follow_by_hand`].
    Walk,
}

impl Way {
    /// Returns the mechanism for this process, detected with the first directory that it opens.
    fn here(dir: BorrowedFd<'_>) -> Self {
        static WAY: OnceLock<Way> = OnceLock::new();
        *WAY.get_or_init(|| {
            let way = Self::probe(dir);
            if way == Self::Walk {
                tracing::info!("openat2 is not available: paths are resolved one component at a time");
            }
            way
        })
    }

    /// Detects the mechanism. An old seccomp profile answers EPERM for an unknown call, and a filesystem may answer
    /// EPERM for a forbidden one. No filesystem forbids openat2 but allows openat, so the second call tells them apart.
    fn probe(dir: BorrowedFd<'_>) -> Self {
        let flags = HANDLE | OFlags::DIRECTORY;
        match rustix::fs::openat2(dir, ".", flags, Mode::empty(), INSIDE) {
            Err(Errno::NOSYS | Errno::PERM) if rustix::fs::openat(dir, ".", flags, Mode::empty()).is_ok() => Self::Walk,
            Ok(_) | Err(_) => Self::Kernel,
        }
    }

    fn open(self, dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        match self {
            Self::Kernel => rustix::fs::openat2(dir, path, flags, mode, INSIDE | ResolveFlags::NO_SYMLINKS),
            Self::Walk => walk(dir, path, flags, mode),
        }
    }

    fn follow(self, dir: BorrowedFd<'_>, path: &OsStr) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match self {
            Self::Kernel => match rustix::fs::openat2(dir, path, flags, Mode::empty(), INSIDE) {
                // An entry was renamed or mounted anywhere while a `..` was resolved.
                Err(Errno::AGAIN) => follow_by_hand(dir, path),
                result => result.map(drop),
            },
            Self::Walk => follow_by_hand(dir, path),
        }
    }
}

/// Emulates openat2 with every restriction by openat. Refuses every `..`, which none of our paths contains.
fn walk(dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let filesystem = Place::of(dir)?.filesystem;
    let mut names = components(path)?.into_iter().filter(|name| !matches!(name.as_bytes(), b"" | b".")).peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == ".." {
            return Err(Errno::XDEV);
        }
        let from = at.as_ref().map_or(dir, AsFd::as_fd);
        if names.peek().is_none() {
            return Ok(step(from, name, flags, mode, filesystem)?.0);
        }
        at = Some(step(from, name, HANDLE | OFlags::DIRECTORY, Mode::empty(), filesystem)?.0);
    }
    // The path names `dir` itself.
    rustix::fs::openat(dir, ".", flags, mode)
}

/// Emulates a reader who follows links: links are read and walked as well, and `..` goes back to a held handle, never
/// to the kernel's idea of the parent.
fn follow_by_hand(dir: BorrowedFd<'_>, path: &OsStr) -> Result<(), Errno> {
    let filesystem = Place::of(dir)?.filesystem;
    // Remaining components, the next one at the end.
    let mut rest: Vec<OsString> = components(path)?.into_iter().rev().map(OsStr::to_owned).collect();
    let (mut inside, mut links): (Vec<OwnedFd>, usize) = (Vec::new(), 0);
    while let Some(name) = rest.pop() {
        let from = inside.last().map_or(dir, AsFd::as_fd);
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                inside.pop().ok_or(Errno::XDEV)?;
                continue;
            }
            _ => {}
        }
        match rustix::fs::readlinkat(from, &name, Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = OsString::from_vec(target.into_bytes());
                rest.extend(components(&target)?.into_iter().rev().map(OsStr::to_owned));
            }
            // Not a link.
            Err(Errno::INVAL) => {
                let (found, place) = step(from, &name, HANDLE, Mode::empty(), filesystem)?;
                if place.is_dir && inside.len() < MAX_DEPTH {
                    inside.push(found);
                } else if place.is_dir {
                    return Err(Errno::NAMETOOLONG);
                } else {
                    // A non-directory ends the walk, and no component may follow: not even `/` or `/.`.
                    return if rest.is_empty() { Ok(()) } else { Err(Errno::NOTDIR) };
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Splits a relative path at its slashes.
fn components(path: &OsStr) -> Result<Vec<&OsStr>, Errno> {
    match path.as_bytes().first() {
        None => Err(Errno::NOENT),
        Some(b'/') => Err(Errno::XDEV),
        Some(_) => Ok(path.as_bytes().split(|byte| *byte == b'/').map(OsStr::from_bytes).collect()),
    }
}

/// Opens one component, which must not be a link or a mount point.
fn step(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
    mode: Mode,
    filesystem: u64,
) -> Result<(OwnedFd, Place), Errno> {
    let found = rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, mode)?;
    let place = Place::of(found.as_fd())?;
    // An overlay reports the lower filesystem's number for files that it has not copied up, but never for directories.
    if place.is_mount || (place.is_dir && place.filesystem != filesystem) {
        return Err(Errno::XDEV);
    }
    Ok((found, place))
}

/// Location of a handle.
struct Place {
    filesystem: u64,
    is_dir: bool,
    /// True for a mount point. Always false before Linux 5.8, which does not report it.
    is_mount: bool,
}

impl Place {
    fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        match rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE) {
            Ok(found) => Ok(Self {
                filesystem: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                is_dir: FileType::from_raw_mode(found.stx_mode.into()).is_dir(),
                is_mount: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            }),
            // Before Linux 4.11, or an old seccomp profile.
            Err(Errno::NOSYS | Errno::PERM) => {
                let found = rustix::fs::fstat(fd)?;
                let is_dir = FileType::from_raw_mode(found.st_mode).is_dir();
                Ok(Self { filesystem: found.st_dev, is_dir, is_mount: false })
            }
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fs_err::os::unix::fs::symlink;

    use super::super::handle::open_any_dir;
    use super::*;

    const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

    /// Returns both mechanisms, or the only one available where the tests run.
    fn ways(dir: &OwnedFd) -> Vec<Way> {
        let mut ways = vec![Way::probe(dir.as_fd()), Way::Walk];
        ways.dedup();
        ways
    }

    /// Creates `tree/` with files and links, next to files that must stay out of reach.
    fn world() -> (tempfile::TempDir, OwnedFd) {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs_err::create_dir_all(at("tree/a/b")).unwrap();
        for file in ["canary", "tree/file", "tree/a/b/deep"] {
            fs_err::write(at(file), file).unwrap();
        }
        for (link, target) in [
            ("to-file", "file"),
            ("to-dir", "a"),
            ("a/b/up", "../../file"),
            ("a/b/up-and-down", "../../a/./b//deep"),
            ("through", "a/b/up"),
            ("to-itself", "to-itself"),
            ("to-nothing", "a/nothing"),
            ("to-the-root", "a/.."),
            ("out", "../canary"),
            ("a/b/out", "../../../canary"),
            ("out-and-in", "../tree/file"),
            ("through-out", "a/b/out"),
            ("absolute", "/etc/passwd"),
            ("file-slash", "file/"),
            ("file-dot", "file/."),
            ("below-file", "file/x"),
            ("dir-slash", "to-dir/"),
            ("above-nothing", "nothing/../file"),
        ] {
            symlink(target, at("tree").join(link)).unwrap();
        }
        for number in 1..=41 {
            let target = if number == 1 { "file".to_owned() } else { format!("chain-{}", number - 1) };
            symlink(target, at(&format!("tree/chain-{number}"))).unwrap();
        }
        let tree = open_any_dir(&at("tree")).unwrap();
        (root, tree)
    }

    #[test]
    fn openat2_and_the_walk_open_the_same_paths() {
        let (_root, tree) = world();
        let dir = READ | OFlags::DIRECTORY;
        let rows: [(&str, OFlags, &[Errno]); 19] = [
            ("file", READ, &[]),
            ("a/b/deep", READ, &[]),
            ("./a//b/./deep", READ, &[]),
            ("a/b", dir, &[]),
            (".", dir, &[]),
            ("", dir, &[Errno::NOENT]),
            ("nothing", READ, &[Errno::NOENT]),
            ("a/nothing/x", READ, &[Errno::NOENT]),
            ("file", dir, &[Errno::NOTDIR]),
            ("file/x", READ, &[Errno::NOTDIR]),
            ("..", dir, &[Errno::XDEV]),
            ("../canary", READ, &[Errno::XDEV]),
            ("a/../../canary", READ, &[Errno::XDEV]),
            ("/etc/passwd", READ, &[Errno::XDEV]),
            ("to-file", READ, &[Errno::LOOP]),
            ("to-dir", dir, &[Errno::LOOP, Errno::NOTDIR]),
            ("to-dir/b/deep", READ, &[Errno::LOOP, Errno::NOTDIR]),
            ("out", READ, &[Errno::LOOP]),
            ("absolute", READ, &[Errno::LOOP]),
        ];
        for way in ways(&tree) {
            for (path, flags, want) in rows {
                let got = way.open(tree.as_fd(), OsStr::new(path), flags, Mode::empty());
                let fits = got.as_ref().map_or_else(|errno| want.contains(errno), |_| want.is_empty());
                assert!(fits, "{way:?} {path:?}: {got:?}");
            }
        }
    }

    #[test]
    fn openat2_and_the_walk_create_missing_files() {
        let (root, tree) = world();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |way: Way, path: &str| way.open(tree.as_fd(), OsStr::new(path), flags, Mode::from_raw_mode(0o600));
        for (way, new) in ways(&tree).into_iter().zip(["a/b/1", "a/b/2"]) {
            create(way, new).unwrap();
            assert!(root.path().join("tree").join(new).exists(), "{way:?}");
            for taken in [new, "file", "to-nothing", "out"] {
                assert_eq!(create(way, taken).err(), Some(Errno::EXIST), "{way:?} {taken}");
            }
            for outside in ["../new", "to-dir/new"] {
                assert!(create(way, outside).is_err(), "{way:?} {outside}");
            }
        }
    }

    #[test]
    fn openat2_and_the_walk_follow_links_inside_the_root_only() {
        let (_root, tree) = world();
        let rows = [
            ("file", Ok(())),
            ("to-file", Ok(())),
            ("to-dir", Ok(())),
            ("to-dir/b/deep", Ok(())),
            ("a/b/up", Ok(())),
            ("a/b/up-and-down", Ok(())),
            ("through", Ok(())),
            ("to-the-root", Ok(())),
            ("dir-slash", Ok(())),
            ("chain-40", Ok(())),
            ("chain-41", Err(Errno::LOOP)),
            ("to-itself", Err(Errno::LOOP)),
            ("to-nothing", Err(Errno::NOENT)),
            ("above-nothing", Err(Errno::NOENT)),
            ("out", Err(Errno::XDEV)),
            ("a/b/out", Err(Errno::XDEV)),
            ("out-and-in", Err(Errno::XDEV)),
            ("through-out", Err(Errno::XDEV)),
            ("absolute", Err(Errno::XDEV)),
            ("file-slash", Err(Errno::NOTDIR)),
            ("file-dot", Err(Errno::NOTDIR)),
            ("below-file", Err(Errno::NOTDIR)),
        ];
        for way in ways(&tree) {
            for (path, want) in rows {
                assert_eq!(way.follow(tree.as_fd(), OsStr::new(path)), want, "{way:?} {path}");
            }
        }
    }

    #[test]
    fn openat2_and_the_walk_cross_no_mount_and_no_magic_link() {
        let root = open_any_dir(Path::new("/")).unwrap();
        let own = open_any_dir(Path::new("/proc/self")).unwrap();
        for way in ways(&own) {
            let open = |dir: &OwnedFd, path: &str| way.open(dir.as_fd(), OsStr::new(path), READ, Mode::empty()).err();
            assert_eq!(open(&root, "proc"), Some(Errno::XDEV), "{way:?}");
            assert_eq!(open(&root, "proc/version"), Some(Errno::XDEV), "{way:?}");
            assert_eq!(way.follow(root.as_fd(), OsStr::new("proc/version")), Err(Errno::XDEV), "{way:?}");
            assert_eq!(open(&own, "status"), None, "{way:?}");
            assert_eq!(open(&own, "cwd"), Some(Errno::LOOP), "{way:?}");
            assert!(open(&own, "cwd/.").is_some(), "{way:?}");
            let followed = way.follow(own.as_fd(), OsStr::new("cwd"));
            assert!(matches!(followed, Err(Errno::LOOP | Errno::XDEV)), "{way:?}: {followed:?}");
        }
    }

    #[test]
    fn openat2_is_used_if_it_is_available() {
        let (_root, tree) = world();
        assert_eq!(Way::probe(tree.as_fd()), Way::here(tree.as_fd()));
        let call = rustix::fs::openat2(&tree, ".", HANDLE, Mode::empty(), INSIDE);
        assert_eq!(Way::here(tree.as_fd()) == Way::Kernel, call.is_ok(), "{call:?}");
    }
}
