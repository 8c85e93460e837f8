//! A volume that hangs or cannot be opened: a state of this volume that must not affect anything else.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::http;
use supercargo_e2e::object::{Space, current_condition};
use supercargo_e2e::wait;
use tokio::task::JoinHandle;

use super::slow::Slow;
use super::{GONE, HEALED, Tag, config_map, rounds, within};
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::privileges::may_mount;

tests!(
    a_volume_that_hangs_is_the_state_of_that_volume_and_heals_by_itself,
    hanging_reads_do_not_delay_other_objects,
    slow_looks_of_one_namespace_do_not_delay_another_namespace,
    a_volume_that_cannot_be_opened_does_not_stop_the_start_and_heals_by_itself,
    an_object_follows_its_tag_while_its_files_are_read,
);

/// Interval of the objects elsewhere, and below it the operator's timeout for a volume.
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: &[&str] = &["--volume-timeout", "6s"];
/// Number of objects with slow directories: more than a volume has threads.
const HOGS: usize = 60;
/// Number of threads that the looks of one namespace hold, at least.
const AT_ONCE: usize = 10;
/// Longest time for an answer of `/healthz`.
const HEALTH: Duration = Duration::from_secs(1);

/// A filesystem mounted on a directory, whose writes hang while it is frozen.
struct Filesystem {
    mounted: PathBuf,
}

impl Filesystem {
    fn mount(case: &Case, megabytes: u64) -> Result<Self> {
        let (image, mounted) = (case.directory.join("image"), case.directory.join("frozen"));
        fs_err::create_dir(&mounted)?;
        fs_err::File::create(&image)?.set_len(megabytes << 20)?;
        command("mkfs.ext4", &["-q", "-F", "-i", "4096", &image.to_string_lossy()])?;
        command("mount", &["-o", "loop", &image.to_string_lossy(), &mounted.to_string_lossy()])?;
        Ok(Self { mounted })
    }

    fn freeze(&self) -> Result<()> {
        command("fsfreeze", &["--freeze", &self.mounted.to_string_lossy()])
    }

    fn thaw(&self) -> Result<()> {
        command("fsfreeze", &["--unfreeze", &self.mounted.to_string_lossy()])
    }
}

impl Drop for Filesystem {
    /// Thaws first, because a process that waits for a frozen filesystem cannot be killed.
    fn drop(&mut self) {
        let _ = self.thaw();
        let _ = command("umount", &["--lazy", &self.mounted.to_string_lossy()]);
    }
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn interval() -> String {
    format!("{}s", INTERVAL.as_secs())
}

fn on(volume: &str) -> Value {
    json!({"interval": interval(), "outputs": [{"name": "files", "volume": {"name": volume}}]})
}

/// Continuous requests for `/healthz`. An answer that is late, or not 200, is an error.
struct Health {
    answers: Arc<AtomicU64>,
    asking: JoinHandle<Result<()>>,
}

impl Health {
    fn watch(case: &Case) -> Result<Self> {
        let (answers, address) = (Arc::new(AtomicU64::new(0)), case.operator()?.address.clone());
        let counted = Arc::clone(&answers);
        let asking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                let answer = tokio::time::timeout(HEALTH, http::get(&address, "/healthz")).await;
                let answer = answer.context("/healthz does not answer")??;
                ensure!(answer.status == 200, "/healthz answers {}", answer.status);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self { answers, asking })
    }

