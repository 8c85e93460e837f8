//! Paths from names in archives and titles: accepted or rejected, never repaired.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Maximum length of a link's target, in bytes (`PATH_MAX` without the trailing NUL).
const MAX_TARGET: usize = 4095;
/// Prefix of whiteout names (image-spec layer.md, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// Name of an opaque whiteout after the prefix; it hides everything in its directory.
const OPAQUE: &str = ".wh..opq";

/// A relative path in which every component is a plain name; empty for the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);

/// Reason why a name is rejected.
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
    /// A NUL, another control character, an end of a line or paragraph, or a bidirectional override.
    #[error("has a control character")]
    Control,
    /// Begins with a drive letter.
    #[error("begins with a drive letter")]
    Drive,
    /// A backslash, which is a separator on other systems.
    #[error("has a backslash")]
    Backslash,
    /// A link's target that is longer than the kernel accepts.
    #[error("is longer than 4095 bytes")]
    TooLong,
    /// An empty name or target.
    #[error("is empty")]
    Empty,
    /// A whiteout outside of a container image, or a malformed one.
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

    /// Parses a name. `.` components and doubled or trailing slashes are dropped; anything else that is not a plain
    /// name is an error. The length is not limited here.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        let text = std::str::from_utf8(raw).map_err(|_| PathError::Encoding)?;
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if let [letter, b':', b'/' | b'\\', ..] = raw
            && letter.is_ascii_alphabetic()
        {
            return Err(PathError::Drive);
        }
        let mut path = String::with_capacity(text.len());
        for component in components(text) {
            let component = component?;
            check_characters(component)?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(component);
        }
        Ok(Self(path))
    }

    /// The components, separated by `/`; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true for the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true for a path in a `.git` directory, whose configuration names programs that Git runs, under every
    /// spelling that a filesystem takes for it.
    pub fn is_in_git(&self) -> bool {
        self.0.split('/').any(is_git)
    }

    /// Number of components.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split('/').count() }
    }

    /// Returns the parent directory and the last component; `None` for the root.
    pub fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => Some((Self(parent.to_owned()), name)),
            None if self.is_root() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// Returns the path relative to `prefix`; `None` if it is neither `prefix` nor below it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        if prefix.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&prefix.0)?;
        if rest.is_empty() { Some(Self::root()) } else { rest.strip_prefix('/').map(|rest| Self(rest.to_owned())) }
    }

    /// Returns a form that is equal for all paths that some filesystem treats as equal: Unicode forms, case,
    /// ligatures, and invisible characters.
    pub fn folded(&self) -> Cow<'_, str> {
        if self.0.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return Cow::Borrowed(&self.0);
        }
        if self.0.is_ascii() {
            // Same result as below, which would take longer than everything else that is done for a small file.
            return Cow::Owned(self.0.to_ascii_lowercase());
        }
        // Upper case first, which unifies "ß" with "ss", and "ſ" with "s". "ı" equals "i" only in Turkish.
        let folded = self.0.nfkd().filter(|c| !is_unseen(*c)).flat_map(|c| match c {
            '\u{131}' => vec![c],
            _ => c.to_uppercase().flat_map(char::to_lowercase).collect(),
        });
        Cow::Owned(folded.nfkd().collect())
    }

    /// Returns the meaning of the path in a layer of a container image. Fails for a malformed whiteout.
    pub fn in_image(&self) -> Result<Meaning, PathError> {
        let Some((parent, name)) = self.split() else { return Ok(Meaning::Entry) };
        if parent.has_whiteout() {
            return Err(PathError::Whiteout);
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Meaning::Entry),
            Some(OPAQUE) => Ok(Meaning::Opaque(parent)),
            // Metadata of AUFS, which is obsolete.
            Some(hidden) if hidden.starts_with(WHITEOUT) => Err(PathError::Whiteout),
            Some("" | "." | "..") => Err(PathError::Whiteout),
            Some(hidden) if parent.is_root() => Ok(Meaning::Whiteout(Self(hidden.to_owned()))),
            Some(hidden) => Ok(Meaning::Whiteout(Self(format!("{parent}/{hidden}")))),
        }
    }

    /// Returns true if a component is the name of a whiteout.
    pub fn has_whiteout(&self) -> bool {
        self.0.split('/').any(|component| component.starts_with(WHITEOUT))
    }
}

/// Meaning of a name in a layer of a container image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// An entry of the layer.
    Entry,
    /// A whiteout: this path of earlier layers is removed.
    Whiteout(EntryPath),
    /// An opaque whiteout: everything that earlier layers have in this directory is removed.
    Opaque(EntryPath),
}

/// Returns true for invisible characters (Unicode `Default_Ignorable_Code_Point`, those in use), which some
/// filesystems ignore in comparisons.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

