//! Sections of a manual page that the long help has as one text: notes, exit status, examples.

use std::fmt::Write;

use crate::cli::output::exit::{self, Exit};

/// Beginning of the part about exit codes, as [`exit::help`] writes it.
const CODES: &str = "Exit codes:";
/// Exit codes of a command whose help lists none.
const OTHERS: &[Exit] = &[Exit::Done, Exit::Fault, Exit::Usage, Exit::Later];

/// Returns the sections in roff for a long help; `is_leaf` is false for a command that only has subcommands.
pub(super) fn sections(help: &str, is_leaf: bool) -> String {
    let (mut notes, mut codes, mut examples) = (Vec::new(), None, None);
    for paragraph in help.split("\n\n") {
        if let Some(rest) = paragraph.strip_prefix(CODES) {
            codes = Some(rest.trim_start_matches('\n').to_owned());
        } else if let Some(rest) = paragraph.strip_prefix("Examples:").or_else(|| paragraph.strip_prefix("Example:")) {
            examples = Some(rest.trim_start_matches('\n').to_owned());
        } else if !paragraph.trim().is_empty() {
            notes.push(paragraph);
        }
    }
    let usual = || exit::help(&[OTHERS]).trim_start_matches(CODES).trim_start_matches('\n').to_owned();
    let codes = codes.or_else(|| is_leaf.then(usual));
    let mut page = String::new();
    let mut heading = "NOTES";
    for note in notes {
        let start = if heading.is_empty() { ".PP".to_owned() } else { format!(".SH {heading}") };
        heading = "";
        // Indented lines are lists, whose breaks stay.
        let text = if note.lines().any(|line| line.starts_with(' ')) { verbatim(note) } else { lines(note) };
        // A string takes any text.
        let _ = write!(page, "{start}\n{text}");
    }
    let tables = [("\"EXIT STATUS\"", codes), ("EXAMPLES", examples)];
    for (heading, text) in tables.into_iter().filter_map(|(heading, text)| Some((heading, text?))) {
        let _ = write!(page, ".SH {heading}\n{}", verbatim(&text));
    }
    page
}

/// Returns lines whose breaks and indents stay.
fn verbatim(text: &str) -> String {
    format!(".nf\n{}.fi\n", lines(text))
}

/// Returns lines of text, in which nothing is a request of roff.
fn lines(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{guard}{line}\n")
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_help_are_sections_of_a_page() {
        let help = format!(
            "Does a.\n.then b.\n\nMore.\n\n{}\n  130  ended\n\nExamples:\n  supercargo a 'x\\y' --b",
            exit::help(&[&[Exit::Done]])
        );
        let want = ".SH NOTES\nDoes a.\n\\&.then b.\n.PP\nMore.\n.SH \"EXIT STATUS\"\n.nf\n  0  success\n  130  ended\n.fi\n\
                    .SH EXAMPLES\n.nf\n  supercargo a 'x\\ey' \\-\\-b\n.fi\n";
        assert_eq!(sections(&help, true), want);
        assert!(sections("", true).contains("\n  2  usage error"), "{}", sections("", true));
        assert_eq!(sections("", false), "");
    }
}
