//! Restarts of the operator, after a kill or a stop.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::files::tree;
use supercargo_e2e::gate::Gate;
use supercargo_e2e::object::{artifact_digest, is_ready};
use supercargo_e2e::wait;

use crate::support::case::{Case, current_tree, spec, tests};
use crate::support::revision;

tests!(
    killed_ten_times_during_a_pull_it_never_shows_a_torn_tree_and_converges,
    a_restart_asks_once_per_tag_and_writes_nothing,
    files_that_vanished_are_published_again,
    a_volume_of_another_installation_is_refused_until_it_is_handed_over,
);

/// Bytes per file of the revisions here: 40 files make an artifact of about 6 MiB.
const PADDING: usize = 150_000;
const LAYER: u64 = 40 * PADDING as u64;

async fn killed_ten_times_during_a_pull_it_never_shows_a_torn_tree_and_converges(case: &mut Case) -> Result<()> {
    const KILLS: u64 = 10;
    let gate = Gate::open(&case.lab.registry.address).await?;
    let image = format!("{}/{}", gate.address, case.repository("app:latest"));
    let mut digests = Vec::new();
    for number in 0..=KILLS {
        let source = case.source(&revision::tree(number, PADDING))?;
        let image = case.reference(&format!("app:{number}"));
        digests.push(case.lab.publisher.oras(&source, &[&image, "."]).await?);
        fs_err::remove_dir_all(source)?;
    }
    case.lab.publisher.tag(&case.reference("app:0"), "latest").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &digests[0]).await?;
    case.take_operator()?.kill().await?;

    let mut shown = vec![revision::check(&case.current("app"), PADDING)?];
    for number in 1..=KILLS {
        case.lab.publisher.tag(&case.reference(&format!("app:{number}")), "latest").await?;
        kill_while_pulling(case, &gate, number, KILLS).await?;
        let now = revision::check(&case.current("app"), PADDING).with_context(|| format!("after kill {number}"))?;
        ensure!(shown.last() <= Some(&now), "current went back from {shown:?} to {now}");
        shown.push(now);
    }
    let interrupted = shown.windows(2).filter(|pair| pair[0] == pair[1]).count();
    ensure!(interrupted >= 5, "only {interrupted} of {KILLS} kills came before the switch: {shown:?}");

    gate.throttle(0);
    case.start_operator().await?;
    case.space.ready_with("app", &digests[usize::try_from(KILLS)?]).await?;
    assert_eq!(revision::check(&case.current("app"), PADDING)?, KILLS);
    nothing_left_over(case)
}

/// Starts the operator, waits until a share of the layer has been downloaded, and kills it: early in the download in
/// the first rounds, and at its very end, during unpacking and the switch, in the last.
async fn kill_while_pulling(case: &mut Case, gate: &Gate, round: u64, rounds: u64) -> Result<()> {
    gate.throttle(8 << 20);
    let before = gate.passed();
    case.spawn_operator().await?;
    let share = LAYER * round / rounds;
    gate.wait_passed(before + share, Duration::from_secs(60)).await?;
    case.take_operator()?.kill().await
}

/// Checks that after a successful pass the private directory has no leftovers of a killed pass.
fn nothing_left_over(case: &Case) -> Result<()> {
    let staging = case.volume.join(".supercargo/staging");
    let left = names(&staging)?;
    ensure!(left.is_empty(), "{} holds {left:?}", staging.display());
    let directory = case.object_directory("app");
    let trees = names(&directory.join("trees"))?;
    ensure!(trees.contains(&current_tree(&directory)?), "current points at none of {trees:?}");
    ensure!(trees.len() <= 4, "trees pile up: {trees:?}");
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

async fn a_restart_asks_once_per_tag_and_writes_nothing(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready("app").await?;
    let exit = case.take_operator()?.stop().await?;
    ensure!(exit.success(), "the operator answered SIGTERM with {exit}");

    let (version, tree) = (case.space.get("app").await?.metadata.resource_version, inode(case)?);
    let before = case.lab.registry.requests(&case.repository("app"))?.len();
    case.start_operator().await?;
    let requests = || case.lab.registry.requests(&case.repository("app"));
    wait::until_true(Duration::from_secs(30), "a look at the tag", || Ok(requests()?.len() > before)).await?;
    // A second object goes through the same queue; when it is Ready, the first has been reconciled.
    case.space.apply("other", &spec(&image)).await?;
    case.space.ready("other").await?;

    let methods: Vec<String> = requests()?.split_off(before).into_iter().map(|request| request.method).collect();
    assert_eq!(methods.first().map(String::as_str), Some("HEAD"));
    assert_eq!(case.space.get("app").await?.metadata.resource_version, version, "the restart wrote to the object");
    assert_eq!(inode(case)?, tree, "the restart published again");
    Ok(())
}

/// Returns the inode of the current tree, which would change if the tree were published again.
fn inode(case: &Case) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs_err::metadata(case.current("app"))?.ino())
}

async fn files_that_vanished_are_published_again(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let content = tree(&[("file", "content")]);
    let source = case.source(&content)?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready("app").await?;

    fs_err::remove_file(case.current("app"))?;
    case.space.poll("app").await?;
    let object = case.space.get("app").await?;
    ensure!(is_ready(&object) && artifact_digest(&object) == Some(&digest), "status: {}", object.data);
    assert_eq!(case.published("app")?, content);
    Ok(())
}

async fn a_volume_of_another_installation_is_refused_until_it_is_handed_over(case: &mut Case) -> Result<()> {
    case.start_operator().await?;
    case.take_operator()?.stop().await?;
    let file = case.volume.join(".supercargo/owner");
    let owner = fs_err::read_to_string(&file)?;
    ensure!(owner.contains("/supercargo"), "{owner}");
    case.start_operator().await?;
    case.take_operator()?.stop().await?;

    let mut settings = case.settings()?;
    settings.extra.extend(["--installation", "other"].map(str::to_owned));
    let volume = format!("default={}", case.volume.display());
    let nested = format!("nested={}", case.volume.join("inside").display());
    let work = settings.work_directory.display().to_string();
    let command = case.lab.run.command(&settings.binary).args(["controller", "--listen", "127.0.0.1:0"]);
    let command = command.args(["--volume", &volume, "--work-dir", &work, "--volume", &nested]);
    let output = command.env("KUBECONFIG", settings.kubeconfig.display().to_string()).output().await?;
    let is_refused = output.exit.code == Some(2) && output.stderr.contains("--volume nested");
    ensure!(is_refused, "{}: {}", output.exit, output.stderr);
    // The operator runs and leaves the volume alone.
    case.start_operator_as(&settings).await?;
    let metrics = case.operator()?.metrics().await?;
    ensure!(metrics.contains("supercargo_volume_usable{volume=\"default\"} 0"), "{metrics}");
    case.take_operator()?.stop().await?;
    assert_eq!(fs_err::read_to_string(&file)?, owner);

    fs_err::remove_file(&file)?;
    case.start_operator_as(&settings).await?;
    ensure!(fs_err::read_to_string(&file)?.contains("/other"));
    Ok(())
}
