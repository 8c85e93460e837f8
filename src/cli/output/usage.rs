//! Errors of the option parser, in the form of every other error: one line with a reason and a remedy.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::complaint::Complaint;
use crate::api::Reason;

mod tips;

/// Prints help or a version, or reports an error of the option parser, and returns the exit code.
pub(crate) fn report(mut error: clap::Error, program: &clap::Command, arguments: &[OsString]) -> ExitCode {
    let (path, command) = tips::named(program, arguments);
    let kind = error.kind();
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // The help lists the commands.
        let _ = error.print();
        let complaint = Complaint::new(Reason::InvalidSpec, "no command given");
        return complaint
            .with_remedy(format!("Add one of the commands above; {path} COMMAND --help describes it."))
            .report();
    }
    if !matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let tip = tips::take(&mut error, command, arguments);
        return complaint(&error.render().to_string(), &path, tip).report();
    }
    // A closed stream is no error of the user.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Returns the error of clap's text: a problem of one or more lines, hints, the usage, and a line about `--help`.
fn complaint(text: &str, command: &str, tip: Option<&str>) -> Complaint {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let problem = text.split("\n\nUsage: ").next().unwrap_or_default();
    let problem = problem.split("\n\nFor more information").next().unwrap_or_default();
    let paragraphs = problem.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let problem = paragraphs.collect::<Vec<_>>().join("; ");
    let remedy = match tip {
        Some(tip) => format!("Instead, {tip}; run {command} --help for the form of its options."),
        None => format!("Run {command} --help for the form of its options."),
    };
    Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy)
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
                "supercargo cache prune",
                ["'--form' found; tip: a similar argument exists: '--format'", "Run supercargo cache prune --help"],
            ),
            (
                "error: the following required arguments were not provided:\n  --root <DIR>\n  --filename <PATH>\n\nUsage: \
                 supercargo sync --root <DIR>\n\nFor more information, try '--help'.\n",
                "supercargo sync",
                ["not provided: --root <DIR> --filename <PATH>", "Run supercargo sync --help"],
            ),
            (
                "error: invalid value 'x' for '--format <FORMAT>'\n  [possible values: text, json]\n\nFor more \
                 information, try '--help'.\n",
                "supercargo list",
                ["'--format <FORMAT>' [possible values: text, json]", "Run supercargo list --help"],
            ),
        ];
        for (text, command, words) in rows {
            let line = complaint(text, command, None).to_string();
            assert!(line.starts_with("error: InvalidSpec: ") && line.lines().count() == 1, "{line}");
            for word in words {
                assert!(line.contains(word), "{word}: {line}");
            }
        }
    }
}
