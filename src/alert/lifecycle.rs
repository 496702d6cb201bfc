//! `step`: what one observation changes, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::observation::{Condition, Content, Kind, Observation};
use crate::config::model::Severity;
use crate::time::Timestamp;

/// Moving figures are told at most this often.
pub const REFRESH_EVERY: Duration = Duration::from_mins(1);

/// One incident of one fingerprint, from pending to resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    pub id: String,
    pub fingerprint: String,
    pub kind: Kind,
    pub service: String,
    pub environment: String,
    pub labels: BTreeMap<String, String>,
    /// The highest so far: who was paged is told when it is over, not when it is half over.
    pub severity: Severity,
    pub state: State,
    pub started_at: Timestamp,
    pub fired_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// Grows with every change.
    pub revision: i64,
    #[serde(flatten)]
    pub content: Content,
    /// While pending: since when the condition holds. While firing: since when it has been clear
    /// again. Time without data does not count.
    pub waiting_since: Option<Timestamp>,
    /// Since when there is no data.
    pub frozen_since: Option<Timestamp>,
    /// When people were last told something.
    pub told_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Pending,
    Firing,
    Resolved,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    Unchanged(Unchanged),
    /// The alert as it is now. `Cancelled` and `Resolved` end it.
    Changed(Change, Box<Alert>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The condition holds, not yet for long enough. Nobody is told.
    Started,
    Fired,
    /// Ticket became page.
    Escalated,
    /// Another headline.
    Updated,
    /// The figures moved.
    Refreshed,
    /// Data stopped: the clocks stand still. Nobody is told.
    Frozen,
    /// Data is back, and nothing else changed. Nobody is told.
    Thawed,
    /// Clear, but kept firing for a while. Nobody is told.
    Clearing,
    /// The condition came back before the alert resolved. Nobody is told.
    Relapsed,
    /// Clear before it fired: it never was an incident, and is forgotten.
    Cancelled,
    Resolved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// There is no alert, and no reason for one.
    Inactive,
    StillPending,
    /// Firing, and everything was already told.
    StillFiring,
    /// The figures moved, but were told less than [`REFRESH_EVERY`] ago.
    ToldRecently,
    /// Clear, but not yet for long enough.
    StillClearing,
    StillFrozen,
}

/// What `observation` changes about the active alert of its fingerprint (`None`: there is none).
pub fn step(active: Option<&Alert>, observation: &Observation, now: Timestamp) -> Transition {
    let active = active.filter(|alert| alert.state != State::Resolved);
    match (active, &observation.condition) {
        (None, Condition::Firing { severity, content }) => start(observation, *severity, content, now),
        (None, _) => Transition::Unchanged(Unchanged::Inactive),
        (Some(alert), Condition::Unknown) => freeze(alert, now),
        (Some(alert), Condition::Clear { last_word }) => {
            clear(alert, observation.keep_firing_for, last_word.as_ref(), now)
        }
        (Some(alert), Condition::Firing { severity, content }) => {
            hold(alert, observation.pending_for, *severity, content, now)
        }
    }
}

fn start(observation: &Observation, severity: Severity, content: &Content, now: Timestamp) -> Transition {
    let fires = observation.pending_for.is_zero();
    let alert = Alert {
        id: id(&observation.fingerprint, now),
        fingerprint: observation.fingerprint.clone(),
        kind: observation.kind,
        service: observation.service.clone(),
        environment: observation.environment.clone(),
        labels: observation.labels.clone(),
        severity,
        state: if fires { State::Firing } else { State::Pending },
        started_at: now,
        fired_at: fires.then_some(now),
        resolved_at: None,
        updated_at: now,
        revision: 1,
        content: content.clone(),
        waiting_since: (!fires).then_some(now),
        frozen_since: None,
        told_at: fires.then_some(now),
    };
    Transition::Changed(if fires { Change::Fired } else { Change::Started }, Box::new(alert))
}

