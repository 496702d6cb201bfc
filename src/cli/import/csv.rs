//! `devpulse import csv`: one event per row.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::sender::{Door, Sent};
use super::{Sender, Target, progress};
use crate::cli::Failure;

#[derive(Debug, Args)]
pub struct Options {
    /// The file; its first line names the columns, `attributes.NAME` for an attribute
    file: PathBuf,
    /// What its rows are, where no column `type` says it
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// Who says so, where no column `source` does
    #[arg(long, default_value = "csv")]
    source: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Deployment,
    Change,
    Incident,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Change => "change",
            Self::Incident => "incident",
        }
    }
}

/// # Errors
/// The file cannot be read, or the server refuses.
pub async fn run(options: Options) -> Result<Sent, Failure> {
    let unreadable = |error: csv::Error| Failure::Refused(format!("{}: {error}", options.file.display()));
    let rows = csv::Reader::from_path(&options.file).map_err(unreadable)?.into_records().count();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(&options.file).map_err(unreadable)?;
    let head = reader.headers().map_err(unreadable)?.clone();
    let bar = progress(rows, "rows");
    let mut sender = Sender::new(&options.target.server, Door::Events);
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut event = Map::new();
        for (name, cell) in head.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
            set(&mut event, name, cell);
        }
        if let Some(kind) = options.kind {
            event.entry("type").or_insert_with(|| kind.name().into());
        }
        event.entry("source").or_insert_with(|| options.source.as_str().into());
        sender.send(format!("line {line}"), &Value::Object(event)).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    sender.finish().await
}

/// Cells are text; `attributes.team` goes into `attributes`, `pull_request.number` is a number.
fn set(event: &mut Map<String, Value>, name: &str, cell: &str) {
    match name.split_once('.') {
        None => drop(event.insert(name.to_owned(), cell.into())),
        Some((outer, inner)) => {
            let value = match (inner, cell.parse::<u64>()) {
                ("number", Ok(number)) => number.into(),
                _ => cell.into(),
            };
            if let Value::Object(object) = event.entry(outer).or_insert_with(|| Value::Object(Map::new())) {
                object.insert(inner.to_owned(), value);
            }
        }
    }
}
