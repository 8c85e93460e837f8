//! Standard error of the program: summaries unless it is quiet, more lines if it is verbose, and colours where they are
//! wanted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test over our own program")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Begins each colour.
const ESCAPE: char = '\u{1b}';

/// Runs the program, and returns standard output and standard error.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> [String; 2] {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "TERM", "RUST_LOG", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_quiet_command_prints_its_result_and_its_errors() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("source")).unwrap();
    std::fs::write(at("source/a.txt"), "one").unwrap();
    let package = |cache: &str, flag: &str| {
        run(&["package", &at("source"), "--ref", "r.example/a:1", "--cache-dir", &at(cache), flag], &[])
    };
    let [printed, noted] = package("one", "--format=text");
    assert!(printed.starts_with("r.example/a:1@sha256:") && noted.contains("the cache"), "{printed} {noted}");
    let [quiet, silence] = package("two", "-q");
    assert_eq!((quiet, silence.as_str()), (printed, ""));
    let [_, error] = run(&["unpack", &at("missing"), "-o", &at("out"), "--quiet"], &[]);
    assert!(error.starts_with("error: FileNotFound: "), "{error}");
    let [_, both] = run(&["list", "-q", "-v"], &[]);
    assert!(both.starts_with("error: InvalidSpec: ") && both.lines().count() == 1, "{both}");
}

#[test]
fn help_and_log_have_colours_only_where_they_are_wanted() {
    let rows: [(&[(&str, &str)], bool); 4] = [
        (&[], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ];
    // The operator logs that it has no cluster.
    let lost = ("KUBECONFIG", "/dev/null/none");
    for (variables, want) in rows {
        let [help, _] = run(&["--help"], variables);
        assert_eq!(help.contains(ESCAPE), want, "{variables:?}: {help:?}");
        let [_, log] = run(&["controller", "--volume", "default=/nowhere"], &[variables, &[lost]].concat());
        assert!(!log.is_empty());
        assert_eq!(log.contains(ESCAPE), want && log.contains("ERROR"), "{variables:?}: {log:?}");
    }
}

/// Waits until the program listens to a signal: its bit in a mask of proc(5).
fn wait_until_caught(child: &Child, signal: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(mask, 16).unwrap() >> (signal - 1) & 1 == 1 {
            return;
        }
        assert!(Instant::now() < deadline, "signal {signal} has no listener: {mask}");
        std::thread::yield_now();
    }
}

#[test]
fn a_closed_terminal_ends_a_command_unless_it_was_started_to_ignore_that() {
    let signal = |name: &str, child: &Child| {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    };
    for (how, signals, code) in [
        ("--default-signal=HUP", ["HUP"].as_slice(), 129),
        ("--ignore-signal=HUP", &["HUP", "TERM"], 143),
        ("--default-signal=INT", &["INT"], 130),
    ] {
        // Standard input stays open, so that the command waits for objects.
        let program = env!("CARGO_BIN_EXE_supercargo");
        let mut command = Command::new("env");
        command
            .args([how, program, "sync", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        wait_until_caught(&child, 15);
        for name in signals {
            signal(name, &child);
        }
        let output = child.wait_with_output().unwrap();
        drop(input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(code), "error: interrupted\n"), "{how}");
    }
}
