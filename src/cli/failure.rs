//! Why a command did not do its work, with the exit code that says so.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::store::StoreError;
use crate::telemetry::TelemetryError;

use super::Output;
use super::demo::DemoError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The configuration is valid, but not for this database or machine.
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    Database(StoreError),
    #[error("{server} cannot be reached: {source}; is DevPulse running there? --server URL names another place")]
    Server { server: String, source: reqwest::Error },
    #[error("{0}")]
    Refused(String),
    /// What was to be checked does not work.
    #[error("{0}")]
    Check(String),
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    #[error("{0}")]
    Demo(#[from] DemoError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{path} cannot be written: {source}")]
    File { path: String, source: std::io::Error },
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl Failure {
    /// What the database said: wrong URL is a wrong configuration, silence a dependency that is down.
    pub fn database(error: StoreError) -> Self {
        match error {
            StoreError::Url { .. } => Self::Unfit(error.to_string()),
            error => Self::Database(error),
        }
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Unfit(_) => 3,
            Self::Check(_) => 5,
            Self::Database(_) | Self::Server { .. } => 4,
            Self::Refused(_)
            | Self::Telemetry(_)
            | Self::Demo(_)
            | Self::Io(_)
            | Self::File { .. }
            | Self::Random(_) => 1,
        }
    }

    /// Says why on standard error (on standard output as JSON) and gives the exit code.
    pub fn report(&self, output: Output) -> ExitCode {
        let told = match (output, self) {
            (Output::Text, Self::Config(error)) => write!(std::io::stderr(), "{}", error.render()),
            (Output::Text, failure) => writeln!(std::io::stderr(), "devpulse: {failure}"),
            (Output::Json, Self::Config(error)) => {
                let errors: Vec<_> = error.views().collect();
                writeln!(std::io::stdout(), "{:#}", serde_json::json!({"valid": false, "errors": errors}))
            }
            (Output::Json, failure) => {
                writeln!(std::io::stdout(), "{:#}", serde_json::json!({"error": failure.to_string()}))
            }
        };
        // Nobody is left to tell when that fails.
        drop(told);
        ExitCode::from(self.code())
    }
}
