//! Rules of `.helmignore`, as Helm 3 evaluates them. They resemble those of `.gitignore`, but are others:
//!
//! * The first rule that ignores an entry decides; no later rule selects it again.
//! * A rule with `!` ignores every entry that it does **not** match.
//! * `*` and `?` match no `/`, and `**` is an error. A pattern without `/` is compared with the last name of the path,
//!   any other with the whole path.

use crate::pattern::{MAX_PATTERN, PatternError};

/// A rule of the file.
#[derive(Debug)]
pub(in crate::pack) struct HelmRule {
    pattern: Vec<char>,
    is_path: bool,
    is_negated: bool,
    only_directories: bool,
}

impl HelmRule {
    /// Parses a line; `None` for an empty line or a comment.
    pub(in crate::pack) fn parse(line: &str) -> Result<Option<Self>, PatternError> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if line.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(line.chars().take(40).collect()));
        }
        let invalid = |problem: &str| PatternError::Syntax { pattern: line.to_owned(), problem: problem.to_owned() };
        if line.contains("**") {
            return Err(invalid("Helm does not support **"));
        }
        let (is_negated, rest) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (only_directories, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
        let pattern: Vec<char> = rest.strip_prefix('/').unwrap_or(rest).chars().collect();
        check(&pattern).map_err(invalid)?;
        Ok(Some(Self { pattern, is_path: rest.contains('/'), is_negated, only_directories }))
    }

    /// Returns true for an entry that the rule ignores.
    pub(in crate::pack) fn ignores(&self, path: &str, is_directory: bool) -> bool {
        let name = if self.is_path { path } else { path.rsplit('/').next().unwrap_or(path) };
        let is_match = (is_directory || !self.only_directories) && is_match(&self.pattern, name);
        is_match != self.is_negated
    }
}

/// One element of a pattern, and the rest behind it.
enum Element<'a> {
    Star,
    Any,
    Char(char),
    /// Ranges of characters, and true if they are excluded.
    Class(Vec<(char, char)>, bool),
    /// An unfinished class or escape.
    Invalid(&'a str),
}

/// Splits a pattern in the syntax of Go's `path.Match`; `None` at its end.
fn next(pattern: &[char]) -> Option<(Element<'_>, &[char])> {
    let (first, rest) = pattern.split_first()?;
    Some(match first {
        '*' => (Element::Star, rest),
        '?' => (Element::Any, rest),
        '\\' => match rest.split_first() {
            Some((escaped, rest)) => (Element::Char(*escaped), rest),
            None => (Element::Invalid("the backslash escapes nothing"), rest),
        },
        '[' => class(rest).unwrap_or((Element::Invalid("the class of characters is not closed"), &[])),
        other => (Element::Char(*other), rest),
    })
}

/// Parses a class behind its opening bracket; `None` if it is not well-formed.
fn class(pattern: &[char]) -> Option<(Element<'_>, &[char])> {
    let (is_negated, mut rest) = pattern.strip_prefix(&['^']).map_or((false, pattern), |rest| (true, rest));
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(&[']']).filter(|_| !ranges.is_empty()) {
            return Some((Element::Class(ranges, is_negated), after));
        }
        let (low, after) = one(rest)?;
        let (high, after) = match after.strip_prefix(&['-']) {
            Some(after) => one(after)?,
            None => (low, after),
        };
        ranges.push((low, high));
        rest = after;
    }
}

/// Returns one character of a class, which may be escaped.
fn one(pattern: &[char]) -> Option<(char, &[char])> {
    match pattern.split_first()? {
        ('-' | ']', _) => None,
        ('\\', rest) => rest.split_first().map(|(escaped, rest)| (*escaped, rest)),
        (other, rest) => Some((*other, rest)),
    }
}

fn check(mut pattern: &[char]) -> Result<(), &str> {
    while let Some((element, rest)) = next(pattern) {
        if let Element::Invalid(problem) = element {
            return Err(problem);
        }
        pattern = rest;
    }
    Ok(())
}

