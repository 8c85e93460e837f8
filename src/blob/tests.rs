//! Fetches from an in-memory registry into real directories.

use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Reference};
use crate::permits::{Permits, Seat};
use crate::registry::credentials::{Credential, Keychain};
use crate::registry::tls::TlsOptions;
use crate::registry::{self, RegistryError, Transport};
use crate::request::Limits;
use crate::storage::{Mount, Volume};
use crate::testing::vandal::{Vandal, files_below};
use crate::testing::{FakeRegistry, Manners, Strangers};
use crate::trust::Approved;

const LAYER: &[u8] = b"0123456789";

struct World {
    root: tempfile::TempDir,
    registry: FakeRegistry,
    volume: Arc<Mount>,
    cache: Cache,
    metrics: Arc<Metrics>,
    seat: Seat,
}

/// A requesting object: its image, and its access with or without credentials.
#[derive(Clone)]
struct Asker {
    access: Access,
    image: &'static str,
}

fn stranger() -> Asker {
    Asker { access: Access::default(), image: "r.example/app:1" }
}

fn friend() -> Asker {
    let mut keychain = Keychain::default();
    let credential = Credential::Password { user: "x".to_owned(), password: "x".to_owned() };
    keychain.add_for(&stranger().image.parse::<Reference>().unwrap().repository, credential);
    Asker { access: Access { keychain, ..Access::default() }, ..stranger() }
}

impl World {
    fn new() -> Self {
        Self::with_limits(CacheLimits::default())
    }

    fn with_limits(limits: CacheLimits) -> Self {
        let root = tempfile::tempdir().unwrap();
        let registry = FakeRegistry::default();
        registry.push("1", &[("a/b", json!({}), LAYER)]);
        let volume = Volume::open(root.path()).unwrap();
        Self::on(root, registry, volume, limits)
    }

    /// Creates a world whose filesystem does not support files without a name.
    fn without_tmpfile() -> Self {
        let Self { root, registry, .. } = Self::new();
        let volume = Volume::open(root.path()).unwrap().without_tmpfile();
        Self::on(root, registry, volume, CacheLimits::default())
    }

    fn on(root: tempfile::TempDir, registry: FakeRegistry, volume: Volume, limits: CacheLimits) -> Self {
        let (volume, metrics) = (Mount::of(Arc::new(volume)), Arc::new(Metrics::default()));
        let cache = Cache::open([&volume, &volume], limits, &metrics);
        Self { root, registry, volume, cache, metrics, seat: Permits::new(2).seat("team") }
    }

    /// Fetches all layers for one object and returns their bytes.
    async fn fetch(&self, asker: &Asker) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        for blob in self.blobs(asker).await? {
            blob.reader().read_to_end(&mut bytes).unwrap();
        }
        self.settled().await;
        Ok(bytes)
    }

    /// Waits until dropped files are closed.
    async fn settled(&self) {
        self.volume.pool().idle().await;
    }

    /// Fetches the layers for one object.
    async fn blobs(&self, asker: &Asker) -> Result<Vec<VerifiedBlob>, BlobError> {
        let reference: Reference = asker.image.parse().unwrap();
        let pinned = registry::resolve(&self.registry, &asker.access, &reference, None, &self.seat).await.unwrap();
        let manifest =
            registry::manifest(&self.registry, &asker.access, &pinned, None, MAX_MANIFEST_BYTES).await.unwrap();
        let approved = Approved::for_test(pinned, manifest);
        let scratch = Arc::new(self.volume.current().unwrap().scratch().unwrap());
        let source = Source {
            registry: &self.registry,
            access: &asker.access,
            approved: &approved,
            scratch: &scratch,
            store: self.cache.on(&self.volume),
            seat: &self.seat,
            limit: Limits::default().layer_bytes.set(1000),
        };
        let mut blobs = Vec::new();
        for layer in &approved.manifest().layers {
            let mut told = 0;
            let blob = fetch(&source, layer, |done| told = done).await?;
            assert_eq!((blob.descriptor(), told), (layer, layer.size));
            blobs.push(blob);
        }
        Ok(blobs)
    }

    /// Returns the blob requests since the last call, without digests.
    fn asked(&self) -> Vec<String> {
        let about = |line: String| {
            let (what, rest) = line.split_once(' ')?;
            Some(format!("{what}{}", rest.split_once(' ').map(|(_, range)| format!(" {range}")).unwrap_or_default()))
        };
        self.registry.asked().into_iter().filter_map(about).collect()
    }

    /// Returns the paths of the kept files.
    fn kept(&self) -> Vec<PathBuf> {
        let dir = self.root.path().join(".supercargo/blobs/sha256");
        let mut paths: Vec<_> = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// Returns the contents of the kept files, sorted.
    fn contents(&self) -> Vec<String> {
        let mut contents: Vec<_> = self.kept().iter().map(|path| fs_err::read_to_string(path).unwrap()).collect();
        contents.sort();
        contents
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == format!("supercargo_{line}"))
    }
}