    /// Waits for ten more answers, each in time.
    async fn answers(&self) -> Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + 10;
        let answered = || Ok(self.asking.is_finished() || self.answers.load(Ordering::Relaxed) >= wanted);
        wait::until_true(11 * HEALTH, "/healthz to answer", answered).await
    }

    /// Stops the requests and returns the first error since the start.
    async fn end(self) -> Result<()> {
        self.asking.abort();
        match self.asking.await {
            Ok(ended) => ended,
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits until an object reports that its volume, named in the message, cannot be used.
async fn told(case: &Case, name: &str, volume: &str) -> Result<()> {
    let wanted = |object: &DynamicObject| {
        current_condition(object, "Ready").is_some_and(|ready| {
            ready.status == "False"
                && ready.reason == "StorageFailed"
                && ready.message.contains(&format!("volume {volume} "))
        })
    };
    case.space.wait(name, "say that its volume does not respond", wanted).await?;
    Ok(())
}

async fn usable(case: &Case, volume: &str, wanted: bool) -> Result<()> {
    let line = format!("supercargo_volume_usable{{volume=\"{volume}\"}} {}", u8::from(wanted));
    let found = async || Ok(case.operator()?.metrics().await?.contains(&line).then_some(()));
    wait::until(HEALED, &line, found).await
}

/// Moves the tag, and checks that objects elsewhere follow within their interval, without a reconcile request.
async fn others_go_on(case: &mut Case, tag: &mut Tag) -> Result<()> {
    let digest = tag.next(case).await?;
    for name in ["near", "map"] {
        let limit = INTERVAL + INTERVAL / 2;
        within(limit, &format!("{name} to follow its tag"), case.space.ready_with(name, &digest)).await?;
    }
    Ok(())
}

async fn a_volume_that_hangs_is_the_state_of_that_volume_and_heals_by_itself(case: &mut Case) -> Result<()> {
    ensure!(may_mount(), "mounting takes root");
    let objects = rounds("SUPERCARGO_FROZEN", 20)?;
    let mut tag = Tag::start(case).await?;
    let filesystem = Filesystem::mount(case, 64 + objects)?;
    let mut settings = case.settings()?;
    settings.volumes.push(("frozen".to_owned(), filesystem.mounted.clone()));
    settings.extra.extend(TIMEOUT.iter().map(|argument| (*argument).to_owned()));
    case.start_operator_as(&settings).await?;
    let names: Vec<String> = (0..objects).map(|number| format!("hung-{number}")).collect();
    for name in &names {
        case.space.apply(name, &spec_with(&tag.image(), &on("frozen"))).await?;
    }
    case.space.apply("near", &spec_with(&tag.image(), &on("default"))).await?;
    let mut map = spec_with(&tag.image(), &config_map());
    map["interval"] = json!(interval());
    case.space.apply("map", &map).await?;
    for name in names.iter().map(String::as_str).chain(["near", "map"]) {
        case.space.ready_with(name, tag.last()?).await?;
    }

    let health = Health::watch(case)?;
    filesystem.freeze()?;
    others_go_on(case, &mut tag).await.context("while the volume begins to hang")?;
    for name in &names {
        told(case, name, "frozen").await?;
    }
    usable(case, "frozen", false).await?;
    others_go_on(case, &mut tag).await.context("while the volume hangs")?;
    let [deleted, names @ ..] = names.as_slice() else { anyhow::bail!("no objects") };
    case.space.delete(deleted).await?;
    within(GONE, "the deleted object to go", case.space.gone(deleted)).await?;
    let files = filesystem.mounted.join(&case.space.namespace).join(deleted);
    ensure!(files.exists(), "files on a frozen filesystem are gone");
    health.answers().await?;

    filesystem.thaw()?;
    let removed = || Ok(!files.exists());
    wait::until_true(GONE, "the files of the deleted object to be removed", removed).await?;
    let healed = HEALED + Duration::from_millis(100 * objects);
    let all = async {
        for name in names {
            case.space.ready_with(name, tag.last()?).await?;
        }
        Ok(())
    };
    within(healed, "every object to be Ready", all).await?;
    usable(case, "frozen", true).await?;
    health.end().await?;
    case.take_operator()?.stop().await?;
    Ok(())
}

/// Opening the directories of some objects hangs, like reads from a share whose server is away.
async fn hanging_reads_do_not_delay_other_objects(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let slow = Slow::start(case, "openat2@hung=delay:12000").await?;
    let spec = spec_with(&tag.image(), &on("default"));
    case.space.apply("hung", &spec).await?;
    case.space.apply("near", &spec).await?;
    case.space.apply("map", &spec_with(&tag.image(), &config_map())).await?;
    for name in ["hung", "near", "map"] {
        case.space.ready_with(name, tag.last()?).await?;
    }
    let health = Health::watch(case)?;
    slow.on()?;
    let before = slow.delayed();
    case.space.request_pass("hung").await?;
    slow.wait_delayed(before).await?;
    let digest = tag.next(case).await?;
    for name in ["near", "map"] {
        case.space.request_pass(name).await?;
        within(HEALED, &format!("{name} to follow its tag"), case.space.ready_with(name, &digest)).await?;
    }
    case.space.delete("hung").await?;
    within(GONE, "the deleted object to go", case.space.gone("hung")).await?;
    health.answers().await?;
    slow.off()?;
    let removed = || Ok(!case.object_directory("hung").exists());
    wait::until_true(Duration::from_secs(30), "the files of the deleted object to be removed", removed).await?;
    health.end().await?;
    Ok(())
}

/// Opening the directories of one namespace's objects takes seconds each, while the volume responds.
async fn slow_looks_of_one_namespace_do_not_delay_another_namespace(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let other = Space::create(&case.space.client, &format!("{}-other", case.space.namespace)).await?;
    let mut settings = case.settings()?;
    settings.namespaces.push(other.namespace.clone());
    let slow = Slow::start_as(case, "openat2@hog*=delay:4000", settings).await?;
    let spec = spec_with(&tag.image(), &on("default"));
    let names: Vec<String> = (0..HOGS).map(|number| format!("hog-{number}")).collect();
    for name in &names {
        case.space.apply(name, &spec).await?;
    }
    other.apply("near", &spec).await?;
    for name in &names {
        case.space.ready_with(name, tag.last()?).await?;
    }
    other.ready_with("near", tag.last()?).await?;
    slow.on()?;
    let before = slow.delayed();
    for name in &names {
        case.space.request_pass(name).await?;
    }
    slow.wait_delayed(before + AT_ONCE).await?;
    let digest = tag.next(case).await?;
    other.request_pass("near").await?;
    within(HEALED, "the other namespace to follow its tag", other.ready_with("near", &digest)).await?;
    slow.off()?;
    Ok(())
}

async fn a_volume_that_cannot_be_opened_does_not_stop_the_start_and_heals_by_itself(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    // A file in the place of a directory.
    let broken = case.directory.join("broken");
    fs_err::write(&broken, "")?;
    let mut settings = case.settings()?;
    settings.volumes.push(("broken".to_owned(), broken.join("volume")));
    case.start_operator_as(&settings).await?;
    case.space.apply("bad", &spec_with(&tag.image(), &on("broken"))).await?;
    case.space.apply("good", &spec(&tag.image())).await?;
    case.space.ready_with("good", tag.last()?).await?;
    told(case, "bad", "broken").await?;
    usable(case, "broken", false).await?;
    fs_err::remove_file(&broken)?;
    within(HEALED, "the object to be Ready", case.space.ready_with("bad", tag.last()?)).await?;
    Ok(())
}

/// Reading one file of a full scan takes longer than any limit in this test.
async fn an_object_follows_its_tag_while_its_files_are_read(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let slow = Slow::start_with(case, "openat2@rule=delay:30000", &["--full-scan-interval", "2s"]).await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    slow.on()?;
    slow.wait_delayed(slow.delayed()).await?;
    // The scan goes on waiting.
    slow.off()?;
    let digest = tag.next(case).await?;
    case.space.request_pass("app").await?;
    within(HEALED, "the object to follow its tag", case.space.ready_with("app", &digest)).await?;
    Ok(())
}
