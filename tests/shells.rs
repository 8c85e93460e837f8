//! Completion in real shells, and manual pages in a real reader of manuals.
//!
//! A shell that is missing fails the test if `CI` is `true`; otherwise its test does nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own program"
)]

use std::path::Path;
use std::process::{Command, Output};

/// Beginnings of command lines, and a word that completes each: commands and options, then the value of an option and
/// that of an argument.
const ROWS: [(&str, &str); 16] = [
    ("supercargo ", "resolve"),
    ("supercargo res", "resolve"),
    ("supercargo cache pr", "prune"),
    ("supercargo resolve --plat", "--platform"),
    ("supercargo --log-le", "--log-level"),
    ("supercargo resolve a.example/b --plat", "--platform"),
    ("supercargo lock -f set", "set-of-files.yaml"),
    ("supercargo sync --filename set", "set-of-files.yaml"),
    ("supercargo sync --lock set", "set-of-files.yaml"),
    ("supercargo verify a --key set", "set-of-files.yaml"),
    ("supercargo login a --docker-config set", "set-of-files.yaml"),
    ("supercargo pull a -o dir", "directory"),
    ("supercargo package --cache-dir dir", "directory"),
    ("supercargo verify a --policy dir", "directory"),
    ("supercargo pull --format j", "json"),
    ("supercargo completion el", "elvish"),
];
/// Number of rows without values other than paths: the script for elvish completes none.
const WITHOUT_VALUES: usize = 14;
/// Number of rows without the value of an argument, which the script for fish does not complete.
const WITHOUT_ARGUMENTS: usize = 15;
/// Number of rows without files: PowerShell completes none for options.
const WITHOUT_FILES: usize = 5;

/// Beginnings of command lines, and a word that must not complete them: a hidden command, files where none is
/// expected, and options as long as commands are expected.
const ABSENT: [(&str, &str); 5] = [
    ("supercargo ociartifact ", "complete"),
    ("supercargo lock --namespace set", "set-of-files.yaml"),
    ("supercargo pull a --timeout set", "set-of-files.yaml"),
    ("supercargo ", "--quiet"),
    ("supercargo cache ", "--quiet"),
];
/// Number of these rows without options, which the script for elvish offers beside commands.
const WITHOUT_OPTIONS: usize = 3;