fn used_ago(path: &PathBuf, ago: u64) {
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.file().set_modified(modified - Duration::from_secs(ago)).unwrap();
}

#[tokio::test]
async fn the_next_object_is_authorized_and_uses_the_kept_layer() {
    let world = World::new();
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["blob"]);
    assert_eq!(world.fetch(&friend()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["right"]);
    assert!(world.metric("cache_lookups_total{result=\"miss\"} 1") && world.metric("cache_bytes 10"));
    assert!(world.metric("cache_lookups_total{result=\"hit\"} 1"));
    let staging = world.root.path().join(".supercargo/staging");
    assert_eq!(fs_err::read_dir(staging).unwrap().count(), 0);
}

#[tokio::test]
async fn a_kept_layer_is_used_only_by_authorized_objects() {
    let world = World::new();
    world.fetch(&friend()).await.unwrap();
    world.asked();
    world.registry.behave(Manners { strangers: Strangers::Refused, ..Manners::default() });
    let refused = world.fetch(&stranger()).await;
    assert!(matches!(refused, Err(BlobError::Registry(RegistryError::Unauthorized { .. }))), "{refused:?}");
    assert_eq!(world.asked(), ["right"]);
    assert_eq!(world.fetch(&friend()).await.unwrap(), LAYER);

    world.asked();
    world.registry.behave(Manners { strangers: Strangers::Unanswered, ..Manners::default() });
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["right", "blob"], "an object without proof of its right downloads");
    assert_eq!(world.kept().len(), 1);
}

#[tokio::test]
async fn a_registry_grants_only_layers_that_it_delivered() {
    let world = World::new();
    world.fetch(&stranger()).await.unwrap();
    world.asked();
    let plain = Asker { access: Access { transport: Transport::PlainHttp, ..Access::default() }, ..stranger() };
    let mut any = TlsOptions::default();
    any.skip_verify();
    let unchecked = Asker { access: Access { transport: Transport::Tls(any), ..Access::default() }, ..stranger() };
    let rows = [
        ("another repository", Asker { image: "r.example/other/app:1", ..stranger() }, "right"),
        ("another registry", Asker { image: "evil.example/app:1", ..stranger() }, "blob"),
        ("another port", Asker { image: "r.example:444/app:1", ..stranger() }, "blob"),
        ("a server without TLS", plain, "blob"),
        ("a server with an unverified certificate", unchecked, "blob"),
    ];
    for (label, asker, asked) in rows {
        assert_eq!(world.fetch(&asker).await.unwrap(), LAYER);
        assert_eq!(world.asked(), [asked], "{label}");
    }
}

#[tokio::test]
async fn inline_layers_cause_no_request() {
    let world = World::new();
    let digest = Digest::of(LAYER);
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, LAYER);
    world.registry.push_document(
        "1",
        &json!({
            "schemaVersion": 2,
            "config": {"mediaType": "a/c", "digest": digest, "size": LAYER.len()},
            "layers": [{"mediaType": "a/b", "digest": digest, "size": LAYER.len(), "data": data}],
        }),
    );
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), [""; 0]);
}

