//! An attacker with write access to the volume, who races the operator for bytes that are verified and not yet
//! published.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{Entry, Tree, tree};
use supercargo_e2e::lab::note;
use supercargo_e2e::object::LIMIT;
use supercargo_e2e::wait;

use crate::support::case::{Case, current_tree, spec_with, tests};

tests!(a_writer_of_the_volume_gets_only_signed_bytes_published,);

/// Duration of the race without `SUPERCARGO_SOAK_SECONDS`.
const SECONDS: u64 = 10;
/// Longest pause between two rounds of a writer. Without a pause no pass would ever succeed.
const PAUSE: Duration = Duration::from_secs(1);
const LARGE: usize = 64 << 20;

/// Returns the duration of the race.
pub(crate) fn soak() -> Duration {
    let seconds = std::env::var("SUPERCARGO_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(SECONDS))
}

type Digests = BTreeSet<Vec<u8>>;

/// Digests that each file of an object may have, one for each revision.
#[derive(Clone, Default)]
struct Signed(BTreeMap<String, Digests>);

impl Signed {
    fn of(revisions: &[Tree]) -> Self {
        let mut signed = Self::default();
        for (path, entry) in revisions.iter().flatten() {
            if let Entry::File { content, .. } = entry {
                signed.0.entry(path.clone()).or_default().insert(hash(content));
            }
        }
        signed
    }

    fn has(&self, path: &str, content: &[u8]) -> bool {
        self.0.get(path).is_some_and(|digests| digests.contains(&hash(content)))
    }
}

fn hash(content: &[u8]) -> Vec<u8> {
    digest(&SHA256, content).as_ref().to_vec()
}

/// A thread that repeats its work until it is stopped.
struct Worker<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Default + Send + 'static> Worker<T> {
    fn start(mut each: impl FnMut(&mut T) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut done = T::default();
            while !stopped.load(Ordering::Relaxed) {
                each(&mut done);
            }
            done
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| anyhow!("a thread has panicked"))
    }
}

/// Damage done by a writer.
#[derive(Default)]
struct Written {
    files: u64,
    /// Files that were opened below `.supercargo` and had been published before the write ended. Such a write changes
    /// published content, which only the next scan can notice.
    late: BTreeSet<PathBuf>,
    rounds: u64,
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    files
}

/// Overwrites bytes of every file below a directory in place, at another offset each time.
fn writer(directory: PathBuf) -> Worker<Written> {
    Worker::start(move |written: &mut Written| {
        written.rounds += 1;
        for path in files_below(&directory) {
            let Ok(file) = fs_err::OpenOptions::new().write(true).open(&path) else { continue };
            let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { continue };
            let at = (written.files.wrapping_mul(7919)) % size.saturating_sub(6).max(1);
            written.files += u64::from(file.file().write_at(b"forged", at).is_ok());
            let now = fs_err::read_link(format!("/proc/self/fd/{}", file.file().as_raw_fd()));
            if let Ok(now) =
                now.map_err(drop).and_then(|now| if now.starts_with(&directory) { Err(()) } else { Ok(now) })
            {
                written.late.insert(now);
            }
        }
        let part = u32::try_from(written.rounds.wrapping_mul(37) % 100).unwrap_or(0);
        thread::park_timeout(PAUSE * part / 100);
    })
}

/// Observations of a reader of the volume.
#[derive(Default)]
struct Seen {
    files: u64,
    trees: BTreeSet<PathBuf>,
    forged: BTreeSet<PathBuf>,
}

fn reader(current: PathBuf, signed: Signed) -> Worker<Seen> {
    Worker::start(move |seen: &mut Seen| {
        let Ok(tree) = current.canonicalize() else { return thread::yield_now() };
        for path in files_below(&tree) {
            // Removed by the thread that damages the tree, or pruned.
            let (Ok(content), Ok(name)) = (fs_err::read(&path), path.strip_prefix(&tree)) else { continue };
            seen.files += 1;
            if !signed.has(&name.to_string_lossy(), &content) {
                seen.forged.insert(path);
            }
        }
        seen.trees.insert(tree);
    })
}

/// An object whose tag moves.
struct Moving {
    name: &'static str,
    /// Content and digest of each revision, with one tag each.
    revisions: Vec<(Tree, String)>,
}

impl Moving {
    async fn push(case: &mut Case, name: &'static str, contents: Vec<Tree>) -> Result<Self> {
        let mut revisions = Vec::new();
        for (number, content) in contents.into_iter().enumerate() {
            let source = case.source(&content)?;
            let image = case.reference(&format!("{name}:{number}"));
            let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
            revisions.push((content, digest));
        }
        Ok(Self { name, revisions })
    }

