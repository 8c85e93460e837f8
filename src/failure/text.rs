//! Text from outside, made safe for a terminal, a log and a condition.

use crate::output::{Loss, OutputError};

/// Remedy for a directory of a repository with files of others that a replacement would lose.
const KEEP_OR_FORCE: &str = "Restore changed and removed files (git restore), move the others away or keep them with --keep-foreign, or replace \
     all with --force.";
/// Remedy for a directory of a repository whose own files were edited.
const RESTORE_OR_FORCE: &str = "Restore changed and removed files (git restore), or replace them with --force.";
/// Remedy for a file of others at the path of a file of the artifact.
const MOVE_AWAY: &str = "Move the file away, or omit --keep-foreign and replace it with --force.";

/// Remedy for an artifact with other files than its lock file says.
const LOCK_ANEW: &str = "Review the last change of the lock file; supercargo lock writes the entry anew.";

/// Returns the remedy of an error about a directory of a repository or its lock, for the user of a command.
pub(super) fn remedy_of(error: &OutputError) -> Option<&'static str> {
    if let OutputError::Differs { loss, .. } = error {
        return Some(match loss {
            Loss::Foreign => KEEP_OR_FORCE,
            Loss::Changed => RESTORE_OR_FORCE,
            Loss::Collision => MOVE_AWAY,
        });
    }
    matches!(error, OutputError::OtherFiles { .. }).then_some(LOCK_ANEW)
}

/// Maximum length of a condition's message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// True for a character that could change the display of the surrounding text in a terminal or log: controls, line and
/// paragraph ends, text directions, and invisible characters (Unicode, `Default_Ignorable_Code_Point`) including tags.
pub(crate) fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes characters that could change the display in a terminal or log, and truncates long texts.
pub(crate) fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disruptive(c) {
            printed.extend(c.escape_default());
        } else {
            printed.push(c);
        }
        if printed.len() > MAX_MESSAGE {
            printed.push('…');
            break;
        }
    }
    printed
}

/// Joins an error with its sources: the outer error of kube's client names the request, and only the last one the cause,
/// such as a certificate that is not trusted.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_redraw_a_terminal_and_has_a_maximum_length() {
        let shown = printable("entry \u{1b}[2J\u{202e}gpj.exe\n");
        assert_eq!(shown, r"entry \u{1b}[2J\u{202e}gpj.exe\n");
        for c in [
            '\u{61c}',
            '\u{2028}',
            '\u{2029}',
            '\u{2067}',
            '\u{feff}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\r',
            '\u{85}',
        ] {
            assert!(printable(&format!("a{c}b")).is_ascii(), "{c:?}");
        }
        assert_eq!(printable("größer 大きい 🚀"), "größer 大きい 🚀");
        assert!(printable(&"x".repeat(100_000)).len() < 1100);
    }
}
