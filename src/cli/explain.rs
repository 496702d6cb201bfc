//! `devpulse explain`: every row behind a number, and every row left out, with the reason.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::output::table;
use super::remote::{Server, cell};
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

/// What a question about delivery is about, as in `GET /api/v1/dora`.
#[derive(Debug, Args)]
pub struct Selection {
    /// One service; all without it
    #[arg(long)]
    pub service: Option<String>,
    /// The services of one team, in its time zone
    #[arg(long, conflicts_with = "service")]
    pub team: Option<String>,
    /// One environment; those of tier production without it
    #[arg(long)]
    pub environment: Option<String>,
    /// The length of the window up to --to, else up to now: 30d without it
    #[arg(long, conflicts_with = "from")]
    pub window: Option<String>,
    /// RFC 3339
    #[arg(long)]
    pub from: Option<String>,
    /// RFC 3339
    #[arg(long)]
    pub to: Option<String>,
    /// IANA name; the team's without it, else UTC
    #[arg(long)]
    pub time_zone: Option<String>,
}

impl Selection {
    pub fn query(&self) -> Vec<(&'static str, Option<&str>)> {
        vec![
            ("service", self.service.as_deref()),
            ("team", self.team.as_deref()),
            ("environment", self.environment.as_deref()),
            ("window", self.window.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("time_zone", self.time_zone.as_deref()),
        ]
    }
}

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let Options { metric, selection, server } = options;
    let mut whole: Option<Value> = None;
    let mut cursor: Option<String> = None;
    loop {
        let mut query = selection.query();
        query.extend([("limit", Some("500")), ("cursor", cursor.as_deref())]);
        let page = server.get(&["dora", &metric, "explain"], &query).await?;
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => append(whole, page),
        }
        if cursor.is_none() {
            break;
        }
    }
    let whole = whole.unwrap_or_default();
    output.show(&whole, || text(&whole))
}

/// Adds the rows of a further page.
fn append(whole: &mut Value, mut page: Value) {
    for list in ["included", "excluded"] {
        let more = page.get_mut(list).map(Value::take);
        if let (Some(Value::Array(rows)), Some(Value::Array(more))) = (whole.get_mut(list), more) {
            rows.extend(more);
        }
    }
    if let Some(next) = whole.get_mut("next") {
        *next = json!(null);
    }
}

fn text(answer: &Value) -> String {
    let value = match answer.get("value") {
        Some(Value::Number(_)) => format!("{} {}", cell(answer, "/value"), cell(answer, "/unit")),
        _ => format!("no value: {}", cell(answer, "/reason")),
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
    let end = match row.get("value") {
        Some(Value::Number(seconds)) => format!("{seconds} s"),
        Some(Value::Bool(is)) => because(row, *is),
        _ => cell(row, "/reason").replace('_', " "),
    };
    let end = if end == "-" { "1".to_owned() } else { end };
    let time = time.and_then(Value::as_str).unwrap_or("-").to_owned();
    vec![time, cell(thing, "/service"), cell(thing, "/environment"), name, end]
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
