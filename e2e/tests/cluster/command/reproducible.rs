//! `supercargo package`: one digest for one tree, whatever surrounds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::time::{ClockId, clock_gettime};
use supercargo_e2e::files::{self, Tree};
use supercargo_e2e::run::Invocation;
use supercargo_e2e::wait;

use super::package::names;
use crate::support::case::{Case, tests};
use crate::support::command::{command, digest};

tests!(
    a_package_is_one_digest_for_every_path_time_umask_order_and_locale,
    a_package_is_one_digest_for_every_user_and_file_system,
);

/// End of the name of the test that needs root, to become another user and to mount file systems.
pub(crate) const AS_ROOT: &str = "::a_package_is_one_digest_for_every_user_and_file_system";

/// Runs the arguments after the first one, which is the umask.
const WITH_UMASK: &str = "umask $1; shift; exec \"$@\"";

/// Mounts a file system at `/mnt` of a mount namespace, copies a tree to it, prints the type of the file system, and
/// packages the tree as another user. Arguments: user, program, tree, and the options of `mount`.
const ELSEWHERE: &str = "set -e
user=$1; program=$2; tree=$3; shift 3
mount \"$@\" /mnt
touch /mnt/program
mount --bind \"$program\" /mnt/program
cp -r \"$tree\" /mnt/tree
mkdir -m 700 /mnt/out
chown -R \"$user\" /mnt/tree /mnt/out
stat --file-system --format %T /mnt/tree
exec setpriv --reuid \"$user\" --regid \"$user\" --clear-groups /mnt/program package /mnt/tree -o /mnt/out/layout";

/// Surroundings of a run.
#[derive(Debug, Clone, Copy)]
struct Surroundings {
    path: &'static str,
    umask: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// True to create the last entries of the tree first.
    backwards: bool,
    /// Time of all entries, in seconds since the epoch; `None` for that of their creation.
    time: Option<i64>,
}

/// Surroundings to which every row has one difference or more.
const PLAIN: Surroundings =
    Surroundings { path: "plain", umask: "022", environment: &[], backwards: false, time: None };

const ROWS: [Surroundings; 8] = [
    Surroundings { path: "elsewhere/deeper and deeper/ä", ..PLAIN },
    Surroundings { path: "private", umask: "077", ..PLAIN },
    Surroundings { path: "shared", umask: "002", ..PLAIN },
    Surroundings { path: "backwards", backwards: true, ..PLAIN },
    Surroundings { path: "old", time: Some(1), ..PLAIN },
    Surroundings { path: "new", time: Some(4_102_444_800), ..PLAIN },
    Surroundings { path: "turkish", environment: &[("LC_ALL", "tr_TR.UTF-8"), ("TZ", "Pacific/Kiritimati")], ..PLAIN },
    Surroundings { path: "posix", environment: &[("LC_ALL", "C"), ("LANG", "C"), ("TZ", "America/New_York")], ..PLAIN },
];

fn whole_seconds() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Writes a tree, from its last entry to its first.
fn write_backwards(root: &Path, tree: &Tree) -> Result<()> {
    for (path, entry) in tree.iter().rev() {
        files::write(root, &Tree::from([(path.clone(), entry.clone())]))?;
    }
    Ok(())
}

