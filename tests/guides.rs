//! Commands on the pages: the command line has each of them, with its options and arguments.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own files"
)]

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;
use supercargo::cli::Cli;

/// Names of the program, as it is and as a plugin of kubectl.
const PROGRAMS: [&str; 2] = ["supercargo ", "kubectl ociartifact "];

#[test]
fn every_command_of_a_page_is_accepted() {
    let (mut commands, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for words in commands_of(&text) {
            commands += 1;
            // Values on pages are placeholders, so only their presence counts.
            let ignored = [
                ErrorKind::DisplayHelp,
                ErrorKind::DisplayVersion,
                ErrorKind::InvalidValue,
                ErrorKind::ValueValidation,
            ];
            match Cli::command().try_get_matches_from(&words) {
                Err(error) if !ignored.contains(&error.kind()) => {
                    wrong.push(format!("{}: {}: {error}", page.display(), words.join(" ")));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    assert!(commands > 100, "only {commands} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_are_found_in_blocks_and_in_spans() {
    let page = "\
Run `supercargo pull A -o B`, not `oras pull`, `supercargo pull` or `supercargo sync ...`.

```sh
# supercargo list --none
pass | supercargo login HOST --username 'a b' \\
  --password-stdin && supercargo list > file
```

```yaml
command: supercargo list --yaml
```
";
    let want: [&[&str]; 3] = [
        &["supercargo", "login", "HOST", "--username", "a b", "--password-stdin"],
        &["supercargo", "list"],
        &["supercargo", "pull", "A", "-o", "B"],
    ];
    assert_eq!(commands_of(page), want);
}

fn pages() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let mut directories = vec![root.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension() == Some(Path::new("md").as_os_str()) {
                pages.push(path);
            }
        }
    }
    pages
}

/// Returns the words of each command with arguments: those in blocks of shell, then those in code spans.
fn commands_of(page: &str) -> Vec<Vec<String>> {
    let (mut block, mut prose, mut language) = (String::new(), String::new(), None);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, Some("sh" | "bash" | "console")) => {
                let line = line.trim_start().strip_prefix("$ ").unwrap_or(line);
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(_)) => {}
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    let lines = block.replace("\\\n", " ");
    let lines = lines.lines().filter(|line| !line.trim_start().starts_with('#'));
    let lines = lines.map(|line| line.split(" # ").next().unwrap_or_default());
    let spans = prose.split('`').skip(1).step_by(2).filter(|span| PROGRAMS.iter().any(|name| span.starts_with(name)));
    let all = lines.chain(spans).flat_map(simple_commands);
    let is_ours = |words: &Vec<String>| {
        let is_whole = !words.iter().any(|word| word == "..." || word.contains(['|', '[', '$']));
        PROGRAMS.iter().any(|name| words.join(" ").starts_with(name)) && words.len() > 1 && is_whole
    };
    let with_arguments = |words: &Vec<String>| words.len() > 2 || words[1] == "list";
    all.filter(is_ours).filter(with_arguments).collect()
}

/// Splits a line of shell into simple commands, and these into words.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut is_redirected) = (String::new(), None, false);
    let end = |word: &mut String, commands: &mut Vec<Vec<String>>, is_redirected: &mut bool| {
        let word = std::mem::take(word);
        if !word.is_empty() && !std::mem::take(is_redirected) {
            commands.last_mut().unwrap().push(word);
        }
    };
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            // In tables, `|` has a backslash.
            ('\\', None) => word.extend(characters.next()),
            (_, Some(open)) if character == open => quote = None,
            (_, Some(_)) => word.push(character),
            ('\'' | '"', None) => quote = Some(character),
            (character, None) if character.is_whitespace() => end(&mut word, &mut commands, &mut is_redirected),
            ('|' | '&' | ';', None) => {
                end(&mut word, &mut commands, &mut is_redirected);
                commands.push(Vec::new());
            }
            ('>' | '<', None) => {
                end(&mut word, &mut commands, &mut is_redirected);
                is_redirected = true;
            }
            (character, None) => word.push(character),
        }
    }
    end(&mut word, &mut commands, &mut is_redirected);
    commands
}
