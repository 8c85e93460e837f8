//! Files that options and arguments of commands name: missing, unusable, or the end of a pipe.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FileType, Mode, OFlags};
use supercargo_e2e::files::tree;
use supercargo_e2e::wait;

use super::push::{REACHED, start};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

tests!(every_command_reports_an_unusable_file_alike, a_signal_ends_a_command_that_waits_for_a_pipe,);

async fn every_command_reports_an_unusable_file_alike(case: &mut Case) -> Result<()> {
    let at = |name: &str| case.directory.join(name).to_string_lossy().into_owned();
    let [missing, directory, wrong, public] = ["missing", "directory", "wrong", "signer.pub"].map(at);
    fs_err::create_dir_all(&directory)?;
    fs_err::write(Path::new(&directory).join("a.txt"), "one")?;
    fs_err::write(&wrong, "not what any option expects")?;
    let generated = case.directory.join("signer").to_string_lossy().into_owned();
    let generate = command(case, &["generate-key-pair", "--output-key-prefix", &generated]);
    generate.env("COSIGN_PASSWORD", "").stdout().await?;
    let image = case.reference("app:1");
    // Command up to the name of a file; true if the content matters too.
    let rows: [(&[&str], bool); 14] = [
        (&["verify", &image, "--plain-http", "--key"], true),
        (&["verify", &image, "--plain-http", "--policy"], true),
        (&["resolve", &image, "--ca-file"], true),
        (&["sign", &image, "--plain-http", "--key"], true),
        (&["push", &directory, &image, "--plain-http", "--sign-key"], true),
        (&["push", &directory, &image, "--plain-http", "--version-from"], true),
        (&["push", &directory, &image, "--ca-file"], true),
        (&["package", &directory, "--ref", &image, "--annotation-file"], true),
        (&["attach", &image, "--type", "a/b", "--plain-http"], false),
        (&["helm-push", "--plain-http", &image], false),
        (&["verify-bundle", "sha256:x", "--key", &public, "--bundle"], false),
        (&["verify-bundle", "sha256:x", "--bundle", &wrong, "--key"], true),
        (&["verify-bundle", "--key", &public, "--bundle", &wrong], false),
        (&["list", "--root"], true),
    ];
    for (arguments, reads_content) in rows {
        let mut files = vec![(&missing, "FileNotFound")];
        if reads_content {
            files.push((&wrong, "FileInvalid"));
        }
        for (file, reason) in files {
            // The chart is the first argument.
            let arguments = match arguments {
                ["helm-push", rest @ ..] => [&["helm-push", file], rest].concat(),
                _ => [arguments, &[file]].concat(),
            };
            let output = run(case, &arguments).await?;
            refused(&output, 4, reason).with_context(|| format!("{arguments:?}"))?;
            // Certificates are judged as those of an object, whose problem has no path.
            let noun = if arguments.contains(&"--ca-file") { "--ca-file" } else { file };
            ensure!(output.stderr.contains(noun), "{arguments:?}: {}", output.stderr);
        }
    }
    Ok(())
}

async fn a_signal_ends_a_command_that_waits_for_a_pipe(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a.txt", "one")]))?;
    let source = source.to_string_lossy().into_owned();
    let layout = case.directory.join("layout").to_string_lossy().into_owned();
    answer(case, &["package", &source, "-o", &layout]).await?;
    let (image, cache) = (case.reference("app:1"), case.directory.join("cache"));
    let rows: [&[&str]; 6] = [
        &["push", &layout, &image, "--plain-http", "--sign-key"],
        &["push", &layout, &image, "--plain-http", "--version-from"],
        &["push", &layout, &image, "--ca-file"],
        &["sign", &image, "--plain-http", "--key"],
        &["promote", &image, &image, "--ca-file"],
        &["verify", &image, "--plain-http", "--key"],
    ];
    for (number, arguments) in rows.into_iter().enumerate() {
        let pipe = case.directory.join(format!("pipe-{number}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let named = pipe.to_string_lossy();
        let arguments = [arguments, &[named.as_ref()]].concat();
        let mut process = start(case, &format!("pipe-{number}"), &arguments, &cache).await?;
        let writer = wait::until(REACHED, "the command to open the pipe", async || Ok(open(&pipe))).await?;
        process.process.terminate()?;
        let exit = process.process.wait(REACHED).await?.with_context(|| format!("{arguments:?} did not end"))?;
        ensure!(exit.code == Some(143) || exit.signal == Some(15), "{arguments:?} ended with {exit}");
        drop(writer);
    }
    Ok(())
}

/// Opens a pipe for writing; `None` while nobody reads from it.
fn open(pipe: &Path) -> Option<File> {
    let without_waiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(without_waiting).open(pipe).ok()
}
