//! `devpulse explain`: every row behind a number, and every row left out, with the reason.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::figures::words;
use super::output::table;
use super::remote::{Server, cell};
use super::selection::Selection;
use super::{Failure, Output};
use crate::dora::Metric;

#[derive(Debug, Args)]
pub struct Options {
    /// Which number
    #[arg(value_parser = PossibleValuesParser::new(Metric::ALL.map(Metric::name)))]
    metric: String,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    server: Server,
}

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let Options { metric, selection, server } = options;
    let query = [&selection.query()[..], &[("limit", Some("500"))]].concat();
    let whole = server.get_all(&["dora", &metric, "explain"], &query, &["included", "excluded"]).await?;
    output.show(&whole, || text(&whole))
}

fn text(answer: &Value) -> String {
    let metric = Metric::from_name(&cell(answer, "/metric"));
    let value = match metric.zip(answer.get("value").and_then(Value::as_f64)) {
        Some((metric, value)) => words(metric, value),
        None => format!("no value: {}", cell(answer, "/reason")),
    };
    let mut lines = vec![
        format!("{}: {value}", cell(answer, "/metric")),
        format!("{} rows, {}", cell(answer, "/n"), cell(answer, "/method")),
        format!("from {} to {} ({})", cell(answer, "/from"), cell(answer, "/to"), cell(answer, "/time_zone")),
    ];
    for (list, title, last) in [("included", "Counted", "value"), ("excluded", "Left out", "because")] {
        let rows = answer.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        lines.push(format!("\n{title}: {}", rows.len()));
        if !rows.is_empty() {
            let head = ["time", "service", "environment", "what", last];
            lines.push(table(&head, &rows.iter().map(row).collect::<Vec<_>>()));
        }
    }
    lines.join("\n")
}

fn row(row: &Value) -> Vec<String> {
    let thing = ["/deployment", "/incident"].into_iter().find_map(|at| row.pointer(at)).unwrap_or(row);
    let change = row.pointer("/change/sha").map(|_| cell(row, "/change/sha").chars().take(12).collect::<String>());
    let name = match change {
        Some(sha) => format!("{sha} in {}", version(thing)),
        None => version(thing),
    };
    let time = ["/restored_at", "/deployment/finished_at", "/started_at"].into_iter().find_map(|at| row.pointer(at));
    let reason = cell(row, "/reason").replace('_', " ");
    let end = match row.get("value") {
        Some(Value::Number(seconds)) => {
            let lasted = words(Metric::ChangeLeadTime, seconds.as_f64().unwrap_or_default());
            if reason == "-" { lasted } else { format!("{reason}: {lasted}") }
        }
        Some(Value::Bool(is)) => because(row, *is),
        _ => reason,
    };
    let end = if end == "-" { "1".to_owned() } else { end };
    let end = match cell(thing, "/no_range").as_str() {
        "-" => end,
        why => format!("{end}; by merge times, the clone says: {}", why.replace('_', " ")),
    };
    let time = time.and_then(Value::as_str).unwrap_or("-").to_owned();
    let noticed = row.pointer("/incident/seconds_to_detect").and_then(Value::as_f64);
    let noticed = noticed.map(|seconds| format!(", noticed after {}", words(Metric::MeanTimeToRecovery, seconds)));
    let gone = names(thing, "/took_away");
    let gone = if gone.is_empty() { gone } else { format!(", took away {gone}") };
    let name = name + &noticed.unwrap_or_default() + &gone;
    vec![time, cell(thing, "/service"), cell(thing, "/environment"), name, end]
}

/// The ids of a list of names.
fn names(thing: &Value, at: &str) -> String {
    let all = thing.pointer(at).and_then(Value::as_array);
    all.into_iter().flatten().map(|one| cell(one, "/id")).collect::<Vec<_>>().join(", ")
}

fn version(thing: &Value) -> String {
    match cell(thing, "/version").as_str() {
        "-" => cell(thing, "/id"),
        version => format!("{version} ({})", cell(thing, "/id")),
    }
}

fn because(row: &Value, is: bool) -> String {
    let reasons = row.get("because").and_then(Value::as_array).cloned().unwrap_or_default();
    let one = |because: &Value| {
        let by = ["/incident/id", "/deployment/id"].iter().map(|at| cell(because, at)).find(|id| id != "-");
        format!("{} {} ({})", cell(because, "/kind"), by.unwrap_or_default(), cell(because, "/link"))
    };
    match (is, reasons.is_empty()) {
        (true, false) => format!("yes: {}", reasons.iter().map(one).collect::<Vec<_>>().join(", ")),
        (true, true) => "yes".to_owned(),
        (false, _) => "no".to_owned(),
    }
}
