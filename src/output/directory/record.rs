//! The record of directories that a repository keeps: the files that were written into each, by which a later command
//! tells its own files from those of others.
//!
//! ```text
//! # Files that `supercargo sync` wrote. ...
//! supercargo record 1
//! directory "vendor/rules"
//! empty "logs"
//! file "rules/a.yaml" 644 120 sha256:...
//! link "rules/latest" "a.yaml"
//! ```
//!
//! The text is made to be committed: a line for each file, sorted. A record grants nothing: it never makes content
//! trusted, it only says that a directory may be replaced.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::oci::Digest;
use crate::unpack::listing::Listing;
use crate::unpack::path::EntryPath;
use crate::unpack::staged::Node;

/// Beginning of the file.
const HEAD: &str = "\
# Files that `supercargo sync` wrote into directories. Commit it with them, and do not edit it.
supercargo record 1
";
/// Maximum number of lines: more than ten directories of the default size.
const MAX_LINES: usize = 2_000_000;

/// Files by directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    directories: BTreeMap<String, Listing>,
}

/// Error of a text that is no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct RecordError {
    line: usize,
    problem: &'static str,
}

impl Record {
    /// Returns the files of a directory; `None` if the record does not have the directory.
    pub fn get(&self, directory: &str) -> Option<&Listing> {
        self.directories.get(directory)
    }

    /// Returns the directories, sorted.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.keys().map(String::as_str)
    }

    /// Sets the files of a directory; returns true if that changes the record.
    pub fn set(&mut self, directory: &str, files: Listing) -> bool {
        if self.get(directory) == Some(&files) {
            return false;
        }
        self.directories.insert(directory.to_owned(), files);
        true
    }

    /// Removes a directory.
    pub fn remove(&mut self, directory: &str) {
        self.directories.remove(directory);
    }

    /// Returns the text of the file.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (directory, files) in &self.directories {
            line(&mut text, format_args!("directory {}", quoted(directory)));
            for (path, node) in files.nodes() {
                let shown = quoted(path.as_str());
                match node {
                    Node::Directory if files.is_empty_directory(path) => line(&mut text, format_args!("empty {shown}")),
                    Node::Directory => {}
                    Node::File { size, executable, digest } => {
                        let mode = if *executable { EXECUTABLE } else { PLAIN };
                        line(&mut text, format_args!("file {shown} {mode} {size} {digest}"));
                    }
                    Node::Link { target } => line(&mut text, format_args!("link {shown} {}", quoted(target))),
                }
            }
        }
        text
    }

    /// Parses a text. Only what [`Self::text`] writes is accepted: an edited or badly merged record would call files of
    /// others our own.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let Some(body) = text.strip_prefix(HEAD) else {
            return Err(RecordError { line: 1, problem: "the beginning is not that of a record of this version" });
        };
        let (mut record, mut files) = (Self::default(), Files::default());
        let first = HEAD.lines().count() + 1;
        for (number, line) in body.split_inclusive('\n').enumerate() {
            let fail = |problem| RecordError { line: number + first, problem };
            if number >= MAX_LINES {
                return Err(fail("too many lines"));
            }
            let line = line.strip_suffix('\n').ok_or_else(|| fail("the line has no end"))?;
            if let Some(rest) = line.strip_prefix("directory ") {
                let name = whole(rest).ok_or_else(|| fail("expected a directory in quotes"))?;
                check_directory(&name).map_err(fail)?;
                if record.directories.last_key_value().is_some_and(|(last, _)| *last >= name) {
                    return Err(fail("directories are not sorted"));
                }
                files = Files::default();
                record.directories.insert(name, Listing::default());
            } else {
                let mut last = record.directories.last_entry().ok_or_else(|| fail("expected a directory first"))?;
                files.add(line, last.get_mut()).map_err(fail)?;
            }
        }
        Ok(record)
    }
}

/// Mode of an executable file.
const EXECUTABLE: &str = "755";
/// Mode of any other file.
const PLAIN: &str = "644";

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// Returns a text in quotes, as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Splits a text in quotes from the rest of a line.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    let rest = text.get(values.byte_offset()..)?;
    // One text has one spelling.
    (text.strip_suffix(rest)? == quoted(&value)).then_some((value, rest))
}

fn whole(text: &str) -> Option<String> {
    unquoted(text).filter(|(_, rest)| rest.is_empty()).map(|(text, _)| text)
}

/// Checks the name of a directory: relative, in one spelling, with `..` at most at its beginning.
fn check_directory(name: &str) -> Result<(), &'static str> {
    let mut below = name;
    while let Some(rest) = below.strip_prefix("../") {
        below = rest;
    }
    match EntryPath::parse(below.as_bytes()) {
        Ok(path) if path.as_str() == below && !path.is_in_git() => Ok(()),
        Ok(_) | Err(_) => Err("expected a relative directory outside of .git"),
    }
}

