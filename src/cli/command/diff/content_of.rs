//! Lines that differ in a text file.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use similar::TextDiff;

use super::changes::Change;
use super::side::Tree;
use crate::cli::files::{unreadable, up_to};
use crate::cli::output::complaint::Complaint;
use crate::failure::is_disruptive;
use crate::unpack::staged::Node;

/// Largest file of which lines are compared.
const MAX_FILE: u64 = 1024 * 1024;
/// Maximum number of bytes of all lines. Files behind it are named alone.
const MAX_TEXT: usize = 16 * 1024 * 1024;
/// Time after which the lines of a file are compared less exactly.
const MAX_TIME: Duration = Duration::from_secs(2);
/// Number of equal lines around those that differ.
const CONTEXT: usize = 3;

/// Comparison of the content of a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "text", rename_all = "camelCase")]
pub(super) enum Content {
    /// A unified diff.
    Text(String),
    /// One of the files is not UTF-8 text.
    Binary,
    /// One of the files is too large, or those before it were.
    TooLarge,
}

/// Budget of text for all files.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_TEXT)
    }
}

/// Compares the content of a file; `None` where it is equal or there is no file.
pub(super) fn compare(change: &Change, trees: &[Tree; 2], budget: &mut Budget) -> Result<Option<Content>, Complaint> {
    let [old, new] = [change.old.as_ref(), change.new.as_ref()].map(|node| node.and_then(file));
    if old.is_none() && new.is_none() || old.zip(new).is_some_and(|(old, new)| old == new) {
        return Ok(None);
    }
    if [old, new].into_iter().flatten().any(|(size, _)| size > MAX_FILE) || budget.0 == 0 {
        return Ok(Some(Content::TooLarge));
    }
    let path = change.path.as_str();
    let [before, after] = trees;
    let texts = [(old, before), (new, after)].map(|(side, tree)| match side {
        Some(_) => read(&tree.directory.join(path)),
        None => Ok(Some(String::new())),
    });
    let [old_text, new_text] = texts;
    let (Some(old_text), Some(new_text)) = (old_text?, new_text?) else { return Ok(Some(Content::Binary)) };
    let text = unified(path, [old.is_some(), new.is_some()], [&old_text, &new_text]);
    budget.0 = budget.0.saturating_sub(text.len());
    Ok(Some(if budget.0 == 0 { Content::TooLarge } else { Content::Text(text) }))
}

fn file(node: &Node) -> Option<(u64, &crate::oci::Digest)> {
    match node {
        Node::File { size, digest, .. } => Some((*size, digest)),
        Node::Directory | Node::Link { .. } => None,
    }
}

/// Returns the text of a file; `None` if it is none.
fn read(path: &Path) -> Result<Option<String>, Complaint> {
    let read = fs_err::File::open(path).and_then(|file| up_to(MAX_FILE, file));
    let bytes = read.map_err(|error| unreadable("--content", &error))?;
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

fn unified(path: &str, [in_old, in_new]: [bool; 2], [old, new]: [&str; 2]) -> String {
    let name = |side: &str, is_there: bool| if is_there { format!("{side}/{path}") } else { "/dev/null".to_owned() };
    let diff = TextDiff::configure().timeout(MAX_TIME).diff_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT).header(&name("a", in_old), &name("b", in_new)).to_string()
}

/// Escapes what could change the display of a terminal, and keeps lines and tabs.
pub(super) fn printable_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disruptive(c) && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_a_unified_diff() {
        let text = unified("d/a", [true, true], ["one\ntwo\nthree\n", "one\n2\nthree\n"]);
        assert_eq!(text, "--- a/d/a\n+++ b/d/a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n");
        let added = unified("a", [false, true], ["", "x\n"]);
        assert!(added.starts_with("--- /dev/null\n+++ b/a\n") && added.ends_with("\n+x\n"), "{added}");
        let open = unified("a", [true, true], ["x", "x\n"]);
        assert!(open.contains("No newline"), "{open}");
    }

    #[test]
    fn a_terminal_is_not_controlled() {
        assert_eq!(printable_lines("+\ta\u{1b}[31m\r\n b\u{202e}\n"), "+\ta\\u{1b}[31m\\r\n b\\u{202e}\n");
    }
}
