//! Signals, timeouts and changes of the file while a layer is read.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use supercargo_e2e::archive::noise;
use supercargo_e2e::wait;

use super::{LARGE, failed, nothing_there, unpack, write};
use crate::support::case::{Case, tests};
use crate::support::pull_directory::PullDirectory;

tests!(an_interrupted_unpack_leaves_nothing, a_file_that_changes_while_it_is_read_is_never_half_of_each,);

async fn an_interrupted_unpack_leaves_nothing(case: &mut Case) -> Result<()> {
    let large = case.directory.join("large");
    fs_err::File::create(&large)?.set_len(LARGE)?;
    let place = PullDirectory::new(case)?;
    let whole = ["--max-layer-bytes", "64Gi"];
    let output = unpack(case, &place, &large, &[&whole[..], &["--timeout", "1s"]].concat()).await?;
    failed(&output, 3, "Timeout", &["--timeout of 1s", "reading FILE"])?;
    nothing_there(&place)?;

    let file = large.to_string_lossy();
    let arguments = [&["unpack", &file, "-o", &place.out], &whole[..]].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let log = format!("{}-unpack-{code}", case.space.namespace);
        let mut unpack = case.lab.run.service(&log, &case.lab.operator_binary, &arguments, &[]).await?;
        wait::until_true(Duration::from_secs(20), "a stage beside the directory", || Ok(place.names()?.len() == 1))
            .await?;
        let pid = i32::try_from(unpack.process.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no process")?, signal)?;
        let exit = unpack.process.wait(Duration::from_secs(10)).await?.context("the signal did not end it")?;
        assert_eq!(exit.code, Some(code));
        let said = fs_err::read_to_string(&unpack.log)?;
        assert_eq!(said, "error: interrupted\n");
        nothing_there(&place)?;
    }
    Ok(())
}

async fn a_file_that_changes_while_it_is_read_is_never_half_of_each(case: &mut Case) -> Result<()> {
    const SIZE: u64 = 32 << 20;
    let layer = write(case, "layer", &noise(usize::try_from(SIZE)?, 1))?;
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (done, file) = (Arc::clone(&done), fs_err::OpenOptions::new().write(true).open(&layer)?);
        move || -> std::io::Result<()> {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for at in (0..SIZE).step_by(1 << 20) {
                    file.file().write_all_at(&round.to_le_bytes(), at)?;
                }
                round += 1;
            }
            Ok(())
        }
    });
    let place = PullDirectory::new(case)?;
    let output = unpack(case, &place, &layer, &["--title", "layer"]).await;
    done.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    failed(&output?, 7, "DigestMismatch", &["FILE"])?;
    nothing_there(&place)
}
