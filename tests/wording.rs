//! Every text that a user can meet, in `tests/snapshots`: help, field descriptions, reasons, errors and messages.
//!
//! A changed sentence changes a snapshot, and the review reads it there. Other tests assert reasons and nouns.
//! `cargo wording` rewrites the snapshots.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test over our own files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Command;
use serde_json::Value;
use supercargo::api::{Reason, crd};
use supercargo::cli::{self, Cli};

#[path = "wording/literals.rs"]
mod literals;

/// Lines and columns of the screen that `-h` of each command must fit.
const SCREEN: (usize, usize) = (40, 100);

/// Snapshots of unit tests: `src/controller/report/tests/wording.rs`.
const ELSEWHERE: [&str; 1] = ["conditions"];

/// Snapshots by their file names.
type Snapshots = BTreeMap<String, String>;

#[test]
fn wording_of_help() {
    check(&helps());
}

#[test]
fn wording_of_fields() {
    check(&descriptions());
}

#[test]
fn wording_of_reasons() {
    check(&reasons());
}

#[test]
fn wording_of_messages() {
    check(&messages());
}

#[test]
fn wording_that_is_gone_has_no_snapshot() {
    let texts = [helps(), descriptions(), reasons(), messages()];
    let names = texts.iter().flat_map(BTreeMap::keys).map(String::as_str);
    let want: BTreeSet<&str> = names.chain(ELSEWHERE).collect();
    let files = std::fs::read_dir(root().join("tests/snapshots")).unwrap();
    let files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let found: BTreeSet<&str> = files.iter().filter_map(|name| name.strip_suffix(".snap")).collect();
    assert_eq!(found, want, "remove the snapshots of texts that are gone");
}

#[test]
fn short_help_fits_one_screen_and_long_help_has_every_option() {
    let mut wrong = Vec::new();
    for mut command in commands() {
        let short = command.render_help().to_string();
        let long = command.render_long_help().to_string();
        let own = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let lines = short.lines().count();
        let columns = short.lines().chain(own.lines()).map(|line| line.chars().count()).max().unwrap_or_default();
        if lines > SCREEN.0 || columns > SCREEN.1 {
            wrong.push(format!("{}: {lines} lines, {columns} columns:\n{short}{own}", command.get_name()));
        }
        // A chart runs the controller, and no user.
        let is_typed = command.get_subcommands().next().is_none() && !command.is_hide_set();
        let runs = is_typed && command.get_name() != "controller";
        let help = [&short, &long].map(|help| help.contains("\nExample"));
        assert!(!runs || help == [true, true], "{}: a command that runs has an example: {help:?}", command.get_name());
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(long.contains(&format!("--{option}")), "{}: --{option}", command.get_name());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn check(snapshots: &Snapshots) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, text) in snapshots {
            insta::assert_snapshot!(name.as_str(), text);
        }
    });
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the program and each of its commands. Values of the environment are left out of their help.
fn commands() -> Vec<Command> {
    let mut cli = Cli::program().term_width(SCREEN.1);
    cli.build();
    let (mut all, mut next) = (Vec::new(), vec![cli]);
    while let Some(command) = next.pop() {
        next.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        all.push(command.mut_args(|argument| argument.hide_env_values(true)));
    }
    all
}

fn helps() -> Snapshots {
    let temporary = std::env::temp_dir().display().to_string();
    let help = |mut command: Command| {
        let name = command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-");
        let (short, long) = (command.render_help(), command.render_long_help());
        let text = format!("$ -h\n{short}\n$ --help\n{long}").replace(&temporary, "/tmp");
        (format!("help-{name}"), text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    };
    let helps: Snapshots = commands().into_iter().map(help).collect();
    assert!(helps.len() > 8, "{:?}", helps.keys());
    helps
}

fn descriptions() -> Snapshots {
    let kinds = [("ociartifact", crd::artifact_schema()), ("ociartifactpolicy", crd::policy_schema())];
    let describe = |(kind, schema): (&str, Value)| {
        let mut table = String::new();
        describe(&schema, kind, &mut table);
        (format!("explain-{kind}"), table)
    };
    kinds.into_iter().map(describe).collect()
}

/// Writes the description and the messages of admission of a field and of each field below it.
fn describe(field: &Value, path: &str, table: &mut String) {
    let text = field["description"].as_str().unwrap_or("(no description)").replace('\n', " ");
    let _ = writeln!(table, "{path}: {}", text.replace("  ", " "));
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let _ = writeln!(table, "{path}: refused: {}", rule["message"].as_str().unwrap_or("(no message)"));
    }
    for (name, field) in field["properties"].as_object().into_iter().flatten() {
        describe(field, &format!("{path}.{name}"), table);
    }
    if let Some(items) =
        field.get("items").filter(|items| items.get("description").is_some() || items.get("properties").is_some())
    {
        describe(items, &format!("{path}[]"), table);
    }
}

fn reasons() -> Snapshots {
    let mut table = String::new();
    for &reason in Reason::ALL {
        let (meaning, remedy, command) = (reason.meaning(), reason.remedy(), cli::remedy(reason));
        let _ = writeln!(table, "{reason}\n  meaning     {meaning}\n  in status   {remedy}\n  at a shell  {command}");
        let files = cli::remedy_in_files(reason);
        if files != remedy {
            let _ = writeln!(table, "  in files    {files}");
        }
    }
    Snapshots::from([("reasons".to_owned(), table)])
}

/// Returns the texts in the source: a snapshot for each module at the top, and in it each file.
fn messages() -> Snapshots {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let (mut snapshots, mut seen) = (Snapshots::new(), 0);
    for path in files {
        let mut texts = literals::texts(&std::fs::read_to_string(&path).unwrap());
        // Help of several lines is in the snapshots of help.
        texts.retain(|text| text.text.matches("\\n").count() < 3);
        if texts.is_empty() {
            continue;
        }
        seen += texts.len();
        let path = path.strip_prefix(root()).unwrap();
        let top = path.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let table = snapshots.entry(format!("messages-{top}")).or_default();
        let _ = writeln!(table, "{}", path.display());
        for text in texts {
            let _ = writeln!(table, "  {}{}", if text.is_error { "error: " } else { "" }, text.text);
        }
    }
    assert!(seen > 500, "the test reads the source: {seen}");
    snapshots
}

/// Finds the source files without those of tests, in the order of their names.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
