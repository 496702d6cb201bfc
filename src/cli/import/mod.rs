//! `devpulse import`: history from where it is, through the API. Every event has an id of its own,
//! so that an import may be repeated, or taken up again where it stopped.

mod csv;
mod git;
mod sender;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::counted;
use super::remote::Server;
use super::{Failure, Output};
use sender::Sender;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tags or a branch of a git repository as deployments, with the commits each of them brought
    Git(git::Options),
    /// Rows of a CSV file; its first line names fields of docs/events.md
    Csv(csv::Options),
}

#[derive(Debug, Args)]
pub struct Target {
    #[command(flatten)]
    server: Server,
}

/// # Errors
/// The source cannot be read, the server cannot be reached, or an event was refused.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let sent = match command {
        Command::Git(options) => git::run(options).await?,
        Command::Csv(options) => csv::run(options).await?,
    };
    let totals = json!({"accepted": sent.accepted, "duplicate": sent.duplicate, "invalid": sent.refused.len()});
    let events = counted(sent.accepted, "event", "events");
    output.show(&totals, || format!("{events} accepted, {} known before", sent.duplicate))?;
    match sent.refused.first() {
        None => Ok(()),
        Some(first) => {
            let all = counted(sent.refused.len(), "event was", "events were");
            Err(Failure::Refused(format!("{all} refused, the first of them: {first}")))
        }
    }
}

/// Drawn on standard error where that is a terminal.
pub fn progress(total: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_message(what);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
