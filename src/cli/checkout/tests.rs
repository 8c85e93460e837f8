use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::blob::Progress;
use crate::cli::artifacts::{Artifact, Wanted, artifacts};
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::Input;
use crate::cli::files::record::Written;
use crate::cli::locking;
use crate::layout;
use crate::lock::{Entry, Lock};
use crate::login::Logins;
use crate::testing::FakeRegistry;

#[derive(Debug)]
struct Quiet;

impl Progress for Quiet {
    fn downloaded(&self, _: &str, _: u64, _: u64) {}
}

/// A repository with one artifact set, a cache, and a registry.
struct Home {
    root: tempfile::TempDir,
    registry: FakeRegistry,
    source: Source<FakeRegistry>,
}

impl Home {
    fn new() -> Self {
        let (root, registry) = (tempfile::tempdir().unwrap(), FakeRegistry::default());
        // The config of every artifact, which a copy has too.
        registry.push("config", &[("text/plain", json!({}), b"{}")]);
        let cache = layout::Cache::create(&root.path().join("cache")).unwrap();
        let source = Source {
            registry: Arc::new(registry.clone()),
            cache,
            limits: Limits::default(),
            progress: Arc::new(Quiet),
            logins: Arc::new(Logins::read(&[]).unwrap()),
        };
        Self { root, registry, source }
    }

    fn repository(&self) -> PathBuf {
        self.root.path().join("git")
    }

    fn input(&self, entry: &serde_json::Value, policy: Option<&str>) -> Input {
        let set = json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "ArtifactSet", "artifacts": [entry]});
        fs_err::create_dir_all(self.repository()).unwrap();
        let file = self.repository().join("set.yaml");
        fs_err::write(&file, format!("{set}\n---\n{}", policy.unwrap_or_default())).unwrap();
        Input::read(&[file], Subdirectories::Refuse, &Written::default(), "default").unwrap()
    }

    /// Does something with the artifact of the set, under the policy.
    async fn with<T>(&self, policy: Option<&str>, work: impl AsyncFnOnce(&Artifact<'_>, &Wanted) -> T) -> T {
        let input = self.input(&json!({"directory": "vendor/rules", "image": "r.example/rules:1"}), policy);
        let all = artifacts(&input).unwrap();
        let wanted = all[0].wanted(&input, "default").unwrap();
        work(&all[0], &wanted).await
    }

    async fn lock(&self) -> Entry {
        self.with(None, async |artifact, wanted| locking::locked(&self.source, artifact, wanted).await.unwrap()).await
    }

    async fn sync(&self, locked: Option<&Entry>, foreign: ForeignArguments) -> Result<Outcome, Failure> {
        Box::pin(self.sync_under(None, locked, foreign)).await
    }

    async fn sync_under(
        &self,
        policy: Option<&str>,
        locked: Option<&Entry>,
        foreign: ForeignArguments,
    ) -> Result<Outcome, Failure> {
        let sync = self.with(policy, async |artifact, wanted| {
            let checkout = Checkout::open(&self.repository(), foreign, &Limits::default()).await.unwrap();
            Box::pin(self.source.sync(&checkout, artifact.place.as_ref().unwrap(), wanted, locked)).await
        });
        Box::pin(sync).await
    }

    fn files(&self) -> Vec<(String, String)> {
        let listing = Listing::read(&self.repository().join("vendor/rules"), &Limits::default()).unwrap();
        let text = |path: &str| fs_err::read_to_string(self.repository().join("vendor/rules").join(path)).unwrap();
        listing.content().map(|(path, _)| (path.to_string(), text(path.as_str()))).collect()
    }

    fn record(&self) -> String {
        fs_err::read_to_string(self.repository().join(RECORD)).unwrap()
    }
}

fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

const PLAIN: ForeignArguments = ForeignArguments { force: false, keep_foreign: false };

#[tokio::test]
async fn a_locked_directory_needs_no_registry_and_ignores_the_tag() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one"), ("d/b", "two")]);
    let entry = home.lock().await;
    assert_eq!((entry.name.as_str(), entry.tag.as_deref()), ("vendor/rules", Some("1")));
    assert_eq!(home.lock().await, entry, "locking again changes nothing");
    home.registry.push_files("1", &[("a", "moved")]);
    home.registry.asked();
    let outcome = home.sync(Some(&entry), PLAIN).await.unwrap();
    assert_eq!(home.files(), files(&[("a", "one"), ("d/b", "two")]));
    assert!(outcome.manifest.is_some());
    assert_eq!(outcome.published[0].list_digest.as_ref(), Some(&entry.files_digest));
    let record = home.record();
    let again = home.sync(Some(&entry), PLAIN).await.unwrap();
    assert!(again.manifest.is_none(), "unchanged");
    assert_eq!((home.record(), home.registry.asked()), (record, Vec::<String>::new()));

    let newest = home.sync(None, PLAIN).await.unwrap();
    assert!(newest.manifest.is_some());
    assert_eq!(home.files(), files(&[("a", "moved")]));
    let names: Vec<_> = fs_err::read_dir(home.repository()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn content_that_the_cache_lacks_is_fetched_by_digest() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    let entry = home.lock().await;
    home.registry.push_files("1", &[("a", "moved")]);
    let other = Home { registry: home.registry.clone(), ..Home::new() };
    let source = Source { registry: Arc::new(home.registry.clone()), ..other.source };
    let other = Home { source, ..other };
    other.sync(Some(&entry), PLAIN).await.unwrap();
    assert_eq!(other.files(), files(&[("a", "one")]), "the tag has other content by now");
}

