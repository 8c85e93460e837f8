//! Files of `--filename`: files and directories by name, and standard input.

use std::collections::{BTreeSet, VecDeque};
use std::io::Error;
use std::path::{Path, PathBuf};

use super::directories::Directories;
use super::record::Written;
use super::{MAX_FILE, content, is_stdin, reason, up_to};
use crate::api::Reason;
use crate::cli::output::complaint::Complaint;

/// Maximum depth of directories that are read.
const MAX_DEPTH: usize = 16;
/// Maximum number of entries in all directories.
const MAX_ENTRIES: usize = 100_000;
/// Maximum number of bytes in all files.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Name of standard input in errors.
const SHOWN_STDIN: &str = "standard input";

/// Error in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// A file or directory that cannot be read.
    #[error("{0}")]
    Unreadable(Error),
    /// A file with other content than such objects.
    #[error("{}: {problem}", file.display())]
    Invalid { file: PathBuf, problem: String },
    /// A file in a subdirectory that is not read. A policy in it would silently do nothing.
    #[error("{} is in a subdirectory, which is read only with -R", _0.display())]
    LeftOut(PathBuf),
    /// A second `-`.
    #[error("- is there twice; standard input can be read once")]
    StdinTwice,
}

impl InputError {
    /// Returns the reason at a command line.
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable(error) => reason(error),
            Self::Invalid { .. } => Reason::FileInvalid,
            Self::LeftOut(_) | Self::StdinTwice => Reason::InvalidSpec,
        }
    }

    /// Returns the report of an error in the files of an option.
    pub(crate) fn complaint(&self, option: &str) -> Complaint {
        Complaint::new(self.reason(), format!("{option}: {self}"))
    }
}

/// Treatment of subdirectories of a named directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subdirectories {
    /// They are read too.
    Read,
    /// A file in them that would be read is an error.
    Refuse,
}

impl Subdirectories {
    /// Returns the treatment for the option `--recursive`.
    pub(crate) fn read_if(recursive: bool) -> Self {
        if recursive { Self::Read } else { Self::Refuse }
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path as the user wrote it.
    pub(crate) shown: PathBuf,
    /// True for standard input.
    pub(crate) is_stdin: bool,
    /// Directory that paths in the file are relative to.
    pub(super) base: PathBuf,
    /// Content.
    pub(crate) text: String,
}

/// Reads files one by one: those of a directory before those of its subdirectories, so that the directories that they
/// name for content are known before one of these would be read.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    subdirectories: Subdirectories,
    written: &'a Written,
    files: VecDeque<PathBuf>,
    /// Directories with their depth below a named one.
    directories: VecDeque<(PathBuf, usize)>,
    /// Subdirectories that are not read.
    left: Vec<PathBuf>,
    /// Files and directories that were met, without symbolic links: some can be reached twice.
    met: BTreeSet<PathBuf>,
    entries: usize,
    bytes: usize,
}

impl<'a> Walk<'a> {
    /// Begins at these files and directories. Files in directories that were written are left out.
    pub(super) fn new(
        paths: &[PathBuf],
        subdirectories: Subdirectories,
        written: &'a Written,
    ) -> Result<Self, InputError> {
        let (mut files, mut directories) = (VecDeque::new(), VecDeque::new());
        for path in paths {
            let is_stdin = is_stdin(path);
            if is_stdin && files.contains(path) {
                return Err(InputError::StdinTwice);
            }
            if !is_stdin && fs_err::metadata(path).map_err(InputError::Unreadable)?.is_dir() {
                directories.push_back((path.clone(), 0));
            } else {
                files.push_back(path.clone());
            }
        }
        let (left, met) = (Vec::new(), BTreeSet::new());
        Ok(Self { subdirectories, written, files, directories, left, met, entries: 0, bytes: 0 })
    }

    /// Reads the next file; `None` after the last one. `taken` are the directories that earlier files name for content.
    pub(super) fn next(&mut self, taken: &Directories) -> Result<Option<Source>, InputError> {
        loop {
            if let Some(path) = self.files.pop_front() {
                if let Some(source) = self.read(path)? {
                    return Ok(Some(source));
                }
            } else if let Some((path, depth)) = self.directories.pop_front() {
                // Content of an artifact is no input, but by its own name.
                if depth == 0 || !is_taken(&path, taken)? {
                    self.list(&path, depth)?;
                }
            } else {
                return Ok(None);
            }
        }
    }

