//! `supercargo completion`: completion of commands, options and values in shells.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Arg, Command, ValueHint};
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

/// Words of value names that stand for files, and for directories.
const FILES: [&str; 4] = ["FILE", "PATH", "LAYOUT", "ARCHIVE"];
const DIRECTORIES: [&str; 1] = ["DIR"];

/// Statement of clap's script for bash that offers every word of a command.
const BASH_ALL: &str = "COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )";
/// Function in its place: as long as nothing is typed, commands alone are offered, as by kubectl.
const BASH_OFFER: &str = r#"_supercargo_offer() {
    COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
    if [[ -z ${cur} ]] ; then
        local word words=()
        for word in "${COMPREPLY[@]}" ; do
            [[ ${word} == -* ]] || words+=("${word}")
        done
        if [[ ${#words[@]} -gt 0 ]] ; then
            COMPREPLY=("${words[@]}")
        fi
    fi
}

"#;

pub(crate) fn run(arguments: &Arguments, program: &Command) -> ExitCode {
    let mut script = Vec::new();
    let mut completed = completed(program);
    clap_complete::generate(arguments.shell, &mut completed, "supercargo", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if arguments.shell == Shell::Elvish {
        script.push_str(&elvish(&completed));
    }
    if arguments.shell == Shell::Bash {
        script = format!("{BASH_OFFER}{}", script.replace(BASH_ALL, "_supercargo_offer"));
    }
    match to_stdout(&script) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

/// Returns the description of a command for completion: without hidden commands, and with the kind of each value.
fn completed(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().map(hinted))
        .subcommands(command.get_subcommands().filter(|one| !one.is_hide_set()).map(completed))
        .visible_aliases(command.get_visible_aliases().map(str::to_owned))
        .disable_help_subcommand(command.is_disable_help_subcommand_set());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    shown
}

/// Returns an argument with the kind of its values. Without one, a shell offers files for every option.
fn hinted(argument: &Arg) -> Arg {
    let is_named = |words: &[&str]| {
        let mut names = argument.get_value_names().into_iter().flatten();
        names.any(|name| words.iter().any(|word| name.split('_').any(|part| part == *word)))
    };
    let takes_path = argument.get_value_hint() == ValueHint::AnyPath;
    let hint = if is_named(&DIRECTORIES) {
        ValueHint::DirPath
    } else if takes_path || is_named(&FILES) {
        ValueHint::FilePath
    } else if argument.is_positional() || !argument.get_action().takes_values() {
        // An image can also be a directory, and only the command decides.
        return argument.clone();
    } else {
        ValueHint::Other
    };
    argument.clone().value_hint(hint)
}

/// Returns the part of the script for elvish that completes paths, and options behind arguments: clap's script has no
/// values, and ends with an exception at a word that is no command.
fn elvish(program: &Command) -> String {
    let (mut options, mut commands) = (BTreeMap::new(), Vec::new());
    collect(program, &mut options);
    paths("supercargo", program, &mut commands);
    let options = options.into_iter().filter_map(|(word, takes_path)| takes_path.then_some(word));
    format!(
        "
var supercargo-inner = $edit:completion:arg-completer[supercargo]
var supercargo-paths = [{}]
var supercargo-commands = [{}]
set edit:completion:arg-completer[supercargo] = {{|@words|
    if (and (> (count $words) 2) (has-value $supercargo-paths $words[-2])) {{
        edit:complete-filename $words[-1]
    }} else {{
        var known = [supercargo]
        for word $words[1..-1] {{
            if (has-value $supercargo-commands (str:join ';' [$@known $word])) {{
                set known = [$@known $word]
            }}
        }}
        $supercargo-inner $@known $words[-1]
    }}
}}
",
        options.collect::<Vec<_>>().join(" "),
        commands.join(" ")
    )
}

/// Collects the names of all commands below one, each behind those of its parents.
fn paths(parents: &str, command: &Command, found: &mut Vec<String>) {
    for one in command.get_subcommands() {
        for name in one.get_visible_aliases().chain([one.get_name()]) {
            let path = format!("{parents};{name}");
            found.push(format!("'{path}'"));
            paths(&path, one, found);
        }
    }
}

/// Collects the options of all commands, each with true if all commands that have it take a path there.
fn collect(command: &Command, words: &mut BTreeMap<String, bool>) {
    for option in command.get_arguments() {
        let takes_path = matches!(option.get_value_hint(), ValueHint::FilePath | ValueHint::DirPath);
        let long = option.get_long().map(|long| format!("--{long}"));
        for word in long.into_iter().chain(option.get_short().map(|short| format!("-{short}"))) {
            words.entry(word).and_modify(|all| *all &= takes_path).or_insert(takes_path);
        }
    }
    command.get_subcommands().for_each(|one| collect(one, words));
}
