//! `devpulse compare`: services or teams side by side.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::figures::{Figure, Figures, title};
use super::output::table;
use super::remote::{Query, Server, decoded};
use super::selection::Selection;
use super::{Failure, Output};
use crate::dora::Metric;

#[derive(Debug, Args)]
pub struct Options {
    /// A row per service or per team
    #[arg(long, value_enum, default_value_t = By::Service)]
    by: By,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    Service,
    Team,
}

impl By {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Team => "team",
        }
    }
}

/// A service or a team of `GET /api/v1/dora/compare`.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    pub name: String,
    pub time_zone: String,
    pub metrics: Figures,
}

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let Options { by, selection, server } = options;
    let answer = fetch(&server, by, &selection.query()).await?;
    let rows: Vec<Row> = decoded(answer.get("rows"))?;
    let hint = answer.get("hint").and_then(Value::as_str).map(|hint| format!("\n{hint}")).unwrap_or_default();
    output.show(&answer, || text(by, &rows) + &hint)
}

/// The whole comparison, all its pages.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn fetch(server: &Server, by: By, query: Query<'_>) -> Result<Value, Failure> {
    let more = [("by", Some(by.name()))];
    server.get_all(&["dora", "compare"], &[query, &more].concat(), &["rows"]).await
}

/// The rows as a table, and why some cells are empty.
pub fn text(by: By, rows: &[Row]) -> String {
    if rows.is_empty() {
        return format!("no {} is known", by.name());
    }
    let titles = Metric::ALL.map(title);
    let head: Vec<&str> = std::iter::once(by.name()).chain(titles.iter().map(String::as_str)).collect();
    let cells = |row: &Row| {
        let of = |metric: &Metric| row.metrics.get(metric).map(|figure| figure.cell(*metric)).unwrap_or_default();
        std::iter::once(row.name.clone()).chain(Metric::ALL.iter().map(of)).collect::<Vec<_>>()
    };
    let mut lines = vec![table(&head, &rows.iter().map(cells).collect::<Vec<_>>())];
    lines.push("\nIn brackets: of how many. !: the target is missed.".to_owned());
    lines.extend(
        rows.iter().flat_map(|row| reasons(&row.metrics).into_iter().map(|why| format!("{}: {why}", row.name))),
    );
    lines.join("\n")
}

/// `Change lead time: no change was deployed in this window`, for each figure without a value.
pub fn reasons(metrics: &Figures) -> Vec<String> {
    let missing = metrics.iter().filter(|(_, figure)| figure.value.is_none());
    let say = |(metric, figure): (&Metric, &Figure)| {
        let left_out = match figure.excluded_words() {
            none if none.is_empty() => none,
            words => format!(" ({words})"),
        };
        Some(format!("{}: {}{left_out}", title(*metric), figure.reason.as_ref()?))
    };
    missing.filter_map(say).collect()
}
