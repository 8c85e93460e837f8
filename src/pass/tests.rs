//! Passes over a registry in memory and real directories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fetch::room_was_made;
use super::turns::Turns;
use super::*;
use crate::api::Reason;
use crate::blob::{Cache, CacheLimits};
use crate::failure::Class;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::output::location::Location;
use crate::output::{ApiObjects, Outputs, Published, Retention};
use crate::permits::Permits;
use crate::plan::Revision;
use crate::request::{Limits, ObjectId, OutputKind, Referred};
use crate::storage::Mount;
use crate::testing::FakeRegistry;
use crate::trust::Approved;

/// Retention by number alone.
const RETENTION: Retention = Retention { count: 2, age: std::time::Duration::ZERO };

struct World {
    root: tempfile::TempDir,
    registry: FakeRegistry,
    engine: Engine<FakeRegistry>,
}

impl World {
    fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    fn with_limits(limits: &Limits) -> Self {
        Self::at(tempfile::tempdir().unwrap(), limits)
    }

    fn at(root: tempfile::TempDir, limits: &Limits) -> Self {
        let volume = Mount::open(root.path()).unwrap();
        let volumes = BTreeMap::from([("default".to_owned(), Arc::clone(&volume))]);
        let api_objects = ApiObjects::Directory(root.path().join("configmaps"));
        let metrics = Arc::new(Metrics::default());
        let cache = Cache::open([&volume], CacheLimits::default(), &metrics);
        let registry = FakeRegistry::default();
        let engine = Engine {
            registry: registry.clone(),
            outputs: Outputs::new(volumes, volume, api_objects, metrics).unwrap().with_retention(RETENTION),
            limits: *limits,
            cache,
            turns: Turns::default(),
            processors: Permits::new(1),
            progress: None,
        };
        Self { root, registry, engine }
    }

    /// Runs a pass. `before` is the state that a controller would have in status.
    async fn pass(&self, spec: &Value, before: &Before) -> Result<Outcome, Failure> {
        let request = request(spec);
        pass(&self.engine, &self.engine.turn(&request).await, &request, before).await
    }

    async fn prune(&self, spec: &Value) {
        let request = request(spec);
        for target in &request.targets {
            self.engine.outputs.prune(&request.object, target, now()).await.unwrap();
        }
    }

    /// Removes the object's directories from all volumes, as after its deletion.
    async fn remove(&self, spec: &Value) {
        let failed = self.engine.outputs.remove_object(&request(spec).object).await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    async fn withdraw(&self, spec: &Value) {
        for location in [
            Location::new(OutputKind::Volume, "default".to_owned()),
            Location::new(OutputKind::ConfigMap, "map".to_owned()),
        ] {
            self.engine.outputs.withdraw(&request(spec).object, &location).await.unwrap();
        }
    }

    fn read(&self, path: &str) -> Option<String> {
        fs_err::read_to_string(self.root.path().join("team/app/current").join(path)).ok()
    }

    fn object_dir(&self) -> std::path::PathBuf {
        self.root.path().join("team/app")
    }
}

fn request(spec: &Value) -> Request {
    let object = ObjectId { namespace: "team".to_owned(), name: "app".to_owned(), uid: "uid-1".to_owned() };
    Request::parse(object, &serde_json::from_value(spec.clone()).unwrap(), &Referred::default()).unwrap()
}

fn recorded(spec: &Value, digest: &Digest) -> Before {
    let fingerprint = request(spec).fingerprint;
    Before { recorded: Some(Revision { digest: digest.clone(), fingerprint }), ..Before::default() }
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_tag_is_published_and_an_unchanged_tag_costs_one_request() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    let digest = world.registry.push_files("1", &[("a.txt", "one"), ("d/b.txt", "two")]);
    let outcome = world.pass(&spec, &Before::default()).await.unwrap();
    assert_eq!(outcome.pinned.digest(), &digest);
    assert_eq!(world.read("a.txt").as_deref(), Some("one"));
    assert_eq!(world.read("d/b.txt").as_deref(), Some("two"));
    assert_eq!(world.registry.asked().len(), 4, "resolve, manifest, two blobs");
    assert!(listing(&world.root.path().join(".supercargo/staging")).is_empty());

    let outcome = world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
    assert!(outcome.manifest.is_none());
    assert_eq!(world.registry.asked(), ["resolve"]);
}

#[tokio::test]
async fn a_digest_causes_no_tag_request() {
    let world = World::new();
    let digest = world.registry.push_files("1", &[("a.txt", "one")]);
    let spec = json!({"image": format!("r.example/app:other@{digest}")});
    let outcome = world.pass(&spec, &Before::default()).await.unwrap();
    assert_eq!(outcome.pinned.tag(), Some("other"), "told, not used");
    assert!(!world.registry.asked().contains(&"resolve".to_owned()));
    world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
    assert!(world.registry.asked().is_empty());
}

#[tokio::test]
async fn bytes_with_another_digest_are_never_published() {
    let spec = json!({"image": "r.example/app:1"});
    let rows: [(&str, &[u8]); 4] =
        [("other bytes", b"oNe"), ("shorter", b"on"), ("longer", b"one and more"), ("empty", b"")];
    for (label, bytes) in rows {
        let world = World::new();
        let digest = world.registry.push_files("1", &[("a.txt", "one")]);
        world.registry.tamper(b"one", bytes);
        let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::DigestMismatch, "{label}: {failure:?}");
        assert_eq!(failure.candidate, Some(digest), "{label}");
        assert!(!world.object_dir().exists(), "{label}");
    }
    let world = World::new();
    let digest = world.registry.push_files("1", &[("a.txt", "one")]);
    world.registry.tamper_manifest(&digest, b"{}");
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DigestMismatch);
}

