//! Another process writes to the stage while an artifact is unpacked into it.

use std::path::PathBuf;

use super::*;
use crate::api::vocabulary::Symlinks;
use crate::unpack::Budget;
use crate::unpack::tree::{LayerTree, Rules};

fn path(path: &str) -> EntryPath {
    EntryPath::parse(path.as_bytes()).unwrap()
}

/// Returns the only directory of that name in a stage.
fn staged_at(root: &TempDir, name: &str) -> PathBuf {
    let staging = root.path().join(".supercargo/staging");
    let found = fs_err::read_dir(staging).unwrap().map(|scratch| scratch.unwrap().path().join(name));
    found.filter(|path| path.exists()).last().unwrap()
}

fn is_changed<T>(result: &Result<T, UnpackError>, path: &str) -> bool {
    matches!(result, Err(UnpackError::FileChanged(error)) if error.to_string().contains(&format!("{path:?}")))
}

#[test]
fn a_changed_file_is_never_read_back() {
    for bytes in ["Content", "content+", "conten", ""] {
        let mut tar = Vec::new();
        file(&mut tar, "d/a", b"content");
        file(&mut tar, "d/b", b"content");
        let root = tempfile::tempdir().unwrap();
        let staged = unpack_in(&root, vec![layer(&gzip(&finished(tar)), FLUX, &json!({}))], &How::default()).unwrap();
        assert_eq!(staged.read(&path("d/a")).unwrap(), b"content");
        fs_err::write(staged_at(&root, "layer-0").join("d/a"), bytes).unwrap();
        let read = staged.read(&path("d/a")).map_err(UnpackError::from);
        assert!(is_changed(&read, "d/a"), "{bytes:?}: {read:?}");
        assert_eq!(staged.read(&path("d/b")).unwrap(), b"content");
        fs_err::remove_file(staged_at(&root, "layer-0").join("d/a")).unwrap();
        fs_err::os::unix::fs::symlink("b", staged_at(&root, "layer-0").join("d/a")).unwrap();
        let read = staged.read(&path("d/a")).map_err(UnpackError::from);
        assert!(is_changed(&read, "d/a"), "a link: {read:?}");
    }
}

#[test]
fn a_copy_for_a_hard_link_has_the_unpacked_bytes() {
    for elsewhere in [false, true] {
        for (bytes, is_well) in [("content", true), ("Content", false), ("content+", true), ("conten", false)] {
            let root = tempfile::tempdir().unwrap();
            let volume = Volume::open(root.path()).unwrap();
            let budget = Arc::new(Budget::new(&Limits::default()));
            let rules = Rules { symlinks: Symlinks::default(), is_image: false };
            let scratch = Arc::new(volume.scratch().unwrap());
            let mut tree = LayerTree::create(scratch, "layer-0".to_owned(), budget, rules).unwrap();
            if elsewhere {
                tree.hash_elsewhere().unwrap();
            }
            let broken = |error: std::io::Error| panic!("{error}");
            for name in ["a", "empty"] {
                let content: &[u8] = if name == "a" { b"content" } else { b"" };
                tree.add_file(&path(name), false, content.len() as u64, &mut &*content, &broken).unwrap();
            }
            fs_err::write(staged_at(&root, "layer-0").join("a"), bytes).unwrap();
            let copies = [("b", "a"), ("c", "b"), ("nothing", "empty")];
            let copied = copies.into_iter().try_for_each(|(copy, of)| tree.add_copy(&path(copy), &path(of)));
            let settled = copied.and_then(|()| tree.settle());
            let fits = if is_well { settled.is_ok() } else { is_changed(&settled, "b") || is_changed(&settled, "a") };
            assert!(fits, "{bytes:?}, elsewhere {elsewhere}: {settled:?}");
        }
    }
}

#[test]
fn a_hard_link_to_an_earlier_layer_has_the_unpacked_bytes() {
    for bytes in ["content", "Content"] {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let scratch = Arc::new(volume.scratch().unwrap());
        let (unpacking, limits) = (Unpacking::default(), Limits::default());
        let unpacker = Unpacker::new(scratch, manifest(), true, unpacking, &limits, Stop::new());
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            file(&mut lower, name, format!("content of {name}").replace(" of a", "").as_bytes());
        }
        // The original "b" is copied before it is replaced.
        for (name, of) in [("aa", "b"), ("b", "a"), ("d", "b")] {
            entry(&mut upper, name, EntryType::Link, of, 0o644, b"");
        }
        let layers = [lower, upper].map(|tar| layer(&gzip(&finished(tar)), FLUX, &json!({})));
        let trees = layers.iter().enumerate().map(|(number, layer)| unpacker.layer(number, layer).unwrap().0).collect();
        fs_err::write(staged_at(&root, "layer-0").join("a"), bytes).unwrap();
        let finished = unpacker.finish(trees, &FileSelection::default(), &FileFilter::default());
        if bytes == "content" {
            let staged = finished.unwrap();
            assert_eq!(staged.read(&path("aa")).unwrap(), b"content of b");
            assert_eq!(staged.read(&path("b")).unwrap(), b"content");
        } else {
            assert!(is_changed(&finished, "b"), "{finished:?}");
        }
    }
}