    /// Fails if a directory for content contains a file that was read, or if a subdirectory has a file that was not.
    pub(super) fn finish(mut self, taken: &Directories) -> Result<(), InputError> {
        for path in &self.met {
            if let Some(directory) = taken.containing(path) {
                let problem =
                    format!("the file is in {directory}, which an object names as the directory of its content");
                return Err(InputError::Invalid { file: path.clone(), problem });
            }
        }
        self.directories = std::mem::take(&mut self.left).into_iter().map(|path| (path, 1)).collect();
        self.subdirectories = Subdirectories::Read;
        while let Some((path, depth)) = self.directories.pop_front() {
            if !is_taken(&path, taken)? {
                self.list(&path, depth)?;
            }
            while let Some(file) = self.files.pop_front() {
                if self.is_first(&file)? {
                    return Err(InputError::LeftOut(file));
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, path: PathBuf) -> Result<Option<Source>, InputError> {
        let here = || PathBuf::from(".");
        if is_stdin(&path) {
            let shown = PathBuf::from(SHOWN_STDIN);
            let read = up_to(MAX_FILE, std::io::stdin().lock());
            let problem = |error: Error| InputError::Invalid { file: shown.clone(), problem: error.to_string() };
            let source = self.source(shown.clone(), here(), read.map_err(problem)?)?;
            return Ok(Some(Source { is_stdin: true, ..source }));
        }
        // A pipe has no path without links, and nothing is beside it.
        let is_regular = fs_err::metadata(&path).map_err(InputError::Unreadable)?.is_file();
        if is_regular && !self.is_first(&path)? {
            return Ok(None);
        }
        let base = path.parent().filter(|parent| is_regular && !parent.as_os_str().is_empty()).map(Path::to_owned);
        let bytes = content(&path).map_err(InputError::Unreadable)?;
        self.source(path, base.unwrap_or_else(here), bytes).map(Some)
    }

    fn source(&mut self, shown: PathBuf, base: PathBuf, bytes: Vec<u8>) -> Result<Source, InputError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        let fail = |problem: String| Err(InputError::Invalid { file: shown.clone(), problem });
        if self.bytes > MAX_BYTES {
            return fail(format!("the files have more than {MAX_BYTES} bytes together"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source { shown, is_stdin: false, base, text }),
            Err(_) => fail("not UTF-8 text".to_owned()),
        }
    }

    /// Adds the files and subdirectories of a directory.
    fn list(&mut self, path: &Path, depth: usize) -> Result<(), InputError> {
        let fail = |problem: String| Err(InputError::Invalid { file: path.to_owned(), problem });
        if depth >= MAX_DEPTH {
            return fail(format!("directories are nested more than {MAX_DEPTH} deep"));
        }
        if !self.is_first(path)? {
            return Ok(());
        }
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in fs_err::read_dir(path).map_err(InputError::Unreadable)? {
            let path = entry.map_err(InputError::Unreadable)?.path();
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES {
                return fail(format!("the directories have more than {MAX_ENTRIES} entries; name the files"));
            }
            let is_yaml = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
            if path.is_dir() {
                directories.push(path);
            } else if is_yaml && !self.written.has(&path) {
                files.push(path);
            }
        }
        files.sort();
        directories.sort();
        // A branch of Git can have any name.
        directories.retain(|path| path.file_name().is_none_or(|name| name != ".git"));
        self.files.extend(files);
        match self.subdirectories {
            Subdirectories::Read => self.directories.extend(directories.into_iter().map(|path| (path, depth + 1))),
            Subdirectories::Refuse => self.left.extend(directories),
        }
        Ok(())
    }

    fn is_first(&mut self, path: &Path) -> Result<bool, InputError> {
        Ok(self.met.insert(fs_err::canonicalize(path).map_err(InputError::Unreadable)?))
    }
}

fn is_taken(path: &Path, taken: &Directories) -> Result<bool, InputError> {
    let path = fs_err::canonicalize(path).map_err(InputError::Unreadable)?;
    Ok(taken.containing(&path).is_some())
}
