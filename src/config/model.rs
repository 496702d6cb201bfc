//! The configuration as the rest of the program sees it: complete, checked, secrets resolved.
//!
//! Every key stands with its default and its meaning in `src/config/default.yaml`.

mod sources;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use sources::{Alertmanager, Bitbucket, CloudEvents, GitHub, GitLab, Labelled, PagerDuty, Pipelines, Sources};

/// Whether HAProxy takes the text as one argument of a command, whatever it stands in.
pub fn is_haproxy_argument(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, ';' | '\\' | '"' | '\'' | '<'))
}

/// The key of a signed webhook: base64 after `whsec_`, any other text as it stands.
pub fn signing_key(secret: &SecretString) -> Option<standardwebhooks::Webhook> {
    let text = secret.expose_secret();
    let bytes = || standardwebhooks::Webhook::from_bytes(text.as_bytes().to_vec());
    if text.starts_with("whsec_") { standardwebhooks::Webhook::new(text) } else { bytes() }.ok()
}

#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub ingest: Ingest,
    pub retention: Retention,
    pub telemetry: Telemetry,
    pub dora: Dora,
    pub teams: Vec<Team>,
    pub services: Vec<Service>,
    pub repositories: Vec<Repository>,
    pub environments: Vec<Environment>,
    pub slos: Vec<Slo>,
    pub burn_alerts: Vec<BurnPair>,
    pub alerts: Alerts,
    pub sources: Sources,
    pub receivers: Vec<Receiver>,
    pub smtp: Option<Smtp>,
    pub route: Option<Route>,
    pub rollback: Rollback,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: String,
    /// Where people reach DevPulse; used in links of messages.
    pub public_url: Option<Url>,
    /// HTTP worker threads; 0 is one per core.
    pub workers: usize,
    /// Connections open at once, over all workers.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request.
    pub client_timeout: Duration,
    /// How long a connection is kept between two requests.
    pub keep_alive: Duration,
    /// How long requests may finish after SIGTERM.
    pub shutdown_timeout: Duration,
    /// Whether `/metrics` answers without a key.
    pub metrics_public: bool,
}

#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://…`.
    pub url: SecretString,
    pub connections: usize,
}

#[derive(Debug, Clone)]
pub struct Ingest {
    /// Bytes of a request's body as it arrives.
    pub max_body_bytes: usize,
    /// Bytes of a request's body after decompression.
    pub max_decoded_bytes: usize,
    /// Bytes of all bodies that are being taken in.
    pub max_buffered_bytes: usize,
    pub max_items: usize,
    /// Events further in the future than this are refused.
    pub max_future: Duration,
    /// How long keys of requests are remembered.
    pub deduplication_window: Duration,
    /// Requests that may wait for a commit before others are told to come back later.
    pub max_waiting: usize,
    /// How often journalled telemetry becomes buckets.
    pub materialise_every: Duration,
}

/// How long telemetry is kept at each resolution.
#[derive(Debug, Clone)]
pub struct Retention {
    pub ten_seconds: Duration,
    pub minutes: Duration,
    pub hours: Duration,
    /// Messages in the outbox that are sent or given up.
    pub messages: Duration,
    /// What webhooks sent that could not be taken in.
    pub invalid_deliveries: Duration,
}

#[derive(Debug, Clone)]
pub struct Telemetry {
    /// OTLP/HTTP endpoint for DevPulse's own traces, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<Url>,
    pub log_format: LogFormat,
    /// `tracing_subscriber` filter, such as `info,devpulse=debug`.
    pub log_filter: String,
    /// Series on `/metrics` with a service label.
    pub max_series: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub struct Dora {
    /// An incident that names no deployment belongs to the newest one this long before it.
    pub attribution_window: Duration,
    /// Windows of the gauges on `/metrics`.
    pub windows: Vec<Duration>,
    /// What answers may keep in memory.
    pub memory_bytes: usize,
    pub benchmark_edition: String,
    pub targets: Targets,
}

/// What every team wants of its delivery.
#[derive(Debug, Clone)]
pub struct Targets {
    /// At least.
    pub deployments_per_day: f64,
    /// Below, as all others.
    pub change_lead_time: Duration,
    pub change_fail_rate: f64,
    /// Of failed deployments, and of incidents.
    pub time_to_recovery: Duration,
}

#[derive(Debug, Clone)]
pub struct Team {
    pub name: String,
    pub time_zone: chrono_tz::Tz,
    pub week_starts_on: chrono::Weekday,
}

#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    pub team: Option<String>,
    pub repository: Option<String>,
    /// Globs; empty means the whole repository.
    pub paths: Vec<String>,
}