/// Sets the times of everything at and below a path.
fn set_times(path: &Path, seconds: i64) -> Result<()> {
    if fs_err::symlink_metadata(path)?.is_dir() {
        for entry in fs_err::read_dir(path)? {
            set_times(&entry?.path(), seconds)?;
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Packages the tree in these surroundings, and returns the digest.
async fn digest_in(case: &Case, surroundings: Surroundings) -> Result<String> {
    let source = case.directory.join("trees").join(surroundings.path);
    if surroundings.backwards {
        write_backwards(&source, &names())?;
    } else {
        files::write(&source, &names())?;
    }
    let copy = source.with_extension("copy");
    let [source_name, copy_name] = [&source, &copy].map(|path| path.to_string_lossy().into_owned());
    // The directories and files have the modes that the umask leaves.
    sh(case, surroundings, &["cp", "-r", "--no-preserve=mode", &source_name, &copy_name]).stdout().await?;
    sh(case, surroundings, &["chmod", "-R", "+x", &format!("{copy_name}/run.sh")]).stdout().await?;
    if surroundings.backwards {
        fs_err::remove_dir_all(&copy)?;
        write_backwards(&copy, &names())?;
    }
    if let Some(time) = surroundings.time {
        set_times(&copy, time)?;
    }
    let program = case.lab.operator_binary.to_string_lossy().into_owned();
    let layout = format!("{copy_name}.layout");
    let packaged = sh(case, surroundings, &[&program, "package", &copy_name, "-o", &layout]).stdout().await?;
    Ok(digest(&packaged)?.to_owned())
}

fn sh(case: &Case, surroundings: Surroundings, arguments: &[&str]) -> Invocation {
    let Surroundings { umask, environment, .. } = surroundings;
    let shell = case.lab.run.command(Path::new("sh")).args(["-c", WITH_UMASK, "sh", umask]).args(arguments);
    environment.iter().fold(shell, |shell, (name, value)| shell.env(name, *value))
}

async fn a_package_is_one_digest_for_every_path_time_umask_order_and_locale(case: &mut Case) -> Result<()> {
    let (first, started) = (digest_in(case, PLAIN).await?, whole_seconds());
    wait::until_true(Duration::from_secs(5), "another second", || Ok(whole_seconds() > started)).await?;
    for surroundings in ROWS {
        assert_eq!(digest_in(case, surroundings).await?, first, "{surroundings:?}");
    }
    // The modes did differ: with them in the archive, the digest does too.
    let kept = async |path: &str| {
        let [source, layout] = ["copy", "kept"].map(|end| case.directory.join("trees").join(path).with_extension(end));
        let [source, layout] = [source, layout].map(|path| path.to_string_lossy().into_owned());
        let packaged = command(case, &["package", &source, "-o", &layout, "--keep-modes"]).stdout().await?;
        Ok::<_, anyhow::Error>(digest(&packaged)?.to_owned())
    };
    ensure!(kept("plain").await? != kept("private").await?, "the umask had no effect on the tree");
    Ok(())
}

/// Returns a directory of this test that is not in memory.
fn on_disk(case: &Case) -> Result<PathBuf> {
    const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];
    for path in [case.directory.clone(), Path::new("/var/tmp").join(format!("supercargo-{}", std::process::id()))] {
        fs_err::create_dir_all(&path)?;
        let kind = i128::from(rustix::fs::statfs(&path)?.f_type);
        if !IN_MEMORY.contains(&kind) {
            return Ok(path);
        }
        fs_err::remove_dir(&path).or_else(|_| Ok::<_, anyhow::Error>(()))?;
    }
    anyhow::bail!("neither the directory for temporary files nor /var/tmp is on a disk; set TMPDIR to one that is")
}

async fn a_package_is_one_digest_for_every_user_and_file_system(case: &mut Case) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test needs root, to mount and to become another user");
    let first = digest_in(case, PLAIN).await?;
    let tree = case.directory.join("trees/plain");
    let mut kinds = Vec::new();
    for user in ["0", "65534"] {
        let disk = on_disk(case)?.join(format!("disk-{user}"));
        fs_err::create_dir(&disk)?;
        let disk_name = disk.to_string_lossy().into_owned();
        for mount in [&["--bind", &disk_name][..], &["-t", "tmpfs", "none"], &["-t", "ramfs", "none"]] {
            let [program, tree] = [&case.lab.operator_binary, &tree].map(|path| path.to_string_lossy().into_owned());
            let shell = ["--mount", "sh", "-c", ELSEWHERE, "sh", user, &program, &tree];
            let printed = case.lab.run.command(Path::new("unshare")).args(shell).args(mount).stdout().await?;
            let (kind, printed) = printed.split_once('\n').context("no file system")?;
            assert_eq!(digest(printed)?, first, "user {user} on {kind}");
            kinds.push(kind.to_owned());
        }
        fs_err::remove_dir_all(&disk)?;
    }
    kinds.sort_unstable();
    kinds.dedup();
    ensure!(kinds.len() == 3, "three file systems, not {kinds:?}");
    Ok(())
}
