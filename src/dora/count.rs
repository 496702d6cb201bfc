//! Which rows a metric counts in a window, with the value of each, and why others are left out.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Metric;
use super::calendar::{Calendar, Window};
use super::month::Month;
use super::partition::{Deployed, Index, Leads};
use super::row::LeadReason;
use super::select::{Arrival, Part, Selected};
use super::stats::Center;
use crate::event::{DeploymentKind, DeploymentOutcome};
use crate::time::Timestamp;

/// Where the lead time of a change begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadFrom {
    #[default]
    Authored,
    Committed,
    Merged,
    FirstCommitOfPullRequest,
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

impl Question {
    /// The same of the period before.
    #[must_use]
    pub fn before(&self) -> Self {
        Self { window: self.calendar.before(self.window), ..*self }
    }
}

/// A row of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Deployment(Index),
    /// A change at the deployment that brought it.
    Lead(Index),
    /// A change, or all changes of a deployment, without a lead time.
    LeftOut(Index),
    Incident(Index),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// It is counted, that is all.
    One,
    /// Whether it failed, or was unplanned.
    Is(bool),
    /// Microseconds up to the time that puts it into the window.
    Lasted(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Counts(Value),
    Out(Reason),
}

/// What a metric says about a row.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'s, 'a> {
    pub part: &'s Part<'a>,
    pub subject: Subject,
    /// What puts it into the window.
    pub at: Timestamp,
    pub verdict: Verdict,
    /// Microseconds that it lasted, if it did, whether they count or not: until the end of the
    /// window for what is still open.
    pub lasted: Option<i64>,
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
    /// Whoever reported it took it back.
    Withdrawn,
    #[serde(untagged)]
    Lead(LeadReason),
}

/// Judges every row that concerns `metric` in the window of the question.
pub fn judge<'s, 'a>(
    metric: Metric,
    selected: &'s Selected<'a>,
    question: &Question,
    mut each: impl FnMut(Judged<'s, 'a>),
) {
    match metric {
        Metric::DeploymentFrequency => deployments(selected, question, false, |_| Value::One, each),
        Metric::ReworkRate => deployments(selected, question, false, |row| Value::Is(row.unplanned()), each),
        Metric::ChangeFailRate => {
            deployments(selected, question, question.exclude_rollbacks, |row| Value::Is(row.failed), each);
        }
        Metric::ChangeLeadTime => {
            for part in in_months(selected, question.window) {
                changes(part, selected.arrival, question, &mut each);
            }
        }
        Metric::FailedDeploymentRecoveryTime => recoveries(selected, question, each),
        Metric::MeanTimeToRecovery => incidents(selected, question, each),
    }
}

/// Judges the changes of one part.
pub(super) fn changes<'s, 'a>(
    part: &'s Part<'a>,
    arrival: Arrival,
    question: &Question,
    each: &mut impl FnMut(Judged<'s, 'a>),
) {
    leads(part, arrival, question, each);
    left_out(part, question.window, each);
}

/// The months that a window touches.
pub fn months(window: Window) -> std::ops::RangeInclusive<Month> {
    Month::of(window.from)..=Month::of(Timestamp::from_micros(window.to.micros().saturating_sub(1)))
}

fn in_months<'s, 'a>(selected: &'s Selected<'a>, window: Window) -> impl Iterator<Item = &'s Part<'a>> {
    let months = months(window);
    selected.parts.iter().filter(move |part| months.contains(&part.month))
}

/// The parts with rows that may last into a window: those of its months, for what began and ended
/// within one, and the lasting ones for all else.
fn in_months_and_lasting<'s, 'a>(selected: &'s Selected<'a>, window: Window) -> impl Iterator<Item = &'s Part<'a>> {
    let months = months(window);
    selected.parts.iter().filter(move |part| part.month == Month::LASTING || months.contains(&part.month))
}

/// Rows that last are kept twice: with the month where they began, and among the lasting ones,
/// where alone they are looked at.
fn is_kept_elsewhere(part: &Part<'_>, end: Option<Timestamp>) -> bool {
    part.month != Month::LASTING && end.is_none_or(|end| Month::of(end) != part.month)
}

/// The number of a row in its list.
fn index(row: usize) -> Index {
    Index::try_from(row).unwrap_or(Index::MAX)
}

fn deployments<'s, 'a>(
    selected: &'s Selected<'a>,
    question: &Question,
    without_rollbacks: bool,
    value: impl Fn(&Deployed) -> Value,
    mut each: impl FnMut(Judged<'s, 'a>),
) {
    for part in in_months(selected, question.window) {
        for (number, row) in part.partition.deployments.iter().enumerate() {
            if !question.window.contains(row.at) || !part.wants(row.environment) {
                continue;
            }
            let verdict = match row.outcome {
                _ if row.reached() && without_rollbacks && row.kind == DeploymentKind::Rollback => {
                    Verdict::Out(Reason::Rollback)
                }
                _ if row.reached() => Verdict::Counts(value(row)),
                DeploymentOutcome::InProgress => Verdict::Out(Reason::InProgress),
                DeploymentOutcome::Cancelled => Verdict::Out(Reason::Cancelled),
                DeploymentOutcome::Withdrawn => Verdict::Out(Reason::Withdrawn),
                DeploymentOutcome::Failed | DeploymentOutcome::Succeeded => Verdict::Out(Reason::FailedAttempt),
            };
            each(Judged { part, subject: Subject::Deployment(index(number)), at: row.at, verdict, lasted: None });
        }
    }
}

