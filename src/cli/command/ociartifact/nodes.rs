//! A tree of lines, drawn with branches.

use std::fmt::Write;

use crate::failure::printable;

/// A line, and the lines below it.
pub(super) struct Node {
    pub(super) label: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn leaf(label: String) -> Self {
        Self { label, children: Vec::new() }
    }

    /// Returns the lines. Labels may have text from the cluster, so they are made printable.
    pub(super) fn text(&self) -> String {
        let mut text = printable(&self.label) + "\n";
        self.draw("", &mut text);
        text
    }

    fn draw(&self, indent: &str, text: &mut String) {
        for (index, child) in self.children.iter().enumerate() {
            let is_last = index + 1 == self.children.len();
            let (branch, more) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{indent}{branch}{}", printable(&child.label));
            child.draw(&format!("{indent}{more}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_show_the_parent_of_each_line() {
        let leaf = |label: &str| Node::leaf(label.to_owned());
        let first = Node { label: "b".to_owned(), children: vec![leaf("c"), leaf("d\u{1b}[2J")] };
        let last = Node { label: "e".to_owned(), children: vec![leaf("f")] };
        let root = Node { label: "a".to_owned(), children: vec![first, last] };
        assert_eq!(root.text(), "a\n├─ b\n│  ├─ c\n│  └─ d\\u{1b}[2J\n└─ e\n   └─ f\n");
    }
}
