//! `devpulse report`: the delivery metrics of a period, for people, spreadsheets and programs.

mod chart;
mod csv;
mod page;
mod text;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::compare::{self, By, Row};
use super::figures::Figures;
use super::output;
use super::remote::{Server, decoded};
use super::selection::Selection;
use super::{Failure, Output};
use crate::time::Timestamp;
use view::View;

const DAY: Duration = Duration::from_hours(24);
/// Up to these lengths of the period, the course over time is by day, or by week.
const BY_DAY: u32 = 15;
const BY_WEEK: u32 = 732;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Beside the figures of the whole, those of each service or team
    #[arg(long, value_enum, default_value_t = By::Service)]
    by: By,
    /// What the report is written as; text without it
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write it; standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// The API's answers, put together
    Json,
    /// A row per selection and metric
    Csv,
    /// One file with charts, which needs nothing else
    Html,
    Markdown,
}

/// What `GET /api/v1/dora` says of the whole period.
#[derive(Debug, Deserialize)]
struct Summary {
    from: Timestamp,
    to: Timestamp,
    time_zone: String,
    selection: About,
    benchmark_edition: String,
    #[serde(default)]
    deployed_elsewhere: Vec<String>,
    metrics: Figures,
}

#[derive(Debug, Deserialize)]
struct About {
    service: Option<String>,
    team: Option<String>,
    environments: Vec<String>,
}

/// A day, a week or a month of the period.
#[derive(Debug, Deserialize)]
struct Bucket {
    from: Timestamp,
    partial: bool,
    metrics: Figures,
}

/// Everything that a report says.
struct Report {
    summary: Summary,
    /// `day`, `week` or `month`.
    bucket: &'static str,
    buckets: Vec<Bucket>,
    by: By,
    rows: Vec<Row>,
    /// The same as the API answered it.
    answer: Value,
}

/// # Errors
/// The server cannot be reached or refuses, or the file cannot be written.
pub async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let Options { selection, by, format, out, server } = options;
    let report = fetch(&server, &selection, by).await?;
    let format = format.unwrap_or(if output == Output::Json { Format::Json } else { Format::Text });
    let written = match format {
        Format::Text => text::render(&View::of(&report), &report),
        Format::Json => format!("{:#}\n", report.answer),
        Format::Csv => csv::render(&report)?,
        Format::Html => page::html(&View::of(&report), &chart::charts(&report))?,
        Format::Markdown => page::markdown(&View::of(&report))?,
    };
    output::write(out.as_deref(), &written)
}

/// The whole first: the window that it was answered for is that of everything else.
async fn fetch(server: &Server, selection: &Selection, by: By) -> Result<Report, Failure> {
    let mut answer = server.get(&["dora"], &selection.query()).await?;
    let summary: Summary = decoded(Some(&answer))?;
    let (from, to) = (summary.from.to_string(), summary.to.to_string());
    let mut query = selection.query();
    query.retain(|(name, _)| !["from", "to", "window"].contains(name));
    query.extend([("from", Some(from.as_str())), ("to", Some(to.as_str()))]);
    let bucket = bucket(summary.to.duration_since(summary.from));
    let series = server.get(&["dora", "series"], &[&query[..], &[("bucket", Some(bucket))]].concat()).await?;
    let comparison = compare::fetch(server, by, &query).await?;
    let (buckets, rows) = (decoded(series.get("buckets"))?, decoded(comparison.get("rows"))?);
    if let Value::Object(whole) = &mut answer {
        whole.insert("series".to_owned(), json!({"bucket": bucket, "buckets": series.get("buckets")}));
        whole.insert("comparison".to_owned(), json!({"by": by.name(), "rows": comparison.get("rows")}));
    }
    Ok(Report { summary, bucket, buckets, by, rows, answer })
}

/// By what the course over time is shown.
fn bucket(length: Duration) -> &'static str {
    match length {
        length if length < DAY.saturating_mul(BY_DAY) => "day",
        length if length < DAY.saturating_mul(BY_WEEK) => "week",
        _ => "month",
    }
}

impl Report {
    /// What the whole is about, as kind and name: `("team", "payments")`, `("all", "")`.
    fn subject(&self) -> (&'static str, &str) {
        match &self.summary.selection {
            About { service: Some(service), .. } => ("service", service),
            About { team: Some(team), .. } => ("team", team),
            _ => ("all", ""),
        }
    }

    /// The rows that say something else than the whole does.
    fn others(&self) -> Vec<&Row> {
        let subject = self.subject();
        self.rows.iter().filter(|row| (self.by.name(), row.name.as_str()) != subject).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_periods_are_shown_by_day_and_long_ones_by_month() {
        let days = |days: u64| bucket(Duration::from_hours(days * 24));
        assert_eq!([1, 14, 15, 30, 366, 731, 732].map(days), ["day", "day", "week", "week", "week", "week", "month"]);
    }
}