/// A label, and a change to the kept file.
type Harm = (&'static str, fn(&PathBuf));

#[tokio::test]
async fn a_changed_kept_layer_is_detected_and_replaced() {
    let rows: [Harm; 7] = [
        ("other bytes", |path| fs_err::write(path, b"012345678x").unwrap()),
        ("longer", |path| fs_err::write(path, b"0123456789x").unwrap()),
        ("shorter", |path| fs_err::write(path, b"012345678").unwrap()),
        ("empty", |path| fs_err::write(path, b"").unwrap()),
        ("gone", |path| fs_err::remove_file(path).unwrap()),
        ("a link to the right bytes", |path| {
            let aside = path.with_file_name("aside");
            fs_err::rename(path, &aside).unwrap();
            fs_err::os::unix::fs::symlink(aside, path).unwrap();
        }),
        ("a pipe", |path| {
            fs_err::remove_file(path).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
    ];
    for (label, harm) in rows {
        let world = World::new();
        world.fetch(&stranger()).await.unwrap();
        let path = world.kept().remove(0);
        harm(&path);
        world.asked();
        assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER, "{label}");
        let asked = world.asked();
        assert_eq!(asked.last().map(String::as_str), Some("blob"), "{label}: {asked:?}");
        assert_eq!(fs_err::read(&path).unwrap(), LAYER, "{label}");
        assert!(path.symlink_metadata().unwrap().is_file(), "{label}");
        assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER, "{label}");
        assert_eq!(world.asked(), ["right"], "{label}");
    }
    let world = World::new();
    world.fetch(&stranger()).await.unwrap();
    fs_err::write(world.kept().remove(0), b"012345678x").unwrap();
    world.fetch(&stranger()).await.unwrap();
    assert!(world.metric("cache_lookups_total{result=\"broken\"} 1") && world.metric("cache_bytes 10"));
}

#[tokio::test]
async fn a_broken_transfer_is_resumed() {
    // How each transfer breaks, the expected requests, and true if the fetch succeeds.
    let rows: [(&str, &[usize], &[&str], bool); 8] = [
        ("once", &[4], &["blob", "blob from 4"], true),
        ("twice", &[4, 3], &["blob", "blob from 4", "blob from 7"], true),
        ("behind the last byte", &[10], &["blob"], true),
        ("before the first byte", &[0], &["blob"], false),
        ("without going on", &[4, 0], &["blob", "blob from 4"], false),
        (
            "five times",
            &[1, 1, 1, 1, 1],
            &["blob", "blob from 1", "blob from 2", "blob from 3", "blob from 4", "blob from 5"],
            true,
        ),
        (
            "six times",
            &[1, 1, 1, 1, 1, 1],
            &["blob", "blob from 1", "blob from 2", "blob from 3", "blob from 4", "blob from 5"],
            false,
        ),
        ("never", &[], &["blob"], true),
    ];
    for (label, breaks, asked, well) in rows {
        for ends_quietly in [false, true] {
            let world = World::new();
            world.registry.behave(Manners { breaks: breaks.to_vec(), ends_quietly, ..Manners::default() });
            let result = world.fetch(&stranger()).await;
            assert_eq!(world.asked(), asked, "{label}, quietly: {ends_quietly}");
            match result {
                Ok(bytes) => assert!(well && bytes == LAYER, "{label}"),
                Err(BlobError::Short { .. }) => assert!(!well && ends_quietly, "{label}"),
                Err(BlobError::Registry(RegistryError::Unavailable { .. })) => {
                    assert!(!well && !ends_quietly, "{label}");
                }
                Err(error) => panic!("{label}: {error}"),
            }
            assert_eq!(world.kept().len(), usize::from(well), "{label}");
        }
    }
}

#[tokio::test]
async fn a_registry_without_ranges_sends_the_layer_again() {
    let world = World::new();
    world.registry.behave(Manners { breaks: vec![4, 7], ignores_ranges: true, ..Manners::default() });
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["blob", "blob from 4", "blob from 7"]);
    assert_eq!(world.contents(), ["0123456789"]);
}

