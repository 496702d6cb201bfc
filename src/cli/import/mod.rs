//! `devpulse import`: history from where it is, through the API. Every event has an id of its own,
//! so that an import may be repeated, or taken up again where it stopped.

mod cells;
mod csv;
mod git;
mod github;
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
    /// A repository on GitHub: deployments, pull requests with commits and reviews, the main line
    Github(github::Options),
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
        Command::Github(options) => github::run(options).await?,
        Command::Csv(options) => csv::run(options).await?,
    };
    let (accepted, duplicate, skipped) = (sent.accepted, sent.duplicate, sent.skipped);
    let totals =
        json!({"accepted": accepted, "duplicate": duplicate, "skipped": skipped, "invalid": sent.refused.len()});
    let events = counted(accepted, "event", "events");
    let unused = if skipped == 0 { String::new() } else { format!(", {skipped} not counted") };
    output.show(&totals, || format!("{events} accepted, {duplicate} known before{unused}"))?;
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
    let style = ProgressStyle::with_template("{prefix}{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_message(what);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
