//! The command line: what commands exist, and what each needs.

mod alert;
mod check;
mod compare;
pub mod demo;
mod explain;
mod export;
mod failure;
mod figures;
mod import;
mod incident;
mod keys;
mod leader;
mod output;
mod remote;
mod report;
mod rollback;
mod rollback_text;
mod selection;
mod serve;
mod sources;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use secrecy::ExposeSecret;

pub use failure::Failure;
pub use output::Output;

use crate::config::{self, Config};
use crate::store::{Store, open};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 error, 2 usage, 3 configuration invalid, 4 a dependency is down, \
                          5 a check failed, 6 a threshold is breached.";

/// Events in; DORA metrics, error budgets, alerts and rollbacks out.
#[derive(Debug, Parser)]
#[command(name = "devpulse", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(ConfigFile),
    /// Check a configuration: every error with its line and column
    Check {
        /// The file to check
        file: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Migrate the database schema (`serve` does so as well)
    Migrate(ConfigFile),
    /// API keys: create, list, revoke
    #[command(subcommand)]
    Keys(keys::Command),
    /// Rollbacks of a running DevPulse: list, show, approve, cancel
    #[command(subcommand)]
    Rollback(rollback::Command),
    /// Incidents of a running DevPulse: which deployments they belong to, and a correction of it
    #[command(subcommand)]
    Incident(incident::Command),
    /// History from a git repository or a CSV file
    #[command(subcommand)]
    Import(import::Command),
    /// Every row behind a delivery metric, and every row left out, with the reason
    Explain(explain::Options),
    /// Services or teams side by side, each with its delivery metrics
    Compare(compare::Options),
    /// The delivery metrics of a period, as text, JSON, CSV, HTML or Markdown
    Report(report::Options),
    /// The delivery metrics of the past, for Prometheus
    #[command(subcommand)]
    Export(export::Command),
    /// Sources of a running DevPulse: the last event of each, and what became of what they sent
    Sources(sources::Options),
    /// Alerts: send a test message to a receiver
    #[command(subcommand)]
    Alert(alert::Command),
    /// A story in under a minute: a bad deployment, the burn, the alert, the rollback, the recovery
    Demo(demo::Options),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its default and its meaning
    Defaults,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// The configuration; without it devpulse.yaml in this folder, and the defaults without that
    #[arg(long, value_name = "FILE", env = "DEVPULSE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> Option<PathBuf> {
        const HERE: &str = "devpulse.yaml";
        self.config.clone().or_else(|| Path::new(HERE).is_file().then(|| PathBuf::from(HERE)))
    }

    fn load(&self) -> Result<Config, Failure> {
        Ok(config::load(self.path().as_deref())?.config)
    }

    async fn open_store(&self) -> Result<Store, Failure> {
        let database = self.load()?.database;
        open::open(database.url.expose_secret(), database.connections).await.map_err(Failure::database)
    }
}

/// Runs one command.
///
/// # Errors
/// [`Failure`], which knows its exit code.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Serve(config) => serve::run(&config).await,
        Command::Check { file, config } => check::run(file.or_else(|| config.path()).as_deref(), cli.output),
        Command::Config(ConfigCommand::Defaults) => output::text(config::DEFAULTS.trim_end()),
        Command::Migrate(config) => {
            let store = config.open_store().await?;
            let done = format!("the schema of the {} database is up to date", store.name());
            cli.output.show(&serde_json::json!({"migrated": true, "database": store.name()}), || done)
        }
        Command::Keys(command) => keys::run(command, cli.output).await,
        Command::Rollback(command) => rollback::run(command, cli.output).await,
        Command::Incident(command) => incident::run(command, cli.output).await,
        Command::Import(command) => import::run(command, cli.output).await,
        Command::Explain(options) => explain::run(options, cli.output).await,
        Command::Compare(options) => compare::run(options, cli.output).await,
        Command::Report(options) => report::run(options, cli.output).await,
        Command::Export(command) => export::run(command).await,
        Command::Sources(options) => sources::run(options, cli.output).await,
        Command::Alert(command) => alert::run(command, cli.output).await,
        Command::Demo(options) => Ok(demo::run(options, cli.output).await?),
    }
}
