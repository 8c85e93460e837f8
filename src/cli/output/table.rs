//! Columns of text, each as wide as its widest cell.

use std::fmt::Write;

use crate::failure::printable;

/// Lays rows out under a header; the last column is not padded. Cells may have names from files and registries, so they
/// are made printable.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = header.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&header.map(str::to_owned)).chain(&rows) {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = if index + 1 == N { writeln!(text, "{cell}") } else { write!(text, "{cell:width$}   ") };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text =
            table(["NAME", "READY"], &[["a".to_owned(), "True".to_owned()], ["longer".to_owned(), "x".to_owned()]]);
        assert_eq!(text, "NAME     READY\na        True\nlonger   x\n");
        let hostile = table(["NAME"], &[["a\u{1b}[31m\nb".to_owned()]]);
        assert_eq!(hostile, "NAME\na\\u{1b}[31m\\nb\n");
    }
}
