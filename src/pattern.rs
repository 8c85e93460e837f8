//! Glob patterns for paths and media types.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Maximum length of a pattern, in bytes. The API has the same limit.
pub const MAX_PATTERN: usize = 256;

/// A set of patterns, any one of which may match. An empty set matches nothing.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

/// Reason why a text is not a valid pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Invalid glob syntax.
    #[error("invalid pattern \"{pattern}\": {problem}")]
    Syntax {
        /// The rejected text.
        pattern: String,
        /// The syntax error.
        problem: String,
    },
    /// Longer than [`MAX_PATTERN`].
    #[error("\"{0}…\" is longer than {MAX_PATTERN} bytes")]
    TooLong(String),
}

impl Patterns {
    /// Compiles patterns for paths: `*` and `?` stop at `/`, `**` does not; `{a,b}` and `[abc]` work as in shells. A
    /// trailing `/` is ignored.
    pub fn paths(texts: &[String]) -> Result<Self, PatternError> {
        Self::new(texts, true)
    }

    /// Compiles patterns for names without directories: `*` also matches `/`.
    pub fn names(texts: &[String]) -> Result<Self, PatternError> {
        Self::new(texts, false)
    }

    fn new(texts: &[String], stop_at_slash: bool) -> Result<Self, PatternError> {
        let mut set = GlobSetBuilder::new();
        for text in texts {
            if text.len() > MAX_PATTERN {
                return Err(PatternError::TooLong(text.chars().take(40).collect()));
            }
            let syntax = |error: globset::Error| PatternError::Syntax {
                pattern: text.clone(),
                problem: error.kind().to_string(),
            };
            let meant = text.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(text);
            let glob = GlobBuilder::new(meant).literal_separator(stop_at_slash).backslash_escape(true).build();
            set.add(glob.map_err(syntax)?);
        }
        let set = set
            .build()
            .map_err(|error| PatternError::Syntax { pattern: texts.join(", "), problem: error.kind().to_string() })?;
        Ok(Self { texts: texts.to_vec(), set })
    }

    /// Returns true if the set has no patterns.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The patterns as written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns true if any pattern matches.
    pub fn matches(&self, text: &str) -> bool {
        self.set.is_match(text)
    }

    /// Returns true if any pattern matches the path or one of its parent directories.
    pub fn covers(&self, path: &str) -> bool {
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        above.chain([path]).any(|path| self.set.is_match(path))
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn paths_match_as_in_shells() {
        let rows = [
            ("*.json", "a.json", true),
            ("*.json", "d/a.json", false),
            ("**/*.json", "a.json", true),
            ("**/*.json", "d/e/a.json", true),
            ("rules/*.{yaml,yml}", "rules/a.yml", true),
            ("rules/*.{yaml,yml}", "rules/deep/a.yml", false),
            ("rules", "rules/deep/a.yml", true),
            ("rules/", "rules/deep/a.yml", true),
            ("rules/**", "rules/deep/a.yml", true),
            ("rule", "rules/a.yml", false),
            ("**/test", "a/test/b/c", true),
            ("[ab].txt", "b.txt", true),
            ("?.txt", "b.txt", true),
        ];
        for (pattern, path, want) in rows {
            assert_eq!(Patterns::paths(&patterns(&[pattern])).unwrap().covers(path), want, "{pattern} {path}");
        }
        assert!(!Patterns::default().covers("a"));
    }

    #[test]
    fn media_type_patterns_match_across_the_slash() {
        let rows = [
            ("application/vnd.cncf.flux.content.v1.tar+gzip", true),
            ("application/*", true),
            ("*+gzip", true),
            ("application/vnd.cncf.helm.*", false),
        ];
        for (pattern, want) in rows {
            let found = Patterns::names(&patterns(&[pattern])).unwrap();
            assert_eq!(found.matches("application/vnd.cncf.flux.content.v1.tar+gzip"), want, "{pattern}");
        }
    }

    #[test]
    fn invalid_patterns_are_named() {
        for bad in ["[a", "{a", &"x".repeat(MAX_PATTERN + 1)] {
            let error = Patterns::paths(&patterns(&[bad])).unwrap_err().to_string();
            assert!(error.contains(&bad[..2]), "{error}");
        }
    }
}
