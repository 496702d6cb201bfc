//! Which rows a metric counts in a window, with the value of each, and why others are left out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Metric;
use super::calendar::{Calendar, Window};
use super::row::{DeploymentRow, IncidentRow, LeadReason, LeadRow};
use super::select::Selected;
use super::stats::Center;
use crate::event::{DeploymentKind, DeploymentOutcome, IncidentStatus};
use crate::time::Timestamp;

/// Where the lead time of a change begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadFrom {
    #[default]
    Authored,
    Committed,
    Merged,
    FirstCommitOfPullRequest,
}

impl LeadFrom {
    fn of(self, row: &LeadRow) -> Option<Timestamp> {
        match self {
            Self::Authored => row.authored_at,
            Self::Committed => row.committed_at,
            Self::Merged => row.merged_at,
            Self::FirstCommitOfPullRequest => row.first_commit_at,
        }
    }
}

/// What is asked of the selected rows.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub window: Window,
    pub now: Timestamp,
    pub calendar: Calendar,
    /// Of change lead time and failed deployment recovery time.
    pub center: Center,
    pub lead_from: LeadFrom,
    /// Leaves rollbacks out of the change fail rate.
    pub exclude_rollbacks: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    Deployment(&'a DeploymentRow),
    Change {
        repository: &'a str,
        sha: &'a str,
        deployment: &'a DeploymentRow,
        /// Where it has a lead time.
        lead: Option<&'a LeadRow>,
    },
    Incident(&'a IncidentRow),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// It is counted, that is all.
    One,
    /// Whether it failed, or was unplanned.
    Is(bool),
    /// An interval in microseconds.
    Between { from: Timestamp, to: Timestamp },
}

impl Value {
    pub const fn micros(self) -> Option<i64> {
        match self {
            Self::Between { from, to } => Some(to.micros_since(from)),
            Self::One | Self::Is(_) => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Included<'a> {
    pub subject: Subject<'a>,
    /// What puts it into the window.
    pub at: Timestamp,
    pub value: Value,
}

#[derive(Debug, Clone, Copy)]
pub struct Excluded<'a> {
    pub subject: Subject<'a>,
    pub at: Timestamp,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    InProgress,
    /// It did not finish well and reached nobody.
    FailedAttempt,
    Cancelled,
    /// Rollbacks were asked to be left out.
    Rollback,
    /// It ended before it began: clocks disagree.
    Negative,
    /// The time to count from is not known.
    UnknownTime,
    /// Not over yet.
    Open,
    /// Whoever reported the incident took it back.
    Withdrawn,
    #[serde(untagged)]
    Lead(LeadReason),
}

#[derive(Debug, Default)]
pub struct Counted<'a> {
    pub included: Vec<Included<'a>>,
    pub excluded: Vec<Excluded<'a>>,
}

impl Counted<'_> {
    /// Microseconds of every included interval, sorted.
    pub fn sorted_micros(&self) -> Vec<i64> {
        let mut micros: Vec<i64> = self.included.iter().filter_map(|row| row.value.micros()).collect();
        micros.sort_unstable();
        micros
    }

    pub fn how_many(&self, value: Value) -> usize {
        self.included.iter().filter(|row| row.value == value).count()
    }
}

/// The rows that `metric` counts in the window of the question.
pub fn counted<'a>(metric: Metric, selected: &Selected<'a>, question: &Question) -> Counted<'a> {
    match metric {
        Metric::DeploymentFrequency => deployments(selected, question, false, |_| Value::One),
        Metric::ReworkRate => deployments(selected, question, false, |row| Value::Is(row.unplanned())),
        Metric::ChangeFailRate => {
            deployments(selected, question, question.exclude_rollbacks, |row| Value::Is(row.failed()))
        }
        Metric::ChangeLeadTime => changes(selected, question),
        Metric::FailedDeploymentRecoveryTime => recoveries(selected, question),
        Metric::MeanTimeToRecovery => incidents(selected, question),
    }
}

/// The part of a list sorted by time that lies in the window.
fn within<T>(sorted: &[T], window: Window, at: impl Fn(&T) -> Timestamp) -> &[T] {
    let from = sorted.partition_point(|row| at(row) < window.from);
    let to = sorted.partition_point(|row| at(row) < window.to);
    sorted.get(from..to).unwrap_or_default()
}