/// The same incident has the same id however often its beginning is replayed.
fn id(fingerprint: &str, started_at: Timestamp) -> String {
    let mut digest = Sha256::new();
    digest.update(started_at.micros().to_be_bytes());
    digest.update(fingerprint.as_bytes());
    hex::encode(digest.finalize().get(..16).unwrap_or_default())
}

fn freeze(alert: &Alert, now: Timestamp) -> Transition {
    if alert.frozen_since.is_some() {
        return Transition::Unchanged(Unchanged::StillFrozen);
    }
    let mut next = alert.clone();
    next.frozen_since = Some(now);
    changed(Change::Frozen, next, now)
}

/// The alert with its clock moved on by the time without data.
fn thawed(alert: &Alert, now: Timestamp) -> Alert {
    let mut next = alert.clone();
    if let Some(frozen) = next.frozen_since.take() {
        next.waiting_since = next.waiting_since.map(|since| since.plus(now.duration_since(frozen)));
    }
    next
}

fn clear(alert: &Alert, keep_firing_for: Duration, last_word: Option<&Content>, now: Timestamp) -> Transition {
    let mut next = thawed(alert, now);
    if next.state == State::Pending {
        return changed(Change::Cancelled, next, now);
    }
    let since = *next.waiting_since.get_or_insert(now);
    if now.duration_since(since) >= keep_firing_for {
        next.state = State::Resolved;
        next.resolved_at = Some(now);
        next.waiting_since = None;
        next.told_at = Some(now);
        if let Some(content) = last_word {
            next.content = content.clone();
        }
        return changed(Change::Resolved, next, now);
    }
    if alert.waiting_since.is_none() {
        return changed(Change::Clearing, next, now);
    }
    unchanged(alert, next, Unchanged::StillClearing, now)
}

fn hold(alert: &Alert, pending_for: Duration, severity: Severity, content: &Content, now: Timestamp) -> Transition {
    let mut next = thawed(alert, now);
    if next.state == State::Pending {
        let since = next.waiting_since.unwrap_or(next.started_at);
        if now.duration_since(since) < pending_for {
            return unchanged(alert, next, Unchanged::StillPending, now);
        }
        next.state = State::Firing;
        next.fired_at = Some(now);
        next.waiting_since = None;
        return told(Change::Fired, next, severity, content, now);
    }
    next.waiting_since = None;
    if severity > next.severity {
        return told(Change::Escalated, next, severity, content, now);
    }
    if content.headline != next.content.headline {
        return told(Change::Updated, next, severity, content, now);
    }
    let moved = *content != next.content;
    if moved && next.told_at.is_none_or(|told| now.duration_since(told) >= REFRESH_EVERY) {
        return told(Change::Refreshed, next, severity, content, now);
    }
    if alert.waiting_since.is_some() {
        return changed(Change::Relapsed, next, now);
    }
    unchanged(alert, next, if moved { Unchanged::ToldRecently } else { Unchanged::StillFiring }, now)
}

fn told(change: Change, mut next: Alert, severity: Severity, content: &Content, now: Timestamp) -> Transition {
    next.severity = next.severity.max(severity);
    next.content = content.clone();
    next.told_at = Some(now);
    changed(change, next, now)
}

fn changed(change: Change, mut next: Alert, now: Timestamp) -> Transition {
    next.updated_at = now;
    next.revision = next.revision.saturating_add(1);
    Transition::Changed(change, Box::new(next))
}

/// Nothing changed, unless data came back: then the clock that was moved on must be kept.
fn unchanged(before: &Alert, next: Alert, why: Unchanged, now: Timestamp) -> Transition {
    if before.frozen_since.is_some() {
        return changed(Change::Thawed, next, now);
    }
    Transition::Unchanged(why)
}

impl Alert {
    /// The value that routes group by; empty where the alert has no such label.
    pub fn label(&self, name: &str) -> &str {
        match name {
            "service" => &self.service,
            "environment" => &self.environment,
            "kind" => self.kind.as_str(),
            "severity" => severity_name(self.severity),
            other => self.labels.get(other).map_or("", String::as_str),
        }
    }
}

pub const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Ticket => "ticket",
        Severity::Page => "page",
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