#[tokio::test]
async fn a_hundred_objects_cause_one_download() {
    let world = World::new();
    let askers: Vec<_> = (0..100).map(|n| if n % 2 == 0 { stranger() } else { friend() }).collect();
    let results = join_all(askers.iter().map(|asker| world.fetch(asker))).await;
    assert!(results.iter().all(|bytes| bytes.as_ref().is_ok_and(|bytes| bytes == LAYER)), "{results:?}");
    let count = |asked: &[String], what: &str| asked.iter().filter(|line| *line == what).count();
    let asked = world.asked();
    assert_eq!((count(&asked, "blob"), count(&asked, "right")), (1, 99));
    let store = world.cache.on(&world.volume).unwrap();
    assert_eq!(store.flights.len(), 0, "nothing is remembered of those who are through");

    fs_err::write(world.kept().remove(0), b"012345678x").unwrap();
    let results = join_all(askers.iter().map(|asker| world.fetch(asker))).await;
    assert!(results.iter().all(|bytes| bytes.as_ref().is_ok_and(|bytes| bytes == LAYER)), "{results:?}");
    assert_eq!(count(&world.asked(), "blob"), 1, "and one to replace what was changed");
}

#[tokio::test]
async fn a_cancelled_or_failed_download_passes_to_the_next_object() {
    let world = World::new();
    let hold = Arc::new(Semaphore::new(0));
    world.registry.behave(Manners { hold: Some(Arc::clone(&hold)), ..Manners::default() });
    let (first, second) = (stranger(), friend());
    let (mut first, mut second) = (Box::pin(world.fetch(&first)), Box::pin(world.fetch(&second)));
    let mut asked = Vec::new();
    while asked.is_empty() {
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
        asked = world.asked();
    }
    assert_eq!(asked, ["blob"], "the second waits");
    drop(first);
    hold.add_permits(1);
    assert_eq!(second.await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["blob"]);
    assert_eq!(world.cache.on(&world.volume).unwrap().flights.len(), 0);

    let world = World::new();
    world.registry.behave(Manners { breaks: vec![0], ..Manners::default() });
    let (first, second) = (stranger(), friend());
    let (first, second) = futures::join!(world.fetch(&first), world.fetch(&second));
    assert!(first.is_err(), "{first:?}");
    assert_eq!(second.unwrap(), LAYER);
    assert_eq!(world.asked(), ["blob", "blob"]);
}

#[tokio::test]
async fn the_least_recently_used_layers_are_removed_first() {
    let world = World::with_limits(CacheLimits { bytes: 39, ..CacheLimits::default() });
    let push = |tag: &str, bytes: &[u8]| world.registry.push(tag, &[("a/b", json!({}), bytes)]);
    push("2", b"aaaaaaaaaa");
    push("3", b"bbbbbbbbbb");
    push("4", b"cccccccccc");
    push("5", &[b'd'; 40]);
    let image = |image| Asker { image, ..stranger() };
    for (asker, ago) in [(image("r.example/app:2"), 30), (image("r.example/app:3"), 20)] {
        world.fetch(&asker).await.unwrap();
        let new = world.kept().into_iter().max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap();
        used_ago(&new, ago);
    }
    // The least recently used layer is used again.
    world.fetch(&image("r.example/app:2")).await.unwrap();
    world.fetch(&stranger()).await.unwrap();
    assert_eq!(world.contents(), ["0123456789", "aaaaaaaaaa", "bbbbbbbbbb"], "all of it fits");
    world.fetch(&image("r.example/app:4")).await.unwrap();
    assert_eq!(world.contents(), ["0123456789", "aaaaaaaaaa", "cccccccccc"]);
    assert!(world.metric("cache_bytes 30"));

    let before = world.contents();
    assert_eq!(world.fetch(&image("r.example/app:5")).await.unwrap().len(), 40);
    assert_eq!(world.contents(), before, "a layer beyond the limit is not kept, and drives nothing out");

    let world = World::with_limits(CacheLimits { bytes: 10, ..CacheLimits::default() });
    world.registry.push("2", &[("a/b", json!({}), b"aaaaaaaaaa")]);
    world.fetch(&stranger()).await.unwrap();
    world.fetch(&image("r.example/app:2")).await.unwrap();
    assert_eq!(world.contents(), ["aaaaaaaaaa"], "one that fills the room alone stays");
}

