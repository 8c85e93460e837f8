//! Every command in every class of failures, its result in JSON, and its end by a signal or a closed pipe.

mod classes;
mod contract;
mod inputs;
mod stops;
mod table;
mod world;

use anyhow::Result;

use crate::support::case::{Case, Test};
use crate::support::command::answer;

pub(crate) use classes::AS_ROOT;

pub(crate) fn tests() -> Vec<Test> {
    [classes::tests(), contract::tests(), stops::tests()].concat()
}

/// Returns the commands that the program lists in its help, such as `pull` and `cache prune`.
async fn commands(case: &Case) -> Result<Vec<String>> {
    let (mut found, mut next) = (Vec::new(), vec![Vec::<String>::new()]);
    while let Some(command) = next.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = answer(case, &arguments).await?;
        let below = listed(&help);
        if below.is_empty() || runs_alone(&help) {
            found.push(command.join(" "));
        }
        next.extend(below.into_iter().map(|name| [&command[..], &[name]].concat()));
    }
    Ok(found)
}

/// Returns true if a help has a usage without a further command, as that of `import`.
fn runs_alone(help: &str) -> bool {
    let usage = help.lines().skip_while(|line| !line.starts_with("Usage: ")).take_while(|line| !line.is_empty());
    usage.into_iter().any(|line| !line.ends_with("<COMMAND>"))
}

/// Returns the commands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}
