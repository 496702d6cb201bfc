//! `devpulse sources`: who sends, when last, and what became of it.

use clap::Args;
use serde_json::Value;

use super::output::table;
use super::remote::{Server, cell};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    server: Server,
}

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let sources = options.server.get(&["sources"], &[]).await?;
    output.show(&sources, || page(&sources))
}

fn page(sources: &Value) -> String {
    let items = list(sources, "items");
    if items.is_empty() {
        return "no source is configured, and nothing has come".to_owned();
    }
    let columns = [
        "/source",
        "/last_event_at",
        "/accepted",
        "/duplicate",
        "/skipped",
        "/invalid",
        "/too_large",
        "/failed_signatures",
    ];
    let row = |item: &Value| columns.iter().map(|at| cell(item, at)).chain([reasons(item)]).collect();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    table(
        &[
            "source",
            "last event",
            "accepted",
            "duplicate",
            "skipped",
            "invalid",
            "too large",
            "bad signatures",
            "skipped because",
        ],
        &rows,
    )
}

fn reasons(item: &Value) -> String {
    let one = |part: &Value| format!("{} {}", cell(part, "/count"), cell(part, "/reason").replace('_', " "));
    list(item, "skipped_because").iter().map(one).collect::<Vec<_>>().join(", ")
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}
