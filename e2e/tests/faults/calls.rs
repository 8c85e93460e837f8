//! Single system calls that fail.

use anyhow::{Result, bail, ensure};
use supercargo_e2e::files;

use crate::world::{Revision, World, names};

/// Errors, and the reasons reported for them.
const ERRORS: [(&str, &str); 3] = [("EIO", "StorageFailed"), ("ENOSPC", "StorageFull"), ("EDQUOT", "StorageFull")];
/// Calls, and the number of files in the revision that makes the pass use them. Writes to standard output and to other
/// threads are excluded: files have descriptors from 3, and 8 bytes wake a thread. So are private directories, of mode
/// 0700, without which no pass begins.
const CALLS: [(&str, usize); 7] = [
    ("write/0>=3/2>=9", 3),
    ("fsync", 3),
    ("syncfs", 100),
    ("renameat2", 3),
    ("renameat", 3),
    ("mkdirat/2==493", 3),
    ("symlinkat", 3),
];
/// Descriptors to try: from those that a process has before it opens the first directory, to more than it ever uses.
const DESCRIPTORS: std::ops::Range<usize> = 3..100;

pub(crate) async fn each(world: &mut World) -> Result<String> {
    let mut old = Revision::new(0, 3, 2000)?;
    world.offer(&old);
    world.sync_well(&old).await?;
    let mut number = 0;
    for (call, files) in CALLS {
        for (error, reason) in ERRORS {
            number += 1;
            let (new, fault) = (Revision::new(number, files, 2000)?, format!("{call}={error}"));
            world.offer(&new);
            let ended = world.sync(&fault).await?;
            ensure!(ended.told() == (Some(code(reason)), Some(reason)), "{fault}: {ended}");
            world.serves(&old)?;
            ensure!(names(&world.root.join(".supercargo/staging"))?.is_empty(), "{fault} leaves something behind");
            world.sync_well(&new).await?;
            old = new;
        }
    }
    Ok(format!("{number} faults, {} calls: all told, all survived", CALLS.len()))
}

/// A seccomp filter cannot count calls. It sees descriptors, and the descriptors of a pass are larger than those of its
/// volume. So the lowest descriptor with which a call fails is moved through the pass.
pub(crate) async fn anywhere(world: &mut World) -> Result<String> {
    let mut report = Vec::new();
    let mut old = Revision::new(0, 3, 2000)?;
    world.offer(&old);
    world.sync_well(&old).await?;
    for (number, (call, more)) in [("openat2", ""), ("write", "/2>=9")].into_iter().enumerate() {
        let mut told = 0;
        for (turn, (error, reason)) in ERRORS.into_iter().enumerate() {
            let new = Revision::new(number * 10 + turn + 1, 3, 2000)?;
            world.offer(&new);
            let mut descriptors = DESCRIPTORS;
            loop {
                let Some(descriptor) = descriptors.next() else { bail!("{call}={error} never ends") };
                let fault = format!("{call}/0>={descriptor}{more}={error}");
                let ended = world.sync(&fault).await?;
                if ended.told() == (Some(0), Some("Succeeded")) {
                    break;
                }
                // If the volume itself cannot be opened, no table is printed.
                let fits = [(Some(1), None), (Some(code(reason)), None), (Some(code(reason)), Some(reason))]
                    .contains(&ended.told());
                ensure!(fits, "{fault}: {ended}");
                told += usize::from(ended.told().1.is_some());
                let served = world.served()?;
                ensure!(served == old.tree || served == new.tree, "{fault} leaves {served:?}");
            }
            world.sync_well(&new).await?;
            old = new;
        }
        ensure!(told >= ERRORS.len() * 2, "only {told} passes came to where {call} fails");
        report.push(format!("{call} in {told} passes"));
    }
    Ok(format!("{} failed somewhere: each time one whole tree was there", report.join(", ")))
}

pub(crate) async fn pull(world: &mut World) -> Result<String> {
    let (old, new) = (Revision::new(0, 3, 2000)?, Revision::new(1, 100, 2000)?);
    let place = world.directory.join("place");
    let (image, output) = (world.image(), place.join("out").display().to_string());
    let arguments = ["pull", &image, "--output", &output, "--force", "--plain-http"];
    fs_err::create_dir(&place)?;
    world.offer(&old);
    let ended = world.command("", &arguments).await?;
    ensure!(ended.code == Some(0), "{ended}");
    world.offer(&new);
    let mut faults = 0;
    for call in ["openat2", "write/0>=3/2>=9", "syncfs", "renameat", "mkdirat", "symlinkat"] {
        // Exit code 3 is "try again later", 1 is any other fault.
        for (error, code) in [("ENOSPC", 3), ("EDQUOT", 3), ("EIO", 1)] {
            let fault = format!("{call}={error}");
            let ended = world.command(&fault, &arguments).await?;
            ensure!(ended.code == Some(code), "{fault}: {ended}");
            ensure!(files::read(&place.join("out"))? == old.tree, "{fault} leaves another tree");
            faults += 1;
        }
    }
    let ended = world.command("", &arguments).await?;
    ensure!(ended.code == Some(0) && files::read(&place.join("out"))? == new.tree, "without faults: {ended}");
    ensure!(names(&place)? == ["out"], "beside it: {:?}", names(&place)?);
    Ok(format!("{faults} faults of a pull: all told, all survived"))
}

/// Returns the exit code for a reason: a full disk is a temporary failure.
fn code(reason: &str) -> i32 {
    if reason == "StorageFull" { 3 } else { 1 }
}
