//! Selection of the entries that are packaged: options, and the ignore file of the source.

use globset::{GlobBuilder, GlobMatcher};

use super::error::PackError;
use super::helm::HelmRule;
use crate::pattern::{MAX_PATTERN, PatternError};
use crate::request::FileFilter;
use crate::unpack::path::EntryPath;

/// Maximum size of an ignore file, in bytes.
pub(super) const MAX_IGNORE_BYTES: u64 = 64 * 1024;
/// Maximum number of rules in an ignore file.
const MAX_RULES: usize = 1000;
/// Helm's own rule for every chart.
const HELM_DEFAULTS: &str = "templates/.?*";

/// Selection of entries. A path is relative to the source.
#[derive(Debug, Default)]
pub(super) struct Selection {
    filter: FileFilter,
    ignored: Vec<IgnoreRule>,
    /// Rules of a chart, in place of those above.
    helm: Vec<HelmRule>,
    /// Files that are never packaged, because they are instructions for this program.
    own: Vec<EntryPath>,
    /// Directory outside of which nothing is selected; the root if everything may be.
    only: EntryPath,
}

/// A rule of an ignore file.
#[derive(Debug)]
struct IgnoreRule {
    matcher: GlobMatcher,
    is_negated: bool,
    only_directories: bool,
}

impl Selection {
    /// Creates a selection from the patterns of options.
    pub(super) fn new(filter: FileFilter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Adds the rules of an ignore file in the syntax of `.gitignore`: a pattern without `/` matches at any depth, one
    /// with a `/` from the top; a trailing `/` restricts it to directories; `!` selects again; the last match decides.
    /// The file itself is left out.
    pub(super) fn ignore(&mut self, name: &str, text: &str) -> Result<(), PackError> {
        self.ignored = parsed(name, text, IgnoreRule::parse)?;
        self.own.extend(EntryPath::parse(name.as_bytes()));
        Ok(())
    }

    /// Adds the rules of `.helmignore`, and those that Helm has for every chart. The file itself is packaged, as by
    /// Helm.
    pub(super) fn ignore_as_helm(&mut self, name: &str, text: &str) -> Result<(), PackError> {
        self.helm = parsed(name, text.trim_start_matches('\u{feff}'), HelmRule::parse)?;
        self.helm.extend(parsed(name, HELM_DEFAULTS, HelmRule::parse)?);
        Ok(())
    }

    /// Selects nothing outside of a directory.
    pub(super) fn only(&mut self, directory: &EntryPath) {
        self.only = directory.clone();
    }

    /// Returns true for a selected file or link, and for a directory that is selected with all its entries.
    pub(super) fn keeps(&self, path: &EntryPath) -> bool {
        self.filter.keeps(path)
    }

    /// Returns true for an entry that is left out, and for a directory that is left out with all its entries.
    pub(super) fn excludes(&self, path: &EntryPath, is_directory: bool) -> bool {
        let is_outside = path.strip_prefix(&self.only).is_none() && self.only.strip_prefix(path).is_none();
        is_outside || self.filter.excludes(path) || self.own.contains(path) || self.is_ignored(path, is_directory)
    }

    /// The directories above were not ignored, because a walk would not have come here.
    fn is_ignored(&self, path: &EntryPath, is_directory: bool) -> bool {
        let matching =
            |rule: &&IgnoreRule| (is_directory || !rule.only_directories) && rule.matcher.is_match(path.as_str());
        self.ignored.iter().rev().find(matching).is_some_and(|rule| !rule.is_negated)
            || self.helm.iter().any(|rule| rule.ignores(path.as_str(), is_directory))
    }
}

/// Returns the rules of an ignore file.
fn parsed<T>(
    name: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<Option<T>, PatternError>,
) -> Result<Vec<T>, PackError> {
    let mut rules = Vec::new();
    for line in text.lines() {
        let rule = parse(line).map_err(|error| PackError::Ignore { file: name.to_owned(), error })?;
        if rule.is_some() && rules.len() == MAX_RULES {
            return Err(PackError::TooLarge { path: name.to_owned(), limit: MAX_RULES as u64 });
        }
        rules.extend(rule);
    }
    Ok(rules)
}

impl IgnoreRule {
    /// Parses a line; `None` for an empty line or a comment.
    fn parse(line: &str) -> Result<Option<Self>, PatternError> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if line.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(line.chars().take(40).collect()));
        }
        let (is_negated, rest) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (only_directories, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
        let pattern = match rest.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if rest.contains('/') => rest.to_owned(),
            None => format!("**/{rest}"),
        };
        let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
        let glob =
            glob.map_err(|error| PatternError::Syntax { pattern: line.to_owned(), problem: error.kind().to_string() })?;
        Ok(Some(Self { matcher: glob.compile_matcher(), is_negated, only_directories }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_rule_decides() {
        let mut selection = Selection::default();
        let rules = "# comment\n\n*.log\n!keep.log\n/build\ntexts/*.md\ntmp/\n\\#x\ncache.*\n!cache.d/\n";
        selection.ignore(".ociignore", rules).unwrap();
        let rows = [
            ("a.log", false, true),
            ("d/e/a.log", false, true),
            ("d/keep.log", false, false),
            ("build", true, true),
            ("d/build", true, false),
            ("texts/a.md", false, true),
            ("texts/d/a.md", false, false),
            ("tmp", true, true),
            ("tmp", false, false),
            ("d/tmp", true, true),
            ("#x", false, true),
            ("cache.d", true, false),
            ("cache.d", false, true),
            (".ociignore", false, true),
            ("d/.ociignore", false, false),
        ];
        for (path, is_directory, want) in rows {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            assert_eq!(selection.excludes(&path, is_directory), want, "{path} {is_directory}");
        }
    }

    #[test]
    fn invalid_and_too_many_rules_are_errors() {
        let mut selection = Selection::default();
        assert!(matches!(selection.ignore("f", "[a"), Err(PackError::Ignore { .. })));
        assert!(matches!(selection.ignore("f", &"x".repeat(300)), Err(PackError::Ignore { .. })));
        assert!(matches!(selection.ignore("f", &"x\n".repeat(1001)), Err(PackError::TooLarge { .. })));
    }
}
