//! Result of a translation, and its text.

use super::fields::Problem;
use super::node::Node;

/// Translated objects.
#[derive(Debug)]
pub struct Translation {
    pub(super) documents: Vec<Node>,
    /// Steps that are left to the user, such as files with Secrets.
    pub(super) notes: Vec<String>,
    /// Parts whose translation has a risk.
    pub(super) warnings: Vec<Problem>,
}

impl Translation {
    /// Returns the parts whose translation has a risk that the user should know.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Returns the objects as YAML, below a comment that names the source.
    pub fn yaml(&self, source: &str) -> Result<String, serde_saphyr::ser::Error> {
        // Names from the file must not end the comment.
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let comments = std::iter::once(source).chain(self.notes.iter().map(String::as_str));
        let comments: Vec<String> = comments.map(|line| format!("# {}\n", line.replace(breaks, " "))).collect();
        let documents: Vec<String> = self.documents.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
        Ok(comments.concat() + &documents.join("---\n"))
    }
}