#[tokio::test]
async fn other_files_than_the_lock_says_are_refused_and_nothing_is_left() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    let entry = Entry { files_digest: Digest::of(b"other"), ..home.lock().await };
    let failure = home.sync(Some(&entry), PLAIN).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DigestMismatch, "{failure:?}");
    assert!(!home.repository().join("vendor").exists() && !home.repository().join(RECORD).exists());
}

#[tokio::test]
async fn where_a_signature_is_required_the_artifact_decides_about_its_files_and_not_the_repository() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    let entry = home.lock().await;
    home.sync(Some(&entry), PLAIN).await.unwrap();
    // A change of the repository that agrees with itself: the file, the record, and the digest in the lock.
    fs_err::write(home.repository().join("vendor/rules/a"), "two").unwrap();
    let record = home.record().replace(&Digest::of(b"one").to_string(), &Digest::of(b"two").to_string());
    fs_err::write(home.repository().join(RECORD), record).unwrap();
    let forged = Listing::read(&home.repository().join("vendor/rules"), &Limits::default()).unwrap().digest();
    let forged = Entry { files_digest: forged, ..entry };
    let identity = json!([{"issuer": "https://issuer.example", "subject": "dev@example.com"}]);
    let warn = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": "release"},
        "spec": {
            "images": ["**"], "enforcement": "Warn", "verify": [{"name": "release", "cosign": {"keyless": identity}}],
        },
    });
    for (policy, want) in [(None, None), (Some(warn.to_string()), Some(Reason::DigestMismatch))] {
        let synced = home.sync_under(policy.as_deref(), Some(&forged), PLAIN).await;
        assert_eq!(synced.err().map(|failure| failure.reason), want, "{policy:?}");
    }
    assert_eq!(home.files(), files(&[("a", "two")]), "a refusal changes nothing");
}

#[tokio::test]
async fn damage_in_the_cache_is_fetched_again() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    let entry = home.lock().await;
    let blobs = home.root.path().join("cache/blobs/sha256");
    let damage = |change: &dyn Fn(&Path)| {
        for blob in fs_err::read_dir(&blobs).unwrap() {
            change(&blob.unwrap().path());
        }
    };
    let flip = |path: &Path| {
        let bytes = fs_err::read(path).unwrap().iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
        fs_err::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| fs_err::write(path, "").unwrap();
    for change in [&flip as &dyn Fn(&Path), &cut] {
        damage(change);
        home.sync(Some(&entry), PLAIN).await.unwrap();
        assert_eq!(home.files(), files(&[("a", "one")]));
        fs_err::remove_dir_all(home.repository().join("vendor")).unwrap();
        fs_err::remove_file(home.repository().join(RECORD)).unwrap();
    }
}

#[tokio::test]
async fn edits_are_refused_and_a_record_that_was_lost_is_written_again() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    home.sync(None, PLAIN).await.unwrap();
    let record = home.record();
    fs_err::remove_file(home.repository().join(RECORD)).unwrap();
    home.sync(None, PLAIN).await.unwrap();
    assert_eq!(home.record(), record, "adopted");

    fs_err::write(home.repository().join("vendor/rules/a"), "edited").unwrap();
    let failure = home.sync(None, PLAIN).await.unwrap_err();
    assert_eq!((failure.reason, failure.message.contains("a: changed")), (Reason::OutputConflict, true), "{failure:?}");
    home.sync(None, ForeignArguments { force: true, ..PLAIN }).await.unwrap();
    assert_eq!(home.files(), files(&[("a", "one")]));
}

/// State of a repository right after a kill: the directory was exchanged, and the record was not written.
#[tokio::test]
async fn an_exchange_before_a_kill_is_recognized_by_its_note() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    home.sync(None, PLAIN).await.unwrap();
    let record = home.record();
    home.registry.push_files("1", &[("a", "two")]);
    home.sync(None, PLAIN).await.unwrap();
    let pending = home.repository().join(".supercargo.record.pending");
    assert!(!pending.exists(), "a note is removed with the work");
    fs_err::write(&pending, home.record()).unwrap();
    fs_err::write(home.repository().join(RECORD), &record).unwrap();
    home.registry.push_files("1", &[("a", "three")]);
    home.sync(None, PLAIN).await.unwrap();
    assert_eq!((home.files(), pending.exists()), (files(&[("a", "three")]), false));

    // Killed before the exchange: the note says nothing about the directory.
    fs_err::write(&pending, &record).unwrap();
    fs_err::write(home.repository().join("vendor/rules/a"), "edited").unwrap();
    assert_eq!(home.sync(None, PLAIN).await.unwrap_err().reason, Reason::OutputConflict);
    assert!(!pending.exists());
}

