//! `cargo demo` as a newcomer runs it, and with programs that hang or do nothing in place of supercargo.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test over programs and files of its own")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Held while a program is written or started: a child that is forked while a program is open for writing keeps it
/// open until its exec, and the program cannot be started.
static FORKS: Mutex<()> = Mutex::new(());

/// Directory for everything that a test makes, with an empty one for the temporary files of the demo.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs_err::create_dir(place.temporary()).unwrap();
        place
    }

    fn temporary(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// Returns the demo with a Cargo that builds this script as supercargo.
    fn demo_with(&self, supercargo: &str) -> Command {
        let program = self.0.path().join("supercargo");
        write_script(&program, supercargo);
        let cargo = self.0.path().join("cargo");
        let message = serde_json::json!({"target": {"name": "supercargo"}, "executable": program});
        write_script(&cargo, &format!("echo '{message}'"));
        let mut demo = self.demo();
        demo.env("CARGO", cargo);
        demo
    }

    fn demo(&self) -> Command {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
        demo.env("TMPDIR", self.temporary()).stdout(Stdio::piped()).stderr(Stdio::piped());
        demo
    }

    fn assert_nothing_is_left(&self) {
        let left: Vec<_> = fs_err::read_dir(self.temporary()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn write_script(path: &Path, script: &str) {
    let _held = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    fs_err::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn start(mut command: Command) -> Child {
    let _held = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

fn run(command: Command) -> (Output, String) {
    let output = start(command).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn every_step_is_as_told_and_nothing_is_left() {
    let place = Place::new();
    let (output, text) = run(place.demo());
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let steps = ["1. ", "signed by", "2. ", "Succeeded", "3. ", "Succeeded", "4. ", "SignatureMissing", "5. "];
    let steps = steps.into_iter().chain(["UnsafeArchive", "Done"]);
    let mut rest = text.as_str();
    for step in steps {
        rest = rest.split_once(step).unwrap_or_else(|| panic!("no {step:?} in its order in:\n{text}")).1;
    }
    assert!(text.lines().count() <= 80, "more than two screens:\n{text}");
    place.assert_nothing_is_left();
}

#[test]
fn a_kept_directory_has_the_last_good_files() {
    let place = Place::new();
    let directory = place.0.path().join("kept");
    let keep = || {
        let mut demo = place.demo();
        demo.arg("--keep").arg(&directory);
        run(demo)
    };
    let (output, text) = keep();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let file = directory.join("files/team-a/schemas/current/service.json");
    assert!(fs_err::read_to_string(file).unwrap().contains("port"));
    assert!(directory.join("objects/policy.yaml").is_file());
    place.assert_nothing_is_left();

    let (output, _) = keep();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--keep"));
}

#[test]
fn a_step_that_is_not_as_told_is_an_error() {
    let place = Place::new();
    // Reports success, but writes nothing.
    let (output, text) = run(place.demo_with("echo published cosign.pub sha256:"));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cosign.pub"));
    place.assert_nothing_is_left();
}

#[test]
fn a_signal_ends_the_running_program_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let place = Place::new();
        // The program has an end of the pipe, and so has nobody else: it is read to its end once the program has ended.
        let pipe = place.0.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut demo = start(place.demo_with(&format!("exec 2>'{}'; echo hangs >&2; exec sleep 600", pipe.display())));
        let mut reader = BufReader::new(fs_err::File::open(&pipe).unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "hangs\n");
        let started = Instant::now();
        kill_process(Pid::from_child(&demo), signal).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(code));
        reader.read_to_string(&mut line).unwrap();
        assert!(started.elapsed() < Duration::from_secs(60), "the program was not ended");
        place.assert_nothing_is_left();
    }
}

#[test]
fn options_after_cluster_are_passed_on() {
    let place = Place::new();
    let mut demo = place.demo_with("");
    write_script(&place.0.path().join("cargo"), "echo \"$@\"");
    demo.args(["--cluster", "--keep"]);
    let (output, text) = run(demo);
    assert!(output.status.success());
    assert_eq!(text, "run --bin demo-cluster -- --keep\n");
}
