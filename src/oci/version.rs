//! Versions as commonly written: `1`, `v1.2`, `2025.02.03-rc.1`; omitted numbers are zero.
//!
//! The grammar is that of Masterminds/semver v3, which Helm and Flux use. A complete semantic version parses as the
//! specification defines; the crate `semver` represents the value and implements precedence.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// Numbers of a version.
const NUMBERS: usize = 3;

/// A version in a range or a tag: one to three numbers, or a wildcard in place of the last ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LooseVersion {
    /// The lowest version that matches: zero for each number that is omitted or a wildcard.
    floor: Version,
    /// Number of version numbers given, 0 to 3.
    given: usize,
    wildcard: bool,
}

/// Reason why a text is not a valid version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseVersionError {
    /// Not one to three numbers separated by dots.
    #[error("expected up to three numbers, such as 1.2 or v1.2.3-rc.1; x, X or * stands for any number")]
    Shape,
    /// A number above 64 bits.
    #[error("number too large; the maximum is {}", u64::MAX)]
    Number,
    /// A number after a wildcard.
    #[error("number after a wildcard; expected for example 1.x")]
    AfterWildcard,
    /// The part after the dash is not a valid prerelease of a semantic version.
    #[error(
        "invalid prerelease: expected letters, digits and dashes with single dots between, and numbers without leading zeros, such as -rc.1"
    )]
    Prerelease,
    /// The part after the plus sign is not valid build metadata of a semantic version.
    #[error("invalid build metadata: expected letters, digits and dashes with single dots between, such as +build.5")]
    Build,
}

/// Returns true for a tag that names a complete version, such as `1.2.3`, `v1.2.3-rc.1` or `1.2.3_build.5`: tags cannot
/// contain the plus sign of a version.
pub fn is_complete(tag: &str) -> bool {
    let text = tag.strip_prefix('v').unwrap_or(tag).replace('_', "+");
    Version::parse(&text).is_ok()
}

impl LooseVersion {
    /// Parses a version. Leading zeros of the three numbers are dropped: dates such as `2025.02.03` are in use as
    /// tags.
    pub(super) fn parse(text: &str) -> Result<Self, ParseVersionError> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = split(text, '+');
        let (core, pre) = split(text, '-');
        let mut numbers = [0; NUMBERS];
        let mut given = 0;
        let mut wildcard = false;
        if core.split('.').count() > NUMBERS {
            return Err(ParseVersionError::Shape);
        }
        for (part, number) in core.split('.').zip(&mut numbers) {
            if matches!(part, "x" | "X" | "*") {
                wildcard = true;
            } else if wildcard {
                return Err(ParseVersionError::AfterWildcard);
            } else {
                *number = parse_number(part)?;
                given += 1;
            }
        }
        let [major, minor, patch] = numbers;
        let pre = pre.map_or(Ok(Prerelease::EMPTY), parse_prerelease)?;
        let build = build.map_or(Ok(BuildMetadata::EMPTY), parse_build)?;
        Ok(Self { floor: Version { major, minor, patch, pre, build }, given, wildcard })
    }

    /// The lowest version that matches.
    pub(super) fn floor(&self) -> &Version {
        &self.floor
    }

    /// The number of version numbers given, 0 to 3.
    pub(super) fn given(&self) -> usize {
        self.given
    }

    /// Returns true if all three numbers are given.
    pub(super) fn is_full(&self) -> bool {
        self.given == NUMBERS
    }

    /// Returns the version unless it contains a wildcard.
    pub(super) fn exact(self) -> Option<Version> {
        (!self.wildcard).then_some(self.floor)
    }

    /// Compares the first `count` numbers of `version` to ours; ignores prereleases.
    pub(super) fn compare_numbers(&self, version: &Version, count: usize) -> Ordering {
        let numbers = |v: &Version| [v.major, v.minor, v.patch].into_iter().take(count);
        numbers(version).cmp(numbers(&self.floor))
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn parse_number(text: &str) -> Result<u64, ParseVersionError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseVersionError::Shape);
    }
    text.parse().map_err(|_| ParseVersionError::Number)
}

// The crate treats an empty text as absent; here a dash or plus sign without a following part is an error.

fn parse_prerelease(text: &str) -> Result<Prerelease, ParseVersionError> {
    let parsed = Prerelease::new(text).ok().filter(|pre| !pre.is_empty());
    parsed.ok_or(ParseVersionError::Prerelease)
}

fn parse_build(text: &str) -> Result<BuildMetadata, ParseVersionError> {
    let parsed = BuildMetadata::new(text).ok().filter(|build| !build.is_empty());
    parsed.ok_or(ParseVersionError::Build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_version_has_three_numbers() {
        for tag in ["1.2.3", "v1.2.3", "1.2.3-rc.1", "1.2.3_build.5"] {
            assert!(is_complete(tag), "{tag}");
        }
        for tag in ["1", "1.2", "latest", "1.2.x", "2025.02.03", "vv1.2.3", "sha256-0123", "1.2.3.4"] {
            assert!(!is_complete(tag), "{tag}");
        }
    }

    #[test]
    fn versions_are_read_loosely() {
        use ParseVersionError as E;
        let rows = [
            ("1", Ok("1.0.0")),
            ("v1.2", Ok("1.2.0")),
            ("1.2.3", Ok("1.2.3")),
            ("2025.02.03-rc.1", Ok("2025.2.3-rc.1")),
            ("0001", Ok("1.0.0")),
            ("1-rc", Ok("1.0.0-rc")),
            ("1.2.3-a-b.7+c-d.007", Ok("1.2.3-a-b.7+c-d.007")),
            ("1.2.3+c-d", Ok("1.2.3+c-d")),
            ("1.2.3--", Ok("1.2.3--")),
            ("18446744073709551615", Ok("18446744073709551615.0.0")),
            ("18446744073709551616", Err(E::Number)),
            ("1.18446744073709551616", Err(E::Number)),
            ("", Err(E::Shape)),
            ("v", Err(E::Shape)),
            ("vv1", Err(E::Shape)),
            ("V1", Err(E::Shape)),
            ("1.", Err(E::Shape)),
            (".1", Err(E::Shape)),
            ("1..2", Err(E::Shape)),
            ("1.2.3.4", Err(E::Shape)),
            ("+1", Err(E::Shape)),
            ("-1", Err(E::Shape)),
            ("1 ", Err(E::Shape)),
            ("\u{661}", Err(E::Shape)),
            ("latest", Err(E::Shape)),
            ("1.x.3", Err(E::AfterWildcard)),
            ("1.2.3-", Err(E::Prerelease)),
            ("1.2.3-a..b", Err(E::Prerelease)),
            ("1.2.3-01", Err(E::Prerelease)),
            ("1.2.3-\u{e9}", Err(E::Prerelease)),
            ("1.2.3+", Err(E::Build)),
            ("1.2.3+a+b", Err(E::Build)),
        ];
        for (text, want) in rows {
            let found = LooseVersion::parse(text).map(|loose| loose.exact().unwrap().to_string());
            assert_eq!(found, want.map(str::to_owned), "{text}");
        }
        assert_eq!(LooseVersion::parse("1.x").unwrap().exact(), None);
    }
}