/// Completes the words in `LINE` as bash does it. Outside of an editor, `compopt` is replaced by its part that adds
/// directories.
const BASH: &str = r#"source "$SCRIPT"
compopt() { if [[ $* == *plusdirs* ]]; then COMPREPLY+=($(compgen -d -- "$cur")); fi; }
read -ra COMP_WORDS <<< "$LINE"
[[ $LINE == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$LINE COMP_POINT=${#LINE}
_supercargo supercargo "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Types `LINE` and a tabulator into an interactive shell, which shows the line as it completes it.
const ZSH: &str = r#"zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= RPROMPT=; autoload -Uz compinit; compinit -u -D; source $SCRIPT; compdef _supercargo supercargo; print REA''DY"
zpty -r shell output '*READY*'
zpty -w -n shell "$LINE"$'\t'
zpty -r shell output "*$WORD*"
print -r -- $output
zpty -d shell
"#;

/// Completes the words in `LINE` as fish does it.
const FISH: &str = "source $SCRIPT; complete -C \"$LINE\"";

/// Calls the completer with the words in `LINE`. The editor, which exists only at a terminal, is replaced by its part
/// that completers use.
const ELVISH: &str = r"use str
var edit: = (ns [
  &completion:=(ns [&arg-completer=[&]])
  &complex-candidate~={|text &display='' &code-suffix=' '| put $text}
  &complete-filename~={|word| put $word*}
])
eval (slurp < $E:SCRIPT) &ns=(ns [&edit:=$edit:]) &on-end={|ns| set edit: = $ns[edit:]}
var words = [(str:split ' ' $E:LINE)]
$edit:completion:arg-completer[supercargo] $@words | each {|word| echo $word}
";

#[test]
fn bash_completes_commands_options_and_values() {
    complete("bash", &ROWS, &ABSENT, &["--norc", "-c", BASH]);
}

#[test]
fn zsh_completes_commands_options_and_values() {
    complete("zsh", &ROWS, &[], &["-f", "-c", ZSH]);
}

#[test]
fn fish_completes_commands_options_and_values() {
    complete("fish", &ROWS[..WITHOUT_ARGUMENTS], &ABSENT, &["--no-config", "-c", FISH]);
}

#[test]
fn elvish_completes_commands_and_options() {
    complete("elvish", &ROWS[..WITHOUT_VALUES], &ABSENT[..WITHOUT_OPTIONS], &["-norc", "-c", ELVISH]);
}

#[test]
fn powershell_has_a_script_with_every_command() {
    let script = printed(&["completion", "powershell"]);
    for (line, word) in &ROWS[..WITHOUT_FILES] {
        assert!(script.contains(*word), "{line}: {word}");
    }
}

#[test]
fn every_command_has_a_manual_page_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let pages = printed(&["man", "--out-dir", path]);
    let names: Vec<&str> = pages.lines().map(|page| page.rsplit('/').next().unwrap()).collect();
    for name in ["supercargo.1", "supercargo-pull.1", "supercargo-cache-prune.1", "kubectl-ociartifact.1"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let page = std::fs::read_to_string(dir.path().join("supercargo-pull.1")).unwrap();
    // An option that -h leaves out, with its text; the exit codes; and no value of this machine.
    let (code, example) = ("\n  5  not found: repository", "\n  supercargo pull ghcr.io/");
    let synopsis = ".SH SYNOPSIS\n\\fBsupercargo pull\\fR [OPTIONS] <IMAGE>\n";
    let headings =
        ["DESCRIPTION", "ARGUMENTS", "OPTIONS", "ENVIRONMENT", "FILES", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""];
    let mut rest = page.as_str();
    for heading in headings.map(|heading| format!("\n.SH {heading}\n")) {
        let (_, after) = rest.split_once(&heading).unwrap_or_else(|| panic!("{heading:?} in this order: {page}"));
        rest = after;
    }
    for text in ["Time limit of the whole command", synopsis, "\n\\fBSUPERCARGO_CACHE_DIR\\fR\n", code, example] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), pages.lines().count(), "a half-written page is left");
    if is_missing("mandoc") {
        return;
    }
    let linted = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(pages.lines()).output().unwrap();
    assert!(linted.status.success(), "{}", text(&linted));
}

/// Returns what the program prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_supercargo")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Completes each row in a shell, in a directory with a file and a directory.
fn complete(shell: &str, rows: &[(&str, &str)], absent: &[(&str, &str)], arguments: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completion");
    std::fs::write(&script, printed(&["completion", shell])).unwrap();
    std::fs::write(dir.path().join("set-of-files.yaml"), "").unwrap();
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    if is_missing(shell) {
        return;
    }
    let present = rows.iter().map(|row| (row, true));
    for ((line, word), is_present) in present.chain(absent.iter().map(|row| (row, false))) {
        // A shell that waits for a word that never comes ends too.
        let mut command = Command::new("timeout");
        command.arg("60").arg(shell).args(arguments).env("HOME", dir.path()).env("TERM", "dumb");
        command.env("SCRIPT", &script).env("LINE", line).env("WORD", word).current_dir(dir.path());
        let output = command.output().unwrap();
        let completed = text(&output);
        let is_as_expected = output.status.success() && completed.contains(*word) == is_present;
        assert!(is_as_expected, "{shell}: {line}: expected {word}: {is_present}; {completed}");
    }
}

/// Returns true if a program is missing, which is an error where everything is installed.
fn is_missing(program: &str) -> bool {
    let is_there = is_there(program);
    assert!(is_there || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is missing");
    !is_there
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).exists())
}
