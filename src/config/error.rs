//! What is wrong with a configuration: every finding with its file, line and column.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::tree::Mark;

/// Everything found wrong, in the order of the file.
#[derive(Debug, Clone, thiserror::Error)]
pub struct ConfigError {
    /// The file's name as it was given.
    file: String,
    /// The file's text, masked; empty when it may not be shown at all.
    text: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub place: Place,
    /// Path of the key, such as `slos[0].objective`; empty when it is the file as a whole.
    pub key: String,
    /// What is wrong and what to do; never holds a secret.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    File,
    Mark(Mark),
    /// An environment variable.
    Variable(String),
}

/// One finding for programs (`devpulse check --output json`).
#[derive(Debug, Serialize)]
pub struct FindingView<'a> {
    pub file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub key: &'a str,
    pub message: &'a str,
}

impl ConfigError {
    /// `text` is shown in excerpts.
    pub(super) fn new(file: &str, text: String, mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| a.place.cmp(&b.place));
        Self { file: file.to_owned(), text, findings }
    }

    /// The file itself cannot be read.
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let finding = Finding { place: Place::File, key: String::new(), message: format!("cannot be read: {error}") };
        Self::new(file, String::new(), vec![finding])
    }

    pub fn views(&self) -> impl Iterator<Item = FindingView<'_>> {
        self.findings.iter().map(|finding| {
            let mark = match &finding.place {
                Place::Mark(mark) => Some(mark),
                Place::File | Place::Variable(_) => None,
            };
            FindingView {
                file: &self.file,
                line: mark.map(|mark| mark.line),
                column: mark.map(|mark| mark.column),
                variable: match &finding.place {
                    Place::Variable(name) => Some(name),
                    Place::File | Place::Mark(_) => None,
                },
                key: &finding.key,
                message: &finding.message,
            }
        })
    }

    /// For people at a terminal: each finding with the line it is about and a caret below it.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let _ = writeln!(out, "{}", Line { file: &self.file, finding });
            let Place::Mark(mark) = &finding.place else { continue };
            if let Some(line) = self.text.lines().nth(mark.line.saturating_sub(1)) {
                let number = mark.line.to_string();
                let (gutter, indent) = (" ".repeat(number.len()), " ".repeat(mark.column.saturating_sub(1)));
                let _ = writeln!(out, "  {number} | {line}\n  {gutter} | {indent}^");
            }
        }
        out
    }
}

/// One line per finding, without excerpts: safe for logs.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", Line { file: &self.file, finding })?;
        }
        Ok(())
    }
}

struct Line<'a> {
    file: &'a str,
    finding: &'a Finding,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding.place {
            Place::File => write!(f, "{}: ", self.file)?,
            Place::Mark(mark) => write!(f, "{}:{}:{}: ", self.file, mark.line, mark.column)?,
            Place::Variable(name) => write!(f, "{name} (environment): ")?,
        }
        if !self.finding.key.is_empty() {
            write!(f, "{}: ", self.finding.key)?;
        }
        f.write_str(&self.finding.message)
    }
}

/// The candidate that was probably meant, as the end of a sentence.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let nearest = candidates.into_iter().min_by_key(distance);
    match nearest {
        Some(nearest) if distance(&nearest) <= 1.max(word.chars().count() / 3) => {
            format!("; did you mean `{nearest}`?")
        }
        _ => String::new(),
    }
}
