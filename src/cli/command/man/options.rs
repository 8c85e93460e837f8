//! Arguments and options of a command in a manual page, and the variables and files that they stand for.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

use super::roff::{bold, escaped, italic, item};

/// Heading of the options that clap gives none.
const OPTIONS: &str = "OPTIONS";
/// Variables of the commands that use the credentials of a user.
const CREDENTIALS: [(&str, &str); 3] = [
    ("OCI_USERNAME, OCI_PASSWORD", "User and password for the registry of the argument, if both are set."),
    ("REGISTRY_AUTH_FILE", "File with credentials, as for podman."),
    ("DOCKER_CONFIG", "Directory of the configuration of docker. Default: ~/.docker."),
];
/// Variables of every command.
const ALWAYS: [(&str, &str); 2] = [
    ("RUST_LOG", "Filter of the log, in place of the log level."),
    ("NO_COLOR, CLICOLOR_FORCE, TERM", "Colours on a terminal: none, always, or by the terminal's kind."),
];
/// Files of the commands with an option.
const FILES: [(&str, &str, &str); 4] = [
    ("docker_config", "~/.docker/config.json", "Credentials of registries, as docker stores them."),
    ("cache_dir", "~/.cache/supercargo/artifacts", "Cache of artifacts, below XDG_CACHE_HOME if it is set."),
    ("lock", "supercargo.lock.yaml", "Digests of the artifacts, beside the first file of --filename."),
    ("locked", "supercargo.record", "Files that sync wrote into directories, beside the lock."),
];

/// Returns the sections of arguments and options.
pub(super) fn sections(command: &Command) -> String {
    let mut page = String::new();
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    for positional in shown().filter(|argument| argument.is_positional()) {
        start(&mut page, "ARGUMENTS");
        page.push_str(&item(&term(positional), &text(positional)));
        page.push_str(&values(positional));
    }
    let mut headings: Vec<Option<&str>> = vec![None];
    for option in shown() {
        if !headings.contains(&option.get_help_heading()) {
            headings.push(option.get_help_heading());
        }
    }
    start(&mut page, OPTIONS);
    for heading in headings {
        if let Some(heading) = heading {
            let _ = writeln!(page, ".SS {}", quoted(heading));
        }
        for option in shown().filter(|one| !one.is_positional() && one.get_help_heading() == heading) {
            page.push_str(&item(&term(option), &text(option)));
            page.push_str(&values(option));
        }
    }
    page
}

/// Returns the section of the variables that options and every command read.
pub(super) fn environment(command: &Command) -> String {
    let mut page = String::from(".SH ENVIRONMENT\n");
    let options = command.get_arguments().filter(|option| !option.is_hide_set());
    for option in options {
        if let (Some(variable), Some(long)) = (option.get_env(), option.get_long()) {
            page.push_str(&item(&bold(&variable.to_string_lossy()), &format!("Value of --{long}.")));
        }
    }
    let credentials: &[_] = if has(command, "docker_config") { &CREDENTIALS } else { &[] };
    for (variables, text) in credentials.iter().chain(&ALWAYS) {
        page.push_str(&item(&bold(variables), text));
    }
    page
}

/// Returns the section of files that the command reads or writes; empty if it has none.
pub(super) fn files(command: &Command) -> String {
    let mut page = String::new();
    for (_, path, text) in FILES.iter().filter(|(option, ..)| has(command, option)) {
        start(&mut page, "FILES");
        page.push_str(&item(&italic(path), text));
    }
    page
}

/// Adds a heading, unless the page has it.
fn start(page: &mut String, heading: &str) {
    let heading = format!(".SH {heading}\n");
    if !page.contains(&heading) {
        page.push_str(&heading);
    }
}

fn has(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|one| one.get_id() == option)
}

fn quoted(heading: &str) -> String {
    format!("\"{}\"", escaped(&heading.replace('"', "'")))
}

/// Returns the names of an argument or option, with its values.
fn term(argument: &Arg) -> String {
    let names: Vec<&str> = argument.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
    let values = names.iter().map(|name| italic(name)).collect::<Vec<_>>().join(" ");
    if argument.is_positional() {
        return if values.is_empty() { italic(&argument.get_id().as_str().to_uppercase()) } else { values };
    }
    let short = argument.get_short().map(|short| bold(&format!("-{short}")));
    let long = argument.get_long().map(|long| bold(&format!("--{long}")));
    let mut term = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if argument.get_action().takes_values() && !values.is_empty() {
        let _ = write!(term, " {values}");
    }
    if matches!(argument.get_action(), ArgAction::Count) {
        term.push_str("...");
    }
    term
}

/// Returns the help of an argument, with its default.
fn text(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.trim_end().to_owned();
    if text.ends_with(|last: char| last.is_alphanumeric() || last == ')' || last == '`') {
        text.push('.');
    }
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = defaults.filter(|value| !value.is_empty()).collect::<Vec<_>>().join(", ");
    if argument.get_action().takes_values() && !argument.is_hide_default_value_set() && !defaults.is_empty() {
        // A line can be broken at a space alone.
        let _ = write!(text, "\n\nDefault: {}.", defaults.replace(',', ", ").replace(",  ", ", "));
    }
    text
}

/// Returns the list of possible values; empty if there is none.
fn values(argument: &Arg) -> String {
    let possible = argument.get_possible_values();
    let mut items = String::new();
    for value in possible.iter().filter(|value| !value.is_hide_set()) {
        if let Some(help) = value.get_help() {
            items.push_str(&item(&bold(value.get_name()), &help.to_string()));
        } else if argument.get_action().takes_values() {
            let _ = write!(items, ".TP\n{}\n", bold(value.get_name()));
        }
    }
    if items.is_empty() || !argument.get_action().takes_values() {
        return String::new();
    }
    format!(".RS\n{items}.RE\n")
}
