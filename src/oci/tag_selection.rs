//! Selection of a tag by a range of versions. The list of tags is untrusted: tags that are not versions are skipped,
//! and the result does not depend on the order of the list.

use regex::bytes::{Regex, RegexBuilder};
use semver::Version;

use super::reference::is_tag;
use super::version::LooseVersion;
use super::version_range::{ParseRangeError, VersionRange};

/// Maximum length of a filter, in bytes.
const MAX_FILTER: usize = 256;
/// Memory limit of a compiled filter and of its search cache, in bytes. The time per tag grows with it: 1 ms for the
/// worst filter found (release build, longest tag), 1 µs for usual filters.
const MAX_COMPILED: usize = 32 << 10;

/// Rule for selecting a tag: the highest version in a range, among the tags that pass the filter.
#[derive(Clone, Debug)]
pub struct TagSelection {
    range: VersionRange,
    prereleases: bool,
    filter: Option<Regex>,
}

/// Reason why a [`TagSelection`] is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TagSelectionError {
    /// An invalid range.
    #[error("{0}")]
    Range(#[from] ParseRangeError),
    /// The filter is too long.
    #[error("more than {MAX_FILTER} characters")]
    FilterTooLong,
    /// The filter would need too much memory.
    #[error("too large with all repetitions; lower the numbers in braces")]
    FilterTooLarge,
    /// The filter is not a regular expression.
    #[error("invalid regular expression: {0}")]
    Filter(String),
}

/// Shows the range and the filter, for messages.
impl std::fmt::Display for TagSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.range.to_string())?;
        if let Some(filter) = &self.filter {
            write!(f, " that matches {:?}", filter.as_str())?;
        }
        Ok(())
    }
}

impl TagSelection {
    /// Creates a selection. `filter` is a regular expression that must match somewhere in the tag as written; `^` and
    /// `$` anchor it. `\d`, `\w` and `(?i)` are ASCII-only, as tags are. Searching takes linear time.
    pub fn new(range: &str, prereleases: bool, filter: Option<&str>) -> Result<Self, TagSelectionError> {
        let filter = filter.map(compile).transpose()?;
        Ok(Self { range: range.parse()?, prereleases, filter })
    }

    /// Returns the matching tag with the highest version, if any.
    ///
    /// A tag is a version if it parses as a version of three numbers after `_` is replaced by `+`, which Helm writes
    /// as `_` in build metadata. `1` and `1.2` are skipped because publishers move them, and `20250203` because it
    /// would be above everything. All other tags are skipped: names such as `latest`, and the tags of signatures
    /// (`sha256-<hex>.sig`). Among tags with equal versions the longest is selected, and among those the last in byte
    /// order.
    ///
    /// Memory does not grow with the list; the caller limits its length.
    pub fn select<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        tags.into_iter()
            .filter_map(|tag| Some((self.candidate(tag)?, tag)))
            .max_by(|(version, tag), (other, than)| {
                version.cmp_precedence(other).then_with(|| (tag.len(), tag).cmp(&(than.len(), than)))
            })
            .map(|(_, tag)| tag)
    }

    fn candidate(&self, tag: &str) -> Option<Version> {
        if !is_tag(tag) {
            return None;
        }
        let version = LooseVersion::parse(&tag.replace('_', "+")).ok().filter(LooseVersion::is_full)?.exact()?;
        let wanted = self.range.matches(&version, self.prereleases)
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(tag.as_bytes()));
        wanted.then_some(version)
    }
}

