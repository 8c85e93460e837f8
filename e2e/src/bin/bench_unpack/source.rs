//! Content of the archives: files present on every machine that has built this workspace.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use supercargo_e2e::chart;

/// Files to archive, always in the same order.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    /// Path of each file, and its name in the archive.
    files: Vec<(PathBuf, String)>,
    /// True if files that are not UTF-8 are skipped.
    text_only: bool,
    /// Minimum size of an archived file in bytes; a smaller file is concatenated with the files after it.
    least: usize,
}

/// Number and total size of the files in an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Source {
    /// Returns the sources of the crates in `Cargo.lock` that Cargo has unpacked.
    pub(crate) fn text() -> Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let mut registries = entries(&home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src"))?;
        let registry = registries.pop().context("no crate has been unpacked yet")?;
        let mut files = Vec::new();
        for name in crates()? {
            if registry.join(&name).is_dir() {
                add(&registry.join(&name), &name, &mut files)?;
            }
        }
        Ok(Self { name: "source text", files, text_only: true, least: 0 })
    }

    /// Returns the same text as [`Source::text`] in files of at least this many bytes.
    pub(crate) fn text_in_files_of(least: usize) -> Result<Self> {
        Ok(Self { least, ..Self::text()? })
    }

    /// Returns the libraries and programs of the Rust toolchain named in `rust-toolchain.toml`.
    pub(crate) fn binaries() -> Result<Self> {
        let rustc = Command::new("rustc").args(["--print", "sysroot"]).current_dir(chart::workspace()).output()?;
        ensure!(rustc.status.success(), "rustc does not say where its libraries are");
        let root = PathBuf::from(String::from_utf8(rustc.stdout)?.trim());
        let mut files = Vec::new();
        for part in ["bin", "lib"] {
            add(&root.join(part), part, &mut files)?;
        }
        Ok(Self { name: "binaries", files, text_only: false, least: 0 })
    }

    /// Writes a tar with `bytes` of files to `path`, compressed by `gzip -6`.
    pub(crate) fn archive(&self, path: &Path, bytes: u64) -> Result<Made> {
        let file = fs_err::File::create(path)?.into_file();
        let mut gzip =
            Command::new("gzip").args(["-6", "-n", "-c"]).stdin(Stdio::piped()).stdout(file).spawn().context("gzip")?;
        let pipe = gzip.stdin.take().context("gzip has no pipe")?;
        let made = self.tar(BufWriter::new(pipe), "", 0, bytes)?;
        ensure!(gzip.wait()?.success(), "gzip failed");
        Ok(made)
    }

    /// Writes a tar with exactly `bytes` bytes of files below `directory`, after skipping the first `skip` bytes.
    /// Repeats the files if there are too few; a repetition is further back than gzip's window reaches.
    pub(crate) fn tar(&self, to: impl Write, directory: &str, mut skip: u64, bytes: u64) -> Result<Made> {
        ensure!(!self.files.is_empty(), "there is nothing to archive");
        let mut made = Made { files: 0, bytes: 0 };
        let (mut builder, mut content) = (tar::Builder::new(to), Vec::new());
        for copy in 1.. {
            let before = (made.bytes, skip, content.len());
            for (path, name) in &self.files {
                let size = fs_err::metadata(path)?.len();
                if skip >= size.max(1) {
                    skip -= size;
                    continue;
                }
                skip = 0;
                let file = fs_err::read(path)?;
                if self.text_only && std::str::from_utf8(&file).is_err() {
                    continue;
                }
                content.extend(file);
                content.truncate(usize::try_from(bytes - made.bytes).unwrap_or(usize::MAX));
                if content.len() < self.least && made.bytes + (content.len() as u64) < bytes {
                    continue;
                }
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o644);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, format!("{directory}copy-{copy}/{name}"), content.as_slice())?;
                made.files += 1;
                made.bytes += content.len() as u64;
                content.clear();
                if made.bytes == bytes {
                    builder.into_inner()?.flush()?;
                    return Ok(made);
                }
            }
            ensure!((made.bytes, skip, content.len()) != before, "there is nothing but empty files to archive");
        }
        Ok(made)
    }
}

/// Returns the directory names of the crates in `Cargo.lock`.
fn crates() -> Result<Vec<String>> {
    let lock = fs_err::read_to_string(chart::workspace().join("Cargo.lock"))?;
    let value =
        |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned());
    let names = lock.lines().filter_map(|line| value(line, "name"));
    // The version of the lock file itself also matches `version`, but has no quotes.
    let versions = lock.lines().filter_map(|line| value(line, "version"));
    Ok(names.zip(versions).map(|(name, version)| format!("{name}-{version}")).collect())
}

/// Adds every regular file below a directory.
fn add(directory: &Path, name: &str, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    for path in entries(directory)? {
        let Some(own) = path.file_name().and_then(|own| own.to_str()) else { continue };
        let (name, kind) = (format!("{name}/{own}"), fs_err::symlink_metadata(&path)?.file_type());
        if kind.is_dir() {
            add(&path, &name, files)?;
        } else if kind.is_file() {
            files.push((path, name));
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries: std::io::Result<Vec<_>> = fs_err::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(entries)
}
