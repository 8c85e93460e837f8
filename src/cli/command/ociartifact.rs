//! `supercargo ociartifact`, and `kubectl ociartifact`: commands about the objects of a cluster.
//!
//! They use the API server as a user does, with the rights of the user's kubeconfig. None of them needs the operator's
//! rights, and none runs in the operator's process.

use std::process::ExitCode;

use clap::{Args, Command};

use crate::cli::signals;

mod cluster;
mod complete;
mod consumers;
mod diff;
mod inputs;
mod next;
mod nodes;
mod outcome;
mod reconcile;
mod selected;
mod shown;
mod suspend;
mod tree;
mod uses;
mod verify;
mod why;

use outcome::Outcome;

const HELP: &str = "\
These commands use the cluster of a kubeconfig with the rights of its user. Installed under the name
kubectl-ociartifact, a copy of this program or a link to it in a directory of PATH is a plugin:
kubectl ociartifact tree is supercargo ociartifact tree.

  ln -s \"$(command -v supercargo)\" ~/.local/bin/kubectl-ociartifact

Examples:
  kubectl ociartifact tree -n team-a
  kubectl ociartifact why rules -n team-a
  kubectl ociartifact reconcile rules -n team-a --wait";

/// Arguments of `supercargo ociartifact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact why rules -n team-a")]
#[command(after_long_help = HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print objects with their policies, signatures, outputs, and the workloads that use them.
    Tree(tree::Arguments),
    /// Print the state of an object: conditions, remedy, last Events, and the next attempt.
    Why(why::Arguments),
    /// Request a pass now, and wait for its result with --wait.
    Reconcile(reconcile::Arguments),
    /// Set spec.suspend, so that nothing is polled or fetched.
    #[command(after_help = suspend::SUSPEND_EXAMPLE, after_long_help = suspend::SUSPEND)]
    Suspend(suspend::Arguments),
    /// Unset spec.suspend, so that the object is polled again.
    #[command(after_help = suspend::RESUME_EXAMPLE, after_long_help = suspend::RESUME)]
    Resume(suspend::Arguments),
    /// Compare the published digest with the digest that the tag has now.
    Diff(Box<diff::Arguments>),
    /// Verify the signatures of the published digest from this machine.
    Verify(Box<verify::Arguments>),
    /// Print the words that may follow, in the form of kubectl's completion.
    #[command(hide = true)]
    Complete(complete::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    Box::pin(signals::exit_unless_signal(async {
        let outcome = match &arguments.action {
            Action::Tree(arguments) => tree::run(arguments).await.map(Outcome::from),
            Action::Why(arguments) => why::run(arguments).await.map(Outcome::from),
            Action::Reconcile(arguments) => reconcile::run(arguments).await,
            Action::Suspend(arguments) => suspend::run(arguments, true).await.map(Outcome::from),
            Action::Resume(arguments) => suspend::run(arguments, false).await.map(Outcome::from),
            Action::Diff(arguments) => diff::run(arguments).await,
            Action::Verify(arguments) => verify::run(arguments).await.map(Outcome::from),
            Action::Complete(arguments) => {
                let commands = Arguments::augment_args(Command::new("ociartifact"));
                Ok(Outcome::from(complete::run(arguments, commands).await))
            }
        };
        outcome.map_or_else(|complaint| complaint.report(), Outcome::report)
    }))
    .await
}