#[tokio::test]
async fn expired_layers_are_removed() {
    let hour = CacheLimits { age: Duration::from_secs(3600), ..CacheLimits::default() };
    let world = World::with_limits(hour);
    world.registry.push("2", &[("a/b", json!({}), b"aaaaaaaaaa")]);
    world.fetch(&stranger()).await.unwrap();
    used_ago(&world.kept().remove(0), 3700);
    world.fetch(&Asker { image: "r.example/app:2", ..stranger() }).await.unwrap();
    let store = world.cache.on(&world.volume).unwrap();
    store.expire().await;
    assert_eq!(world.contents(), ["aaaaaaaaaa"]);
    assert!(world.metric("cache_bytes 10"));

    used_ago(&world.kept().remove(0), 3700);
    let open = |limits| Cache::open([&world.volume], limits, &world.metrics);
    open(CacheLimits::default());
    assert_eq!(world.kept().len(), 1, "a day is not over");
    open(hour);
    assert!(world.kept().is_empty(), "the same at a start");
}

#[tokio::test]
async fn expired_layers_are_removed_while_the_process_runs() {
    let world = World::with_limits(CacheLimits { age: Duration::from_secs(1), ..CacheLimits::default() });
    world.fetch(&stranger()).await.unwrap();
    assert_eq!(world.kept().len(), 1);
    let gone = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !world.kept().is_empty() {
            looks.tick().await;
        }
    };
    let expired = async {
        tokio::select! { () = world.cache.clone().expire() => false, () = gone => true }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), expired).await.unwrap());
}

#[tokio::test]
async fn a_limit_of_zero_keeps_no_layer_and_removes_kept_ones() {
    let world = World::new();
    world.fetch(&stranger()).await.unwrap();
    for limits in [
        CacheLimits { bytes: 0, ..CacheLimits::default() },
        CacheLimits { age: Duration::ZERO, ..CacheLimits::default() },
    ] {
        Cache::open([&world.volume], limits, &world.metrics);
        assert!(world.kept().is_empty(), "{limits:?}");
        let world = World::with_limits(limits);
        let askers = [stranger(), friend(), stranger()];
        let results = join_all(askers.iter().map(|asker| world.fetch(asker))).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(world.asked(), ["blob"; 3], "{limits:?}");
        assert!(world.kept().is_empty(), "{limits:?}");
    }
}

#[tokio::test]
async fn kept_layers_outlive_the_process_and_serve_concurrent_objects() {
    let world = World::new();
    world.fetch(&stranger()).await.unwrap();
    world.asked();
    let volume = Mount::open(world.root.path()).unwrap();
    let cache = Cache::open([&volume], CacheLimits::default(), &world.metrics);
    let other = World {
        root: tempfile::tempdir().unwrap(),
        registry: world.registry.clone(),
        volume,
        cache,
        metrics: Arc::clone(&world.metrics),
        seat: world.seat.clone(),
    };
    assert_eq!(other.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["right"]);

    let volumes = [Arc::clone(&other.volume)];
    assert!(!other.cache.make_room(&volumes, LAYER.len() as u64 + 1, &[]).await, "that would win nothing");
    assert!(!other.cache.make_room(&volumes, 0, &[key()]).await, "it is wanted again at once");
    assert!(other.cache.make_room(&volumes, LAYER.len() as u64, &[]).await);
    assert!(!other.cache.make_room(&volumes, 0, &[]).await, "there is nothing left to give up");
    assert!(world.kept().is_empty());
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["blob"], "what another process took away is fetched again");
}

