//! The parts of DevPulse's answers and calls that the demo reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /api/v1/events?receipt=summary`
#[derive(Debug, Deserialize)]
pub struct Receipt {
    pub invalid: u64,
}

/// `GET /api/v1/slos/{name}`
#[derive(Debug, Deserialize)]
pub struct Objective {
    pub error_budget_remaining: Option<f64>,
    pub burn_rates: Vec<BurnRate>,
}

#[derive(Debug, Deserialize)]
pub struct BurnRate {
    pub window_seconds: u64,
    pub burn_rate: Option<f64>,
}

/// A list endpoint.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
}

/// `GET /api/v1/rollbacks` and `/api/v1/rollbacks/{id}`
#[derive(Debug, Serialize, Deserialize)]
pub struct Rollback {
    pub id: String,
    pub state: String,
    pub summary: String,
    /// Everything else, as it came.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// `GET /api/v1/dora`
#[derive(Debug, Deserialize)]
pub struct Dora {
    pub metrics: BTreeMap<String, Metric>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metric {
    pub value: Option<f64>,
    pub unit: String,
    pub n: u64,
}

/// The call to the target.
#[derive(Debug, Deserialize)]
pub struct Call {
    pub to: Version,
}

#[derive(Debug, Deserialize)]
pub struct Version {
    pub version: String,
}

/// A message about alerts, as DevPulse's webhook sends it.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// `alert.fired`, `alert.resolved` …
    #[serde(rename = "type")]
    pub kind: String,
    pub alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
pub struct Alert {
    pub headline: String,
}
