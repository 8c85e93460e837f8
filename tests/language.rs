//! Rules of docs/style.md that a program can check.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test over our own files")]

use std::path::{Path, PathBuf};

/// Words that no doc line opens with: types and fields are noun phrases, functions are verbs.
const QUESTION_WORDS: [&str; 12] =
    ["What", "Who", "Where", "Whether", "How", "Why", "When", "Which", "Whose", "Whom", "Whoever", "Whatever"];
/// Maximum share of such lines, in percent. A line that continues a sentence may open so by its wrapping.
const MOST: usize = 2;

#[test]
fn doc_lines_open_with_no_question_word() {
    let (mut lines, mut questions) = (0_usize, Vec::new());
    for path in ["src", "demo", "e2e", "tests", "fuzz"].iter().flat_map(|directory| sources(&root().join(directory))) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let Some(doc) = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! ")) else { continue };
            lines += 1;
            let first = doc.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            if QUESTION_WORDS.contains(&first) {
                questions.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(lines > 5000, "only {lines} doc lines were found");
    assert!(
        questions.len() * 100 < lines * MOST,
        "{} of {lines} doc lines:\n{}",
        questions.len(),
        questions.join("\n")
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
