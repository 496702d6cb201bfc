//! `devpulse import csv`: one event per row.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use csv::StringRecord;
use serde_json::{Map, Value};

use super::cells::set;
use super::sender::{Door, Sent};
use super::{Sender, Target, progress};
use crate::cli::Failure;

#[derive(Debug, Args)]
pub struct Options {
    /// The file; its first line names the columns as docs/events.md names the fields, `attributes.NAME`
    /// for an attribute. Lists and objects are JSON: `["src/a.rs"]`, `[{"id": "d-1"}]`
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
        match event(&head, &record, &options) {
            Ok(event) => sender.send(format!("line {line}"), &Value::Object(event)).await?,
            Err(why) => sender.refuse(format!("line {line}, {why}")),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    sender.finish().await
}

fn event(head: &StringRecord, row: &StringRecord, options: &Options) -> Result<Map<String, Value>, String> {
    let cells = || head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
    let said = cells().find(|(name, _)| *name == "type").map(|(_, kind)| kind);
    let kind = said.or(options.kind.map(Kind::name));
    let mut event = Map::new();
    event.extend(kind.map(|kind| ("type".to_owned(), kind.into())));
    event.insert("source".to_owned(), options.source.as_str().into());
    cells().try_for_each(|(name, cell)| set(&mut event, kind.unwrap_or_default(), name, cell))?;
    Ok(event)
}
