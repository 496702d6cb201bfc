//! From a file and the environment to a [`Config`], or to everything that is wrong with them.

use std::path::Path;

use super::error::{ConfigError, did_you_mean};
use super::model::{Config, Repository};
use super::policies::{self, Known};
use super::reader::{Reading, Section, Variables};
use super::tree;
use super::{catalogue, excerpt, sections, telling};
use crate::git;

/// Every key with its default and its meaning.
pub const DEFAULTS: &str = include_str!("default.yaml");

/// Variables that begin with `DEVPULSE_` and one of these are meant for a key.
const SECTIONS: [&str; 9] =
    ["SERVER", "DATABASE", "INGEST", "RETENTION", "TELEMETRY", "DORA", "ALERTS", "SOURCES", "SMTP"];

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What looks like a mistake, yet does no harm.
    pub warnings: Vec<String>,
}

/// Reads the file, or the defaults alone, under the environment of this process.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Some(path) = file else { return parse("defaults", "", &variables) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&name, &error))?;
    parse(&name, &text, &variables)
}

/// Reads `text`; `name` is what errors call it.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn parse(name: &str, text: &str, variables: &Variables) -> Result<Loaded, ConfigError> {
    let reading = Reading::new(variables);
    // Of what cannot be read nobody knows what is secret: then there is no excerpt.
    let mut excerpt = String::new();
    let config = match (tree::parse(DEFAULTS), tree::parse(text)) {
        (Ok(defaults), Ok(file)) => {
            let config = Section::root(&reading, &file, &defaults).and_then(|root| read(&root));
            excerpt = excerpt::masked(text, &file, &reading.harmless.borrow());
            config
        }
        (Err(finding), _) | (_, Err(finding)) => {
            reading.findings.borrow_mut().push(finding);
            None
        }
    };
    let mut warnings = stray_variables(variables, &reading);
    let findings = reading.findings.into_inner();
    match config {
        Some(config) if findings.is_empty() => {
            warnings.extend(missing_clones(&config));
            Ok(Loaded { config, warnings })
        }
        _ => Err(ConfigError::new(name, excerpt, findings)),
    }
}

pub(super) fn read(root: &Section<'_>) -> Option<Config> {
    let server = root.section("server", sections::server);
    let database = root.section("database", sections::database);
    let ingest = root.section("ingest", sections::ingest);
    let retention = root.section("retention", sections::retention);
    let telemetry = root.section("telemetry", sections::telemetry);
    let dora = root.section("dora", sections::dora);
    let teams = catalogue::teams(root);
    let services = catalogue::services(root, &teams);
    let repositories = catalogue::repositories(root);
    let environments = catalogue::environments(root);
    let burn_alerts = catalogue::burn_alerts(root);
    let alerts = root.section("alerts", sections::alerts);
    let known = Known { services: &services, environments: &environments, slos: &[] };
    let slos = catalogue::slos(root, &known, &burn_alerts, retention.as_ref());
    let sources = root.section("sources", |at| Some(telling::sources(at)));
    let smtp = root.optional_section("smtp", "url", telling::smtp);
    let receivers = telling::receivers(root, smtp.is_some() || root.has("smtp"));
    let route = root.optional_section("route", "receiver", |at| telling::route(at, &receivers));
    let known = Known { services: &services, environments: &environments, slos: &slos };
    let rollback = root.section("rollback", |at| Some(policies::rollback(at, &known)));
    root.refuse_unknown();
    Some(Config {
        server: server?,
        database: database?,
        ingest: ingest?,
        retention: retention?,
        telemetry: telemetry?,
        dora: dora?,
        teams,
        services,
        repositories,
        environments,
        slos,
        burn_alerts,
        alerts: alerts?,
        sources: sources?,
        receivers,
        smtp,
        route,
        rollback: rollback?,
    })
}

/// Variables that look like a key's but are none; an error would let a neighbour's variables (such
/// as Kubernetes' service links) stop DevPulse.
fn stray_variables(variables: &Variables, reading: &Reading<'_>) -> Vec<String> {
    let known = reading.known.borrow();
    let name = |key: &String| format!("DEVPULSE_{}", key.replace('.', "_").to_uppercase());
    let known: Vec<String> = known.iter().filter(|key| !key.contains('[')).map(name).collect();
    let meant = |name: &str| {
        let rest = name.strip_prefix("DEVPULSE_");
        rest.is_some_and(|rest| SECTIONS.iter().any(|section| rest.starts_with(section)))
    };
    let stray = variables.keys().filter(|name| meant(name) && !known.contains(name));
    stray.map(|name| format!("{name} sets no key{}", did_you_mean(name, known.iter().map(String::as_str)))).collect()
}

/// A clone may come after DevPulse, and a configuration may be checked where no clone is.
fn missing_clones(config: &Config) -> Vec<String> {
    let missing = config.repositories.iter().enumerate().filter(|(_, clone)| git::directory(&clone.path).is_none());
    let told = missing.map(|(i, Repository { name, path, .. })| {
        let path = path.display();
        format!(
            "repositories[{i}].path: {path} is no clone (yet): until it is, what deployments of {name} brought is \
             reckoned by merge times; `git clone --mirror URL {path}` makes one"
        )
    });
    told.collect()
}