fn key() -> Key {
    let repository = stranger().image.parse::<Reference>().unwrap().repository;
    Key::new(&Access::default().origin(&repository), &Digest::of(LAYER))
}

#[tokio::test]
async fn open_layers_are_independent_of_kept_files() {
    let world = World::new();
    world.fetch(&stranger()).await.unwrap();
    let store = world.cache.on(&world.volume).unwrap();
    let key = key();
    assert!(store.find(&key, 11).await.unwrap().is_none());
    assert_eq!(world.kept().len(), 1, "a descriptor with another size drives nothing out");
    let in_use = world.blobs(&stranger()).await.unwrap().remove(0);
    assert!(store.give_up(0, &[]).await);
    let mut bytes = Vec::new();
    in_use.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, LAYER, "given up, and still read to the end");
    drop(in_use);
    world.settled().await;

    world.fetch(&stranger()).await.unwrap();
    let path = world.kept().remove(0);
    fs_err::write(&path, b"012345678x").unwrap();
    let found = store.find(&key, 10).await.unwrap().and_then(OnVolume::take);
    let Some(Found::Kept(changed)) = found else { panic!("no kept layer") };
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, LAYER).unwrap();
    let layer = serde_json::from_value(json!({"mediaType": "a/b", "digest": Digest::of(LAYER), "size": 10})).unwrap();
    let scratch = world.volume.current().unwrap().scratch().unwrap();
    assert!(store.copy(&key, &changed, &layer, &scratch, &CancellationToken::new()).unwrap().is_none());
    assert_eq!(world.contents(), ["0123456789"], "what has been replaced meanwhile stays");
}

