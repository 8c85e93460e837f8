//! Links of the pages: every relative link leads to a file, and every anchor to a heading of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own files"
)]

use std::path::{Path, PathBuf};

/// Directories of generated or foreign files.
const OTHERS: [&str; 3] = ["target", ".git", "corpus"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_relative_link_of_a_page_leads_somewhere() {
    let (mut links, mut broken) = (0, Vec::new());
    for page in files(&root(), &["md"]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in targets(&text) {
            links += 1;
            if let Err(problem) = follow(&page, link) {
                broken.push(format!("{}: {link}: {problem}", page.display()));
            }
        }
    }
    assert!(links > 100, "only {links} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Comments, notes and messages name pages by their path from the root.
#[test]
fn every_page_that_a_file_names_exists() {
    let mut broken = Vec::new();
    for file in files(&root(), &["yaml", "rs", "tpl", "txt", "json", "lua", "toml", "yml", "md"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (start, _) in text.match_indices("docs/") {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let before = text[..start].chars().next_back();
            let path = text[start..].split(|c| !is_path(c)).next().unwrap();
            let is_page = Path::new(path).extension().is_some_and(|end| end == "md") && !before.is_some_and(is_path);
            // Titles of layers in tests and examples look alike.
            let is_example = ["docs/read.md", "docs/cli_protocol.md"].contains(&path);
            if is_page && !is_example && !root().join(path).is_file() {
                broken.push(format!("{} names {path}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Returns the relative targets of the links outside of code.
fn targets(page: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for text in prose(page) {
        // A code span may have brackets: only what is outside of spans counts.
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if !target.contains("://") && !target.starts_with("mailto:") && !target.contains(char::is_whitespace) {
                targets.push(target);
            }
        }
    }
    targets
}

/// Returns the lines that are in no block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

fn follow(page: &Path, link: &str) -> Result<(), String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
    if !target.exists() {
        return Err("no such file".to_owned());
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&target).map_err(|error| error.to_string())?;
    let headings: Vec<String> = prose(&text).filter(|line| line.starts_with('#')).map(anchor_of).collect();
    if headings.iter().any(|heading| heading == anchor) { Ok(()) } else { Err("no such heading".to_owned()) }
}

/// Returns the anchor of a heading, as GitHub derives it.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !OTHERS.iter().any(|other| path.ends_with(other)) {
                found.extend(files(&path, extensions));
            }
        } else if path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
    found
}
