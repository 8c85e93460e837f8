//! Bytes of a text that a digest takes, or may take.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::error::{PinError, Problem};
use super::tree::{Kind, Node};

/// Bytes that an edit replaces: `write` by `before`, the digest and `after`; `erase` by nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) write: Range<usize>,
    pub(super) before: String,
    pub(super) after: String,
    /// `None` if the digest cannot be removed without other changes.
    pub(super) erase: Option<Range<usize>>,
}

/// Returns the value of a scalar that is written as it is read, with its bytes without the quotes.
pub(super) fn one_line<'a>(text: &str, node: &'a Node) -> Result<(&'a str, Range<usize>), PinError> {
    let fail = |problem| Err(PinError::new(node.line, problem));
    let (value, style) = match &node.kind {
        Kind::Scalar { value, style } => (value, *style),
        Kind::Alias(_) => return fail(Problem::Alias),
        Kind::Sequence(_) | Kind::Mapping { .. } => return fail(Problem::NotText),
    };
    if node.is_tagged {
        return fail(Problem::Tag);
    }
    let quotes = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Literal | ScalarStyle::Folded => return fail(Problem::Block),
    };
    let inner = node.span.start.saturating_add(quotes)..node.span.end.saturating_sub(quotes);
    if text.get(inner.clone()) == Some(value) { Ok((value, inner)) } else { fail(Problem::Escaped) }
}