/// A clone on this machine, which says exactly what lies between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// As events and services name it.
    pub name: String,
    pub path: PathBuf,
    /// When a commit is missing, DevPulse fetches, at most this often; `None`: somebody else does.
    pub fetch_every: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Environment {
    pub name: String,
    pub tier: Tier,
    /// Globs of names that sources use for this environment.
    pub matches: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Production,
    Staging,
    Testing,
    Development,
    Other,
}

#[derive(Debug, Clone)]
pub struct Slo {
    pub name: String,
    pub service: String,
    pub environment: String,
    /// The share of good events wanted, strictly between 0 and 1.
    pub objective: f64,
    pub window: Duration,
    pub indicator: Indicator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indicator {
    /// Bad: requests that failed.
    Availability,
    /// Bad: requests slower than the threshold.
    Latency { threshold: Duration },
}

/// A pair of windows: fires when both burn faster than `budget_share · T / long`.
#[derive(Debug, Clone)]
pub struct BurnPair {
    pub long: Duration,
    pub short: Duration,
    /// The share of the budget that is gone after `long` at the threshold.
    pub budget_share: f64,
    pub severity: Severity,
}

/// How the alerts of objectives begin and end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alerts {
    /// How long a pair must burn before anybody is told.
    pub pending_for: Duration,
    /// How long every pair must be calm before the alert resolves.
    pub keep_firing_for: Duration,
    /// How long an objective that had events may have none; `None`: for ever.
    pub no_data_after: Option<Duration>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Ticket,
    Page,
}

#[derive(Debug, Clone)]
pub struct Receiver {
    pub name: String,
    pub slack: Option<Slack>,
    pub email: Option<Email>,
    pub webhook: Option<Webhook>,
}

#[derive(Debug, Clone)]
pub enum Slack {
    Bot { token: SecretString, channel: String, api_url: Url },
    IncomingWebhook { url: SecretString },
}

#[derive(Debug, Clone)]
pub struct Email {
    pub to: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: Url,
    /// Standard Webhooks secret: `whsec_…` (base64) or any text.
    pub secret: SecretString,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Smtp {
    /// `smtp://` (plain, or STARTTLS with `?tls=required`), `smtps://`.
    pub url: SecretString,
    pub from: String,
}

#[derive(Debug, Clone)]
pub struct Route {
    pub receiver: String,
    /// Alerts with equal values of these labels share one message; empty: one message per alert.
    pub group_by: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Rollback {
    pub policies: Vec<Policy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Off,
    Shadow,
    Approve,
    Automatic,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Approve => "approve",
            Self::Automatic => "automatic",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Policy {
    pub service: String,
    pub environment: String,
    pub mode: Mode,
    /// α: the most healthy deployments, as a share, that may be rolled back by mistake.
    pub false_rollback_budget: f64,
    /// How long after its finish a deployment is watched.
    pub bake_time: Duration,
    /// How far before the deployment the baseline reaches.
    pub baseline_window: Duration,
    /// Material when the service burns at least this many times the sustainable rate since the deployment …
    pub material_burn: f64,
    /// … or when at least this share of the budget is gone since the deployment.
    pub material_budget_share: f64,
    /// Requests a target must have served, with its budget intact, to be proven good.
    pub target_min_requests: u64,
    pub cooldown: Duration,
    pub max_rollbacks: u32,
    pub max_rollbacks_window: Duration,
    /// How long an approval is waited for.
    pub approval_timeout: Duration,
    /// How long the target may take to confirm the switch.
    pub verify_timeout: Duration,
    pub executor: Option<Executor>,
}

#[derive(Debug, Clone)]
pub enum Executor {
    Webhook(Webhook),
    HaProxy(HaProxy),
}

#[derive(Debug, Clone)]
pub struct HaProxy {
    /// `unix:/run/haproxy.sock` or `tcp:127.0.0.1:9999`.
    pub socket: String,
    pub switch: HaProxySwitch,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub enum HaProxySwitch {
    /// `set map PATH KEY BACKEND`: `backends` names the backend of each version, or is one
    /// template such as `be_{version}`.
    Map { path: String, key: String, backend: String },
    /// `set server BACKEND/SERVER weight N`: the server template of the target gets 100 %, the
    /// bad version's 0 %.
    Weight { server: String },
}
