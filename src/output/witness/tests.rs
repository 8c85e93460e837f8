//! Staged trees that another process changes before they are published.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::json;

use super::*;
use crate::blob::VerifiedBlob;
use crate::oci::{Descriptor, Manifest, media_type};
use crate::request::{FileFilter, FileSelection, Limits, Unpacking};
use crate::unpack::Unpacker;

const CONTENT: &[u8] = b"content";

struct World {
    root: tempfile::TempDir,
    volume: Volume,
    staged: Staged,
}

impl World {
    /// Creates a stage with this many files and a link to the first file. More files are in deeper directories.
    fn new(files: usize) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let header = |kind, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(size);
            header
        };
        for number in 0..files {
            let mut header = header(tar::EntryType::Regular, CONTENT.len() as u64);
            tar.append_data(&mut header, format!("d{}/file-{number}", number % 3), CONTENT).unwrap();
        }
        tar.append_link(&mut header(tar::EntryType::Symlink, 0), "link", "d0/file-0").unwrap();
        let bytes = tar.into_inner().unwrap();
        let descriptor: Descriptor = serde_json::from_value(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::of(&bytes), "size": bytes.len(),
        }))
        .unwrap();
        let manifest = Manifest {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: String::new(),
            config: descriptor.clone(),
            layers: vec![descriptor.clone()],
            annotations: std::collections::BTreeMap::new(),
            subject: None,
            platform_digest: None,
        };
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let scratch = Arc::new(volume.scratch().unwrap());
        let unpacker = Unpacker::new(scratch, manifest, true, Unpacking::default(), &Limits::default(), Stop::new());
        let tree = unpacker.layer(0, &VerifiedBlob::for_test(&bytes, descriptor)).unwrap().0;
        let staged = unpacker.finish(vec![tree], &FileSelection::default(), &FileFilter::default()).unwrap();
        Self { root, volume, staged }
    }

    /// Returns the path of the staged tree, which another process can find in the same way.
    fn tree(&self) -> PathBuf {
        let staging = fs_err::read_dir(self.root.path().join(".supercargo/staging")).unwrap();
        // A list that is being written has a scratch directory too.
        let trees = staging.map(|scratch| scratch.unwrap().path().join("layer-0"));
        trees.filter(|tree| tree.exists()).last().unwrap()
    }

    fn record(&self) -> Result<(Writer, Witness), StagedError> {
        take(&self.volume, "tree", &self.staged, &Stop::new())
    }
}

fn is_changed<T>(result: &Result<T, StagedError>, path: &str) -> bool {
    matches!(result, Err(StagedError::Changed(error)) if error.to_string().contains(&format!("{path:?}")))
}

/// Label, change to the tree, and path in the error.
type Row = (&'static str, fn(&Path), &'static str);

const ROWS: [Row; 8] = [
    ("other bytes", |tree| fs_err::write(tree.join("d0/file-0"), "CONTENT").unwrap(), "d0/file-0"),
    ("the same times", write_with_times, "d1/file-1"),
    ("longer", |tree| fs_err::write(tree.join("d0/file-0"), "content and more").unwrap(), "d0/file-0"),
    ("shorter", |tree| fs_err::write(tree.join("d0/file-3"), "").unwrap(), "d0/file-3"),
    ("gone", |tree| fs_err::remove_file(tree.join("d0/file-3")).unwrap(), "d0/file-3"),
    (
        "a link to the right bytes",
        |tree| {
            fs_err::remove_file(tree.join("d0/file-0")).unwrap();
            fs_err::os::unix::fs::symlink("file-3", tree.join("d0/file-0")).unwrap();
        },
        "d0/file-0",
    ),
    (
        "a link in place of a directory",
        |tree| {
            fs_err::rename(tree.join("d1"), tree.join("aside")).unwrap();
            fs_err::os::unix::fs::symlink("aside", tree.join("d1")).unwrap();
        },
        "d1",
    ),
    (
        "a link to something else",
        |tree| {
            fs_err::remove_file(tree.join("link")).unwrap();
            fs_err::os::unix::fs::symlink("d1/file-1", tree.join("link")).unwrap();
        },
        "link",
    ),
];

