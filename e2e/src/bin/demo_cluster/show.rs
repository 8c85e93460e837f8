//! Output of the demo: headings, commands as typed in a shell, and their real output.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Result;
use supercargo_e2e::files::{self, Entry};
use supercargo_e2e::run::Invocation;

/// Command with the line that is shown for it.
pub(crate) struct Shown {
    line: String,
    command: Invocation,
}

impl Shown {
    pub(crate) fn new(program: &str, line: &str, command: Invocation) -> Self {
        Self { line: format!("{program} {line}"), command }
    }

    /// Runs the command and shows its output.
    pub(crate) async fn run(self) -> Result<()> {
        let printed = self.command.stdout().await?;
        output(&self.line, &printed);
        Ok(())
    }
}

pub(crate) fn heading(text: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{bold}== {text}{plain}\n");
}

pub(crate) fn says(text: &str) {
    println!("{text}");
}

/// Prints a command line and its output.
pub(crate) fn output(line: &str, text: &str) {
    println!("$ {line}");
    println!("{}", text.trim_end());
    println!();
}

/// Prints every file and link below `current`, as `find` would list it.
pub(crate) fn published(volume: &Path, namespace: &str) -> Result<()> {
    println!("$ find {namespace}/*/current/ -type f -o -type l");
    let mut objects = fs_err::read_dir(volume.join(namespace))?.collect::<std::io::Result<Vec<_>>>()?;
    objects.sort_by_key(fs_err::DirEntry::file_name);
    for object in objects {
        let name = object.file_name().to_string_lossy().into_owned();
        for (path, entry) in files::read(&object.path().join("current"))? {
            if let Entry::Link(target) = entry {
                println!("{namespace}/{name}/current/{path} -> {target}");
            } else {
                println!("{namespace}/{name}/current/{path}");
            }
        }
    }
    println!();
    Ok(())
}

/// Prints the entries of one directory, links with their targets.
pub(crate) fn list(volume: &Path, directory: &str) -> Result<()> {
    println!("$ ls -lA {directory}");
    let mut entries = fs_err::read_dir(volume.join(directory))?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs_err::DirEntry::file_name);
    for entry in entries {
        let shown = entry.file_name().to_string_lossy().into_owned();
        match fs_err::read_link(entry.path()) {
            Ok(target) => println!("{shown} -> {}", target.display()),
            Err(_) => println!("{shown}"),
        }
    }
    println!();
    Ok(())
}
