//! Text in roff, the format of manual pages.

/// Returns lines whose breaks and indents stay.
pub(super) fn verbatim(text: &str) -> String {
    format!(".nf\n{}.fi\n", lines(text))
}

/// Returns paragraphs, each begun by the request `start`; the first one follows its heading without it.
pub(super) fn paragraphs(text: &str, start: &str) -> String {
    let mut all = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        if !all.is_empty() {
            all.push_str(start);
            all.push('\n');
        }
        // Indented lines are lists, whose breaks stay.
        let is_list = paragraph.lines().any(|line| line.starts_with(' '));
        all.push_str(&if is_list { verbatim(paragraph) } else { lines(paragraph) });
    }
    all
}

/// Returns lines of text, in which nothing is a request of roff.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(|line| escaped(line.trim_end()) + "\n").collect()
}

/// Returns a line of text, in which nothing is a request of roff.
pub(super) fn escaped(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}", line.replace('\\', "\\e").replace('-', "\\-"))
}

pub(super) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

pub(super) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

/// Returns an item of a list: a term, and its text.
pub(super) fn item(term: &str, text: &str) -> String {
    format!(".TP\n{term}\n{}", paragraphs(text, ".IP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_request() {
        assert_eq!(lines(".a\n'b \\ --c"), "\\&.a\n\\&'b \\e \\-\\-c\n");
        assert_eq!(paragraphs("a\n\nb\n  c\n\n\n", ".PP"), "a\n.PP\n.nf\nb\n  c\n.fi\n");
        assert_eq!(item(&bold("--x"), "a\n\nb"), ".TP\n\\fB\\-\\-x\\fR\na\n.IP\nb\n");
    }
}
