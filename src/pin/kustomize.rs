//! The `images` of a Kustomization: the name, the tag and the digest are keys of one entry.

use std::ops::Range;

use super::error::{PinError, Problem};
use super::found::{Found, parse};
use super::slot::{Slot, one_line};
use super::tree::{Id, Tree};
use crate::oci::Digest;

/// API group of Kustomizations and of components.
pub(super) const GROUP: &str = "kustomize.config.k8s.io";

/// Returns the references of a Kustomization, each with the first byte of its tag.
pub(super) fn find(text: &str, tree: &Tree, document: Id) -> Result<Vec<(usize, Found)>, PinError> {
    let images = tree.get(document, "images").map_or(&[][..], |images| tree.items(images));
    let entries = images.iter().map(|item| entry(text, tree, tree.target(*item)));
    entries.filter_map(Result::transpose).collect()
}

/// Returns the reference of an entry; `None` without a tag, because then nothing could move.
fn entry(text: &str, tree: &Tree, id: Id) -> Result<Option<(usize, Found)>, PinError> {
    tree.check_keys(id)?;
    let name = tree.set(id, "newName").or_else(|| tree.set(id, "name")).and_then(|name| tree.text(name));
    let tag = tree.set(id, "newTag").and_then(|tag| Some((tree.node(tag)?, tree.text(tag)?)));
    let (Some(name), Some((node, tag))) = (name, tag.filter(|(_, tag)| !tag.is_empty())) else { return Ok(None) };
    let mut reference = parse(node.line, &format!("{name}:{tag}"))?;
    let Some(digest) = tree.set(id, "digest").and_then(|digest| tree.node(digest)) else {
        let has_null = tree.get(id, "digest").is_some();
        let slot = if has_null { in_place_of_null(text, tree, id) } else { insertion(text, tree, id) };
        let slot = slot.ok_or(PinError::new(node.line, Problem::Layout))?;
        return Ok(Some((node.span.start, Found { line: node.line, reference, slot })));
    };
    let (value, inner) = one_line(text, digest)?;
    let invalid = |_| PinError::new(digest.line, Problem::Digest(value.to_owned()));
    reference.digest = Some(value.parse::<Digest>().map_err(invalid)?);
    let erase = removal(text, tree, id);
    let slot = Slot { write: inner, before: String::new(), after: String::new(), erase };
    Ok(Some((node.span.start, Found { line: digest.line, reference, slot })))
}

/// Returns the position of a pair of an entry, with the bytes of its key and of its value.
fn pair(tree: &Tree, id: Id, key: &str) -> Option<(usize, Range<usize>, Range<usize>)> {
    let pairs = tree.pairs(id);
    let position = pairs.iter().position(|(name, _)| tree.text(*name) == Some(key))?;
    let (name, value) = pairs.get(position)?;
    Some((position, tree.node(*name)?.span.clone(), tree.node(*value)?.span.clone()))
}

/// Returns the slot of a digest whose key is there with a null.
fn in_place_of_null(text: &str, tree: &Tree, id: Id) -> Option<Slot> {
    let (_, key, value) = pair(tree, id, "digest")?;
    let (write, before) = if value.is_empty() {
        // The place of a value without a byte is that behind its colon.
        let rest = text.get(key.end..)?;
        let at = key.end.saturating_add(rest.len().saturating_sub(rest.trim_start().strip_prefix(':')?.len()));
        (at..at, " ")
    } else {
        (value, "")
    };
    Some(Slot { write, before: before.to_owned(), after: String::new(), erase: None })
}

/// Returns the slot of a new digest: behind the tag, or on a line of its own below it.
fn insertion(text: &str, tree: &Tree, id: Id) -> Option<Slot> {
    let (_, key, value) = pair(tree, id, "newTag")?;
    let slot = |at: usize, before: String, after: &str| {
        Some(Slot { write: at..at, before, after: after.to_owned(), erase: Some(at..at) })
    };
    if tree.is_flow(id) {
        let is_json = text.get(key)?.starts_with('"');
        let (before, after) = if is_json { (", \"digest\": \"", "\"") } else { (", digest: ", "") };
        return slot(value.end, before.to_owned(), after);
    }
    // A value of several lines ends on another line than its key.
    text.get(key.start..value.end).filter(|pair| !pair.contains('\n'))?;
    let indent = text.get(line_start(text, key.start)..key.start)?.chars();
    let indent: String = indent.map(|c| if c == '-' || c == '\u{feff}' { ' ' } else { c }).collect();
    indent.bytes().all(|byte| byte == b' ').then_some(())?;
    let at = line_end(text, value.end);
    // The last line may have no line break: there the first one of the text is a model.
    let model = text.get(at..).filter(|rest| !rest.is_empty()).unwrap_or(text);
    let is_windows = model.find('\n').is_some_and(|end| model.get(..end).is_some_and(|line| line.ends_with('\r')));
    slot(at, format!("{}{indent}digest: ", if is_windows { "\r\n" } else { "\n" }), "")
}

/// Returns the bytes of the digest with its key, and of what separates it from a neighbour.
fn removal(text: &str, tree: &Tree, id: Id) -> Option<Range<usize>> {
    let (position, key, value) = pair(tree, id, "digest")?;
    if position == 0 {
        let (next, _) = tree.pairs(id).get(1)?;
        let next = tree.node(*next)?.span.start;
        let between = text.get(value.end..next)?;
        return between.chars().all(|c| c == ',' || c.is_whitespace()).then_some(key.start..next);
    }
    if tree.is_flow(id) {
        let before = text.get(..key.start)?.trim_end().strip_suffix(',')?;
        return Some(before.len()..value.end);
    }
    let start = line_start(text, key.start);
    text.get(start..key.start)?.bytes().all(|byte| byte == b' ').then_some(())?;
    let before = text.get(..start)?.strip_suffix('\n')?;
    Some(before.strip_suffix('\r').unwrap_or(before).len()..line_end(text, value.end))
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end.saturating_add(1))
}

/// Returns the end of a line, before its line break.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    let line = if line.len() < rest.len() { line.strip_suffix('\r').unwrap_or(line) } else { line };
    at.saturating_add(line.len())
}
