//! Ranges of versions, in the syntax of Masterminds/semver v3, which Helm and Flux use.
//!
//! docs/semver.md documents the syntax and the intended differences. The crate `semver` has ranges too, but with
//! Cargo's semantics: there `1.2` extends to 2.0.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use semver::Version;

use super::version::{LooseVersion, ParseVersionError};

/// Maximum length of a range, in bytes. It also limits the number of comparators.
const MAX_RANGE: usize = 256;
/// Characters of operators, and characters often mistaken for operators.
const OPERATOR_SIGNS: [char; 8] = ['=', '!', '<', '>', '~', '^', '|', '&'];

/// A range of versions: groups separated by `||`, one of which must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    groups: Vec<Group>,
}

/// Comparators that must all match.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    comparators: Vec<Comparator>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: LooseVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Reason why a text is not a valid [`VersionRange`]. Each variant names the invalid part.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseRangeError {
    /// The range is too long.
    #[error("the range has more than {MAX_RANGE} characters")]
    TooLong,
    /// A missing version: an empty range, an empty side of `||`, or an operator alone.
    #[error("no version in \"{0}\"; expected for example >=1.2.0 <2.0.0, or * for any")]
    Missing(String),
    /// An unknown operator.
    #[error("unknown operator \"{0}\"; expected = != > < >= <= ~ ^, a space or comma for and, || for or")]
    Operator(String),
    /// Two comparators without a separator.
    #[error("no separator before \"{0}\"; expected a space, a comma or ||")]
    Separator(String),
    /// A dash that is not between two versions without operators.
    #[error("invalid dash in \"{0}\": expected a version without operator on both sides, such as 1.2 - 1.4")]
    Hyphen(String),
    /// An invalid version.
    #[error("invalid version \"{version}\": {reason}")]
    Version {
        /// The version as written.
        version: String,
        /// The syntax error.
        reason: ParseVersionError,
    },
    /// A comparator that matches no version, such as `>*`.
    #[error("no version can match \"{0}\"; write * for any")]
    MatchesNothing(String),
}

impl VersionRange {
    /// Returns true if `version` is in the range. Build metadata is ignored.
    ///
    /// A prerelease is in the range only if `prereleases` is true, or if a comparator of the same
    /// group has a prerelease of its own, such as `>=1.2.0-0`.
    pub fn matches(&self, version: &Version, prereleases: bool) -> bool {
        self.groups.iter().any(|group| group.matches(version, prereleases))
    }
}

impl FromStr for VersionRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_RANGE {
            return Err(ParseRangeError::TooLong);
        }
        let groups = text.split("||").map(Group::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), groups })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Group {
    fn parse(text: &str) -> Result<Self, ParseRangeError> {
        let mut comparators = Vec::new();
        let mut rest = text.trim_ascii();
        loop {
            let after = take_comparators(rest, &mut comparators)?;
            let next = after.trim_ascii_start();
            if next.is_empty() {
                return Ok(Self { comparators });
            }
            rest = match next.strip_prefix(',') {
                Some(next) => next.trim_ascii_start(),
                None if next.len() < after.len() => next,
                None => return Err(ParseRangeError::Separator(next.to_owned())),
            };
        }
    }

    fn matches(&self, version: &Version, prereleases: bool) -> bool {
        let asked_for = || self.comparators.iter().any(|c| !c.version.floor().pre.is_empty());
        (version.pre.is_empty() || prereleases || asked_for()) && self.comparators.iter().all(|c| c.matches(version))
    }
}

impl Comparator {
    fn matches(&self, version: &Version) -> bool {
        // A version with omitted numbers stands for all versions that begin with the given numbers: 1.2 is 1.2.x.
        let given = self.version.given();
        let order = version.cmp_precedence(self.version.floor());
        let line = self.version.compare_numbers(version, given);
        let order_of_line = if self.version.is_full() { order } else { line };
        match self.operator {
            Operator::Equal => order.is_ge() && order_of_line.is_eq(),
            Operator::NotEqual => order_of_line.is_ne(),
            Operator::Greater => order_of_line.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order_of_line.is_le(),
            Operator::Tilde => order.is_ge() && self.shares(version, given.min(2)),
            Operator::Caret => order.is_ge() && self.shares(version, self.kept_by_caret()),
        }
    }

    fn shares(&self, version: &Version, numbers: usize) -> bool {
        self.version.compare_numbers(version, numbers) == Ordering::Equal
    }

    /// Returns the number of leading numbers that a caret fixes: up to the first non-zero number, as far as they are
    /// given.
    fn kept_by_caret(&self) -> usize {
        let floor = self.version.floor();
        let zeros = [floor.major, floor.minor].iter().take_while(|number| **number == 0).count();
        self.version.given().min(zeros + 1)
    }
}

/// Parses one comparator, or the two of a hyphen range; returns the rest of the text.
fn take_comparators<'a>(text: &'a str, into: &mut Vec<Comparator>) -> Result<&'a str, ParseRangeError> {
    let (signs, rest) = split_where(text, |c| !OPERATOR_SIGNS.contains(&c));
    let operator = parse_operator(signs)?;
    let (version, rest) = take_version(rest.trim_ascii_start(), text)?;
    if let Some(upper) = rest.trim_ascii_start().strip_prefix('-').filter(|_| signs.is_empty()) {
        let start = upper.trim_ascii_start();
        if start.len() == upper.len() || start.starts_with(OPERATOR_SIGNS) {
            return Err(ParseRangeError::Hyphen(text.to_owned()));
        }
        let (upper, rest) = take_version(start, text)?;
        into.push(Comparator { operator: Operator::GreaterOrEqual, version });
        into.push(Comparator { operator: Operator::LessOrEqual, version: upper });
        return Ok(rest);
    }
    let excludes = matches!(operator, Operator::NotEqual | Operator::Greater | Operator::Less);
    if excludes && version.given() == 0 {
        return Err(ParseRangeError::MatchesNothing(text.strip_suffix(rest).unwrap_or(text).to_owned()));
    }
    into.push(Comparator { operator, version });
    Ok(rest)
}

fn parse_operator(signs: &str) -> Result<Operator, ParseRangeError> {
    match signs {
        "" | "=" => Ok(Operator::Equal),
        "!=" => Ok(Operator::NotEqual),
        ">" => Ok(Operator::Greater),
        ">=" | "=>" => Ok(Operator::GreaterOrEqual),
        "<" => Ok(Operator::Less),
        "<=" | "=<" => Ok(Operator::LessOrEqual),
        "~" | "~>" => Ok(Operator::Tilde),
        "^" => Ok(Operator::Caret),
        signs => Err(ParseRangeError::Operator(signs.to_owned())),
    }
}

/// Parses the version at the start of `text`. `whole` is the text shown in errors.
fn take_version<'a>(text: &'a str, whole: &str) -> Result<(LooseVersion, &'a str), ParseRangeError> {
    let ends = |c: char| c.is_ascii_whitespace() || c == ',' || OPERATOR_SIGNS.contains(&c);
    let (word, rest) = split_where(text, ends);
    match word {
        "" => Err(ParseRangeError::Missing(whole.to_owned())),
        "-" => Err(ParseRangeError::Hyphen(whole.to_owned())),
        word => match LooseVersion::parse(word) {
            Ok(version) => Ok((version, rest)),
            Err(reason) => Err(ParseRangeError::Version { version: word.to_owned(), reason }),
        },
    }
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.find(ends).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