#[tokio::test]
async fn stages_of_killed_commands_are_removed_beside_every_recorded_directory() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    home.sync(None, PLAIN).await.unwrap();
    // Killed with a lock file, before it, and right after the first directory.
    for inside in [".supercargo/lock", ".supercargo", ""] {
        let stage = home.repository().join("vendor/.rules.supercargo-0123456789abcdef0123456789abcdef");
        fs_err::create_dir_all(stage.join(".supercargo")).unwrap();
        match inside {
            "" => fs_err::remove_dir(stage.join(".supercargo")).unwrap(),
            ".supercargo" => {}
            lock => fs_err::write(stage.join(lock), "").unwrap(),
        }
        drop(Checkout::open(&home.repository(), PLAIN, &Limits::default()).await.unwrap());
        assert!(!stage.exists(), "{inside:?}");
    }
}

#[tokio::test]
async fn directories_that_no_artifact_has_are_removed_if_they_are_unchanged() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    home.sync(None, PLAIN).await.unwrap();
    let checkout = async || Checkout::open(&home.repository(), PLAIN, &Limits::default()).await.unwrap();
    let place = Place::new(&home.repository(), Path::new("vendor/rules"));
    assert!(checkout().await.surplus(&[&place]).unwrap().is_empty());
    let surplus = checkout().await.surplus(&[]).unwrap();
    assert_eq!(surplus, ["vendor/rules"]);
    let mine = home.repository().join("vendor/rules/mine");
    fs_err::write(&mine, "").unwrap();
    assert_eq!(checkout().await.remove("vendor/rules", &[]).unwrap_err().reason, Reason::OutputConflict);
    fs_err::remove_file(&mine).unwrap();
    checkout().await.remove("vendor/rules", &[]).unwrap();
    assert!(!home.repository().join("vendor").exists() && !home.record().contains("vendor"));
    checkout().await.remove("vendor/rules", &[]).unwrap();
    let hostile = home.record() + "directory \"../cache\"\n";
    fs_err::write(home.repository().join(RECORD), hostile).unwrap();
    assert!(checkout().await.remove("../cache", &[]).is_err() && home.root.path().join("cache").exists());
    let moved = home.record().replace("../cache", "../moved");
    fs_err::write(home.repository().join(RECORD), moved).unwrap();
    checkout().await.remove("../moved", &[]).unwrap();
    assert!(!home.record().contains("moved"), "one that is gone is forgotten, wherever it was");
}

#[tokio::test]
async fn a_directory_around_or_inside_one_that_stays_loses_no_file() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one")]);
    home.sync(None, PLAIN).await.unwrap();
    let place = |path: &str| Place::new(&home.repository(), Path::new(path));
    let checkout = async || Checkout::open(&home.repository(), PLAIN, &Limits::default()).await.unwrap();
    let inner = place("vendor/rules/sub");
    let failure = checkout().await.remove("vendor/rules", &[&inner]).unwrap_err();
    assert_eq!((failure.reason, failure.message.contains("rules/sub")), (Reason::OutputConflict, true), "{failure:?}");
    assert_eq!(home.files(), files(&[("a", "one")]));
    checkout().await.remove("vendor/rules", &[&place("vendor")]).unwrap();
    assert_eq!((home.files(), home.record().contains("vendor")), (files(&[("a", "one")]), false), "only forgotten");
}

#[tokio::test]
async fn content_that_git_acts_upon_is_refused() {
    let home = Home::new();
    home.registry.push_files("1", &[("a", "one"), ("in/.GIT/config", "[core]")]);
    let locked = home.with(None, async |artifact, wanted| locking::locked(&home.source, artifact, wanted).await);
    assert_eq!(Box::pin(locked).await.unwrap_err().reason, Reason::UnsafeArchive, "also for a lock");
    let failure = home.sync(None, PLAIN).await.unwrap_err();
    assert_eq!((failure.reason, failure.message.contains(".GIT")), (Reason::UnsafeArchive, true), "{failure:?}");
    assert!(!home.repository().join("vendor").exists());
}

#[tokio::test]
async fn a_second_command_waits_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = alone(dir.path()).await.unwrap().unwrap();
    let second = alone(dir.path());
    tokio::pin!(second);
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    assert!(second.await.unwrap().is_some());
}

#[test]
fn a_lock_file_is_replaced_only_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.lock.yaml");
    assert!(locking::read(&path).unwrap().is_none());
    locking::write(&path, &Lock::default()).unwrap();
    assert_eq!(locking::read(&path).unwrap(), Some(Lock::default()));
    fs_err::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(locking::read(&path).unwrap_err().reason(), Reason::FileInvalid, "a pipe would block");
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, "kind: ArtifactLock\n<<<<<<<").unwrap();
    let complaint = locking::read(&path).unwrap_err();
    assert_eq!((complaint.reason(), complaint.message().contains("a.lock.yaml")), (Reason::FileInvalid, true));
}
