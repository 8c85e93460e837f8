//! Patterns of gitignore as ours, where both match the same files.

use crate::pattern::{MAX_PATTERN, Patterns};
use crate::translate::spec::Files;

/// Returns the selection for a text in the form of `.gitignore`. A text that begins with `/*` and then names
/// directories with `!/` selects exactly these. Other exceptions depend on the order of the lines, and are an error.
pub(super) fn files(text: &str) -> Result<Files, String> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut lines = lines.peekable();
    let mut files = Files::default();
    if lines.next_if_eq(&"/*").is_some() {
        while let Some(line) = lines.next_if(|line| line.starts_with('!')) {
            let name = line.strip_prefix("!/").map(|name| name.trim_end_matches('/'));
            let name = name.filter(|name| !name.is_empty() && !name.contains(['/', '*', '?', '[', '\\', '{', '}']));
            let name = name.ok_or_else(|| format!("\"{line}\": expected !/NAME after /*"))?;
            files.include.push(name.to_owned());
        }
        if files.include.is_empty() {
            return Err("\"/*\" excludes every file".to_owned());
        }
    }
    for line in lines {
        files.exclude.push(pattern(line)?);
    }
    let all = [files.include.as_slice(), files.exclude.as_slice()].concat();
    if all.iter().any(|pattern| pattern.len() > MAX_PATTERN) || Patterns::paths(&all).is_err() {
        return Err("has an invalid pattern".to_owned());
    }
    Ok(files)
}

fn pattern(line: &str) -> Result<String, String> {
    let problem = if line.starts_with('!') {
        "exceptions have no counterpart"
    } else if line.contains(['\\', '{', '}']) {
        "backslashes and braces are read in another way"
    } else {
        let name = line.trim_end_matches('/');
        if name.is_empty() || name.split('/').any(|part| part.contains("**") && part != "**") {
            return Err(format!("\"{line}\": invalid pattern"));
        }
        // A pattern without a slash, but at its end, matches at any depth.
        let anywhere = if name.contains('/') { "" } else { "**/" };
        // A slash at the end is for directories alone: all of their files, and no file of the name.
        let below = if line.ends_with('/') { "/**" } else { "" };
        return Ok(format!("{anywhere}{}{below}", name.trim_start_matches('/')));
    };
    Err(format!("\"{line}\": {problem}; expected patterns that exclude files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_the_same_files_as_in_git() {
        let covers = |line: &str, path: &str| Patterns::paths(&files(line).unwrap().exclude).unwrap().covers(path);
        let rows = [
            ("*.md", "a.md", true),
            ("*.md", "d/a.md", true),
            ("/*.md", "d/a.md", false),
            ("/*.md", "a.md", true),
            ("docs", "docs/a", true),
            ("docs", "d/docs", true),
            ("docs/", "d/docs/a", true),
            ("docs/", "d/docs", false),
            ("/docs/", "d/docs/a", false),
            ("deploy/*.txt", "deploy/a.txt", true),
            ("deploy/*.txt", "deploy/d/a.txt", false),
            ("deploy/*.txt", "d/deploy/a.txt", false),
            ("deploy/**/*.txt", "deploy/d/a.txt", true),
            ("**/test", "a/test/b", true),
            ("test/**", "test/b", true),
            ("[ab].txt", "d/b.txt", true),
            ("# a comment\n\n*.md  ", "a.md", true),
        ];
        for (line, path, want) in rows {
            assert_eq!(covers(line, path), want, "{line} {path}");
        }
    }

    #[test]
    fn directories_that_are_kept_are_included() {
        let text = "# exclude all\n/*\n# include deploy dir\n!/deploy\n/deploy/**/*.md\n/deploy/**/*.txt\n";
        let want = Files {
            include: vec!["deploy".to_owned()],
            exclude: vec!["deploy/**/*.md".to_owned(), "deploy/**/*.txt".to_owned()],
            ..Files::default()
        };
        assert_eq!(files(text), Ok(want));
    }

    #[test]
    fn lines_that_depend_on_others_are_errors() {
        for text in ["*.md\n!README.md", "/*", "/*\n!/a/b", "/*\n!a", "a\\*", "a{b,c}", "/", "a**b", "[a"] {
            assert!(files(text).is_err(), "{text}");
        }
    }
}