fn leads<'s, 'a>(part: &'s Part<'a>, arrival: Arrival, question: &Question, each: &mut impl FnMut(Judged<'s, 'a>)) {
    let leads = &part.partition.leads;
    let column = leads.from(question.lead_from);
    let mut others = part.partition.others.iter().peekable();
    let mut number = 0;
    for of_one in leads.deployment.chunk_by(|a, b| a == b) {
        let from = number;
        number += of_one.len();
        let deployed = of_one.first().and_then(|row| part.deployment(*row));
        let asked = |row: &&Deployed| question.window.contains(row.at) && part.wants(row.environment);
        let Some(Deployed { at, .. }) = deployed.filter(asked).copied() else { continue };
        for row in from..number {
            let lead = index(row);
            while others.next_if(|other| other.lead < lead).is_some() {}
            let mut elsewhere = false;
            while let Some(other) = others.next_if(|other| other.lead == lead) {
                elsewhere |= other.before == (arrival == Arrival::First) && part.wants_elsewhere(other.elsewhere);
            }
            let lasted = Leads::value(column, row);
            let verdict = match (elsewhere, arrival) {
                (true, Arrival::First) => Verdict::Out(Reason::Lead(LeadReason::DeployedBefore)),
                (true, Arrival::Last) => Verdict::Out(Reason::Lead(LeadReason::DeployedLater)),
                (false, _) => counts(lasted),
            };
            each(Judged { part, subject: Subject::Lead(lead), at, verdict, lasted });
        }
    }
}

fn left_out<'s, 'a>(part: &'s Part<'a>, window: Window, each: &mut impl FnMut(Judged<'s, 'a>)) {
    for (number, row) in part.partition.left_out.iter().enumerate() {
        let deployed = part.deployment(row.deployment);
        if let Some(Deployed { at, .. }) =
            deployed.filter(|deployed| window.contains(deployed.at) && part.wants(deployed.environment))
        {
            let verdict = Verdict::Out(Reason::Lead(row.reason));
            each(Judged { part, subject: Subject::LeftOut(index(number)), at: *at, verdict, lasted: None });
        }
    }
}

fn counts(micros: Option<i64>) -> Verdict {
    match micros {
        None => Verdict::Out(Reason::UnknownTime),
        Some(micros) if micros < 0 => Verdict::Out(Reason::Negative),
        Some(micros) => Verdict::Counts(Value::Lasted(micros)),
    }
}

/// Something that lasts from `from` on, as seen at the end of the window: what puts it there, what
/// is said of it, and how long it lasted. `None` where it concerns another window.
fn lasting(from: Timestamp, to: Option<Timestamp>, question: &Question) -> Option<(Timestamp, Verdict, i64)> {
    let window = question.window;
    match to {
        Some(to) if window.contains(to) => {
            let lasted = to.micros_since(from);
            Some((to, counts(Some(lasted)), lasted))
        }
        Some(to) if to < window.from => None,
        _ if from < window.to => {
            Some((from, Verdict::Out(Reason::Open), window.to.min(question.now).micros_since(from)))
        }
        _ => None,
    }
}

fn recoveries<'s, 'a>(selected: &'s Selected<'a>, question: &Question, mut each: impl FnMut(Judged<'s, 'a>)) {
    for part in in_months_and_lasting(selected, question.window) {
        for (number, row) in part.partition.deployments.iter().enumerate() {
            if !row.failed || !row.reached() || !part.wants(row.environment) || is_kept_elsewhere(part, row.restored_at)
            {
                continue;
            }
            if let Some((at, verdict, lasted)) = lasting(row.at, row.restored_at, question) {
                let subject = Subject::Deployment(index(number));
                each(Judged { part, subject, at, verdict, lasted: Some(lasted) });
            }
        }
    }
}

fn incidents<'s, 'a>(selected: &'s Selected<'a>, question: &Question, mut each: impl FnMut(Judged<'s, 'a>)) {
    let window = question.window;
    let mut seen = HashSet::new();
    for part in in_months_and_lasting(selected, window) {
        for (number, row) in part.partition.incidents.iter().enumerate() {
            if !part.wants(row.environment) || !row.withdrawn && is_kept_elsewhere(part, row.resolved_at) {
                continue;
            }
            if row.shared.as_ref().is_some_and(|name| !seen.insert(name)) {
                continue;
            }
            let judged = match row.resolved_at {
                _ if row.withdrawn => {
                    window.contains(row.started_at).then_some((row.started_at, Verdict::Out(Reason::Withdrawn), None))
                }
                Some(at) if row.start_unknown && window.contains(at) => {
                    Some((at, Verdict::Out(Reason::UnknownTime), None))
                }
                resolved => {
                    lasting(row.started_at, resolved, question).map(|(at, verdict, lasted)| (at, verdict, Some(lasted)))
                }
            };
            if let Some((at, verdict, lasted)) = judged {
                each(Judged { part, subject: Subject::Incident(index(number)), at, verdict, lasted });
            }
        }
    }
}
