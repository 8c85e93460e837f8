//! Names and keys that a spec may contain: one rule each, for admission and for specs that admission did not see.
//!
//! The operator joins some of these names to paths and URLs, so none may contain `/`.

/// Rule for one kind of name. Admission uses the pattern; [`Rule::accepts`] is its equivalent in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Longest name, in bytes.
    max: usize,
    /// Characters besides lower-case letters and digits.
    others: &'static str,
    /// True if upper-case letters are allowed, and every allowed character may be the first and the last.
    is_key: bool,
    /// Noun phrase for error messages.
    pub expected: &'static str,
}

/// Pattern of [`LABEL`].
pub const LABEL_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Pattern of [`OBJECT`].
pub const OBJECT_PATTERN: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// Pattern of [`KEY`] and [`SEPARATOR`].
pub const KEY_PATTERN: &str = r"^[-._a-zA-Z0-9]+$";

/// Names of outputs, volumes and entries of `verify`.
pub const LABEL: Rule = Rule {
    max: 63,
    others: "-",
    is_key: false,
    expected: "a name of lower-case letters, digits and -, at most 63 characters",
};
/// Names of Kubernetes objects.
pub const OBJECT: Rule = Rule {
    max: 253,
    others: "-.",
    is_key: false,
    expected: "a name of lower-case letters, digits, - and ., at most 253 characters",
};
/// Keys of ConfigMaps and Secrets.
pub const KEY: Rule = Rule {
    max: 253,
    others: "-._",
    is_key: true,
    expected: "a key of letters, digits, -, _ and ., at most 253 characters",
};
/// Replacement for `/` in keys.
pub const SEPARATOR: Rule =
    Rule { max: 8, expected: "a separator of letters, digits, -, _ and ., at most 8 characters", ..KEY };

impl Rule {
    /// Returns true for names that admission accepts.
    pub fn accepts(&self, name: &str) -> bool {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || (self.is_key && c.is_ascii_uppercase());
        let is_end = |c: char| is_word(c) || (self.is_key && self.others.contains(c));
        (1..=self.max).contains(&name.len())
            && name.chars().all(|c| is_word(c) || self.others.contains(c))
            && name.starts_with(is_end)
            && name.ends_with(is_end)
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn the_code_and_the_patterns_of_admission_accept_the_same_names() {
        let names = [
            "", "a", "a-b", "a.b", "a..b", "-a", "a-", ".a", "a.", "A", "a_b", "a b", "a/b", "/a", "../x", "..", ".",
            "-", "_", "__", "a\n", "\u{e4}", "0", "ca.crt", "Ca.crt", "%2e", "a:b", "a\0",
        ];
        let rules = [(LABEL, LABEL_PATTERN), (OBJECT, OBJECT_PATTERN), (KEY, KEY_PATTERN), (SEPARATOR, KEY_PATTERN)];
        for (rule, pattern) in rules {
            let regex = Regex::new(pattern).unwrap();
            for name in names {
                assert_eq!(rule.accepts(name), regex.is_match(name), "{name:?} and {pattern}");
                assert!(!(rule.accepts(name) && name.contains('/')), "{name:?}");
            }
            let long = "a".repeat(rule.max);
            assert!(rule.accepts(&long) && !rule.accepts(&format!("{long}a")), "{pattern}");
        }
    }
}
