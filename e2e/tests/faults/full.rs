//! Filesystems that are really full.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::archive::noise;

use crate::world::{Revision, World, names};

const MIB: usize = 1 << 20;

/// Mounts a filesystem, in the mount namespace of this test.
pub(crate) fn mount<S: AsRef<std::ffi::OsStr>>(arguments: &[S], on: &Path) -> Result<()> {
    fs_err::create_dir_all(on)?;
    let output = Command::new("mount").args(arguments).arg(on).output().context("mount cannot be run")?;
    ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub(crate) async fn bytes(world: &mut World) -> Result<String> {
    mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"], &world.root)?;
    let filler = world.root.join("filler");
    let old = Revision::new(1, 3, MIB / 8)?;
    world.offer(&old);
    world.sync_well(&old).await?;

    // 8 MiB, less the old tree and its kept layer, together less than 1 MiB.
    let rows = [
        ("a layer that does not fit is not asked for", Revision::new(2, 4, MIB)?, 5 * MIB, 0),
        // Tried again after the kept layers were evicted.
        ("a tree that does not fit, of a layer that does", Revision::inflating(6 * MIB)?, 4 * MIB, 1),
        ("a tree beside its layer", Revision::new(3, 5, MIB / 2)?, 4 * MIB, 1),
    ];
    for (what, new, filled, asks) in &rows {
        fs_err::write(&filler, noise(*filled, 0))?;
        world.offer(new);
        let before = world.layers_asked_for();
        let ended = world.sync("").await?;
        ensure!(ended.told() == (Some(3), Some("StorageFull")), "{what}: {ended}");
        let asked = world.layers_asked_for() - before;
        ensure!(asked.min(1) == *asks, "{what}: {asked} requests for a layer");
        world.serves(&old)?;
        ensure!(names(&world.root.join(".supercargo/staging"))?.is_empty(), "{what}: something is left behind");
        fs_err::remove_file(&filler)?;
        // The old revision is still complete, and is published again.
        world.offer(&old);
        world.sync_well(&old).await?;
    }

    // A layer and its tree, twice, with room for one and a half: the kept layer of the first gives way.
    let [first, second] = [Revision::new(4, 2, MIB)?, Revision::new(5, 2, MIB)?];
    fs_err::write(&filler, noise(MIB / 2, 0))?;
    for revision in [&first, &second] {
        world.offer(revision);
        world.sync_well(revision).await?;
    }
    let kept = names(&world.root.join(".supercargo/blobs/sha256"))?;
    ensure!(kept.len() == 1, "kept: {kept:?}");
    Ok(format!("{} ways to have no room, and all of it came once there was", rows.len()))
}

pub(crate) async fn inodes(world: &mut World) -> Result<String> {
    mount(&["-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "tmpfs"], &world.root)?;
    let (old, new) = (Revision::new(1, 3, 2000)?, Revision::new(2, 100, 2000)?);
    world.offer(&old);
    world.sync_well(&old).await?;
    let filler = world.root.join("filler");
    fs_err::create_dir(&filler)?;
    for number in 0..100 {
        fs_err::write(filler.join(number.to_string()), "")?;
    }
    world.offer(&new);
    for _ in 0..2 {
        let ended = world.sync("").await?;
        ensure!(ended.told() == (Some(3), Some("StorageFull")), "{ended}");
        world.serves(&old)?;
        ensure!(names(&world.root.join(".supercargo/staging"))?.is_empty(), "something is left behind");
    }
    fs_err::remove_dir_all(&filler)?;
    world.sync_well(&new).await?;
    Ok("a disk without inodes was told, and recovered from".to_owned())
}
