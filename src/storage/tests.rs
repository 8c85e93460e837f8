//! Roots, private directories and confined calls on real directories.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::beneath::MAX_DEPTH;
use super::*;

#[test]
fn a_crash_leaves_nothing_in_staging_after_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let volume = Volume::open(root.path()).unwrap();
    let scratch = volume.scratch().unwrap();
    create_file(scratch.dir(), "left", Mode::from_raw_mode(0o600)).unwrap();
    std::mem::forget(scratch);
    let staging = root.path().join(".supercargo/staging");
    let count = || fs_err::read_dir(&staging).unwrap().count();

    let second = Volume::open(root.path()).unwrap();
    assert_eq!(count(), 1, "a root in use is not swept");
    drop((volume, second));
    Volume::open(root.path()).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn private_directories_are_private_again_at_each_start_and_look() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let private = [".supercargo", "staging", "blobs", "blobs/sha256", "lists"]
        .map(|name| root.path().join(".supercargo").join(name.trim_start_matches(".supercargo")));
    let modes = || private.each_ref().map(|path| fs_err::metadata(path).unwrap().permissions().mode() & 0o7777);
    // As the kubelet does for a pod with an fsGroup.
    let open_up = |path: &PathBuf| fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let volume = Volume::open(root.path()).unwrap();
    assert_eq!(modes(), [0o700; 5]);
    assert!(!volume.protect());
    private.iter().for_each(open_up);
    assert!(volume.protect());
    assert_eq!(modes(), [0o700; 5]);
    assert!(!volume.protect());
    for path in &private {
        open_up(path);
        assert!(volume.protect(), "{}", path.display());
    }
    private.iter().for_each(open_up);
    let _second = Volume::open(root.path()).unwrap();
    assert_eq!(modes(), [0o700; 5], "at a start, also where the root is in use");
    let (passing, _) = Volume::passing(root.path(), ".out-").unwrap();
    open_up(&passing.path().join(".supercargo"));
    assert!(passing.protect());
}

#[test]
fn a_full_filesystem_is_recognized_in_every_kind_of_error() {
    use std::io::Write;
    let mut file = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let named = file.write_all(b"content").unwrap_err();
    let plain = file.file_mut().write_all(b"content").unwrap_err();
    for error in [named, plain] {
        let error = StorageError::from_io("write", &error);
        assert!(error.is_full(), "{error}");
    }
    let denied = fs_err::File::open("/nothing").map(drop).unwrap_err();
    assert!(StorageError::from_io("open", &denied).is_absent());
    let cut = StorageError::from_io("read", &std::io::ErrorKind::UnexpectedEof.into());
    assert_eq!(cut.to_string(), StorageError::new("read", Errno::IO).to_string());
}

#[test]
fn a_tree_deeper_than_the_handle_limit_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let top = open_any_dir(root.path()).unwrap();
    let mut dir = make_dir(&top, "tree", Mode::from_raw_mode(0o755)).unwrap();
    for _ in 0..3 * MAX_DEPTH {
        create_file(dir.as_fd(), "file", Mode::from_raw_mode(0o600)).unwrap();
        dir = make_dir(&dir, "n", Mode::from_raw_mode(0o755)).unwrap();
    }
    remove_tree(&top, "tree").unwrap();
    assert!(names(&top).unwrap().is_empty());
    remove_tree(&top, "tree").unwrap();
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs_err::write(outside.path().join("canary"), "alive").unwrap();
    let volume = Volume::open(root.path()).unwrap();
    fs_err::os::unix::fs::symlink(outside.path(), root.path().join("team")).unwrap();
    assert!(volume.dir("team", "app").is_err());
    assert!(volume.existing_dir("team", "app").is_err());
    assert!(volume.remove_dir("team", "canary").is_err());
    assert!(outside.path().join("canary").exists());
}
