//! The operator on a full volume: it reports the state, backs off, and recovers by itself. Single system calls that
//! fail are tested by the test binary `faults`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files;
use supercargo_e2e::object::{artifact_digest, condition};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::wait;

use crate::support::case::{Case, spec, tests};
use crate::support::revision;

tests!(a_full_volume_is_reported_with_backoff_and_recovers,);

/// Size of the operator's volume: room for three trees, a layer, and a tree under construction.
const SIZE: &str = "size=14m,nr_inodes=400";
/// Bytes per file of the revisions here: 40 files make an artifact of 2 MiB.
const PADDING: usize = 50_000;
/// Manifest requests to wait for before the volume has room again. A pass sends one, or two if kept layers were
/// evicted; the pauses between passes are 1, 2 and 4 s.
const MANIFESTS: usize = 4;

/// Resource of the volume that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filler {
    Bytes,
    Inodes,
}

async fn a_full_volume_is_reported_with_backoff_and_recovers(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let image = registry.reference("team/app:1");
    let mut old = push(case, &image, 0).await?;
    let mut settings = case.settings()?;
    settings.binary = on_a_small_filesystem(case)?;
    case.start_operator_as(&settings).await?;
    // The filesystem of the operator's mount namespace, invisible to other processes.
    let root = format!("/proc/{}/root{}", case.operator()?.pid(), case.volume.display());
    let root = Path::new(&root);
    let current = root.join(&case.space.namespace).join("app/current");
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &old).await?;

    for (number, filler) in [(1, Filler::Bytes), (2, Filler::Inodes)] {
        fill(root, filler)?;
        let new = push(case, &image, number).await?;
        let before = (manifests(&registry)?, Instant::now());
        case.space.request_pass("app").await?;
        let object = case.space.refused("app", "StorageFull").await?;
        assert_eq!(artifact_digest(&object), Some(old.as_str()));
        ensure!(condition(&object, "Reconciling").is_some_and(|found| found.status == "True"), "{filler:?}");
        ensure!(condition(&object, "Stalled").is_none(), "{filler:?} is of class Stalled");
        let tried = || Ok(manifests(&registry)? >= before.0 + MANIFESTS);
        wait::until_true(Duration::from_secs(40), "the operator to try again", tried).await?;
        let took = before.1.elapsed();
        ensure!(took >= Duration::from_millis(900), "{filler:?}: {MANIFESTS} manifests in {took:?}");
        assert_eq!(revision::check(&current, PADDING)?, number - 1, "{filler:?}");
        ensure!(count(&root.join(".supercargo/staging"))? == 0, "{filler:?} leaves something in staging");

        remove(root, filler)?;
        // No pass is requested here.
        case.space.ready_with("app", &new).await?;
        assert_eq!(revision::check(&current, PADDING)?, number, "{filler:?}");
        ensure!(count(&root.join(".supercargo/staging"))? == 0, "{filler:?} leaves something in staging");
        old = new;
    }
    let told = case.space.events("app").await?;
    let warnings = told.iter().filter(|(kind, ..)| kind == "Warning").count();
    ensure!(warnings == 2, "each time once: {told:?}");
    Ok(())
}

async fn push(case: &mut Case, image: &str, number: u64) -> Result<String> {
    let source = case.source(&revision::tree(number, PADDING))?;
    case.lab.publisher.oras(&source, &[image, "."]).await
}

/// Writes a script that mounts a filesystem of its own on the volume and becomes the operator.
fn on_a_small_filesystem(case: &Case) -> Result<PathBuf> {
    let script = case.directory.join("operator-on-a-small-filesystem");
    let (volume, binary) = (case.volume.display(), case.lab.operator_binary.display());
    let inner = format!("mount -t tmpfs -o {SIZE} tmpfs '{volume}' && exec '{binary}' \"$@\"");
    fs_err::write(
        &script,
        format!("#!/bin/sh\nexec unshare --mount sh -c \"$(cat <<'END'\n{inner}\nEND\n)\" operator \"$@\"\n"),
    )?;
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn fill(root: &Path, filler: Filler) -> Result<()> {
    let directory = root.join("filler");
    fs_err::create_dir(&directory)?;
    for number in 0..1000 {
        let content = if filler == Filler::Bytes { noise(64 * 1024, number) } else { Vec::new() };
        if fs_err::write(directory.join(number.to_string()), content).is_err() {
            return Ok(());
        }
    }
    anyhow::bail!("the filesystem is not small")
}

fn remove(root: &Path, filler: Filler) -> Result<()> {
    fs_err::remove_dir_all(root.join("filler")).with_context(|| format!("{filler:?}"))
}

fn manifests(registry: &Registry) -> Result<usize> {
    let is_one =
        |request: &supercargo_e2e::registry::Request| request.method == "GET" && request.path.contains("/manifests/");
    Ok(registry.all_requests()?.iter().filter(|request| is_one(request)).count())
}

fn count(directory: &Path) -> Result<usize> {
    Ok(files::read(directory)?.len())
}
