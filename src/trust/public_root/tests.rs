//! A repository in memory, signed with real keys: updates that are taken, and updates that change nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_verify::crypto::KeyPair;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT};

use super::*;
use crate::oci::Digest;

const ROOT: &str = SIGSTORE_PRODUCTION_TRUSTED_ROOT;
const OTHER_ROOT: &str = SIGSTORE_STAGING_TRUSTED_ROOT;

const EMPTY_ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;

/// Change to a repository.
type Change<'a> = &'a dyn Fn();

/// Key that signs every role of a repository.
struct Owner(KeyPair);

/// Metadata and target of a repository.
#[derive(Clone)]
struct Edition<'a> {
    version: u64,
    expires: &'a str,
    target: &'a str,
}

#[derive(Clone, Default)]
struct Repository(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Files for Repository {
    async fn file(&self, name: &str, limit: u64) -> Result<Option<Bytes>, RegistryError> {
        let found = self.0.lock().unwrap().get(name).cloned();
        assert!(found.as_ref().is_none_or(|found| found.len() as u64 <= limit), "{name}");
        Ok(found)
    }
}

impl Repository {
    /// Replaces all files of the repository.
    fn publish(&self, owner: &Owner, edition: &Edition<'_>) {
        let mut files = self.0.lock().unwrap();
        *files = owner.files(edition).into();
    }

    fn replace(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), Bytes::copy_from_slice(bytes));
    }
}

impl Owner {
    fn new() -> Self {
        Self(KeyPair::generate_ecdsa_p256().unwrap())
    }

    fn signed(&self, signed: &Value) -> Vec<u8> {
        let signature = self.0.sign(&to_canonical_bytes(signed).unwrap()).unwrap();
        let hex = signature.as_bytes().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        json!({"signed": signed, "signatures": [{"keyid": "owner", "sig": hex}]}).to_string().into_bytes()
    }

    fn root(&self) -> Bootstrap {
        let pem = self.0.public_key_der().unwrap().to_pem();
        let key = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}});
        let role = json!({"keyids": ["owner"], "threshold": 1});
        let root = json!({
            "_type": "root", "spec_version": "1.0.0", "version": 1, "expires": "2999-01-01T00:00:00Z",
            "consistent_snapshot": true, "keys": {"owner": key},
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
        });
        Bootstrap::new(self.signed(&root)).unwrap()
    }

    fn files(&self, edition: &Edition<'_>) -> [(String, Bytes); 4] {
        let Edition { version, expires, target } = edition;
        let hash = Digest::of(target.as_bytes()).hex();
        let part = |kind: &str, more: (&str, Value)| {
            let mut part = json!({"_type": kind, "spec_version": "1.0.0", "version": version, "expires": expires});
            part[more.0] = more.1;
            Bytes::from(self.signed(&part))
        };
        let pinned = |name: &str| ("meta", json!({name: {"version": version}}));
        let target_file = json!({"trusted_root.json": {"length": target.len(), "hashes": {"sha256": hash}}});
        [
            (format!("targets/{hash}.trusted_root.json"), Bytes::copy_from_slice(target.as_bytes())),
            (format!("{version}.targets.json"), part("targets", ("targets", target_file))),
            (format!("{version}.snapshot.json"), part("snapshot", pinned("targets.json"))),
            ("timestamp.json".to_owned(), part("timestamp", pinned("snapshot.json"))),
        ]
    }
}

fn edition(version: u64, target: &str) -> Edition<'_> {
    Edition { version, expires: "2027-01-01T00:00:00Z", target }
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// Refreshes once, as [`keep_fresh`] does.
async fn look(seen: &SeenRepository<Repository>, root: &PublicRoot, metrics: &Metrics) -> Result<(), RefreshError> {
    let json = seen.fetch(now()).await?;
    take(root, metrics, &json, Duration::ZERO, now())
}

fn fingerprint(root: &PublicRoot) -> Option<Digest> {
    root.fetched().map(|root| root.fingerprint().clone())
}

