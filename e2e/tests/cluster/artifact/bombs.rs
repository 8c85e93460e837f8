//! Artifacts that are small until they are decoded, one after the other, against one operator on a volume of known
//! size.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use kube::api::DynamicObject;
use supercargo_e2e::cgroup::{self, Cgroup};
use supercargo_e2e::chart;
use supercargo_e2e::corpus::bombs::{self, Bomb, ENTRIES, EXTRACTED_BYTES, LAYER_BYTES, Outcome};
use supercargo_e2e::corpus::registry::{Registry, Revisions};
use supercargo_e2e::hostile::memory::{Watch, private_bytes};
use supercargo_e2e::lab::note;
use supercargo_e2e::object::current_condition;
use supercargo_e2e::wait;

use crate::support::case::{Case, spec_with, tests};

tests!(
    every_bomb_is_refused_soon_and_costs_no_more_than_its_limit,
    the_memory_limit_of_the_chart_is_enough_for_all_at_once,
);

/// Test that needs a control group.
pub(crate) const LIMITED: &str = "::the_memory_limit_of_the_chart_is_enough_for_all_at_once";

pub(crate) fn may_limit() -> bool {
    static MAY: LazyLock<bool> = LazyLock::new(|| cgroup::may_limit() || std::env::var("CI").as_deref() == Ok("true"));
    *MAY
}

/// Prefixes of the names of bombs that target memory.
const OF_MEMORY: [&str; 8] =
    ["zstd-", "pax-", "global-", "gnu-", "long-paths", "image-config", "layers-10000", "padding-by-turns"];
/// Bombs judged at a time.
const AT_ONCE: usize = 8;
/// Bomb with the widest window; repeated so that each processor decodes one.
const WIDEST: &str = "zstd-widest-window";

/// Largest growth of the operator's private memory, measured from before the first bomb.
const MEMORY: u64 = 64 << 20;
/// Same bound for a bomb whose window is within the limit, beyond the window itself: an operator that allows windows of
/// 128 MiB accepts that the decoder has them.
const MEMORY_BESIDES_WINDOW: u64 = 32 << 20;
/// Bytes on the volume beyond those that are counted.
const OVERHEAD: u64 = 1 << 20;
/// Longest time until the object reports the verdict.
const SOON: Duration = Duration::from_secs(10);
/// Interval between polls of a tag: the shortest allowed.
const INTERVAL: &str = "10s";
/// Time in which each tag is polled twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval between measurements of the volume.
const PACE: Duration = Duration::from_millis(2);

async fn every_bomb_is_refused_soon_and_costs_no_more_than_its_limit(case: &mut Case) -> Result<()> {
    let mut bombs = bombs::all()?;
    ensure!(bombs.len() >= 60, "bombs went missing");
    let revisions =
        |bomb: &Bomb| (bomb.name.to_owned(), Revisions { good: bomb.artifact.clone(), other: bomb.artifact.clone() });
    let registry = Registry::open(bombs.iter().map(revisions).collect()).await?;
    let volume = start_on_tmpfs(case).await?;
    let (first, empty) = (private_bytes(case.operator()?.pid())?, Usage::of(&volume)?);
    let (mut problems, mut fetched, mut highest) = (Vec::new(), BTreeMap::new(), 0);
    for bomb in &bombs {
        let memory = Watch::start(case.operator()?.pid())?;
        let (usage, started) = (Usage::start(&volume), Instant::now());
        let outcome = judged(case, bomb, &registry).await;
        fetched.insert(bomb.name, registry.fetched(bomb.name));
        let (took, used) = (started.elapsed(), usage.most().saturating_sub(empty));
        let allowed = EXTRACTED_BYTES + bomb.packed() + OVERHEAD;
        // Relative to the memory before the first bomb, because memory that is never given back adds up.
        let (rise, bound) = (
            memory.most().saturating_sub(first),
            bomb.window + if bomb.window > 0 { MEMORY_BESIDES_WINDOW } else { MEMORY },
        );
        highest = highest.max(rise);
        note(&format!(
            "{:32} {:5.2} s, memory +{:3} MiB, disk {:3} MiB: {}",
            bomb.name,
            took.as_secs_f64(),
            rise >> 20,
            used >> 20,
            outcome.as_ref().map_or_else(ToString::to_string, |said| said.chars().take(90).collect()),
        ));
        let mut costs = |within: bool, what: String| (!within).then(|| problems.push(format!("{}: {what}", bomb.name)));
        costs(outcome.is_ok(), outcome.err().map(|error| format!("{error:#}")).unwrap_or_default());
        costs(took < SOON, format!("took {took:?}"));
        costs(rise < bound, format!("private memory rose by {} KiB", rise >> 10));
        costs(used <= allowed, format!("{} KiB on the volume, {} allowed", used >> 10, allowed >> 10));
        if make_room(case, bomb, &volume, empty).await? {
            fetched.remove(bomb.name);
        }
    }
    note(&format!("{} bombs: private memory rose by {} MiB at most", bombs.len(), highest >> 20));
    bombs.retain(|bomb| fetched.contains_key(bomb.name));
    ensure!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
    none_is_fetched_again(&bombs, &fetched, &registry).await?;
    case.operator()?.service.check_running()
}

