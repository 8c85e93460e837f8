//! Path of values in a document: `image.ref`, `sources[].image`.

use std::str::FromStr;

/// Maximum number of steps of a path.
const MAX_STEPS: usize = 32;

/// Path of values: keys with a dot between them, and `[]` for every item of a list. `\.` is a dot in a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePath {
    text: String,
    pub(super) steps: Vec<Step>,
}

/// Step from a value to those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Value of this key of a mapping.
    Key(String),
    /// Every item of a list.
    Items,
}

impl FromStr for ValuePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut steps = Vec::new();
        for part in parts(text) {
            let name = part.trim_end_matches("[]");
            let lists = part.len().saturating_sub(name.len()) / "[]".len();
            // `[].image` begins at a document that is a list.
            if (name.is_empty() && (lists == 0 || !steps.is_empty())) || name.contains(['[', ']']) {
                return Err("expected keys with dots between them, such as image.ref or sources[].image".to_owned());
            }
            if !name.is_empty() {
                steps.push(Step::Key(name.to_owned()));
            }
            steps.extend(std::iter::repeat_n(Step::Items, lists));
            if steps.len() > MAX_STEPS {
                return Err(format!("expected at most {MAX_STEPS} steps"));
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

impl std::fmt::Display for ValuePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits at dots that have no backslash before them.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut characters) = (Vec::new(), String::new(), text.chars().peekable());
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next_if_eq(&'.').is_some() => part.push('.'),
            '.' => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_keys_and_lists() {
        let key = |name: &str| Step::Key(name.to_owned());
        let rows = [
            ("image", vec![key("image")]),
            ("image.ref", vec![key("image"), key("ref")]),
            ("sources[].image", vec![key("sources"), Step::Items, key("image")]),
            ("a[][]", vec![key("a"), Step::Items, Step::Items]),
            ("[].image", vec![Step::Items, key("image")]),
            ("example\\.com/a.b", vec![key("example.com/a"), key("b")]),
        ];
        for (text, want) in rows {
            assert_eq!(text.parse::<ValuePath>().unwrap().steps, want, "{text}");
        }
        for text in ["", ".a", "a.", "a..b", "a[0]", "a[", "a.[]", "a[]b", &"a.".repeat(40)] {
            assert!(text.parse::<ValuePath>().is_err(), "{text}");
        }
    }
}
