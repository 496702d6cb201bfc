//! `devpulse rollback`: rollbacks of a running DevPulse, through its API.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::output::table;
use super::remote::{Server, cell};
use super::{Failure, Output, rollback_text};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rollbacks, newest first
    List(Server),
    /// Show one with its evidence and its steps
    Show(One),
    /// Approve one that is proposed: it begins at once
    Approve(One),
    /// Withdraw one before traffic is touched, or close a failed or refused one
    Cancel(One),
}

#[derive(Debug, Args)]
pub struct One {
    /// The rollback's id, as `devpulse rollback list` shows it
    id: String,
    #[command(flatten)]
    server: Server,
}

const COLUMNS: [&str; 7] = ["id", "state", "service", "environment", "from_version", "to_version", "summary"];

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let (method, suffix, one) = match command {
        Command::List(server) => {
            let page = server.get(&["rollbacks"], &[]).await?;
            return output.show(&page, || rows(&page));
        }
        Command::Show(one) => (Method::GET, None, one),
        Command::Approve(one) => (Method::POST, Some("approve"), one),
        Command::Cancel(one) => (Method::POST, Some("cancel"), one),
    };
    let mut path = vec!["rollbacks", one.id.as_str()];
    path.extend(suffix);
    let answer = one.server.call(method, &path, &[], None).await?;
    output.show(&answer, || rollback_text::page(&answer))
}

fn rows(page: &Value) -> String {
    let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |item: &Value| COLUMNS.iter().map(|column| cell(item, &format!("/{column}"))).collect();
    table(&COLUMNS, &items.iter().map(row).collect::<Vec<_>>())
}
