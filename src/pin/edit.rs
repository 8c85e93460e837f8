//! Edits of the references of a text.

use std::ops::Range;

use super::error::{PinError, Problem};
use super::find::{Scope, find};
use super::found::Found;
use crate::oci::{Digest, Reference};

/// Returns the text with the digest that `resolve` returns beside each tag. References without a tag stay.
pub fn pinned(
    text: &str,
    scope: Scope<'_>,
    resolve: impl Fn(&Reference) -> Option<Digest>,
) -> Result<String, PinError> {
    let (mut edits, mut expected) = (Vec::new(), Vec::new());
    for found in find(text, scope)? {
        let digest = match found.tagged() {
            Some(tagged) => Some(resolve(&tagged).ok_or(PinError::new(found.line, Problem::Unresolved(tagged)))?),
            None => None,
        };
        if let Some(digest) = &digest
            && found.reference.digest.as_ref() != Some(digest)
        {
            let slot = found.slot.clone();
            edits.push((slot.write, format!("{}{digest}{}", slot.before, slot.after)));
        }
        expected.push(with_digest(&found, digest.or_else(|| found.reference.digest.clone())));
    }
    checked(replaced(text, edits), scope, &expected)
}

/// Returns the text without the digests beside tags. References without a tag keep theirs.
pub fn unpinned(text: &str, scope: Scope<'_>) -> Result<String, PinError> {
    let (mut edits, mut expected) = (Vec::new(), Vec::new());
    for found in find(text, scope)? {
        let has_both = found.tagged().is_some() && found.reference.digest.is_some();
        if has_both {
            let erase = found.slot.erase.clone().ok_or(PinError::new(found.line, Problem::Layout))?;
            edits.push((erase, String::new()));
        }
        expected.push(with_digest(&found, found.reference.digest.clone().filter(|_| !has_both)));
    }
    checked(replaced(text, edits), scope, &expected)
}

fn with_digest(found: &Found, digest: Option<Digest>) -> (usize, Reference) {
    (found.line, Reference { digest, ..found.reference.clone() })
}

/// Replaces ranges, which do not overlap.
fn replaced(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let (mut all, mut at) = (String::with_capacity(text.len()), 0);
    for (range, new) in edits {
        all.push_str(text.get(at..range.start).unwrap_or_default());
        all.push_str(&new);
        at = range.end;
    }
    all.push_str(text.get(at..).unwrap_or_default());
    all
}

/// Returns the text if it has the expected references.
fn checked(text: String, scope: Scope<'_>, expected: &[(usize, Reference)]) -> Result<String, PinError> {
    let layout = |line| PinError::new(line, Problem::Layout);
    let first = expected.first().map_or(1, |(line, _)| *line);
    let found = find(&text, scope).map_err(|_| layout(first))?;
    let wrong = expected.iter().zip(&found).find(|((_, reference), found)| *reference != found.reference);
    match wrong {
        Some(((line, _), _)) => Err(layout(*line)),
        None if found.len() != expected.len() => Err(layout(first)),
        None => Ok(text),
    }
}
