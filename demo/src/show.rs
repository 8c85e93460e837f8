//! Output of the demo: headings, commands as typed in a shell, and their real output.

use std::io::IsTerminal;

/// Prints the heading of a step.
pub(crate) fn heading(text: &str) {
    println!("\n{}\n", bold(&format!("== {text}")));
}

/// Prints a sentence, or several lines.
pub(crate) fn says(text: &str) {
    println!("{text}");
}

/// Prints a command line and its output.
pub(crate) fn output(line: &str, text: &str) {
    println!("{}\n{}", bold(&format!("$ {line}")), text.trim_end());
}

fn bold(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}