async fn the_memory_limit_of_the_chart_is_enough_for_all_at_once(case: &mut Case) -> Result<()> {
    let limit = chart::memory_limit()?;
    let mut bombs = bombs::all()?;
    bombs.retain(|bomb| OF_MEMORY.iter().any(|start| bomb.name.starts_with(start)));
    ensure!(bombs.len() >= 15, "bombs went missing");
    let widest = bombs.iter().find(|bomb| bomb.name == WIDEST).context("no widest window")?.clone();
    bombs.extend(["widest-2", "widest-3", "widest-4"].map(|name| Bomb { name, ..widest.clone() }));
    bombs.push(bombs::config_of("config-beyond-the-limit", usize::try_from(limit + (64 << 20))?)?);
    let revisions =
        |bomb: &Bomb| (bomb.name.to_owned(), Revisions { good: bomb.artifact.clone(), other: bomb.artifact.clone() });
    let registry = Registry::open(bombs.iter().map(revisions).collect()).await?;
    let group = Cgroup::of(case.lab.run.directory(), limit)?;
    let (entrance, mut settings) = (group.entrance(), case.settings()?);
    let script = case.directory.join("operator.sh");
    let (entrance, binary) = (entrance.display(), settings.binary.display());
    write_script(&script, &format!("echo $$ > '{entrance}' && exec '{binary}' \"$@\""))?;
    settings.binary = script;
    settings.extra.extend([
        format!("--max-extracted-bytes={EXTRACTED_BYTES}"),
        format!("--max-entries={ENTRIES}"),
        "--cache-bytes=0".to_owned(),
    ]);
    case.start_operator_as(&settings).await?;
    let memory = Watch::start(case.operator()?.pid())?;
    let shared: &Case = case;
    let judging = bombs.iter().map(|bomb| judged(shared, bomb, &registry));
    let judged: Vec<_> = stream::iter(judging).buffered(AT_ONCE).collect().await;
    let (kills, most, running) = (group.kills()?, group.most()?, case.operator()?.service.check_running());
    let (limit, most, private) = (limit >> 20, most >> 20, memory.most() >> 20);
    note(&format!("{} bombs in {limit} MiB: {private} MiB private, {most} MiB with files in memory", bombs.len()));
    drop(case.take_operator()?.kill().await);
    group.remove().await?;
    ensure!(kills == 0, "the operator was killed {kills} times");
    running?;
    let problems: Vec<_> = bombs.iter().zip(judged).filter_map(|(bomb, said)| Some((bomb.name, said.err()?))).collect();
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

fn write_script(path: &Path, command: &str) -> Result<()> {
    fs_err::write(path, format!("#!/bin/sh\n{command}\n"))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Starts the operator with a tmpfs as its volume, in a mount namespace that ends with the operator. Returns the path
/// of the volume for other processes.
async fn start_on_tmpfs(case: &mut Case) -> Result<PathBuf> {
    let mut settings = case.settings()?;
    let script = case.directory.join("operator.sh");
    // A volume without room for a single byte beyond the limits.
    let size = EXTRACTED_BYTES + LAYER_BYTES + OVERHEAD;
    let user = if rustix::process::geteuid().is_root() { "" } else { "--user --map-root-user" };
    let (volume, binary) = (case.volume.display(), settings.binary.display());
    let mount = format!("mount -t tmpfs -o size={size},mode=0755 tmpfs '{volume}' && exec '{binary}' \"$@\"");
    let command = format!("exec unshare --mount {user} sh -c {mount} operator \"$@\"", mount = quoted(&mount));
    write_script(&script, &command)?;
    settings.binary = script;
    let limits = [
        format!("--max-extracted-bytes={EXTRACTED_BYTES}"),
        format!("--max-layer-bytes={LAYER_BYTES}"),
        format!("--max-entries={ENTRIES}"),
        // No refused layer stays on disk.
        "--cache-bytes=0".to_owned(),
    ];
    settings.extra.extend(limits);
    case.start_operator_as(&settings).await?;
    let inside = case.volume.strip_prefix("/")?;
    Ok(Path::new(&format!("/proc/{}/root", case.operator()?.pid())).join(inside))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Creates an object for a bomb, waits for its verdict and compares it with the expected outcome.
async fn judged(case: &Case, bomb: &Bomb, registry: &Registry) -> Result<String> {
    let mut spec = spec_with(&registry.image(bomb.name), &bomb.spec);
    spec["interval"] = INTERVAL.into();
    case.space.create_artifact(bomb.name, &spec).await?;
    let decided = |object: &DynamicObject| said(object).is_some();
    let object = case.space.wait(bomb.name, "say what comes of it", decided).await?;
    let (verdict, message) = said(&object).context("it says nothing")?;
    match &bomb.outcome {
        Outcome::Published => ensure!(verdict == "Succeeded", "{verdict}: {message}"),
        Outcome::Anything => ensure!(["Succeeded", "LimitExceeded"].contains(&&*verdict), "{verdict}: {message}"),
        Outcome::Refused(reasons, says) => {
            ensure!(reasons.contains(&&*verdict), "{verdict}, not {reasons:?}: {message}");
            ensure!(message.contains(says), "does not say {says:?}: {message}");
        }
    }
    if verdict != "Succeeded" {
        let stalled = current_condition(&object, "Stalled").is_some_and(|condition| condition.status == "True");
        ensure!(stalled, "{verdict}, and it is tried again: {message}");
    }
    Ok(format!("{verdict}: {message}"))
}

/// Deletes the object of a published bomb, so that the next bomb has the whole volume. Returns true if the bomb was
/// published. The operator itself removes what a refused bomb had on the volume.
async fn make_room(case: &Case, bomb: &Bomb, volume: &Path, empty: u64) -> Result<bool> {
    let is_published = said(&case.space.get(bomb.name).await?).is_some_and(|(verdict, _)| verdict == "Succeeded");
    if is_published {
        case.space.delete(bomb.name).await?;
        case.space.gone(bomb.name).await?;
    }
    let what = format!("what {} had on the volume to be gone", bomb.name);
    wait::until_true(SOON, &what, || Ok(Usage::of(volume)? <= empty)).await?;
    Ok(is_published)
}

/// Returns the reason and the message of `Ready` once the pass has ended.
fn said(object: &DynamicObject) -> Option<(String, String)> {
    let ready = current_condition(object, "Ready")?;
    (ready.status != "Unknown" && ready.reason != "Progressing").then_some((ready.reason, ready.message))
}

/// Checks that the operator goes on polling the tags and fetches nothing else. `fetched` counts the requests sent until
/// each bomb was judged.
async fn none_is_fetched_again(bombs: &[Bomb], fetched: &BTreeMap<&str, usize>, registry: &Registry) -> Result<()> {
    let looks: Vec<_> = bombs.iter().map(|bomb| registry.asked(bomb.name)).collect();
    wait::until_with_pace(PATIENCE, Duration::from_millis(250), "two more looks at each tag", async || {
        let mut looked = bombs.iter().zip(&looks).map(|(bomb, before)| registry.asked(bomb.name) - before);
        Ok(looked.all(|looks| looks >= 2).then_some(()))
    })
    .await?;
    for (name, fetched) in fetched {
        let again = registry.fetched(name) - fetched;
        ensure!(again == 0, "{name} was fetched again, in {again} requests");
    }
    Ok(())
}

/// Largest number of bytes seen on a filesystem, by repeated measurement.
struct Usage {
    most: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Usage {
    /// Returns the bytes in use now. `statvfs` covers the whole filesystem, so a measurement costs nothing.
    fn of(volume: &Path) -> Result<u64> {
        let found = rustix::fs::statvfs(volume)?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    }

    fn start(volume: &Path) -> Self {
        let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (shared, end, volume) = (Arc::clone(&most), Arc::clone(&done), volume.to_owned());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PACE);
            while !end.load(Ordering::Relaxed) {
                ticks.tick().await;
                shared.fetch_max(Self::of(&volume).unwrap_or(0), Ordering::Relaxed);
            }
        });
        Self { most, done }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
