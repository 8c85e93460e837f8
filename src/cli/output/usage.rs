//! Errors of the option parser, in the form of every other error: one line with a reason and a remedy.

use std::process::ExitCode;

use clap::error::ErrorKind;

use super::complaint::Complaint;
use crate::api::Reason;

/// Prints help or a version, or reports an error of the option parser, and returns the exit code.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !is_help {
        return complaint(&error.render().to_string()).report();
    }
    // A closed stream is no error of the user; help without a command is.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Returns the error of clap's text: a problem of one or more lines, hints, the usage, and a line about `--help`.
fn complaint(text: &str) -> Complaint {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (problem, usage) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
    let problem = problem.split("\n\nFor more information").next().unwrap_or_default();
    let paragraphs = problem.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let problem = paragraphs.collect::<Vec<_>>().join("; ");
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let command: Vec<&str> = usage.split_whitespace().take_while(is_word).collect();
    let command = if command.is_empty() { "supercargo".to_owned() } else { command.join(" ") };
    Complaint::new(Reason::InvalidSpec, problem)
        .with_remedy(format!("Run {command} --help for the form of its options."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_parser_is_one_line() {
        let rows = [
            (
                "error: unexpected argument '--form' found\n\n  tip: a similar argument exists: '--format'\n\nUsage: \
                 supercargo cache prune --format <FORMAT>\n\nFor more information, try '--help'.\n",
                ["'--form' found; tip: a similar argument exists: '--format'", "Run supercargo cache prune --help"],
            ),
            (
                "error: the following required arguments were not provided:\n  --root <DIR>\n  --filename <PATH>\n\nUsage: \
                 supercargo sync --root <DIR>\n\nFor more information, try '--help'.\n",
                ["not provided: --root <DIR> --filename <PATH>", "Run supercargo sync --help"],
            ),
            (
                "error: invalid value 'x' for '--format <FORMAT>'\n  [possible values: text, json]\n\nFor more \
                 information, try '--help'.\n",
                ["'--format <FORMAT>' [possible values: text, json]", "Run supercargo --help"],
            ),
        ];
        for (text, words) in rows {
            let line = complaint(text).to_string();
            assert!(line.starts_with("error: InvalidSpec: ") && line.lines().count() == 1, "{line}");
            for word in words {
                assert!(line.contains(word), "{word}: {line}");
            }
        }
    }
}