#[tokio::test]
async fn a_refused_revision_leaves_the_old_one_and_is_not_fetched_again() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    let old = world.registry.push_files("1", &[("a.txt", "one")]);
    world.pass(&spec, &Before::default()).await.unwrap();
    let new = world.registry.push_files("1", &[("../evil", "x")]);
    let failure = world.pass(&spec, &recorded(&spec, &old)).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Stalled, Reason::UnsafeArchive));
    assert_eq!(world.read("a.txt").as_deref(), Some("one"));

    world.registry.asked();
    let refused = Revision { digest: new, fingerprint: request(&spec).fingerprint };
    let before = Before { refused: Some((refused, failure.clone())), ..recorded(&spec, &old) };
    assert_eq!(world.pass(&spec, &before).await.unwrap_err(), failure);
    assert_eq!(world.registry.asked(), ["resolve"], "only the tag is looked at");

    world.registry.push_files("1", &[("a.txt", "three")]);
    world.pass(&spec, &before).await.unwrap();
    assert_eq!(world.read("a.txt").as_deref(), Some("three"));
}

#[tokio::test]
async fn old_trees_are_kept_for_their_readers_and_then_pruned() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    for round in 0..5 {
        world.registry.push_files("1", &[("a.txt", &round.to_string())]);
        world.pass(&spec, &Before::default()).await.unwrap();
        world.prune(&spec).await;
    }
    assert_eq!(listing(&world.object_dir().join("trees")).len(), 3, "the current one and two before it");
    assert_eq!(listing(&world.object_dir()), [".artifact.json", "current", "trees"]);
    assert_eq!(world.read("a.txt").as_deref(), Some("4"));
}

/// Name and simulated effect of a crash.
type Harm = (&'static str, fn(&Path));

#[tokio::test]
async fn leftovers_of_a_crash_are_repaired_by_the_next_pass() {
    let spec = json!({"image": "r.example/app:1"});
    let harm: [Harm; 4] = [
        ("link not yet made", |dir| fs_err::remove_file(dir.join("current")).unwrap()),
        ("marker not yet written", |dir| {
            fs_err::write(dir.join(".artifact.json"), r#"{"uid":"uid-1","trees":[]}"#).unwrap();
        }),
        ("tree lost", |dir| fs_err::remove_dir_all(dir.join("trees")).unwrap()),
        ("link half made", |dir| {
            fs_err::os::unix::fs::symlink("trees/x", dir.join(".current.new")).unwrap();
            fs_err::remove_file(dir.join("current")).unwrap();
        }),
    ];
    for (label, harm) in harm {
        let world = World::new();
        let digest = world.registry.push_files("1", &[("a.txt", "one")]);
        world.pass(&spec, &Before::default()).await.unwrap();
        harm(&world.object_dir());
        let outcome = world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
        assert!(outcome.manifest.is_some(), "{label}: published again");
        assert_eq!(world.read("a.txt").as_deref(), Some("one"), "{label}");
        assert_eq!(listing(&world.object_dir()), [".artifact.json", "current", "trees"], "{label}");
    }
}

#[tokio::test]
async fn a_foreign_directory_is_left_unchanged_and_causes_no_request() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    world.registry.push_files("1", &[("a.txt", "one")]);
    fs_err::create_dir_all(world.object_dir()).unwrap();
    fs_err::write(world.object_dir().join("mine"), "precious").unwrap();
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Stalled, Reason::OutputConflict));
    assert!(world.registry.asked().is_empty());
    world.remove(&spec).await;
    assert_eq!(listing(&world.object_dir()), ["mine"]);

    fs_err::remove_file(world.object_dir().join("mine")).unwrap();
    world.pass(&spec, &Before::default()).await.unwrap();
    world.remove(&spec).await;
    assert!(
        listing(&world.root.path().join("team")).is_empty(),
        "only the namespace, which consumers may have mounted"
    );
}

