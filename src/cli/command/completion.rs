//! `supercargo completion`: completion of commands, options and values in shells.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;

/// Arguments of `supercargo completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: source <(supercargo completion bash)")]
#[command(after_long_help = "\
Prints a script that completes commands, options and their values. Load it where the shell starts,
or write it to the directory of the shell's completions.

Examples:
  source <(supercargo completion bash)
  supercargo completion bash > ~/.local/share/bash-completion/completions/supercargo
  supercargo completion zsh > /usr/local/share/zsh/site-functions/_supercargo
  supercargo completion fish > ~/.config/fish/completions/supercargo.fish
  supercargo completion elvish > ~/.config/elvish/lib/supercargo.elv
  supercargo completion powershell >> $PROFILE")]
pub(crate) struct Arguments {
    /// Shell.
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, mut program: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "supercargo", &mut script);
    match to_stdout(&String::from_utf8_lossy(&script)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}
