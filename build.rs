//! Facts about this build, for `supercargo version`: its target, its compiler, and the commit of a release.

#![allow(clippy::print_stdout, reason = "build scripts talk to cargo on standard output")]

use std::process::Command;

fn main() {
    tell("SUPERCARGO_TARGET", std::env::var("TARGET").ok());
    tell("SUPERCARGO_RUST", std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"])));
    for name in ["SUPERCARGO_COMMIT", "SUPERCARGO_COMMIT_DATE"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let [commit, date] = ["SUPERCARGO_COMMIT", "SUPERCARGO_COMMIT_DATE"]
        .map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if commit.is_some() || !is_release {
        // Git is not asked in a debug build: it would be built again after every commit.
        tell("SUPERCARGO_COMMIT", commit);
        tell("SUPERCARGO_COMMIT_DATE", date);
        return;
    }
    // Outside of a checkout, such as in an archive of the source, both are absent.
    for path in ["build.rs", "src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let is_changed = output("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    let commit = output("git", &["rev-parse", "HEAD"]);
    tell("SUPERCARGO_COMMIT", commit.map(|commit| if is_changed { commit + "-modified" } else { commit }));
    tell("SUPERCARGO_COMMIT_DATE", output("git", &["show", "--no-patch", "--format=%cI", "HEAD"]));
}

/// Sets a variable of the compiler, which `option_env!` reads.
fn tell(name: &str, value: Option<String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        println!("cargo::rustc-env={name}={}", value.replace(['\n', '\r'], " "));
    }
}

/// Returns what a program prints; `None` if it fails or prints nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
