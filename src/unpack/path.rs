//! Names from archives and titles: accepted whole or refused, never repaired.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Longest path in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// Longest component in bytes (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;

/// A relative path whose every component is a plain name; empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// Starts with a slash.
    #[error("is absolute")]
    Absolute,
    /// Has a `..` component.
    #[error("has a \"..\" component")]
    Parent,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    Encoding,
    /// A NUL, another control character, or a bidirectional override.
    #[error("has a control character")]
    Control,
    /// A backslash, which is a separator elsewhere.
    #[error("has a backslash")]
    Backslash,
    /// Longer than a filesystem takes.
    #[error("is longer than a path may be (4096 bytes, 255 per component)")]
    TooLong,
    /// Names nothing where something must be named.
    #[error("is empty")]
    Empty,
    /// A whiteout name, which only means something in container images.
    #[error("is a whiteout (.wh.), which only container images have")]
    Whiteout,
    /// A link target outside the tree.
    #[error("points outside the artifact")]
    Escapes,
}

impl EntryPath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a name. `.` components and doubled or trailing slashes mean nothing and are dropped;
    /// anything else that is not a plain name is an error.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        let text = std::str::from_utf8(raw).map_err(|_| PathError::Encoding)?;
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let mut path = String::with_capacity(text.len());
        for component in components(text) {
            check_component(component?)?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(component?);
        }
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        Ok(Self(path))
    }

    /// The path with `/` between its components; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the tree itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of components.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split('/').count() }
    }

    /// The directory that holds it, and its own name; `None` for the root.
    pub fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => Some((Self(parent.to_owned()), name)),
            None if self.is_root() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// What is left behind `prefix`; `None` where the path is not below it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        if prefix.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&prefix.0)?;
        if rest.is_empty() { Some(Self::root()) } else { rest.strip_prefix('/').map(|rest| Self(rest.to_owned())) }
    }

    /// The same for every spelling that a case-insensitive or normalising filesystem takes for one.
    pub fn folded(&self) -> String {
        self.0.nfc().flat_map(char::to_lowercase).collect::<String>().nfc().collect()
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

/// Checks the target of the symbolic link at `link`: relative, and inside the tree by its words.
/// What it really leads to is checked by the kernel once the whole tree exists.
pub fn link_target(link: &EntryPath, raw: &[u8]) -> Result<String, PathError> {
    let text = std::str::from_utf8(raw).map_err(|_| PathError::Encoding)?;
    if text.is_empty() {
        return Err(PathError::Empty);
    }
    if text.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if text.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    let mut depth = link.depth().saturating_sub(1);
    for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
        if component == ".." {
            depth = depth.checked_sub(1).ok_or(PathError::Escapes)?;
        } else {
            check_characters(component)?;
            depth += 1;
        }
    }
    Ok(text.to_owned())
}

fn components(text: &str) -> impl Iterator<Item = Result<&str, PathError>> {
    text.split('/')
        .filter(|component| !matches!(*component, "" | "."))
        .map(|component| if component == ".." { Err(PathError::Parent) } else { Ok(component) })
}

fn check_component(component: &str) -> Result<(), PathError> {
    if component.len() > MAX_COMPONENT {
        return Err(PathError::TooLong);
    }
    if component.starts_with(".wh.") {
        return Err(PathError::Whiteout);
    }
    check_characters(component)
}

fn check_characters(component: &str) -> Result<(), PathError> {
    // Bidirectional overrides make a name read as another one in a terminal.
    let control = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if component.contains(control) {
        return Err(PathError::Control);
    }
    if component.contains('\\') {
        return Err(PathError::Backslash);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_whole_or_refused() {
        let rows: [(&str, &[u8], Result<&str, PathError>); 20] = [
            ("plain", b"a/b.txt", Ok("a/b.txt")),
            ("dot slash", b"./a//b/", Ok("a/b")),
            ("root", b"./", Ok("")),
            ("hidden", b".a/..b/c..", Ok(".a/..b/c..")),
            ("parent", b"../x", Err(PathError::Parent)),
            ("parent inside", b"a/../b", Err(PathError::Parent)),
            ("parent twice", b"a/../../b", Err(PathError::Parent)),
            ("parent at the end", b"a/..", Err(PathError::Parent)),
            ("absolute", b"/etc/passwd", Err(PathError::Absolute)),
            ("doubled root", b"//etc/passwd", Err(PathError::Absolute)),
            ("empty", b"", Err(PathError::Empty)),
            ("NUL", b"a\0b", Err(PathError::Control)),
            ("newline", b"a\nb", Err(PathError::Control)),
            ("bidi", "a\u{202e}txt".as_bytes(), Err(PathError::Control)),
            ("backslash", b"..\\x", Err(PathError::Backslash)),
            ("drive", b"c:\\x", Err(PathError::Backslash)),
            ("not UTF-8", b"\xff", Err(PathError::Encoding)),
            ("whiteout", b"a/.wh.b", Err(PathError::Whiteout)),
            ("long component", &[b'a'; 256], Err(PathError::TooLong)),
            ("longest component", &[b'a'; 255], Ok(std::str::from_utf8(&[b'a'; 255]).unwrap())),
        ];
        for (label, raw, want) in rows {
            assert_eq!(EntryPath::parse(raw).as_ref().map(EntryPath::as_str), want.as_ref().copied(), "{label}");
        }
        assert_eq!(EntryPath::parse("a/".repeat(3000).as_bytes()), Err(PathError::TooLong));
    }

    #[test]
    fn prefixes_end_at_a_component() {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        assert_eq!(path("gen/a").strip_prefix(&path("gen")), Some(path("a")));
        assert_eq!(path("gen").strip_prefix(&path("gen")), Some(EntryPath::root()));
        assert_eq!(path("generator/a").strip_prefix(&path("gen")), None);
        assert_eq!(path("a").strip_prefix(&EntryPath::root()), Some(path("a")));
    }

    #[test]
    fn spellings_that_some_filesystem_takes_for_one_fold_to_one() {
        let folded = |text: &str| EntryPath::parse(text.as_bytes()).unwrap().folded();
        assert_eq!(folded("README"), folded("readme"));
        assert_eq!(folded("e\u{301}"), folded("\u{e9}"));
        assert_ne!(folded("a/b"), folded("ab"));
    }

    #[test]
    fn link_targets_stay_inside_by_their_words() {
        let link = EntryPath::parse(b"a/b/link").unwrap();
        let rows: [(&str, Result<(), PathError>); 7] = [
            ("file", Ok(())),
            ("../x", Ok(())),
            ("../../x", Ok(())),
            ("../../../x", Err(PathError::Escapes)),
            ("c/../../../../x", Err(PathError::Escapes)),
            ("/etc/passwd", Err(PathError::Absolute)),
            ("", Err(PathError::Empty)),
        ];
        for (target, want) in rows {
            assert_eq!(link_target(&link, target.as_bytes()).map(|_| ()), want, "{target}");
        }
    }
}
