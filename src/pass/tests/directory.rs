//! Passes into a directory named by a command.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::output::directory::{Destination, Existing, Filled, Recorded};
use crate::unpack::listing::Listing;

/// A directory of the test, with a registry to fill it.
struct Home {
    root: tempfile::TempDir,
    registry: FakeRegistry,
}

impl Home {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), registry: FakeRegistry::default() }
    }

    fn out(&self) -> std::path::PathBuf {
        self.root.path().join("out")
    }

    async fn pull(&self, more: &Value, replace: bool) -> Result<Outcome, Failure> {
        let existing = if replace { Existing::Replace } else { Existing::Refuse };
        self.fill(more, existing).await.0
    }

    /// Fills the directory, as the record of a repository allows it.
    async fn sync(&self, record: &mut Listing, force: bool, keep_foreign: bool) -> Result<bool, Failure> {
        let recorded = Recorded { force, keep_foreign, ..Recorded::new(record.clone()) };
        let (result, filled) = self.fill(&json!({}), Existing::Recorded(Box::new(recorded))).await;
        let filled = result.map(|_| filled.unwrap())?;
        *record = filled.files;
        Ok(filled.is_changed)
    }

    async fn fill(&self, more: &Value, existing: Existing) -> (Result<Outcome, Failure>, Option<Filled>) {
        let mut spec = json!({"image": "r.example/app:1", "outputs": []});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = request(&spec).into_directory();
        let (destination, gone) = Destination::open(&self.out(), existing).unwrap();
        let destination = Arc::new(destination);
        let result = self.pull_to(Arc::clone(&destination), &request).await;
        let filled = destination.give_up();
        drop(destination);
        gone.wait().await;
        (result, filled)
    }

    async fn pull_to(&self, destination: Arc<Destination>, request: &Request) -> Result<Outcome, Failure> {
        let engine = Engine {
            registry: self.registry.clone(),
            outputs: Outputs::to_directory(destination, Arc::new(Metrics::default())).unwrap(),
            limits: Limits::default(),
            cache: Cache::default(),
            turns: Turns::default(),
            processors: Permits::new(1),
            progress: None,
        };
        pass(&engine, &engine.turn(request).await, request, &Before::default()).await
    }

    /// Returns the content of the directory, and checks that nothing is next to it.
    fn content(&self) -> Vec<(String, String)> {
        assert!(listing(self.root.path()).iter().all(|name| name == "out"), "{:?}", listing(self.root.path()));
        let read = |name: String| {
            let path = self.out().join(&name);
            let text = if path.is_dir() { listing(&path).join(" ") } else { fs_err::read_to_string(path).unwrap() };
            (name, text)
        };
        listing(&self.out()).into_iter().map(read).collect()
    }
}

fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_directory_is_filled_if_empty_and_replaced_only_with_force() {
    let home = Home::new();
    let digest = home.registry.push_files("1", &[("a", "one"), ("d/b", "two")]);
    let outcome = home.pull(&json!({}), false).await.unwrap();
    assert_eq!((outcome.pinned.digest(), outcome.published[0].files), (&digest, 2));
    assert_eq!(outcome.published[0].location, Location::new(OutputKind::Directory, home.out().display().to_string()));
    assert_eq!(home.content(), files(&[("a", "one"), ("d", "b")]));

    home.registry.asked();
    let failure = home.pull(&json!({}), false).await.unwrap_err();
    assert_eq!(failure.reason, Reason::OutputConflict, "{failure:?}");
    assert!(home.registry.asked().is_empty(), "a place that cannot be used is no reason to ask");

    home.registry.push_files("1", &[("c", "three")]);
    home.pull(&json!({}), true).await.unwrap();
    assert_eq!(home.content(), files(&[("c", "three")]));
}

#[tokio::test]
async fn a_directory_keeps_its_mode() {
    for replace in [false, true] {
        let home = Home::new();
        home.registry.push_files("1", &[("a", "one")]);
        fs_err::create_dir(home.out()).unwrap();
        if replace {
            fs_err::write(home.out().join("old"), "").unwrap();
        }
        let mode = || fs_err::metadata(home.out()).unwrap().permissions().mode() & 0o7777;
        fs_err::set_permissions(home.out(), std::fs::Permissions::from_mode(0o2750)).unwrap();
        home.pull(&json!({}), replace).await.unwrap();
        assert_eq!((mode(), home.content()), (0o2750, files(&[("a", "one")])));
    }
}

