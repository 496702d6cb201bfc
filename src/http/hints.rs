//! Commands that answers and logs tell people to run, as they work for this very process.

use std::sync::OnceLock;

use super::auth::Scope;

/// `--config FILE` as this process was started with, or nothing; set once, at the start.
static CONFIG: OnceLock<String> = OnceLock::new();

/// What `--config` this process runs with.
pub fn configured_by(file: &std::path::Path) {
    // A second start within one process, which only tests make, keeps the first.
    let _ = CONFIG.set(format!(" --config {}", file.display()));
}

/// The command that creates a key of this scope.
pub fn create_key(scope: Scope) -> String {
    let config = CONFIG.get().map_or("", String::as_str);
    format!("devpulse keys create --name NAME --scope {}{config}", scope.as_str())
}
