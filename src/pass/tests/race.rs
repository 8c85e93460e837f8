//! Passes next to a process that writes to the volume all the time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::vandal::{Vandal, files_below};

const FILES: usize = 24;

/// Returns the content of a revision: every file begins with the revision's number.
fn files(revision: usize) -> Vec<(String, String)> {
    (0..FILES).map(|number| (format!("file-{number}"), format!("{revision} {}", "x".repeat(100 * number)))).collect()
}

/// Pushes one layer with all files of a revision.
fn push(world: &World, revision: usize) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files(revision) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    world.registry.push("1", &[("application/vnd.oci.image.layer.v1.tar", json!({}), &bytes)]);
}

/// A pass publishes signed content or fails with `DigestMismatch`, whatever is written below `.supercargo`. Only a file
/// that was opened there and written to after its publication has other bytes, until the next look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_to_the_volume_are_never_published() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1", "outputs": [
        {"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "map"}}]});
    let expected: Vec<_> = (0..3).map(files).collect();
    let vandal = Vandal::start(world.root.path().join(".supercargo").canonicalize().unwrap(), Duration::from_secs(2));
    let (since, mut rounds, mut well, mut forged) = (Instant::now(), 0, 0, BTreeSet::<PathBuf>::new());
    while since.elapsed() < Duration::from_secs(4) || well < 3 {
        assert!(since.elapsed() < Duration::from_secs(60), "{well} of {rounds} passes have published");
        let revision = rounds % expected.len();
        push(&world, revision);
        // Forces a publication, from the cached layer if there is one.
        let _ = fs_err::remove_dir_all(world.object_dir());
        match world.pass(&spec, &Before::default()).await {
            Ok(_) => well += 1,
            Err(failure) => {
                assert_eq!((failure.class, failure.reason), (Class::Retry, Reason::DigestMismatch), "{failure:?}");
            }
        }
        if let Ok(current) = world.object_dir().join("current").canonicalize() {
            let found: Vec<_> = files_below(&current);
            assert_eq!(found.len(), FILES);
            for path in found {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let content = fs_err::read_to_string(&path).unwrap();
                if !expected[revision].contains(&(name, content)) {
                    forged.insert(path);
                }
            }
        }
        if let Ok(text) = fs_err::read_to_string(world.root.path().join("configmaps/team/app/map.yaml")) {
            let map: Value = serde_saphyr::from_str(&text).unwrap();
            let found: Vec<_> = map["data"].as_object().unwrap().iter().collect();
            assert_eq!(found.len(), FILES);
            let whole = |files: &Vec<(String, String)>| {
                found.iter().all(|(key, value)| {
                    files.iter().any(|(name, content)| name == *key && Some(content.as_str()) == value.as_str())
                })
            };
            assert!(expected.iter().any(whole), "round {rounds}: the ConfigMap has other bytes: {text}");
        }
        rounds += 1;
    }
    let damage = vandal.stop();
    assert!(damage.writes > 0);
    let unnoticed: Vec<_> = forged.difference(&damage.late).collect();
    assert!(unnoticed.is_empty(), "published with other bytes: {unnoticed:?}; {well} of {rounds} passes published");
}
