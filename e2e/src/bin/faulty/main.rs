//! Runs a command whose system calls fail or wait.
//!
//! ```text
//! faulty openat2=ENOSYS -- supercargo sync ...              each call fails with ENOSYS
//! faulty write/0>=3/2>=9=ENOSPC,fsync=EIO -- ...            only calls whose arguments fit: a descriptor from 3, 9 bytes or more
//! faulty renameat@current=delay:3000 -- ...                 each rename to a path that ends in `current` waits three seconds
//! faulty --control DIR renameat=delay:3000 -- ...           the same while DIR/on exists; DIR/delayed gets a line per call
//! ```
//!
//! The kernel injects errors through a seccomp filter that this process installs on itself and every descendant
//! inherits. A filter sees numbers: descriptors, lengths and modes, but neither paths nor the number of earlier calls.
//! To make only a later call fail, select it by an argument, such as a descriptor number that is not open at first.
//!
//! Delays need a second process, the tracer, which remains as the parent and exits with the command's exit code.

#![allow(clippy::print_stderr, reason = "it has nothing else to tell people with")]

mod rule;
mod tracer;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

use rule::Rule;

/// Run a command whose system calls fail or wait.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory whose file `on` enables delays and whose file `delayed` logs them; by default delays always apply.
    #[arg(long, value_name = "DIR")]
    control: Option<PathBuf>,
    /// For internal use: stop until the tracer is attached.
    #[arg(long, hide = true)]
    traced: bool,
    /// `SYSCALL[/ARGUMENT>=NUMBER|/ARGUMENT==NUMBER]...[@NAME]=ERROR|delay:MILLISECONDS`; arguments count from 0.
    #[arg(required = true, value_delimiter = ',')]
    rules: Vec<Rule>,
    /// Command to run, with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faulty: {error:#}");
            ExitCode::from(125)
        }
    }
}

/// Returns the command's exit code if there are delays; otherwise replaces this process and returns only an error.
fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.traced && arguments.rules.iter().any(|rule| rule.delay().is_some()) {
        return tracer::run(&arguments.rules, arguments.control.as_deref());
    }
    if arguments.traced {
        tracer::wait_for_tracer()?;
    }
    for (number, rule) in (0..).zip(&arguments.rules) {
        rule.apply(number)?;
    }
    let (program, arguments) = arguments.command.split_first().context("no command")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
