//! Results on standard output, for people or for programs.

use std::io::Write;

use serde::Serialize;

use super::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl Output {
    /// Prints `value` as JSON, or what `people` says of it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show(self, value: &impl Serialize, people: impl FnOnce() -> String) -> Result<(), Failure> {
        match self {
            Self::Text => text(&people()),
            Self::Json => text(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?),
        }
    }
}

/// Prints a text and ends the line. Whoever stops reading, as `head` does, has read enough.
///
/// # Errors
/// Standard output cannot be written.
pub fn text(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// "1 service", "2 services"
pub fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Columns as wide as their widest cell; the last one is free.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|title| title.to_uppercase()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned()], vec!["bcd".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["id", "what"], &rows), "ID   WHAT\na    long cell\nbcd  x");
    }
}
