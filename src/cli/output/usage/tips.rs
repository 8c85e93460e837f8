//! Tips about options of other tools and misplaced arguments, in place of those of the option parser.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// Beginning of options that give up security: none is suggested.
const INSECURE: &str = "--insecure-";
/// Values of `-o` in other tools.
const FORMATS: [&str; 4] = ["json", "yaml", "text", "table"];
/// Options of other tools, the option that the command must have, and the tip.
const OPTIONS: [(&str, &str, &str); 3] = [
    ("--insecure-ignore-tlog", "transparency-log", "use --transparency-log ignored"),
    ("--password", "password-stdin", "use --password-stdin"),
    ("-p", "password-stdin", "use --password-stdin"),
];

/// Returns the words of the command that the arguments name, as the user knows it, and the command.
pub(super) fn named<'a>(program: &'a Command, arguments: &[OsString]) -> (String, &'a Command) {
    let is_plugin = arguments.first().is_some_and(|name| name == "kubectl");
    let (mut words, mut command) = (vec![if is_plugin { "kubectl" } else { program.get_name() }], program);
    for word in arguments.iter().skip(1).take_while(|word| *word != "--") {
        // A value of an option before the command can have the name of no command.
        if let Some(next) = command.find_subcommand(word) {
            words.push(next.get_name());
            command = next;
        }
    }
    (words.join(" "), command)
}

/// Returns the tip for an error. Suggestions of the parser that mislead are removed from the error.
pub(super) fn take(error: &mut Error, command: &Command, arguments: &[OsString]) -> Option<&'static str> {
    let names = |value: &ContextValue| {
        if let ContextValue::String(name) = value {
            vec![name.clone()]
        } else if let ContextValue::Strings(names) = value {
            names.clone()
        } else {
            Vec::new()
        }
    };
    let suggested = |kind| error.get(kind).map(names).unwrap_or_default();
    if suggested(ContextKind::SuggestedArg).iter().any(|name| name.starts_with(INSECURE)) {
        error.remove(ContextKind::SuggestedArg);
    }
    let commands = error.get(ContextKind::SuggestedSubcommand).map(names).unwrap_or_default();
    let is_hidden = |name: &String| command.find_subcommand(name).is_some_and(Command::is_hide_set);
    if commands.iter().any(is_hidden) {
        error.remove(ContextKind::SuggestedSubcommand);
        let shown: Vec<_> = commands.into_iter().filter(|name| !is_hidden(name)).collect();
        if !shown.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(shown));
        }
    }
    let tip = tip(error, command, arguments)?;
    for kind in [ContextKind::SuggestedArg, ContextKind::Suggested, ContextKind::SuggestedSubcommand] {
        error.remove(kind);
    }
    Some(tip)
}

fn tip(error: &Error, command: &Command, arguments: &[OsString]) -> Option<&'static str> {
    let has = |name: &str| command.get_arguments().any(|one| one.get_long() == Some(name));
    let argument = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) => argument,
        // One file in place of two sides.
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            let is_positional = missing.iter().all(|one| one.starts_with('<'));
            return (is_positional && has("filename")).then_some("name files with -f");
        }
        _ => return None,
    };
    if let Some((_, _, tip)) = OPTIONS.iter().find(|(name, option, _)| argument == name && has(option)) {
        return Some(tip);
    }
    let is_output = ["-o", "--output"].contains(&argument.as_str());
    if is_output && has("format") && FORMATS.iter().any(|format| is_value(arguments, argument, format)) {
        return Some("use --format json");
    }
    if argument.starts_with('-') {
        return None;
    }
    if has("filename") {
        return Some("name files with -f");
    }
    // A second positional is the place of the content in other tools.
    let writes_directory = |one: &clap::Arg| {
        let is_directory = |name: &clap::builder::Str| name.as_str() == "DIR";
        one.get_short() == Some('o') && one.get_value_names().is_some_and(|names| names.iter().any(is_directory))
    };
    command.get_arguments().any(writes_directory).then_some("name the directory with -o")
}

/// Returns true if an option has the value in the arguments, as its own argument or in the same one.
fn is_value(arguments: &[OsString], option: &str, value: &str) -> bool {
    let joined = [format!("{option}{value}"), format!("{option}={value}")];
    arguments.windows(2).any(|pair| matches!(pair, [name, next] if name == option && next == value))
        || arguments.iter().any(|one| joined.iter().any(|joined| one == joined.as_str()))
}
