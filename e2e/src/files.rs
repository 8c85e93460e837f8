//! File trees: written to push them, and read to compare published content.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Entries by relative path; only empty directories have an entry.
pub type Tree = BTreeMap<String, Entry>;

#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    File { content: Vec<u8>, executable: bool },
    Link(String),
    EmptyDirectory,
}

impl Entry {
    pub fn text(content: &str) -> Self {
        Self::File { content: content.as_bytes().to_vec(), executable: false }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { content, executable } => {
                let shown = content.get(..content.len().min(40)).unwrap_or_default();
                let kind = if *executable { "executable" } else { "file" };
                write!(f, "{kind} of {} bytes {:?}", content.len(), String::from_utf8_lossy(shown))
            }
            Self::Link(target) => write!(f, "link to {target:?}"),
            Self::EmptyDirectory => write!(f, "empty directory"),
        }
    }
}

/// Makes a tree of text files that are not executable.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, content)| ((*path).to_owned(), Entry::text(content))).collect()
}

/// Writes a tree below a directory, which is created.
pub fn write(root: &Path, tree: &Tree) -> Result<()> {
    fs_err::create_dir_all(root)?;
    for (path, entry) in tree {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        match entry {
            Entry::File { content, executable } => {
                fs_err::write(&path, content)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            }
            Entry::Link(target) => fs_err::os::unix::fs::symlink(target, &path)?,
            Entry::EmptyDirectory => fs_err::create_dir_all(&path)?,
        }
    }
    Ok(())
}

/// Reads the tree below a directory.
pub fn read(root: &Path) -> Result<Tree> {
    let mut found = Tree::new();
    read_into(root, "", &mut found).with_context(|| format!("reading the tree {}", root.display()))?;
    Ok(found)
}

fn read_into(directory: &Path, prefix: &str, found: &mut Tree) -> std::io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let before = found.len();
            read_into(&entry.path(), &format!("{path}/"), found)?;
            if found.len() == before {
                found.insert(path, Entry::EmptyDirectory);
            }
        } else if kind.is_symlink() {
            let target = fs_err::read_link(entry.path())?;
            found.insert(path, Entry::Link(target.to_string_lossy().into_owned()));
        } else {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            found.insert(path, Entry::File { content: fs_err::read(entry.path())?, executable });
        }
    }
    Ok(())
}