fn compile(filter: &str) -> Result<Regex, TagSelectionError> {
    if filter.len() > MAX_FILTER {
        return Err(TagSelectionError::FilterTooLong);
    }
    let mut builder = RegexBuilder::new(filter);
    // Tags are ASCII, so Unicode tables would only enlarge the program.
    builder.unicode(false).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED);
    builder.build().map_err(|error| {
        if matches!(error, regex::Error::CompiledTooBig(_)) {
            return TagSelectionError::FilterTooLarge;
        }
        // The message is a diagram of several lines; the last line has the sentence.
        let text = error.to_string();
        let sentence = text.lines().last().unwrap_or_default();
        TagSelectionError::Filter(sentence.strip_prefix("error: ").unwrap_or(sentence).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::version::ParseVersionError;
    use crate::testing::Random;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn selection(range: &str, prereleases: bool, filter: Option<&str>) -> TagSelection {
        TagSelection::new(range, prereleases, filter).unwrap_or_else(|error| panic!("{range} {filter:?}: {error}"))
    }

    #[test]
    fn highest_version_in_the_range() {
        let rows = [
            ("no tags", "*", "", None),
            ("numbers, not letters", "*", "1.9.0 1.10.0 1.2.0", Some("1.10.0")),
            ("an upper end", ">=1.2.0 <2.0.0", "1.1.0 1.9.3 2.0.0 2.1.0", Some("1.9.3")),
            ("none fits", "^3", "1.0.0 2.0.0", None),
            ("v is kept", "^1", "v1.0.0 v1.2.0 v2.0.0", Some("v1.2.0")),
            ("mixed with and without v", "^1", "v1.0.0 1.2.0 v1.1.0", Some("1.2.0")),
            ("one number is a name", "*", "7 20250203 6.9.9", Some("6.9.9")),
            ("two numbers are a name", "1.x", "1.3 1.2.9", Some("1.2.9")),
            ("a date with leading zeros", ">=2025.1", "2025.02.03 2025.10.01 2025.9.30", Some("2025.10.01")),
            ("not a version", "*", "latest main 1.2.3.4 release-9.0.0 V3.0.0 1.x 3.x.x 2-_ 1.0.0", Some("1.0.0")),
            ("only names", "*", "latest stable", None),
            ("number too large", "*", "18446744073709551616 1.0.0", Some("1.0.0")),
            ("a digest's digits", "*", "sha256-0123 sha512-1.0.0 1.0.0", Some("1.0.0")),
            ("prereleases are passed over", "*", "1.0.0 1.1.0-rc.1", Some("1.0.0")),
            ("the range asks for them", ">=1.0.0-0", "1.0.0 1.1.0-rc.1 1.1.0-rc.2", Some("1.1.0-rc.2")),
            ("a release is above its candidates", ">=1.0.0-0", "1.1.0-rc.9 1.1.0", Some("1.1.0")),
            ("the way Helm writes +", "^1", "1.0.0 1.2.0_linux.7", Some("1.2.0_linux.7")),
            ("prerelease and metadata", "1.2.0-0", "1.2.0-0_b", Some("1.2.0-0_b")),
            ("two _ are not a version", "*", "1.2.0_a_b 1.0.0", Some("1.0.0")),
            ("exact", "1.2.3", "1.2.2 1.2.3 1.2.4", Some("1.2.3")),
            ("a floating tag is x.0.0", ">=1.2.0", "1 1.2 1.2.3", Some("1.2.3")),
            // Equal versions: the longest tag, then the last in byte order.
            ("with v", "^1", "1.0.0 v1.0.0", Some("v1.0.0")),
            ("metadata, longest", "^1", "1.0.0_9 1.0.0_10 1.0.0", Some("1.0.0_10")),
            ("metadata, byte order", "^1", "1.0.0_b 1.0.0_a", Some("1.0.0_b")),
        ];
        for (label, range, tags, want) in rows {
            let selection = selection(range, false, None);
            assert_eq!(selection.select(tags.split_ascii_whitespace()), want, "{label}");
            assert_eq!(selection.select(tags.split_ascii_whitespace().rev()), want, "{label}, backwards");
        }
    }

    #[test]
    fn prereleases_and_filters() {
        let tags = "1.0.0 1.1.0-rc.1 v1.1.0 v1.2.0-rc.1 1.3.0-beta.1_arm 1.2.0-debian latest";
        let rows = [
            (false, None, Some("v1.1.0")),
            (true, None, Some("1.3.0-beta.1_arm")),
            (true, Some("^v?[0-9.]+$"), Some("v1.1.0")),
            (false, Some("^[0-9.]+$"), Some("1.0.0")),
            (true, Some("rc"), Some("v1.2.0-rc.1")),
            (true, Some(r"^\d.*-rc\."), Some("1.1.0-rc.1")),
            (true, Some("(?i)DEBIAN$"), Some("1.2.0-debian")),
            // The filter sees the tag as written: Helm's `_` is not replaced by `+`.
            (true, Some("_arm$"), Some("1.3.0-beta.1_arm")),
            (true, Some(r"\+arm$"), None),
            // A filter does not include prereleases.
            (false, Some("rc"), None),
            (false, Some("latest"), None),
            (false, Some(""), Some("v1.1.0")),
            // Close to the largest filters in practice.
            (
                true,
                Some(
                    r"(?i)^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-(alpha|beta|rc)(\.[0-9]{1,4})?)?(_[0-9a-z.-]{1,64})?$",
                ),
                Some("1.3.0-beta.1_arm"),
            ),
        ];
        for (prereleases, filter, want) in rows {
            let selection = selection("*", prereleases, filter);
            assert_eq!(selection.select(tags.split(' ')), want, "{prereleases} {filter:?}");
        }
    }

    #[test]
    fn tags_of_signatures_and_invalid_tags_are_ignored() {
        let rows = [
            format!("sha256-{HEX}"),
            format!("sha256-{HEX}.sig"),
            format!("sha256-{HEX}.att"),
            format!("sha256-{HEX}.sbom"),
            format!("sha512-{HEX}{HEX}"),
            "9.0.0+build".to_owned(),
            "9.0.0/../../1".to_owned(),
            "9.0.0\n".to_owned(),
            " 9.0.0".to_owned(),
            "9.0.0-\u{e9}".to_owned(),
            format!("9.0.0-{}", "a".repeat(123)),
            String::new(),
        ];
        let selection = selection("*-0", true, None);
        for tag in &rows {
            assert_eq!(selection.select([tag.as_str()]), None, "{tag}");
        }
        let longest = format!("9.0.0-{}", "a".repeat(122));
        assert_eq!(selection.select([longest.as_str()]), Some(longest.as_str()));
    }

    #[test]
    fn refused_selections() {
        use TagSelectionError as E;
        let version = |text: &str, reason| E::Range(ParseRangeError::Version { version: text.to_owned(), reason });
        let long = "a".repeat(MAX_FILTER + 1);
        let rows = [
            ("newest", None, version("newest", ParseVersionError::Shape)),
            ("*", Some(long.as_str()), E::FilterTooLong),
            ("*", Some("(?:a{1000}){1000}"), E::FilterTooLarge),
            ("*", Some("(rc"), E::Filter("unclosed group".to_owned())),
            ("*", Some("a{2,1}"), E::Filter("invalid repetition count range, the start must be <= the end".to_owned())),
        ];
        for (range, filter, want) in rows {
            let found = TagSelection::new(range, false, filter).map(|_| ());
            assert_eq!(found, Err(want), "{range} {filter:?}");
        }
    }

    /// Generates pieces of the grammar mixed with arbitrary bytes.
    fn text(random: &mut Random) -> String {
        let pieces = "1 0 2.3 1.2.3 . x * v - + , || | >= < ! ~ ^ _ rc \u{661}"
            .split(' ')
            .chain([" ", " - "])
            .collect::<Vec<_>>();
        let mut bytes = Vec::new();
        for _ in 0..random.below(12) {
            match random.below(8) {
                0 => bytes.extend(random.next().to_le_bytes()),
                _ => bytes.extend(pieces[random.below(pieces.len())].as_bytes()),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn no_input_causes_a_panic() {
        let mut random = Random::new(0x5EED);
        let (mut ranges, mut selected) = (0, 0);
        for round in 0..20_000 {
            let (range, tag) = (text(&mut random), text(&mut random));
            if round % 40 == 0 {
                let _ = TagSelection::new("*", true, Some(&text(&mut random)));
            }
            let Ok(selection) = TagSelection::new(&range, true, None) else { continue };
            ranges += 1;
            selected += usize::from(selection.select([tag.as_str(), "2.3.1", "1.0.0", "0.0.1"]).is_some());
        }
        assert!(ranges > 300 && selected > 300, "the texts are near the grammar: {ranges}, {selected}");
    }
}
