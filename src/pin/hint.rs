//! Hints about paths that lead to no value.

use super::path::{Step, ValuePath};
use super::tree::{Id, Tree};

/// A path that would lead to a value with `[]` after each list.
#[derive(Debug, PartialEq, Eq)]
pub struct Hint {
    /// Key of the first list without `[]`.
    pub list: String,
    /// The path with `[]` after each list.
    pub path: String,
}

/// Returns the hint for a path without a value in a text, if lists on its way are the only cause.
pub fn hint(text: &str, path: &ValuePath) -> Option<Hint> {
    let tree = Tree::parse(text).ok()?;
    tree.documents.iter().find_map(|document| through_lists(&tree, *document, &path.steps))
}

fn through_lists(tree: &Tree, document: Id, steps: &[Step]) -> Option<Hint> {
    let (mut found, mut text, mut last, mut list) = (vec![document], String::new(), String::new(), None);
    for step in steps {
        match step {
            Step::Items => {
                found = items(tree, &found);
                text.push_str("[]");
            }
            Step::Key(key) => {
                if found.iter().any(|id| !tree.items(*id).is_empty()) {
                    found = items(tree, &found);
                    text.push_str("[]");
                    list.get_or_insert_with(|| last.clone());
                }
                found = found.iter().filter_map(|id| tree.get(*id, key)).collect();
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&key.replace('.', "\\."));
                last.clone_from(key);
            }
        }
        // Aliases lead to one node again and again.
        found.sort_unstable();
        found.dedup();
    }
    Some(Hint { list: list?, path: text }).filter(|_| !found.is_empty())
}

fn items(tree: &Tree, found: &[Id]) -> Vec<Id> {
    found.iter().flat_map(|id| tree.items(*id)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_brackets_is_named_with_the_whole_path() {
        let text = "spec:\n  containers:\n  - image: r.example/a:1\n    more:\n    - {x.y: b}\n";
        let rows = [
            ("spec.containers.image", Some(("containers", "spec.containers[].image"))),
            ("spec.containers.more.x\\.y", Some(("containers", "spec.containers[].more[].x\\.y"))),
            ("spec.containers[].more.x\\.y", Some(("more", "spec.containers[].more[].x\\.y"))),
            ("spec.containers.none", None),
            ("spec.none", None),
        ];
        for (path, want) in rows {
            let got = hint(text, &path.parse().unwrap());
            let want = want.map(|(list, path)| Hint { list: list.to_owned(), path: path.to_owned() });
            assert_eq!(got, want, "{path}");
        }
    }
}
