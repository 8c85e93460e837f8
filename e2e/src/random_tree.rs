//! Random directories with every kind of entry that can be packaged.

use std::collections::{BTreeSet, HashSet};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

use crate::archive::noise;

/// Maximum number of entries of a directory tree.
const MOST: usize = 60;
/// Bytes of a big file: its layer is sent in parts.
const BIG: usize = 9 << 20;
/// Bytes before the content of a sparse file.
const HOLE: u64 = 3 << 20;
/// Length above which a path fits into no header without an extension, in bytes.
const LONG: usize = 255;
/// Longest path, in bytes: one below the limit of the unpacker leaves room for the directory of a test.
const LONGEST: usize = 3000;
/// Deepest path.
const DEEPEST: usize = 40;
/// Parts of names.
const PARTS: [&str; 22] = [
    "a",
    "b",
    "Z",
    "0",
    "-",
    "_",
    ".",
    " ",
    "ä",
    "日本",
    "🦀",
    "e\u{301}",
    "x.yaml",
    "long-long-long-long-",
    "'",
    "\"",
    "$x",
    "%2e",
    "~",
    "ß",
    "=",
    "#",
];

/// Kinds of entries that a tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    Executable,
    EmptyFile,
    EmptyDirectory,
    Link,
    DanglingLink,
    HardLink,
    Sparse,
    Big,
    Unicode,
    /// Name longer than the field of a header.
    LongName,
    LongPath,
    Deep,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::File,
        Self::Executable,
        Self::EmptyFile,
        Self::EmptyDirectory,
        Self::Link,
        Self::DanglingLink,
        Self::HardLink,
        Self::Sparse,
        Self::Big,
        Self::Unicode,
        Self::LongName,
        Self::LongPath,
        Self::Deep,
    ];
}

/// Generator of numbers; each seed gives one sequence (xorshift64*).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or_default() % most.max(1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    fn name(&mut self) -> String {
        let parts = match self.below(12) {
            0..3 => 40,
            3..5 => 12,
            _ => 3,
        };
        let name: String = (0..=self.below(parts)).filter_map(|_| self.one_of(&PARTS)).copied().collect();
        let end = (0..=name.len().min(LONG)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
        name.get(..end).unwrap_or_default().to_owned()
    }

    fn content(&mut self) -> Vec<u8> {
        let size = *self.one_of(&[1, 7, 100, 511, 512, 513, 4096, 70_000]).unwrap_or(&1);
        if self.below(2) == 0 { noise(size, self.0) } else { (0..size).map(|at| (at / 3).to_le_bytes()[0]).collect() }
    }
}

/// Tree that is being written.
struct Writing<'a> {
    root: &'a Path,
    random: Random,
    directories: Vec<String>,
    files: Vec<String>,
    /// Directories with an entry.
    full: HashSet<String>,
    /// Spellings that a file system may take for the same.
    folded: HashSet<String>,
    kinds: BTreeSet<Kind>,
}

/// Writes the tree of a seed below a directory, which is created. Returns its kinds of entries; at least one of them is
/// a file.
pub fn write(root: &Path, seed: u64) -> Result<BTreeSet<Kind>> {
    fs_err::create_dir_all(root)?;
    let mut writing = Writing {
        root,
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        directories: vec![String::new()],
        files: Vec::new(),
        full: HashSet::new(),
        folded: HashSet::new(),
        kinds: BTreeSet::new(),
    };
    for _ in 0..=writing.random.below(MOST) {
        writing.entry()?;
    }
    if writing.files.is_empty() && writing.folded.insert("file".to_owned()) {
        writing.file("file")?;
    }
    if writing.directories.iter().skip(1).any(|path| !writing.full.contains(path)) {
        writing.kinds.insert(Kind::EmptyDirectory);
    }
    Ok(writing.kinds)
}

impl Writing<'_> {
    fn entry(&mut self) -> Result<()> {
        // The last directories more often, so that trees become deep.
        let above = if self.random.below(2) == 0 {
            self.directories.last().cloned()
        } else {
            self.random.one_of(&self.directories).cloned()
        };
        let (above, name) = (above.unwrap_or_default(), self.random.name());
        let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        let depth = path.split('/').count();
        let is_new = || path.to_lowercase().replace("e\u{301}", "é").replace('ß', "ss");
        if matches!(name.as_str(), "." | "..")
            || path.len() > LONGEST
            || depth > DEEPEST
            || !self.folded.insert(is_new())
        {
            return Ok(());
        }
        self.full.insert(above);
        match self.random.below(12) {
            0..5 => {
                fs_err::create_dir(self.root.join(&path))?;
                self.directories.push(path.clone());
            }
            5 => self.link(&path, depth)?,
            6 if !self.files.is_empty() => {
                let of = self.random.one_of(&self.files).cloned().unwrap_or_default();
                fs_err::hard_link(self.root.join(of), self.root.join(&path))?;
                self.kinds.insert(Kind::HardLink);
            }
            _ => self.file(&path)?,
        }
        let marks = [
            (Kind::Unicode, !path.is_ascii()),
            (Kind::LongName, name.len() > 100),
            (Kind::LongPath, path.len() > LONG),
            (Kind::Deep, depth >= 8),
        ];
        self.kinds.extend(marks.into_iter().filter(|(_, is_so)| *is_so).map(|(kind, _)| kind));
        Ok(())
    }

    /// Links to an entry of the tree, by way of the top, or to nothing.
    fn link(&mut self, path: &str, depth: usize) -> Result<()> {
        let up = "../".repeat(depth.saturating_sub(1));
        let of = if self.random.below(2) == 0 { &self.files } else { &self.directories };
        let (kind, target) =
            match self.random.one_of(of).filter(|of| !of.is_empty() && !self.random.0.is_multiple_of(4)) {
                Some(of) => (Kind::Link, format!("{up}{of}")),
                None => (Kind::DanglingLink, format!("{up}nowhere-{}", self.random.below(9))),
            };
        let (kind, target) =
            if target.len() > LONGEST { (Kind::DanglingLink, "nowhere".to_owned()) } else { (kind, target) };
        fs_err::os::unix::fs::symlink(target, self.root.join(path))?;
        self.kinds.insert(kind);
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<()> {
        let place = self.root.join(path);
        let kind = match self.random.below(60) {
            0 => Kind::Big,
            1..4 => Kind::Sparse,
            4..12 => Kind::EmptyFile,
            _ => Kind::File,
        };
        if kind == Kind::Sparse {
            let mut file = fs_err::File::create(&place)?;
            file.seek(SeekFrom::Start(HOLE))?;
            file.write_all(&self.random.content())?;
            file.set_len(2 * HOLE)?;
        } else {
            let big = (kind == Kind::Big).then(|| noise(BIG, self.random.0));
            let content = if kind == Kind::EmptyFile { Vec::new() } else { self.random.content() };
            fs_err::write(&place, big.unwrap_or(content))?;
        }
        let mode = *self.random.one_of(&[0o644, 0o755, 0o600, 0o444, 0o711, 0o4755, 0o664]).unwrap_or(&0o644);
        fs_err::set_permissions(&place, std::fs::Permissions::from_mode(mode))?;
        self.kinds.insert(kind);
        if mode & 0o111 != 0 {
            self.kinds.insert(Kind::Executable);
        }
        self.files.push(path.to_owned());
        Ok(())
    }
}
