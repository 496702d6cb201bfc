//! `devpulse alert test`: does a message arrive?

use clap::Subcommand;
use serde_json::json;

use super::{ConfigFile, Failure, Output, output};
use crate::notify::send_test;
use crate::time::Clock;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a test message through every channel of a receiver, without a running DevPulse
    Test {
        /// A name below `receivers` of the configuration
        #[arg(long, value_name = "NAME")]
        receiver: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// # Errors
/// There is no such receiver, or a channel did not take the message.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let Command::Test { receiver, config } = command;
    let config = config.load()?;
    let sent = send_test(&config, &receiver, Clock::system().now()).await;
    let results = sent.map_err(|error| Failure::Refused(error.to_string()))?;
    let outcome = |result: &Result<(), _>| match result {
        Ok(()) => "sent".to_owned(),
        Err(error) => format!("not sent: {error}"),
    };
    let rows: Vec<Vec<String>> =
        results.iter().map(|(channel, result)| vec![channel.to_string(), outcome(result)]).collect();
    let values: Vec<_> = results
        .iter()
        .map(|(channel, result)| {
            json!({"channel": channel, "sent": result.is_ok(), "error": result.as_ref().err().map(ToString::to_string)})
        })
        .collect();
    output
        .show(&json!({"receiver": receiver, "channels": values}), || output::table(&["channel", "outcome"], &rows))?;
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    if failed > 0 {
        return Err(Failure::Check(format!("{failed} of {} channels did not take the message", results.len())));
    }
    Ok(())
}
