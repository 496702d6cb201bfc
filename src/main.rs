//! The binary: parse, run, turn the result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use devpulse::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    match cli::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}
