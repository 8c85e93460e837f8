//! Completion for kubectl, which runs `kubectl_complete-ociartifact` with the words behind the plugin's name.

use std::time::Duration;

use clap::{Command, FromArgMatches};

use super::cluster::ClusterArguments;
use crate::request::ObjectId;

/// Longest wait for the names of objects: a shell waits for as long.
const LONGEST: Duration = Duration::from_secs(3);
/// Last line of the answer: no names of files (Cobra's `ShellCompDirectiveNoFileComp`).
const NO_FILES: &str = ":4\n";

/// Arguments of the completion.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Words behind the plugin's name; the last one is incomplete.
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Returns the answer for the words. `commands` describes those of the plugin.
pub(super) async fn run(arguments: &Arguments, commands: Command) -> String {
    let Some((last, before)) = arguments.words.split_last() else { return NO_FILES.to_owned() };
    let found = match before.first() {
        None => {
            let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
            shown.map(|command| described(command.get_name(), command.get_about())).collect()
        }
        Some(action) if last.starts_with('-') => commands.find_subcommand(action).map(options).unwrap_or_default(),
        Some(_) => tokio::time::timeout(LONGEST, names(commands, before)).await.unwrap_or_default(),
    };
    let fitting = found.into_iter().filter(|line| line.starts_with(last.as_str()));
    fitting.map(|line| line + "\n").chain([NO_FILES.to_owned()]).collect()
}

/// Returns a word and its description, as Cobra separates them.
fn described(word: &str, about: Option<&clap::builder::StyledStr>) -> String {
    let about = about.map(ToString::to_string).unwrap_or_default();
    format!("{word}\t{}", about.lines().next().unwrap_or_default())
}

fn options(command: &Command) -> Vec<String> {
    let long = |argument: &clap::Arg| Some(described(&format!("--{}", argument.get_long()?), argument.get_help()));
    command.get_arguments().filter_map(long).collect()
}

/// Returns the names of the objects in the cluster and namespace of the words; none if they cannot be read.
async fn names(commands: Command, words: &[String]) -> Vec<String> {
    let parser = commands.no_binary_name(true).ignore_errors(true);
    let Ok(matches) = parser.try_get_matches_from(words) else { return Vec::new() };
    let chosen = matches.subcommand().map(|(_, matches)| ClusterArguments::from_arg_matches(matches));
    let Some(Ok(arguments)) = chosen else { return Vec::new() };
    let Ok(cluster) = arguments.cluster().await else { return Vec::new() };
    let Ok(listed) = cluster.list_artifacts(false).await else { return Vec::new() };
    listed.items.iter().map(|stored| ObjectId::from(stored).name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_are_completed_in_the_form_of_kubectl() {
        let complete = async |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            let commands = <super::super::Arguments as clap::Args>::augment_args(Command::new("ociartifact"));
            run(&Arguments { words }, commands).await
        };
        let all = complete(&[""]).await;
        for command in ["tree", "why", "reconcile", "suspend", "resume", "diff", "verify"] {
            assert!(all.lines().any(|line| line.starts_with(&format!("{command}\t"))), "{command}: {all}");
        }
        assert!(!all.contains("complete\t") && all.ends_with("\n:4\n"), "{all}");
        assert!(complete(&["rec"]).await.starts_with("reconcile\t"));
        let options = complete(&["reconcile", "rules", "--wa"]).await;
        assert!(options.starts_with("--wait\t") && options.lines().count() == 2, "{options}");
        assert_eq!(complete(&[]).await, ":4\n");
        let unknown = ["why", "--kubeconfig", "/missing", ""];
        assert_eq!(complete(&unknown).await, ":4\n", "no error in the middle of a command line");
    }
}
