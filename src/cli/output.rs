//! Results on standard output, for people or for programs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

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
            Self::Json => text(&serde_json::to_string_pretty(value).map_err(io::Error::from)?),
        }
    }
}

/// Prints a text and ends the line.
///
/// # Errors
/// Standard output cannot be written.
pub fn text(text: &str) -> Result<(), Failure> {
    write(None, &format!("{text}\n"))
}

/// Writes a text as it is, to a file or to standard output.
///
/// # Errors
/// It cannot be written.
pub fn write(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    stream(file, |out| out.write_all(text.as_bytes()))
}

/// Writes piece by piece, to a file or to standard output. Whoever stops reading, as `head` does,
/// has read enough.
///
/// # Errors
/// It cannot be written.
pub fn stream(file: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let failed = |source| match file {
        Some(file) => Failure::File { path: file.display().to_string(), source },
        None => Failure::Io(source),
    };
    let out: Box<dyn Write> = match file {
        Some(file) => Box::new(File::create(file).map_err(failed)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::new(out);
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(failed),
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
