//! `devpulse check`: is this configuration valid?

use std::path::Path;

use super::{Failure, Output, output};
use crate::config;

/// # Errors
/// Everything that is wrong with the configuration.
pub fn run(file: Option<&Path>, output: Output) -> Result<(), Failure> {
    let loaded = config::load(file)?;
    let config = &loaded.config;
    let name = file.map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    let value = serde_json::json!({"valid": true, "file": name, "warnings": loaded.warnings});
    output.show(&value, || {
        let mut text = format!(
            "{name}: valid ({}, {}, {}, {})",
            output::counted(config.services.len(), "service", "services"),
            output::counted(config.slos.len(), "SLO", "SLOs"),
            output::counted(config.receivers.len(), "receiver", "receivers"),
            output::counted(config.rollback.policies.len(), "rollback policy", "rollback policies")
        );
        for warning in &loaded.warnings {
            text.push_str("\nwarning: ");
            text.push_str(warning);
        }
        text
    })
}