/// Lines of one directory that have been read.
#[derive(Default)]
struct Files {
    last: Option<EntryPath>,
}

impl Files {
    fn add(&mut self, line: &str, files: &mut Listing) -> Result<(), &'static str> {
        let (kind, rest) = line.split_once(' ').ok_or("expected file, link or empty, and a path")?;
        let (name, rest) = unquoted(rest).ok_or("expected a path in quotes")?;
        let path = EntryPath::parse(name.as_bytes()).ok().filter(|path| path.as_str() == name && !path.is_root());
        let path = path.ok_or("expected a path below the directory")?;
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Err("paths are not sorted");
        }
        let node = match kind {
            "empty" if rest.is_empty() => Node::Directory,
            "link" => {
                Node::Link { target: rest.strip_prefix(' ').and_then(whole).ok_or("expected a target in quotes")? }
            }
            "file" => file(rest).ok_or("expected a path, mode, size and digest")?,
            _ => return Err("expected file, link or empty, and a path"),
        };
        files.insert(path.clone(), node).map_err(|_| "a path has two entries")?;
        self.last = Some(path);
        Ok(())
    }
}

fn file(rest: &str) -> Option<Node> {
    let mut words = rest.strip_prefix(' ')?.split(' ');
    let (mode, size, digest) = (words.next()?, words.next()?, words.next()?);
    let executable = mode == EXECUTABLE;
    let number: u64 = size.parse().ok().filter(|number: &u64| number.to_string() == size)?;
    let digest: Digest = digest.parse().ok()?;
    ((executable || mode == PLAIN) && words.next().is_none()).then_some(Node::File { size: number, executable, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[(&str, Option<&str>)]) -> Listing {
        let mut listing = Listing::default();
        for (path, content) in lines {
            let node = match content {
                Some(content) => {
                    let (size, digest) = (content.len() as u64, Digest::of(content.as_bytes()));
                    Node::File { size, executable: *path == "tool", digest }
                }
                None => Node::Directory,
            };
            listing.insert(EntryPath::parse(path.as_bytes()).unwrap(), node).unwrap();
        }
        listing
    }

    fn record() -> Record {
        let mut rules =
            listing(&[("a", None), ("a/\"quoted\" ünï.yaml", Some("one")), ("tool", Some("")), ("z", None)]);
        rules.insert(EntryPath::parse(b"link").unwrap(), Node::Link { target: "a b".to_owned() }).unwrap();
        let mut record = Record::default();
        assert!(record.set("vendor/rules", rules.clone()) && !record.set("vendor/rules", rules));
        record.set("../other", listing(&[]));
        record
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in [Record::default(), record()] {
            let text = record.text();
            assert_eq!(Record::parse(&text), Ok(record), "{text}");
        }
        let text = record().text();
        assert!(text.contains("empty \"z\"\n") && !text.contains("empty \"a\""), "{text}");
        let mut changed = record();
        changed.remove("../other");
        assert!(changed.get("../other").is_none() && changed.directories().eq(["vendor/rules"]));
    }

    #[test]
    fn hostile_and_edited_records_are_refused_with_the_line() {
        let good = record().text();
        let rows = [
            (good.replacen("record 1", "record 2", 1), 1),
            (format!("{HEAD}file \"a\" 644 0 sha256:0"), 3),
            (format!("{HEAD}file \"a\" 644 0 {}\n", Digest::of(b"")), 3),
            (good.replace("../other", "../../../etc/../x"), 3),
            (good.replace("../other", "/etc"), 3),
            (good.replace("../other", "z"), 4),
            (good.replace("\"vendor/rules\"", "\"vendor\\u002frules\""), 4),
            (good.replace("\"vendor/rules\"", "\"vendor/rules\" x"), 4),
            (good.replace("\"tool\"", "\"../tool\""), 7),
            (good.replace("\"tool\"", "\"/tool\""), 7),
            (good.replace("\"tool\"", "\"a//b\""), 7),
            (good.replace("\"tool\"", "\"link\""), 7),
            (good.replace("\"tool\"", "\"link/in\""), 7),
            (good.replace(" 755 ", " 777 "), 7),
            (good.replace(" 755 0 ", " 755 +0 "), 7),
            (good.replace(" 755 0 ", " 755 00 "), 7),
            (good.replace("\"a b\"", "a b"), 6),
            (good.replace("empty", "<<<<<<< ours"), 8),
            (good.trim_end().to_owned(), 8),
        ];
        for (text, line) in rows {
            let error = Record::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{error}\n{text}");
        }
    }
}