fn deployments<'a>(
    selected: &Selected<'a>,
    question: &Question,
    without_rollbacks: bool,
    value: impl Fn(&DeploymentRow) -> Value,
) -> Counted<'a> {
    let mut counted = Counted::default();
    for (at, row) in within(&selected.deployments, question.window, |(at, _)| *at) {
        let (at, subject) = (*at, Subject::Deployment(row));
        let reason = match row.outcome {
            _ if row.reached() && without_rollbacks && row.kind == DeploymentKind::Rollback => Some(Reason::Rollback),
            _ if row.reached() => None,
            DeploymentOutcome::InProgress => Some(Reason::InProgress),
            DeploymentOutcome::Cancelled => Some(Reason::Cancelled),
            DeploymentOutcome::Failed | DeploymentOutcome::Succeeded => Some(Reason::FailedAttempt),
        };
        match reason {
            Some(reason) => counted.excluded.push(Excluded { subject, at, reason }),
            None => counted.included.push(Included { subject, at, value: value(row) }),
        }
    }
    counted
}

fn changes<'a>(selected: &Selected<'a>, question: &Question) -> Counted<'a> {
    let mut counted = Counted::default();
    for lead in within(&selected.leads, question.window, |lead| lead.at) {
        let (at, deployment) = (lead.at, lead.deployment);
        let (repository, sha) = (lead.row.repository.as_str(), lead.row.sha.as_str());
        let subject = Subject::Change { repository, sha, deployment, lead: Some(lead.row) };
        counted.add(subject, at, question.lead_from.of(lead.row), at);
    }
    for out in within(&selected.leads_out, question.window, |out| out.at) {
        let subject = match out.change {
            Some((repository, sha)) => Subject::Change { repository, sha, deployment: out.deployment, lead: None },
            None => Subject::Deployment(out.deployment),
        };
        counted.excluded.push(Excluded { subject, at: out.at, reason: Reason::Lead(out.reason) });
    }
    counted
}

impl<'a> Counted<'a> {
    /// An interval whose end puts it into the window.
    fn add(&mut self, subject: Subject<'a>, at: Timestamp, from: Option<Timestamp>, to: Timestamp) {
        match from {
            None => self.excluded.push(Excluded { subject, at, reason: Reason::UnknownTime }),
            Some(from) if from > to => self.excluded.push(Excluded { subject, at, reason: Reason::Negative }),
            Some(from) => self.included.push(Included { subject, at, value: Value::Between { from, to } }),
        }
    }

    /// Something that lasts from `from` on, as seen at the end of the window.
    fn add_lasting(&mut self, subject: Subject<'a>, from: Timestamp, to: Option<Timestamp>, window: Window) {
        match to {
            Some(to) if window.contains(to) => self.add(subject, to, Some(from), to),
            Some(to) if to < window.from => {}
            _ if from < window.to => self.excluded.push(Excluded { subject, at: from, reason: Reason::Open }),
            _ => {}
        }
    }
}

fn recoveries<'a>(selected: &Selected<'a>, question: &Question) -> Counted<'a> {
    let mut counted = Counted::default();
    for (at, row) in &selected.deployments {
        if row.failed() && row.reached() {
            let restored = row.restored.as_ref().map(|end| end.at);
            counted.add_lasting(Subject::Deployment(row), *at, restored, question.window);
        }
    }
    counted
}

fn incidents<'a>(selected: &Selected<'a>, question: &Question) -> Counted<'a> {
    let mut counted = Counted::default();
    for incident in &selected.incidents {
        let subject = Subject::Incident(incident);
        if incident.status == IncidentStatus::Withdrawn {
            if question.window.contains(incident.started_at) {
                counted.excluded.push(Excluded { subject, at: incident.started_at, reason: Reason::Withdrawn });
            }
            continue;
        }
        match incident.resolved_at {
            Some(at) if incident.start_unknown && question.window.contains(at) => {
                counted.excluded.push(Excluded { subject, at, reason: Reason::UnknownTime });
            }
            resolved => counted.add_lasting(subject, incident.started_at, resolved, question.window),
        }
    }
    counted
}
