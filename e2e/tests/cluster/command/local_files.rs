//! Files that options and arguments of commands name: missing, unusable, or the end of a pipe.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FileType, Mode, OFlags};
use supercargo_e2e::files::tree;
use supercargo_e2e::wait;

use super::push::{REACHED, start};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

tests!(
    every_command_reports_an_unusable_file_alike,
    an_error_is_no_log_line,
    a_signal_ends_a_command_that_waits_for_a_pipe,
    a_file_to_write_is_never_a_pipe_and_a_link_to_it_stays,
);

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
    let rows: [(&[&str], bool); 15] = [
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
        (&["sync", "--root", &missing, "-f"], true),
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

async fn an_error_is_no_log_line(case: &mut Case) -> Result<()> {
    let missing = case.directory.join("missing/directory").to_string_lossy().into_owned();
    let rows: [(&[&str], i32, &str); 3] = [
        (&["crd", "--out-dir", &missing], 1, "StorageFailed"),
        (&["controller"], 4, "FileInvalid"),
        (&["sync", "--root", &missing, "-f", &missing], 4, "FileNotFound"),
    ];
    for (arguments, code, reason) in rows {
        for (name, value) in [("RUST_LOG", "off"), ("SUPERCARGO_LOG_FORMAT", "json")] {
            let invocation = command(case, arguments).env(name, value).env("KUBECONFIG", missing.clone());
            refused(&invocation.output().await?, code, reason).with_context(|| format!("{arguments:?}, {name}"))?;
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
    let rows: [&[&str]; 7] = [
        &["push", &layout, &image, "--plain-http", "--sign-key"],
        &["push", &layout, &image, "--plain-http", "--version-from"],
        &["push", &layout, &image, "--ca-file"],
        &["sign", &image, "--plain-http", "--key"],
        &["promote", &image, &image, "--ca-file"],
        &["verify", &image, "--plain-http", "--key"],
        &["sync", "--root", &source, "-f"],
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

async fn a_file_to_write_is_never_a_pipe_and_a_link_to_it_stays(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a.txt", "one")]))?.to_string_lossy().into_owned();
    let at = |name: &str| case.directory.join(name).to_string_lossy().into_owned();
    let [layout, cache, pipe, link, file] = ["layout", "cache", "pipe", "link", "file"].map(at);
    let image = case.reference("app:1");
    answer(case, &["package", &source, "--ref", &image, "--cache-dir", &cache]).await?;
    answer(case, &["package", &source, "-o", &layout]).await?;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    fs_err::os::unix::fs::symlink("file", &link)?;
    let push = ["push", &layout, &image, "--plain-http", "--digest-file"];
    let package = ["package", &source, "--ref", &image, "--cache-dir", &cache, "--digest-file"];
    let export = ["export", &image, "--cache-dir", &cache, "-o"];
    for command in [&push[..], &package, &export] {
        let refused = run(case, &[command, &[&pipe]].concat()).await?;
        ensure!(refused.exit.code == Some(2) && refused.stderr.contains(&pipe), "{command:?}: {}", refused.stderr);
        fs_err::write(&file, "before")?;
        answer(case, &[command, &[&link]].concat()).await?;
        ensure!(fs_err::symlink_metadata(&link)?.is_symlink(), "{command:?} replaced the link");
        ensure!(fs_err::read(&file)? != b"before", "{command:?} wrote elsewhere");
        answer(case, &[command, &["/dev/null"]].concat()).await?;
    }
    ensure!(fs_err::metadata("/dev/null")?.file_type().is_char_device(), "/dev/null was replaced");
    let inside = format!("{source}/digest");
    refused(&run(case, &[&package[..], &[&inside]].concat()).await?, 2, "InvalidSpec")
}
