//! Everything a decision rests on, as plain values; assembled from the store, judged by `policy`.

use std::collections::BTreeSet;

use super::state::RollbackState;
use crate::config::model;
use crate::event::{Deployment, EntityKey, Incident};
use crate::slo::Counts;
use crate::time::Timestamp;

/// One service in one environment, at one moment.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The newest deployment there that is in place (finished with success): the suspect.
    pub deployment: Deployment,
    /// A deployment there that began after it and has not failed; traffic is already moving.
    pub newer: Option<EntityKey>,
    /// Earlier deployments there that succeeded, newest first; the version now running may be among them.
    pub candidates: Vec<Candidate>,
    /// One per SLO of the service and environment.
    pub indicators: Vec<Indicator>,
    /// Rollbacks there that were decided or carried out within `max_rollbacks_window` or `cooldown`,
    /// or are unfinished, or concern this deployment.
    pub past: Vec<PastRollback>,
    /// Versions in quarantine there.
    pub quarantined: BTreeSet<String>,
    /// Alerts on the SLOs above that were active at any time since `bake_time` before the deployment.
    pub alerts: Vec<SloAlert>,
    /// Incidents there that were open at any time since the deployment began.
    pub incidents: Vec<Incident>,
    /// When the event that led to this evaluation was received.
    pub observed_at: Timestamp,
}

/// A deployment that could be returned to.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub deployment: Deployment,
    /// What its version served, per SLO, over all the time it ran there (as far as kept).
    pub served: Vec<Served>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    pub slo: String,
    pub objective: f64,
    pub counts: Counts,
}

/// The counts of one SLO, on both sides of the deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Indicator {
    pub slo: String,
    /// The share of good events wanted, strictly between 0 and 1.
    pub objective: f64,
    pub kind: model::Indicator,
    /// Of the new version, since the deployment finished.
    pub since: Counts,
    /// Of whatever ran before, in `baseline_window` up to the deployment's beginning.
    pub baseline: Counts,
    /// The share of the SLO's whole budget that the events in `since` have used; above 1 when overdrawn.
    pub budget_consumed: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRollback {
    pub deployment: EntityKey,
    pub state: RollbackState,
    /// When traffic began to be moved; when it was decided, while that has not begun.
    pub acted_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SloAlert {
    pub slo: String,
    pub started_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
}

impl Situation {
    /// When the deployment began to touch the service; `None` while it is not finished.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.deployment.finished_at.map(|finished| self.deployment.started_at.map_or(finished, |at| at.min(finished)))
    }

    /// Whether the SLO's alert was already active when the deployment began.
    pub fn burned_before(&self, slo: &str) -> bool {
        let Some(began) = self.began_at() else { return false };
        let mut alerts = self.alerts.iter().filter(|alert| alert.slo == slo);
        alerts.any(|alert| alert.started_at < began && alert.resolved_at.is_none_or(|at| at >= began))
    }

    /// The incident during which the deployment was made.
    pub fn open_incident(&self) -> Option<&Incident> {
        let began = self.began_at()?;
        self.incidents
            .iter()
            .find(|incident| incident.started_at < began && incident.resolved_at.is_none_or(|at| at >= began))
    }
}
