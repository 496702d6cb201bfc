//! Delivery metrics: pure functions from deployments, changes and incidents to numbers and
//! explanations.
//!
//! `derive` turns the history of one service into rows; `split` keeps them by month; `select` puts
//! the months of several services together; `count` judges which rows a metric counts in a window
//! and why it leaves others out; `figure` makes numbers of them and `explain` shows them. Numbers and
//! explanations come from the same judgement, so that they cannot disagree.
//!
//! **Invariant:** nothing here reads a clock, a database or the network.

pub mod benchmark;
pub mod calendar;
mod column;
pub mod count;
pub mod derive;
pub mod explain;
mod failure;
pub mod figure;
mod lead;
pub mod merged;
pub mod month;
pub mod naming;
mod order;
pub mod partition;
pub mod range;
pub mod receipt;
pub mod repository;
pub mod row;
pub mod rules;
mod sample;
pub mod select;
pub mod split;
pub mod stages;
pub mod stats;
pub mod tally;
pub mod target;
#[cfg(test)]
mod tests;
mod timed;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use derive::{Derived, History, derive};
pub use rules::Rules;

/// The five metrics of dora.dev, and the mean time to recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    DeploymentFrequency,
    ChangeLeadTime,
    ChangeFailRate,
    FailedDeploymentRecoveryTime,
    ReworkRate,
    MeanTimeToRecovery,
}

impl Metric {
    pub const ALL: [Self; 6] = [
        Self::DeploymentFrequency,
        Self::ChangeLeadTime,
        Self::ChangeFailRate,
        Self::FailedDeploymentRecoveryTime,
        Self::ReworkRate,
        Self::MeanTimeToRecovery,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DeploymentFrequency => "deployment_frequency",
            Self::ChangeLeadTime => "change_lead_time",
            Self::ChangeFailRate => "change_fail_rate",
            Self::FailedDeploymentRecoveryTime => "failed_deployment_recovery_time",
            Self::ReworkRate => "rework_rate",
            Self::MeanTimeToRecovery => "mean_time_to_recovery",
        }
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Self::DeploymentFrequency => "deployments/day",
            Self::ChangeFailRate | Self::ReworkRate => "ratio",
            Self::ChangeLeadTime | Self::FailedDeploymentRecoveryTime | Self::MeanTimeToRecovery => "seconds",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}
