//! A manual page of a command, from its description and the parts of its long help.

use std::fmt::Write;

use clap::Command;

use super::options;
use super::roff::{bold, escaped, item, lines, paragraphs, verbatim};
use crate::cli::output::exit::{self, Exit};

/// Beginning of the part about exit codes, as [`exit::help`] writes it.
const CODES: &str = "Exit codes:";
/// Exit codes of a command whose help lists none.
const OTHERS: &[Exit] = &[Exit::Done, Exit::Fault, Exit::Usage, Exit::Later];

/// Place of a page among the others.
pub(super) struct Place<'a> {
    /// Name of the page, such as `supercargo-pull`.
    pub(super) name: &'a str,
    /// Name of the page of the command that this one is below.
    pub(super) parent: Option<&'a str>,
    /// Prefix of the names of the pages of commands below this one.
    pub(super) below: &'a str,
    /// Date, as year, month and day.
    pub(super) date: &'a str,
}

/// Returns the page of a command.
pub(super) fn page(command: &mut Command, place: &Place<'_>) -> String {
    let usage = command.render_usage().to_string();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let parts = Parts::of(&help.unwrap_or_default());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    let mut page = format!(
        ".TH {} 1 {} \"supercargo {}\" \"supercargo manual\"\n.ad l\n.SH NAME\n{} \\- {}",
        escaped(&place.name.to_uppercase()),
        place.date,
        env!("CARGO_PKG_VERSION"),
        escaped(place.name),
        lines(about.trim_end_matches('.')),
    );
    page.push_str(".SH SYNOPSIS\n");
    page.push_str(&synopsis(&usage, &name));
    let description = format!("{}.\n\n{}", long.trim_end_matches('.'), parts.notes.join("\n\n"));
    let _ = write!(page, ".SH DESCRIPTION\n{}", paragraphs(&description, ".PP"));
    page.push_str(&commands(command, place.below));
    page.push_str(&options::sections(command));
    page.push_str(&options::environment(command));
    page.push_str(&options::files(command));
    let usual = || exit::help(&[OTHERS]).trim_start_matches(CODES).trim_start_matches('\n').to_owned();
    let codes = parts.codes.or_else(|| (!command.has_subcommands()).then(usual));
    for (heading, text) in [("\"EXIT STATUS\"", codes), ("EXAMPLES", parts.examples)] {
        if let Some(text) = text {
            let _ = write!(page, ".SH {heading}\n{}", verbatim(&text));
        }
    }
    page.push_str(&see_also(place));
    page
}

/// Parts of a long help.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    notes: Vec<String>,
    codes: Option<String>,
    examples: Option<String>,
}

impl Parts {
    fn of(help: &str) -> Self {
        let mut parts = Self { notes: Vec::new(), codes: None, examples: None };
        let rest = |text: &str| Some(text.trim_start_matches('\n').to_owned());
        for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            let examples = paragraph.strip_prefix("Examples:").or_else(|| paragraph.strip_prefix("Example:"));
            if let Some(text) = paragraph.strip_prefix(CODES) {
                parts.codes = rest(text);
            } else if let Some(text) = examples {
                parts.examples = rest(text);
            } else {
                parts.notes.push(paragraph.to_owned());
            }
        }
        parts
    }
}

/// Returns the forms of the command, each on a line.
fn synopsis(usage: &str, name: &str) -> String {
    let mut page = String::new();
    for form in usage.trim_start_matches("Usage:").lines().map(str::trim).filter(|form| !form.is_empty()) {
        // A line that does not begin with the command continues the form before it.
        let Some(rest) = form.strip_prefix(name) else {
            page.push_str(&lines(form));
            continue;
        };
        let start = if page.is_empty() { "" } else { ".br\n" };
        let _ = writeln!(page, "{start}{}{}", bold(name), escaped(rest));
    }
    page
}

/// Returns the section of the commands below this one; empty if there is none.
fn commands(command: &Command, prefix: &str) -> String {
    let items: String = command
        .get_subcommands()
        .filter(|one| !one.is_hide_set())
        .map(|one| {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            item(&reference(&format!("{prefix}-{}", one.get_name())), &about)
        })
        .collect();
    if items.is_empty() { items } else { format!(".SH COMMANDS\n{items}") }
}

fn see_also(place: &Place<'_>) -> String {
    let pages = ["supercargo", "supercargo-ociartifact", "kubectl-ociartifact"];
    let is_of_cluster = place.parent.is_none() || place.name.contains("ociartifact");
    let pages = pages.iter().copied().filter(|page| *page == "supercargo" || is_of_cluster);
    let mut all: Vec<&str> = place.parent.into_iter().chain(pages).filter(|page| *page != place.name).collect();
    all.sort_unstable();
    all.dedup();
    let pages: Vec<String> = all.iter().map(|page| reference(page)).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", pages.join(",\n"))
}

/// Returns the name of a page, with its section.
fn reference(page: &str) -> String {
    format!("{}(1)", bold(page))
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
        let want = Parts {
            notes: vec!["Does a.\n.then b.".to_owned(), "More.".to_owned()],
            codes: Some("  0  success\n  130  ended".to_owned()),
            examples: Some("  supercargo a 'x\\y' --b".to_owned()),
        };
        assert_eq!(Parts::of(&help), want);
        let mut command = Command::new("a").about("Do a").after_long_help(help).bin_name("supercargo a");
        let place =
            Place { name: "supercargo-a", parent: Some("supercargo"), below: "supercargo-a", date: "2026-01-31" };
        let page = page(&mut command, &place);
        for part in [
            ".TH SUPERCARGO\\-A 1 2026-01-31 ",
            ".SH SYNOPSIS\n\\fBsupercargo a\\fR",
            ".SH DESCRIPTION\nDo a.\n.PP\nDoes a.\n\\&.then b.\n.PP\nMore.\n",
            ".SH \"EXIT STATUS\"\n.nf\n  0  success\n",
            ".SH EXAMPLES\n.nf\n  supercargo a 'x\\ey' \\-\\-b\n",
            ".SH \"SEE ALSO\"\n\\fBsupercargo\\fR(1)\n",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!Parts::of("").notes.iter().any(String::is_empty));
    }
}