    /// Points the tag at a revision, removes a published file, and requests a reconcile, so that the kept layers are
    /// published repeatedly, both of the same and of another revision.
    async fn disturb(&self, case: &Case, round: usize) -> Result<()> {
        let revision = round / 2 % self.revisions.len();
        case.lab.publisher.tag(&case.reference(&format!("{}:{revision}", self.name)), "moving").await?;
        if let Some(file) = case.current(self.name).canonicalize().ok().and_then(|tree| files_below(&tree).pop()) {
            let _ = fs_err::remove_file(file);
        }
        case.space.request_pass(self.name).await?;
        Ok(())
    }

    fn signed(&self) -> Signed {
        Signed::of(&self.revisions.iter().map(|(content, _)| content.clone()).collect::<Vec<_>>())
    }
}

async fn a_writer_of_the_volume_gets_only_signed_bytes_published(case: &mut Case) -> Result<()> {
    let small = |number: usize| {
        let text = |name: &str| (name.to_owned(), Entry::text(&format!("{name} of revision {number}\n").repeat(50)));
        (0..20).map(|file| text(&format!("file-{file}"))).collect::<Tree>()
    };
    let large = |number: u64| -> Tree {
        // Still incompressible, and made in almost no time.
        let content = noise(1 << 20, number).repeat(LARGE >> 20);
        let mut files = tree(&[("note", &format!("of revision {number}"))]);
        files.insert("large".to_owned(), Entry::File { content, executable: false });
        files
    };
    let app = Moving::push(case, "app", (0..3).map(small).collect()).await?;
    let big = Moving::push(case, "big", (0..2).map(large).collect()).await?;
    for moving in [&app, &big] {
        moving.disturb(case, 0).await.ok();
    }
    case.start_operator().await?;
    let outputs = json!({"outputs": [
        {"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "map"}}]});
    case.space.apply("app", &spec_with(&case.reference("app:moving"), &outputs)).await?;
    case.space.apply("big", &spec_with(&case.reference("big:moving"), &json!({}))).await?;
    for moving in [&app, &big] {
        case.space.ready(moving.name).await?;
    }

    let ours = case.volume.canonicalize()?.join(".supercargo");
    let writers = ["blobs", "staging"].map(|name| writer(ours.join(name)));
    let readers = [&app, &big].map(|moving| reader(case.current(moving.name), moving.signed()));
    let (maps, signed) = (case.space.config_maps(), app.signed());
    let (since, mut round, mut values) = (Instant::now(), 0, 0);
    while since.elapsed() < soak() {
        round += 1;
        for moving in [&app, &big] {
            moving.disturb(case, round).await?;
        }
        let next = Instant::now() + Duration::from_millis(700);
        while Instant::now() < next {
            let map = maps.get("map").await?;
            for (key, value) in map.data.unwrap_or_default() {
                ensure!(signed.has(&key, value.as_bytes()), "round {round}: key {key} of the ConfigMap is {value:?}");
                values += 1;
            }
            ensure!(map.binary_data.unwrap_or_default().is_empty(), "round {round}: bytes that are no text");
        }
    }
    let (mut written, mut late) = (0, BTreeSet::new());
    for writer in writers {
        let done = writer.stop()?;
        ensure!(done.files > 0, "a writer has found nothing in {} rounds", done.rounds);
        written += done.files;
        late.extend(done.late);
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.stop()?);
    }
    for (seen, moving) in seen.iter().zip([&app, &big]) {
        let unnoticed: Vec<_> = seen.forged.difference(&late).collect();
        ensure!(unnoticed.is_empty(), "{}: published with other bytes: {unnoticed:?}", moving.name);
        ensure!(seen.files > 0, "{}: nothing was read", moving.name);
    }
    // A large revision takes so long to unpack that possibly no pass succeeds during the race.
    ensure!(seen.first().is_some_and(|seen| seen.trees.len() > 1), "nothing was published during the race");
    let trees = seen.iter().map(|seen| seen.trees.len()).sum::<usize>();
    note(&format!("{written} writes, {} late ones, {trees} trees, {values} values of the ConfigMap", late.len()));

    for moving in [&app, &big] {
        moving.disturb(case, round).await?;
        let (content, digest) = moving.revisions.get(round / 2 % moving.revisions.len()).context("no such revision")?;
        case.space.ready_with(moving.name, digest).await?;
        let directory = case.object_directory(moving.name);
        wait::until_true(LIMIT, "the whole revision", || {
            Ok(current_tree(&directory).is_ok() && case.published(moving.name).is_ok_and(|found| found == *content))
        })
        .await?;
    }
    let map = maps.get("map").await?.data.unwrap_or_default();
    let whole = app.revisions.get(round / 2 % app.revisions.len()).context("no such revision")?.0.clone();
    ensure!(map.iter().all(|(key, value)| whole.get(key) == Some(&Entry::text(value))) && map.len() == whole.len());
    Ok(())
}