fn bytes_of(blob: &VerifiedBlob) -> Vec<u8> {
    let mut bytes = Vec::new();
    blob.reader().read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn layers_are_unpacked_from_files_without_a_name() {
    let world = World::new();
    let ours = world.root.path().join(".supercargo");
    let named = || [ours.join("blobs"), ours.join("staging")].iter().flat_map(|path| files_below(path)).count();
    let downloaded = world.blobs(&stranger()).await.unwrap().remove(0);
    assert_eq!((bytes_of(&downloaded), named()), (LAYER.to_vec(), 0), "a downloaded layer has a name");
    world.asked();
    let shared = world.blobs(&friend()).await.unwrap().remove(0);
    assert_eq!((world.asked(), named()), (vec!["right".to_owned()], 0), "who comes meanwhile shares it");
    drop(downloaded);
    let another = shared.as_layer(shared.descriptor()).unwrap();
    drop(shared);
    assert_eq!((bytes_of(&another), named()), (LAYER.to_vec(), 0), "it got its name before its last use ended");
    let reader = another.reader();
    drop(another);
    assert_eq!(named(), 0, "a reader is a use");
    drop(reader);
    world.settled().await;
    assert_eq!((world.contents(), named()), (vec!["0123456789".to_owned()], 1));
    assert!(world.metric("cache_lookups_total{result=\"hit\"} 1") && world.metric("cache_bytes 10"));

    let kept = world.blobs(&stranger()).await.unwrap().remove(0);
    let shared = world.blobs(&friend()).await.unwrap().remove(0);
    assert_eq!(world.cache.on(&world.volume).unwrap().uses(&key()), 2);
    fs_err::write(world.kept().remove(0), b"012345678x").unwrap();
    assert_eq!((bytes_of(&kept), bytes_of(&shared)), (LAYER.to_vec(), LAYER.to_vec()), "it is read from the kept file");
    drop((kept, shared));
    world.settled().await;
    assert_eq!(world.contents(), ["012345678x"], "what is kept already is not kept again");
    world.asked();
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!(world.asked(), ["right", "blob"]);
}

#[tokio::test]
async fn without_nameless_files_a_layer_is_hashed_again_and_changes_show_in_its_times() {
    let world = World::without_tmpfile();
    assert_eq!(world.fetch(&stranger()).await.unwrap(), LAYER);
    assert_eq!((world.asked(), world.contents()), (vec!["blob".to_owned()], vec!["0123456789".to_owned()]));
    let kept = world.blobs(&stranger()).await.unwrap().remove(0);
    assert_eq!(world.asked(), ["right"]);
    fs_err::write(world.kept().remove(0), b"012345678x").unwrap();
    assert_eq!(bytes_of(&kept), LAYER, "it is read from the kept file");
    assert!(kept.is_unchanged().unwrap());

    let downloaded = world.blobs(&stranger()).await.unwrap().remove(0);
    assert_eq!(
        (world.asked(), world.contents()),
        (vec!["right".to_owned(), "blob".to_owned()], vec!["0123456789".to_owned()])
    );
    for blob in [kept, downloaded] {
        // As a process could that opened the file before it lost its name.
        let file = blob.file().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let since = Instant::now();
        while blob.is_unchanged().unwrap() {
            assert!(since.elapsed() < Duration::from_secs(5), "the change was not detected");
            fs_err::OpenOptions::new().write(true).open(&path).unwrap().file().write_at(b"x", 3).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_to_the_store_never_reach_an_object() {
    let world = World::with_limits(CacheLimits { bytes: 1 << 20, ..CacheLimits::default() });
    let layers: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![b'a' + number; 1000 - usize::from(number)]).collect();
    for (tag, layer) in ["10", "11", "12", "13"].iter().zip(&layers) {
        world.registry.push(tag, &[("a/b", json!({}), layer)]);
    }
    let images = ["r.example/app:10", "r.example/app:11", "r.example/app:12", "r.example/app:13"];
    let ours = world.root.path().join(".supercargo");
    let vandals = ["blobs", "staging"].map(|name| Vandal::start(ours.join(name), Duration::ZERO));
    let since = Instant::now();
    let mut rounds = 0;
    while since.elapsed() < Duration::from_secs(2) || rounds < 10 {
        let askers: Vec<_> = images.iter().cycle().take(12).map(|image| Asker { image, ..stranger() }).collect();
        for (number, bytes) in join_all(askers.iter().map(|asker| world.fetch(asker))).await.into_iter().enumerate() {
            assert!(bytes.unwrap() == layers[number % layers.len()], "other bytes in round {rounds}");
        }
        rounds += 1;
    }
    let damage = vandals.map(Vandal::stop);
    assert!(damage[0].writes > 0, "nothing was raced for: {damage:?} in {rounds} rounds");
}

#[tokio::test]
async fn a_full_disk_is_reported_as_full() {
    let world = World::with_limits(CacheLimits { bytes: u64::MAX, ..CacheLimits::default() });
    let asker = stranger();
    let reference: Reference = asker.image.parse().unwrap();
    let pinned = registry::resolve(&world.registry, &asker.access, &reference, None, &world.seat).await.unwrap();
    let manifest = registry::manifest(&world.registry, &asker.access, &pinned, None, MAX_MANIFEST_BYTES).await.unwrap();
    let layer = manifest.layers[0].clone();
    let source = Source {
        registry: &world.registry,
        access: &asker.access,
        approved: &Approved::for_test(pinned, manifest),
        scratch: &Arc::new(world.volume.current().unwrap().scratch().unwrap()),
        store: None,
        seat: &world.seat,
        limit: Limits::default().layer_bytes.set(1000),
    };
    let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = OnVolume::new(world.volume.pool(), full);
    let result = download::download_to(&source, &layer, full, |_| ()).await;
    assert!(matches!(&result, Err(BlobError::Storage(error)) if error.is_full()), "{result:?}");

    world.asked();
    let mut large = layer;
    large.size = u64::MAX / 2;
    let source = Source { limit: Limits::default().layer_bytes.set(u64::MAX), ..source };
    for store in [None, world.cache.on(&world.volume)] {
        let result = fetch(&Source { store, ..source }, &large, |_| ()).await;
        assert!(matches!(&result, Err(BlobError::Storage(error)) if error.is_full()), "{result:?}");
        assert!(world.asked().is_empty(), "no request for a layer that does not fit");
    }
}