fn write_with_times(tree: &Path) {
    let file = tree.join("d1/file-1");
    let modified = fs_err::metadata(&file).unwrap().modified().unwrap();
    fs_err::write(&file, "CONTENT").unwrap();
    fs_err::OpenOptions::new().write(true).open(&file).unwrap().file().set_modified(modified).unwrap();
}

#[test]
fn a_staged_file_that_was_changed_is_refused() {
    // Few files are synced one by one; for many files the whole filesystem is synced.
    for files in [6, 60] {
        let world = World::new(files);
        let (_writer, witness) = world.record().unwrap();
        witness.check(&world.staged, &Stop::new()).unwrap();
        for (label, harm, path) in ROWS {
            let world = World::new(files);
            harm(&world.tree());
            let recorded = world.record();
            assert!(is_changed(&recorded, path), "{label}: {:?}", recorded.err());
        }
        let stop = Stop::new();
        stop.cancel();
        assert!(matches!(take(&world.volume, "tree", &world.staged, &stop), Err(StagedError::Storage(_))));
    }
}

#[test]
fn a_change_after_the_list_is_detected_before_the_switch() {
    for (label, harm, path) in ROWS.into_iter().filter(|(_, _, path)| path.contains('/')) {
        let world = World::new(6);
        let (_writer, witness) = world.record().unwrap();
        let moved = world.root.path().join("moved");
        world
            .staged
            .move_to(rustix::fs::open(world.root.path(), rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap(), "moved")
            .unwrap();
        // Two writes within one tick of the kernel's clock may have the same time.
        let since = std::time::Instant::now();
        let before = Witness { top: rustix::io::dup(&witness.top).unwrap(), seen: witness.seen.clone() };
        harm(&moved);
        while !is_changed(&witness.check(&world.staged, &Stop::new()), path) {
            assert!(
                since.elapsed() < Duration::from_secs(5),
                "{label}: {:?}",
                before.check(&world.staged, &Stop::new())
            );
            harm(&moved);
        }
    }
}

#[test]
fn files_that_were_only_touched_are_read_and_published() {
    let world = World::new(6);
    let (_writer, witness) = world.record().unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(world.tree().join("d0/file-0")).unwrap();
    file.file().set_modified(std::time::UNIX_EPOCH).unwrap();
    witness.check(&world.staged, &Stop::new()).unwrap();
    world.record().unwrap();
}

/// A write to a mapped page needs no system call. Its time is recorded only if the page was written back before.
#[test]
fn a_write_through_a_mapping_changes_the_times() {
    let world = World::new(6);
    let path = world.tree().join("d0/file-0");
    let seen = || Seen::of(&rustix::fs::stat(&path).unwrap());
    let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nm[0]=m[0]\nprint('mapped',flush=True)\nsys.stdin.readline()\nm[0]=ord('X')\nprint('written',flush=True)\nsys.stdin.readline()";
    let spawned = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    // Mappings need unsafe code, which is forbidden in this crate, so another program makes them.
    let Ok(mut process) = spawned else { return };
    let (mut ask, mut answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "mapped");
    let (_writer, witness) = world.record().unwrap();
    let before = seen();
    ask.write_all(b"\n").unwrap();
    line.clear();
    answers.read_line(&mut line).unwrap();
    assert_eq!((line.trim(), fs_err::read(&path).unwrap().as_slice()), ("written", b"Xontent".as_slice()));
    assert_ne!(seen(), before, "the write has left no trace");
    assert!(is_changed(&witness.check(&world.staged, &Stop::new()), "d0/file-0"));
    drop(ask);
    process.wait().unwrap();
}