/// Compares a name with a pattern. After a failure only the last `*` is extended: one before it cannot help, because a
/// `*` matches no `/`, so that the last `*` stays in the same part of the path.
fn is_match(mut pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let mut at = 0;
    // The pattern behind the last `*`, and the place up to which that `*` extends.
    let mut retry: Option<(&[char], usize)> = None;
    loop {
        match (next(pattern), name.get(at)) {
            (Some((Element::Star, rest)), _) => {
                retry = Some((rest, at));
                pattern = rest;
            }
            (Some((element, rest)), Some(found)) if fits(&element, *found) => {
                at += 1;
                pattern = rest;
            }
            (None, None) => return true,
            _ => {
                let Some((rest, end)) = retry else { return false };
                if name.get(end).is_none_or(|extended| *extended == '/') {
                    return false;
                }
                retry = Some((rest, end + 1));
                (pattern, at) = (rest, end + 1);
            }
        }
    }
}

fn fits(element: &Element<'_>, found: char) -> bool {
    match element {
        Element::Any => found != '/',
        Element::Char(wanted) => *wanted == found,
        Element::Class(ranges, is_negated) => {
            let is_listed = ranges.iter().any(|(low, high)| (*low..=*high).contains(&found));
            found != '/' && is_listed != *is_negated
        }
        Element::Star | Element::Invalid(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_ignore_what_helm_ignores() {
        // The rule, the entry, true for a directory, and true if it is ignored.
        let rows = [
            ("*.bak", "a.bak", false, true),
            ("*.bak", "d/a.bak", false, true),
            ("d/*.bak", "d/a.bak", false, true),
            ("d/*.bak", "d/e/a.bak", false, false),
            ("/a.bak", "a.bak", false, true),
            ("/a.bak", "d/a.bak", false, false),
            ("tmp/", "tmp", true, true),
            ("tmp/", "tmp", false, false),
            ("tmp/", "d/tmp", true, true),
            ("templates/.?*", "templates/.hidden", false, true),
            ("templates/.?*", "templates/d/.hidden", false, false),
            ("!keep.txt", "keep.txt", false, false),
            ("!keep.txt", "other.txt", false, true),
            ("!keep/", "keep", true, false),
            ("!keep/", "keep", false, true),
            ("a*b*c", "aXbYbZc", false, true),
            ("a*b*c", "aXbYbZ", false, false),
            ("*a/*b", "xa/yb", false, true),
            ("*a/*b", "xa/a/b", false, false),
            ("{a,b}", "{a,b}", false, true),
            ("{a,b}", "a", false, false),
            ("[a-c]x", "bx", false, true),
            ("[^a-c]x", "bx", false, false),
            ("[^a-c]x", "dx", false, true),
            ("[!a]", "!", false, true),
            ("\\*", "*", false, true),
            ("\\*", "a", false, false),
            ("é?", "éü", false, true),
        ];
        for (rule, path, is_directory, want) in rows {
            let parsed = HelmRule::parse(rule).unwrap().unwrap();
            assert_eq!(parsed.ignores(path, is_directory), want, "{rule} {path} {is_directory}");
        }
    }

    #[test]
    fn invalid_rules_are_errors() {
        for none in ["", "  ", "# comment", " # indented"] {
            assert!(HelmRule::parse(none).unwrap().is_none(), "{none:?}");
        }
        for invalid in ["a/**", "[a", "[]", "[a-]", "a\\", "[-a]"] {
            let parsed = HelmRule::parse(invalid);
            assert!(matches!(parsed, Err(PatternError::Syntax { .. })), "{invalid}: {parsed:?}");
        }
        assert!(matches!(HelmRule::parse(&"x".repeat(300)), Err(PatternError::TooLong(_))));
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let rule = HelmRule::parse(&format!("{}b", "*a".repeat(100))).unwrap().unwrap();
        assert!(!rule.ignores(&"a".repeat(4000), false));
    }
}
