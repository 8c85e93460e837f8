//! Runs a command whose system calls fail.
//!
//! ```text
//! faulty openat2=ENOSYS -- supercargo sync ...              each call fails with that
//! faulty write/0>=3/2>=9=ENOSPC,fsync=EIO -- ...            only calls whose arguments fit: a descriptor from 3, 9 bytes or more
//! ```
//!
//! The kernel does it, by a seccomp filter that this process puts on itself and every descendant inherits. A filter sees
//! numbers: descriptors, lengths and modes, but neither paths nor how often it was asked. Who wants a later call to fail
//! and not an earlier one tells them apart by an argument, such as a descriptor that is not open yet at first.

#![allow(clippy::print_stderr, reason = "it has nothing else to tell people with")]

mod rule;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

use rule::Rule;

/// Runs a command whose system calls fail.
#[derive(Debug, Parser)]
struct Arguments {
    /// `SYSCALL[/ARGUMENT>=NUMBER|/ARGUMENT==NUMBER]...=ERROR`; arguments count from 0.
    #[arg(required = true, value_delimiter = ',')]
    rules: Vec<Rule>,
    /// What to run.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let Err(error) = run(&Arguments::parse());
    eprintln!("faulty: {error:#}");
    ExitCode::from(125)
}

/// Comes back only with an error.
fn run(arguments: &Arguments) -> Result<std::convert::Infallible> {
    for rule in &arguments.rules {
        rule.apply()?;
    }
    let (program, arguments) = arguments.command.split_first().context("no command")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