#[tokio::test]
async fn a_root_that_is_unsigned_expired_or_older_changes_nothing() {
    let (owner, stranger, dir) = (Owner::new(), Owner::new(), tempfile::tempdir().unwrap());
    let (repository, metrics, root) = (Repository::default(), Metrics::default(), PublicRoot::awaited());
    let seen = SeenRepository::new(repository.clone(), owner.root(), dir.path().to_owned());
    let mut changes = root.changes();

    repository.publish(&owner, &edition(5, ROOT));
    look(&seen, &root, &metrics).await.unwrap();
    let good = Some(Digest::of(ROOT.as_bytes()));
    assert_eq!((fingerprint(&root), changes.has_changed().unwrap()), (good.clone(), true));
    changes.borrow_and_update();

    let expired = Edition { expires: "2026-10-31T00:00:00Z", ..edition(6, OTHER_ROOT) };
    let (name, altered) = (format!("targets/{}.trusted_root.json", Digest::of(OTHER_ROOT.as_bytes()).hex()), b"{}");
    let rows: [(&str, Change<'_>, &str); 9] = [
        ("older", &|| repository.publish(&owner, &edition(4, OTHER_ROOT)), "rollback detected for timestamp"),
        ("expired", &|| repository.publish(&owner, &expired), "timestamp metadata expired"),
        ("by another key", &|| repository.publish(&stranger, &edition(6, OTHER_ROOT)), "threshold not met"),
        ("gone", &|| *repository.0.lock().unwrap() = BTreeMap::new(), "timestamp.json not found"),
        ("no JSON", &|| repository.replace("timestamp.json", b"<html>"), "failed to parse JSON"),
        (
            "another target than is signed",
            &|| {
                repository.publish(&owner, &edition(7, OTHER_ROOT));
                repository.replace(&name, altered);
            },
            "integrity check failed",
        ),
        ("no trusted root", &|| repository.publish(&owner, &edition(8, "{}")), "not a valid trusted root"),
        (
            "a trusted root without authorities",
            &|| repository.publish(&owner, &edition(9, EMPTY_ROOT)),
            "no currently valid transparency log",
        ),
        ("older than what was no use", &|| repository.publish(&owner, &edition(6, OTHER_ROOT)), "rollback detected"),
    ];
    for (label, change, want) in rows {
        change();
        let error = look(&seen, &root, &metrics).await.unwrap_err().to_string();
        assert!(error.contains(want), "{label}: {error}");
        assert_eq!((fingerprint(&root), changes.has_changed().unwrap()), (good.clone(), false), "{label}");
    }
    repository.publish(&owner, &edition(10, ROOT));
    look(&seen, &root, &metrics).await.unwrap();
    assert!(!changes.has_changed().unwrap(), "it is the same root");
    repository.publish(&owner, &edition(11, OTHER_ROOT));
    look(&seen, &root, &metrics).await.unwrap();
    assert_eq!(fingerprint(&root), Some(Digest::of(OTHER_ROOT.as_bytes())));
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn seen_metadata_outlives_the_process_and_is_verified_again() {
    let (owner, stranger, dir) = (Owner::new(), Owner::new(), tempfile::tempdir().unwrap());
    let repository = Repository::default();
    let seen = |owner: &Owner| SeenRepository::new(repository.clone(), owner.root(), dir.path().to_owned());
    let error = seen(&owner).kept(now()).await.unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
    repository.publish(&owner, &edition(5, ROOT));
    seen(&owner).fetch(now()).await.unwrap();
    repository.publish(&owner, &edition(4, OTHER_ROOT));
    let error = seen(&owner).fetch(now()).await.unwrap_err().to_string();
    assert!(error.contains("rollback"), "{error}");
    assert_eq!(seen(&owner).kept(now()).await.unwrap().0, ROOT.as_bytes());
    let late = "2027-01-02T00:00:00Z".parse().unwrap();
    let error = seen(&owner).kept(late).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    let error = seen(&stranger).kept(now()).await.unwrap_err().to_string();
    assert!(error.contains("threshold"), "{error}");
    fs_err::write(dir.path().join("targets/trusted_root.json"), OTHER_ROOT).unwrap();
    let error = seen(&owner).kept(now()).await.unwrap_err().to_string();
    assert!(error.contains("trusted_root.json not found"), "{error}");
}

#[tokio::test]
async fn a_root_is_refreshed_until_shutdown_and_failures_are_counted() {
    let (owner, dir, shutdown) = (Owner::new(), tempfile::tempdir().unwrap(), CancellationToken::new());
    let (repository, metrics, root) = (Repository::default(), Metrics::default(), PublicRoot::awaited());
    repository.publish(&owner, &edition(1, ROOT));
    let mut changes = root.changes();
    let refresh = Refresh {
        files: repository.clone(),
        bootstrap: owner.root(),
        directory: dir.path().to_owned(),
        interval: Duration::from_millis(5),
        clock: now,
    };
    let text = || metrics.encode().unwrap();
    let failures = || text().lines().any(|line| line == "supercargo_trusted_root_refresh_failures_total 1");
    assert!(!root.is_settled());
    let acting = async {
        changes.changed().await.unwrap();
        assert!(root.is_settled());
        assert!(text().contains("supercargo_trusted_root_age_seconds 0\n"), "{}", text());
        *repository.0.lock().unwrap() = BTreeMap::new();
        while !failures() {
            tokio::task::yield_now().await;
        }
        repository.publish(&owner, &edition(2, OTHER_ROOT));
        changes.changed().await.unwrap();
        shutdown.cancel();
    };
    tokio::join!(keep_fresh(refresh, &root, &metrics, &shutdown), acting);
    assert_eq!(fingerprint(&root), Some(Digest::of(OTHER_ROOT.as_bytes())));
}

#[tokio::test]
async fn the_embedded_root_is_used_if_the_first_fetch_fails() {
    let (owner, dir, shutdown) = (Owner::new(), tempfile::tempdir().unwrap(), CancellationToken::new());
    let (metrics, root) = (Metrics::default(), PublicRoot::awaited());
    let interval = Duration::from_secs(3600);
    let refresh = Refresh {
        files: Repository::default(),
        bootstrap: owner.root(),
        directory: dir.path().to_owned(),
        interval,
        clock: now,
    };
    let acting = async {
        while !root.is_settled() {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    tokio::join!(keep_fresh(refresh, &root, &metrics, &shutdown), acting);
    assert!(root.fetched().is_none() && root.is_stand_in());
    root.set(Root::public_good().unwrap());
    assert!(!root.is_stand_in() && !PublicRoot::embedded().is_stand_in());
    assert!(PublicRoot::embedded().is_settled() && PublicRoot::embedded().fetched().is_none());
}

#[test]
fn after_failures_the_pause_is_shorter_and_never_longer_than_the_interval() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let rows = [
        (minutes(1440), 0, minutes(1440)),
        (minutes(1440), 1, minutes(1)),
        (minutes(1440), 4, minutes(8)),
        (minutes(1440), u32::MAX, minutes(1024)),
        (minutes(5), 4, minutes(5)),
        (Duration::from_secs(1), 1, Duration::from_secs(1)),
    ];
    for (interval, failures, want) in rows {
        assert_eq!(pause(interval, failures), want, "{interval:?} {failures}");
    }
}

#[test]
fn a_mirror_is_a_plain_http_or_https_url() {
    let client = || HttpRegistry::new(Arc::default(), crate::registry::egress::Egress::default(), 1).unwrap();
    for (text, want) in [("https://a.example", "https://a.example/"), ("http://a:1/b/c//", "http://a:1/b/c/")] {
        assert_eq!(Mirror::new(client(), text).unwrap().base.as_str(), want);
    }
    for text in
        ["", "a.example", "file:///x", "https://u@a.example", "https://:p@a.example", "https://a/?q", "https://a/#f"]
    {
        assert_eq!(Mirror::new(client(), text).unwrap_err(), MirrorError, "{text}");
    }
}

#[test]
fn a_bootstrap_root_must_be_signed_by_its_own_keys() {
    Bootstrap::public_good().unwrap();
    let (owner, stranger) = (Owner::new(), Owner::new());
    let Bootstrap(root) = owner.root();
    let mut forged: Value = serde_json::from_slice(&root).unwrap();
    forged["signatures"] =
        serde_json::from_slice::<Value>(&stranger.signed(&forged["signed"])).unwrap()["signatures"].take();
    for json in [b"{}".to_vec(), Vec::new(), forged.to_string().into_bytes()] {
        assert!(Bootstrap::new(json).is_err());
    }
}
