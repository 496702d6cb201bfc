//! What somebody saw about one thing that can go wrong: the input of the life cycle.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::model::Severity;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An error budget burns too fast.
    BurnRate,
    /// An objective that had events has none any more.
    NoData,
    /// A rollback was asked for, is under way, or failed.
    Rollback,
    /// `devpulse alert test`.
    Test,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BurnRate => "burn_rate",
            Self::NoData => "no_data",
            Self::Rollback => "rollback",
            Self::Test => "test",
        }
    }
}

/// One look at one thing that can go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What makes two observations speak of the same thing, such as `burn_rate:checkout-availability`.
    /// At most one alert per fingerprint is active.
    pub fingerprint: String,
    pub kind: Kind,
    pub service: String,
    pub environment: String,
    /// For grouping, besides `service`, `environment`, `kind` and `severity`; such as `slo`.
    pub labels: BTreeMap<String, String>,
    pub condition: Condition,
    /// How long the condition must hold before anybody is told.
    pub pending_for: Duration,
    /// How long it must have been clear before the alert resolves.
    pub keep_firing_for: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Firing {
        severity: Severity,
        content: Content,
    },
    /// `last_word` takes the place of what was told before, where there is a happier end to tell.
    Clear {
        last_word: Option<Content>,
    },
    /// Nothing was measured: the alert stays as it is, and its clocks stand still.
    Unknown,
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Content {
    /// At most ten words and no figures that move: another headline is news, told at once.
    pub headline: String,
    /// A sentence or two. Like `facts`, it may move with every observation.
    pub summary: String,
    pub facts: Vec<Fact>,
    pub links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    pub label: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    pub label: String,
    /// Shown as a link when it is http or https.
    pub url: String,
}