#[tokio::test]
async fn a_failure_leaves_the_directory_unchanged_and_no_leftovers() {
    let escaping = {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..9].copy_from_slice(b"../escape");
        header.set_size(0);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let rows: [(&str, Value, Reason); 4] = [
        ("other bytes", json!({}), Reason::DigestMismatch),
        ("an escape", json!({"image": "r.example/app:escape"}), Reason::UnsafeArchive),
        ("no tag", json!({"image": "r.example/app:missing"}), Reason::ReferenceNotFound),
        ("no such sub-path", json!({"files": {"subPath": "x"}}), Reason::SubPathNotFound),
    ];
    for (label, more, reason) in rows {
        for there in [false, true] {
            let home = Home::new();
            home.registry.push_files("1", &[("a", "one")]);
            home.registry.push("escape", &[(tar, json!({}), &escaping)]);
            if label == "other bytes" {
                home.registry.tamper(b"one", b"two");
            }
            if there {
                fs_err::create_dir(home.out()).unwrap();
                fs_err::write(home.out().join("old"), "old").unwrap();
            }
            let failure = home.pull(&more, true).await.unwrap_err();
            assert_eq!(failure.reason, reason, "{label}: {failure:?}");
            if there {
                assert_eq!(home.content(), files(&[("old", "old")]), "{label}");
            } else {
                assert!(listing(home.root.path()).is_empty(), "{label}");
            }
        }
    }
}

#[tokio::test]
async fn a_cancelled_directory_stays_unchanged_and_a_finished_one_is_reported() {
    let home = Home::new();
    let digest = home.registry.push_files("1", &[("a", "one")]);
    let request = request(&json!({"image": "r.example/app:1", "outputs": []})).into_directory();
    let destination = || {
        let (destination, gone) = Destination::open(&home.out(), Existing::Replace).unwrap();
        (Arc::new(destination), gone)
    };

    let (given_up, gone) = destination();
    assert!(given_up.give_up().is_none());
    let failure = home.pull_to(Arc::clone(&given_up), &request).await.unwrap_err();
    assert_eq!((failure.reason, given_up.give_up().is_none()), (Reason::Internal, true));
    drop(given_up);
    gone.wait().await;
    assert!(listing(home.root.path()).is_empty());

    let (done, gone) = destination();
    home.pull_to(Arc::clone(&done), &request).await.unwrap();
    let Filled { pinned, published, .. } = done.give_up().unwrap();
    assert_eq!((pinned.digest(), published.files), (&digest, 1));
    drop(done);
    gone.wait().await;
    assert_eq!(home.content(), files(&[("a", "one")]));
}

#[tokio::test]
async fn a_recorded_directory_is_replaced_without_a_loss_of_other_files() {
    let home = Home::new();
    let mut record = Listing::default();
    home.registry.push_files("1", &[("a", "one"), ("d/b", "two")]);
    fs_err::create_dir_all(home.out()).unwrap();
    assert!(home.sync(&mut record, false, false).await.unwrap(), "filled");
    assert!(!home.sync(&mut record, false, false).await.unwrap(), "unchanged");
    // As a killed process leaves it: the directory is filled, and the record is not.
    assert!(!home.sync(&mut Listing::default(), false, false).await.unwrap(), "adopted");

    home.registry.push_files("1", &[("a", "three"), ("d/c", "four")]);
    let (mine, edited) = (home.out().join("d/mine"), home.out().join("a"));
    fs_err::write(&mine, "mine").unwrap();
    let before = home.content();
    let failure = home.sync(&mut record, false, false).await.unwrap_err();
    assert_eq!((failure.reason, failure.message.contains("d/mine")), (Reason::OutputConflict, true), "{failure:?}");
    assert_eq!(home.content(), before);
    assert!(home.sync(&mut record, false, true).await.unwrap());
    assert_eq!(home.content(), files(&[("a", "three"), ("d", "c mine")]));
    assert!(!home.sync(&mut record, false, true).await.unwrap(), "unchanged beside files of others");

    fs_err::remove_file(&mine).unwrap();
    fs_err::write(&edited, "edited").unwrap();
    let failure = home.sync(&mut record, false, true).await.unwrap_err();
    assert_eq!((failure.reason, failure.message.contains("a: changed")), (Reason::OutputConflict, true), "{failure:?}");
    assert!(home.sync(&mut record, true, false).await.unwrap());
    assert_eq!(home.content(), files(&[("a", "three"), ("d", "c")]));
}
