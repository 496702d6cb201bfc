//! `devpulse export`: the past, for programs that keep time series.

mod openmetrics;
mod past;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output;
use super::remote::Server;
use super::{ConfigFile, Failure};
use crate::config::duration;
use crate::time::{Clock, Timestamp};
use past::Steps;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The delivery metrics as /metrics would have shown them, for `promtool tsdb create-blocks-from
    /// openmetrics FILE DIR`
    Openmetrics(Options),
}

#[derive(Debug, Args)]
pub struct Options {
    /// When the first samples are of, RFC 3339
    #[arg(long, value_parser = time)]
    from: Timestamp,
    /// Until when, RFC 3339; now without it
    #[arg(long, value_parser = time)]
    to: Option<Timestamp>,
    /// From one sample of a series to the next
    #[arg(long, default_value = "1d", value_parser = length)]
    step: Duration,
    /// One service; all without it
    #[arg(long)]
    service: Option<String>,
    /// One environment; those of tier production without it
    #[arg(long)]
    environment: Option<String>,
    /// A window of the metrics, may be given several times; `dora.windows` of the configuration
    /// without it
    #[arg(long = "window", value_name = "DURATION", value_parser = length)]
    windows: Vec<Duration>,
    #[command(flatten)]
    config: ConfigFile,
    /// Where to write them; standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let what = "must be an RFC 3339 time with an offset, such as 2026-01-05T10:04:00Z";
    Timestamp::parse(text).map_err(|_| what.to_owned())
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text).and_then(|length| match length {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        length => Ok(length),
    })
}

/// # Errors
/// The server cannot be reached or refuses, the configuration is wrong, or the file cannot be
/// written.
pub async fn run(command: Command) -> Result<(), Failure> {
    let Command::Openmetrics(options) = command;
    let now = Clock::system().now();
    let steps = Steps::new(options.from, options.to.map_or(now, |to| to.min(now)), options.step)?;
    let windows = if options.windows.is_empty() { options.config.load()?.dora.windows } else { options.windows };
    let places = past::places(&options.server, options.service.as_deref(), options.environment.as_deref()).await?;
    let tracks = past::tracks(&options.server, &places, &windows, &steps).await?;
    output::stream(options.out.as_deref(), |out| openmetrics::write(&tracks, out))
}