#[tokio::test]
async fn withdrawn_content_is_gone_and_can_be_published_again() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1", "outputs": [
        {"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "map"}}]});
    let map = world.root.path().join("configmaps/team/app/map.yaml");
    world.withdraw(&spec).await;
    assert!(!world.object_dir().exists(), "nothing is made to be cleared");
    let digest = world.registry.push_files("1", &[("a.txt", "one")]);
    for round in 0..2 {
        world.pass(&spec, &Before::default()).await.unwrap();
        assert_eq!((world.read("a.txt").as_deref(), map.exists()), (Some("one"), true), "round {round}");
        let mounted = fs_err::File::open(world.object_dir()).unwrap();
        world.withdraw(&spec).await;
        assert_eq!(listing(&world.object_dir()), [".artifact.json"]);
        assert!(!map.exists());
        // A crash between the outputs and the status write leads to a second withdrawal.
        world.withdraw(&spec).await;
        let outcome = world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
        assert!(outcome.manifest.is_some(), "published again");
        let inode = |metadata: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&metadata);
        let there = inode(fs_err::metadata(world.object_dir()).unwrap());
        assert_eq!(inode(mounted.metadata().unwrap()), there, "the directory that is mounted is the same");
    }
    fs_err::remove_dir_all(world.object_dir()).unwrap();
    fs_err::create_dir_all(world.object_dir()).unwrap();
    fs_err::write(world.object_dir().join("current"), "precious").unwrap();
    world.withdraw(&spec).await;
    assert_eq!(listing(&world.object_dir()), ["current"], "what is not ours stays");
}

#[tokio::test]
async fn a_signature_counts_as_missing_only_if_the_artifact_is_readable() {
    let world = World::new();
    let pem = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let keys = json!({"keys": [{"inline": pem}], "transparencyLog": "Ignored"});
    let digest = world.registry.push_files("1", &[("a.txt", "one")]);
    let rejudged = async |digest: &Digest| {
        let image = format!("r.example/app@{digest}");
        let request = request(&json!({"image": image, "verify": [{"name": "release", "cosign": keys}]}));
        rejudge(&world.engine, &world.engine.turn(&request).await, &request).await.unwrap_err()
    };
    let failure = rejudged(&digest).await;
    assert_eq!((failure.reason, failure.candidate), (Reason::SignatureMissing, Some(digest)));
    let hidden = Digest::of(b"hidden");
    for label in ["nothing is shown", "nothing but what is about it"] {
        let failure = rejudged(&hidden).await;
        assert_eq!((failure.class, failure.reason), (Class::Wait, Reason::ReferenceNotFound), "{label}");
        world.registry.refer(&hidden, "application/vnd.dev.sigstore.bundle.v0.3+json", b"{}");
    }
    let layer = format!("blob {}", Digest::of(b"one").short());
    assert!(!world.registry.asked().contains(&layer), "nothing of it is fetched");
}

#[tokio::test]
async fn a_config_map_has_a_key_for_each_file_or_is_rejected() {
    let world = World::new();
    let spec = |separator: &str| {
        json!({"image": "r.example/app:1", "files": {"subPath": "rules"},
            "outputs": [{"name": "rules", "configMap": {"name": "rules", "separator": separator}}]})
    };
    let path = world.root.path().join("configmaps/team/app/rules.yaml");
    let digest = world.registry.push_files("1", &[("rules/x/a.yaml", "a: 1"), ("rules/b", "b"), ("other", "o")]);
    let outcome = world.pass(&spec("__"), &Before::default()).await.unwrap();
    assert_eq!(outcome.published[0].files, 2);
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains("x__a.yaml: ") && text.contains(&digest.to_string()), "{text}");
    let outcome = world.pass(&spec("__"), &recorded(&spec("__"), &digest)).await.unwrap();
    assert!(outcome.manifest.is_none(), "unchanged");

    fs_err::write(&path, text.replace("a: 1", "a: 2")).unwrap();
    let outcome = world.pass(&spec("__"), &recorded(&spec("__"), &digest)).await.unwrap();
    assert!(outcome.manifest.is_some(), "changed by another process");

    let before = fs_err::read_to_string(&path).unwrap();
    let big = "x".repeat(900 * 1024 + 1);
    let rows = [
        ("two paths on one key", vec![("rules/a/b", "1"), ("rules/a.b", "2")], ".", Reason::OutputConflict),
        ("illegal key", vec![("rules/a b", "1")], "__", Reason::OutputConflict),
        ("too large", vec![("rules/big", big.as_str())], "__", Reason::OutputTooLarge),
    ];
    for (label, files, separator, want) in rows {
        world.registry.push_files("1", &files);
        let failure = world.pass(&spec(separator), &Before::default()).await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Stalled, want), "{label}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), before, "{label}");
    }
}