/// Returns true for a name that Git refuses to check out, because some filesystem takes it for `.git`
/// (`core.protectHFS`, `core.protectNTFS`): case is ignored, by HFS+ also invisible characters, by NTFS what follows a
/// colon, and dots and spaces at the end; its short name there is `git~1`.
fn is_git(name: &str) -> bool {
    const INVISIBLE: [std::ops::RangeInclusive<char>; 4] =
        ['\u{200c}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{206a}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    let seen: String = name.chars().filter(|c| !INVISIBLE.iter().any(|range| range.contains(c))).collect();
    let stem = seen.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    [".git", "git~1"].iter().any(|git| stem.eq_ignore_ascii_case(git))
}

/// Checks the target of the symbolic link at `link` lexically: relative, and inside the tree. The kernel checks the
/// resolved target once the whole tree exists.
pub fn link_target(link: &EntryPath, raw: &[u8]) -> Result<String, PathError> {
    let text = std::str::from_utf8(raw).map_err(|_| PathError::Encoding)?;
    if text.is_empty() {
        return Err(PathError::Empty);
    }
    if text.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if text.len() > MAX_TARGET {
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

fn check_characters(component: &str) -> Result<(), PathError> {
    // Bidirectional overrides make a name look like another one in a terminal; U+2028 and U+2029 begin a new line.
    let control = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if component.contains(control) {
        return Err(PathError::Control);
    }
    if component.contains('\\') {
        return Err(PathError::Backslash);
    }
    Ok(())
}

/// Truncates an untrusted name for display.
pub(crate) fn shortened(name: &str) -> String {
    const LONGEST: usize = 120;
    if name.chars().count() <= LONGEST { name.to_owned() } else { name.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_recognized_under_every_spelling_of_a_filesystem() {
        let spellings = [".git", ".GIT", "GIT~1", ".git.", ".Git . ", ".g\u{200c}it", "\u{feff}.git", ".git::$INDEX"];
        for name in spellings {
            let path = EntryPath(format!("a/{name}/config"));
            assert!(path.is_in_git(), "{name:?}");
        }
        for name in ["git", ".gitignore", ".github", "git~2", "a.git", ".git-blame"] {
            assert!(!EntryPath(name.to_owned()).is_in_git(), "{name:?}");
        }
    }

    #[test]
    fn names_are_accepted_unchanged_or_rejected() {
        let rows: [(&str, &[u8], Result<&str, PathError>); 18] = [
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
            ("line separator", "a\u{2028}b".as_bytes(), Err(PathError::Control)),
            ("bidi", "a\u{202e}txt".as_bytes(), Err(PathError::Control)),
            ("backslash", b"..\\x", Err(PathError::Backslash)),
            ("drive", b"c:\\x", Err(PathError::Drive)),
            ("not UTF-8", b"\xff", Err(PathError::Encoding)),
        ];
        for (label, raw, want) in rows {
            assert_eq!(EntryPath::parse(raw).as_ref().map(EntryPath::as_str), want.as_ref().copied(), "{label}");
        }
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
    fn spellings_that_collide_on_some_filesystem_fold_to_one() {
        let folded = |text: &str| EntryPath::parse(text.as_bytes()).unwrap().folded().into_owned();
        let same = [
            ("README", "readme"),
            ("e\u{301}", "\u{e9}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{fb01}le", "file"),
            ("a\u{200d}b", "ab"),
            ("\u{212a}", "k"),
            ("\u{212a}", "K"),
            ("\u{3a3}", "\u{3c2}"),
        ];
        for (one, other) in same {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        assert_ne!(folded("a/b"), folded("ab"));
        assert_ne!(folded("\u{131}"), folded("i"));
    }

    #[test]
    fn whiteouts_are_parsed_to_the_hidden_path() {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        let rows = [
            ("a/b", Ok(Meaning::Entry)),
            ("a/.wh.b", Ok(Meaning::Whiteout(path("a/b")))),
            (".wh.b", Ok(Meaning::Whiteout(path("b")))),
            ("a/.wh..wh..opq", Ok(Meaning::Opaque(path("a")))),
            (".wh..wh..opq", Ok(Meaning::Opaque(EntryPath::root()))),
            ("a/.wh.", Err(PathError::Whiteout)),
            ("a/.wh...", Err(PathError::Whiteout)),
            (".wh.a/b", Err(PathError::Whiteout)),
            (".wh..wh.plnk", Err(PathError::Whiteout)),
        ];
        for (text, want) in rows {
            assert_eq!(path(text).in_image(), want, "{text}");
        }
    }

    #[test]
    fn link_targets_stay_inside_lexically() {
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
