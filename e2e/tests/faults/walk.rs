//! A kernel without openat2, and a seccomp profile that does not know the call.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::chart;
use supercargo_e2e::run::Run;

use crate::full::mount;
use crate::world::{Revision, World, names};

/// Answer of a kernel without the call, and of a seccomp profile older than the call.
const MISSING: [&str; 2] = ["openat2=ENOSYS", "openat2=EPERM"];

pub(crate) async fn sync(world: &mut World) -> Result<String> {
    for (number, fault) in MISSING.into_iter().enumerate() {
        for count in [3, 100] {
            let revision = Revision::new(number * 10 + count, count, 2000)?;
            world.offer(&revision);
            let ended = world.sync(fault).await?;
            ensure!(ended.code == Some(0), "{fault}: {ended}");
            world.serves(&revision)?;
            world.has_no_residue()?;
        }
    }
    Ok("published without openat2".to_owned())
}

/// Modules that open files.
const OPENING: [&str; 5] = ["storage::", "unpack::", "output::", "blob::", "pass::"];

/// Runs the unit tests of all modules that open files, without openat2.
pub(crate) async fn unit_tests(world: &mut World) -> Result<String> {
    let mut passed = 0;
    for fault in MISSING {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faulty"));
        command.args([fault, "--"]).arg(&world.unit_tests);
        command.args(OPENING).current_dir(chart::workspace());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{fault}: {said}");
        for module in OPENING {
            ensure!(said.contains(&format!("\ntest {module}")), "{module} has no test");
        }
        passed += said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    }
    ensure!(passed > 100, "only {passed} tests ran");
    Ok(format!("{passed} unit tests passed without openat2"))
}

/// Builds the unit tests of the library as `cargo test` builds them; returns their executable.
pub(crate) async fn build_unit_tests(run: &Run) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let command = run
        .command(&cargo)
        .args(["test", "--workspace", "--lib", "--no-run", "--message-format=json-render-diagnostics"])
        .directory(chart::workspace())
        .limit(Duration::from_secs(3600));
    let said = command.stdout().await?;
    let artifacts = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = artifacts
        .filter(|artifact| artifact.pointer("/target/name").is_some_and(|name| name == "supercargo"))
        .find_map(|artifact| artifact.get("executable")?.as_str().map(PathBuf::from));
    executable.context("cargo named no unit tests")
}

/// Tests mounts inside a volume, by an administrator or another user with the right to mount: another filesystem, or a
/// part of the same.
pub(crate) async fn mounts(world: &mut World) -> Result<String> {
    let revision = Revision::new(1, 3, 2000)?;
    world.offer(&revision);
    let elsewhere = world.directory.join("elsewhere");
    let namespace = world.root.join("team");
    for directory in [&elsewhere, &namespace] {
        fs_err::create_dir_all(directory)?;
    }
    let bind = ["--bind".to_owned(), elsewhere.display().to_string()];
    let tmpfs = ["-t".to_owned(), "tmpfs".to_owned(), "tmpfs".to_owned()];
    for arguments in [bind.as_slice(), &tmpfs] {
        mount(arguments, &namespace)?;
        for fault in ["", MISSING[0], MISSING[1]] {
            let ended = world.sync(fault).await?;
            ensure!(ended.told() == (Some(1), Some("StorageFailed")), "{arguments:?} {fault}: {ended}");
            ensure!(names(&namespace)?.is_empty(), "{arguments:?} {fault}: something was written there");
        }
        let output = Command::new("umount").arg(&namespace).output()?;
        ensure!(output.status.success(), "umount: {}", String::from_utf8_lossy(&output.stderr));
    }
    world.sync_well(&revision).await?;
    Ok("nothing was written to what was mounted inside a volume".to_owned())
}