#[tokio::test]
async fn an_artifact_without_content_is_an_empty_tree() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    world.registry.push("1", &[("application/vnd.oci.empty.v1+json", json!({}), b"{}")]);
    let outcome = world.pass(&spec, &Before::default()).await.unwrap();
    assert_eq!(outcome.published[0].files, 0);
    assert_eq!(world.registry.asked(), ["resolve", "manifest"], "what is not content is not fetched");
}

#[tokio::test]
async fn an_output_on_an_unknown_volume_lists_the_volumes() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1", "outputs": [{"name": "o", "volume": {"name": "nope"}}]});
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::InvalidSpec);
    assert!(failure.message.contains("default"), "{}", failure.message);
}

#[tokio::test]
async fn a_kept_layer_is_removed_if_the_volume_is_full() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    world.registry.push_files("1", &[("a.txt", "one")]);
    world.pass(&spec, &Before::default()).await.unwrap();
    world.registry.asked();
    let outcome = world.pass(&spec, &Before::default()).await.unwrap();
    assert!(outcome.manifest.is_some(), "without a record it is published again");
    let right = format!("right {}", Digest::of(b"one").short());
    assert_eq!(world.registry.asked(), ["resolve", "manifest", right.as_str()]);

    let kept = || listing(&world.root.path().join(".supercargo/blobs/sha256")).len();
    let other = world.registry.push_files("2", &[("b.txt", "four")]);
    world.pass(&json!({"image": "r.example/app:2"}), &Before::default()).await.unwrap();
    let digests = [outcome.pinned.digest().clone(), other];
    let full = |lacks| Failure { lacks, ..Failure::new(Class::Retry, Reason::StorageFull, "told") };
    let other_failure = Failure::new(Class::Retry, Reason::StorageFailed, "told");
    // Failure, artifact of the request ("one" or "four"), expected result, and number of layers left in the cache.
    let rows = [
        ("something else", other_failure, 0, false, 2),
        ("more than can be given", full(Some(5)), 0, false, 2),
        ("as much as the other has", full(Some(4)), 0, true, 1),
        ("nothing is left but its own", full(None), 0, false, 1),
        ("a full volume without a number of missing bytes", full(None), 1, true, 0),
        ("nothing is left", full(None), 1, false, 0),
    ];
    for (label, failure, number, made, left) in rows {
        let (request, digest) = (request(&spec), &digests[number]);
        let reference = format!("r.example/app@{digest}").parse().unwrap();
        let pinned = registry::resolve(
            &world.registry,
            &request.access,
            &reference,
            None,
            &crate::permits::Permits::default().seat("team"),
        )
        .await
        .unwrap();
        let manifest = registry::manifest(&world.registry, &request.access, &pinned, None, 1 << 20).await.unwrap();
        let approved = Approved::for_test(pinned, manifest);
        assert_eq!(room_was_made(&world.engine, &request, &approved, &failure).await, made, "{label}");
        assert_eq!(kept(), left, "{label}");
    }
    world.pass(&spec, &Before::default()).await.unwrap();
    assert_eq!((world.read("a.txt").as_deref(), kept()), (Some("one"), 1));
}

mod directory;
mod integrity;
mod limits;
mod race;
mod repeated;
mod selection;

/// An attendant during whose write a policy denies the artifact.
struct Denying(Arc<std::sync::atomic::AtomicBool>);

impl Attendant for Denying {
    async fn begin(&self, _: &Outcome, _: &Switching) -> Result<(), Failure> {
        self.0.store(false, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

#[tokio::test]
async fn what_is_denied_while_the_journal_is_written_is_not_switched() {
    let world = World::new();
    world.registry.push_files("1", &[("a.txt", "one")]);
    let outputs =
        json!([{"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "map"}}]);
    let request = request(&json!({"image": "r.example/app:1", "outputs": outputs}));
    let is_wanted = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = Arc::clone(&is_wanted);
    let wanted = Wanted::new(move || seen.load(std::sync::atomic::Ordering::Acquire));
    let turn = world.engine.turn(&request).await;
    let progressed = prepare(&world.engine, &turn, &request, &Before::default(), &wanted).await.unwrap();
    let Progressed::Prepared(prepared) = progressed else { panic!("nothing to switch") };
    let committed = prepared.commit(&world.engine, &Denying(is_wanted)).await.unwrap();
    assert!(committed.is_none() && world.read("a.txt").is_none(), "published although it is denied");
}
