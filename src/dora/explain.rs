//! Every row in, every row out, and why, down to the deployment and the commit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Metric;
use super::count::{Judged, Question, Reason, Subject, Value, Verdict, judge};
use super::month::Month;
use super::partition::{Details, Index};
use super::range::{ChangesFrom, NoRange};
use super::row::{Because, Cause, DeploymentRow, IncidentRow, LeadReason};
use super::select::Selected;
use crate::event::{DeploymentKind, EntityKey};
use crate::num::signed_float;
use crate::time::Timestamp;

/// A row of an explanation. `value` is missing where being counted is all there is to say.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentName>,
    /// Seconds, or whether the deployment failed or was unplanned. Of a row that is left out: the
    /// seconds by which it ended before it began, as a negative number, or how long it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Shown>,
    /// Where the interval begins: the change's time, the failed deployment's finish, the incident's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// What ended the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_by: Option<Cause>,
    /// Why the deployment counts as failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because>,
    /// Why the row is left out; only in `excluded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Shown {
    Seconds(f64),
    Is(bool),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChangeName {
    pub repository: String,
    pub sha: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeploymentName {
    #[serde(flatten)]
    pub key: EntityKey,
    pub service: String,
    pub environment: String,
    pub version: Option<String>,
    pub commit: Option<String>,
    pub finished_at: Option<Timestamp>,
    pub kind: DeploymentKind,
    /// The kind was concluded from the order of versions, not declared.
    pub kind_inferred: bool,
    /// The failed deployment that this rollback undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<EntityKey>,
    /// Where its changes come from; missing where it brought none, or none are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_from: Option<ChangesFrom>,
    /// Its changes are not all known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Why its changes are not those that a clone of the repository lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_range: Option<NoRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_range_detail: Option<&'static str>,
    /// Every deployment that is gone with it, oldest first: each may have been the one that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub took_away: Vec<EntityKey>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct IncidentName {
    #[serde(flatten)]
    pub key: EntityKey,
    pub service: Option<String>,
    /// What else is affected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_services: Vec<String>,
    pub environment: String,
    pub title: Option<String>,
    pub severity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// From its start until it was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_detect: Option<f64>,
}

/// Where a row stands: those counted first, each part in order of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    excluded: bool,
    at: i64,
    name: [String; 4],
}

/// A page of an explanation.
#[derive(Debug, Default)]
pub struct Page {
    pub included: Vec<Row>,
    pub excluded: Vec<Row>,
    /// The last row of this page, where more follow.
    pub next: Option<Position>,
}

/// Every row that concerns a metric, in or out.
pub fn rows<'s, 'a>(metric: Metric, selected: &'s Selected<'a>, question: &Question) -> Vec<Judged<'s, 'a>> {
    let mut rows = Vec::new();
    judge(metric, selected, question, |row| rows.push(row));
    rows
}

/// The rows among which those of a page are, in no more than time's order: their names are not
/// known yet, and all rows of one instant may be needed to order them.
pub fn candidates<'s, 'a>(
    mut rows: Vec<Judged<'s, 'a>>,
    after: Option<&Position>,
    limit: usize,
) -> Vec<Judged<'s, 'a>> {
    let place = |row: &Judged<'_, '_>| (matches!(row.verdict, Verdict::Out(_)), row.at.micros());
    if let Some(after) = after {
        rows.retain(|row| place(row) >= (after.excluded, after.at));
    }
    rows.sort_by_key(place);
    let last_seen = after.map(|after| (after.excluded, after.at));
    let tied = rows.partition_point(|row| last_seen.is_some_and(|seen| place(row) <= seen));
    if let Some(last) = rows.get(tied + limit).map(place) {
        let end = rows.partition_point(|row| place(row) <= last);
        rows.truncate(end);
    }
    rows
}

/// The rows after `after`, at most `limit` of them, of the candidates for them.
pub fn page<'d>(
    candidates: &[Judged<'_, 'd>],
    details: &'d BTreeMap<(Month, &str), Details>,
    after: Option<&Position>,
    limit: usize,
) -> Page {
    let mut rows: Vec<(Position, &Judged<'_, 'd>, Named<'d>)> = candidates
        .iter()
        .filter_map(|row| {
            let named = named(row, details.get(&(row.part.month, row.part.service))?)?;
            Some((position(row, &named), row, named))
        })
        .filter(|(position, ..)| after.is_none_or(|after| position > after))
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut page = Page::default();
    if more {
        page.next = rows.last().map(|(position, ..)| position.clone());
    }
    for (_, row, named) in rows {
        match row.verdict {
            Verdict::Counts(value) => page.included.push(included_row(row, &named, value)),
            Verdict::Out(reason) => page.excluded.push(excluded_row(row, &named, reason)),
        }
    }
    page
}

/// A row with its names.
enum Named<'d> {
    Change { repository: &'d str, sha: &'d str, deployment: &'d DeploymentRow },
    Deployment(&'d DeploymentRow),
    Incident(&'d IncidentRow),
}

fn named<'d>(row: &Judged<'_, '_>, details: &'d Details) -> Option<Named<'d>> {
    let partition = row.part.partition;
    let deployment = |row: Index| details.deployments.get(place(row)?);
    Some(match row.subject {
        Subject::Deployment(row) => Named::Deployment(deployment(row)?),
        Subject::Lead(row) => {
            let (repository, sha) = details.lead(row)?;
            Named::Change { repository, sha, deployment: deployment(*partition.leads.deployment.get(place(row)?)?)? }
        }
        Subject::LeftOut(row) => {
            let by = deployment(partition.left_out.get(place(row)?)?.deployment)?;
            match details.left_out(row) {
                Some((repository, sha)) => Named::Change { repository, sha, deployment: by },
                None => Named::Deployment(by),
            }
        }
        Subject::Incident(row) => Named::Incident(details.incidents.get(place(row)?)?),
    })
}

/// Where a row is in its list.
fn place(row: Index) -> Option<usize> {
    usize::try_from(row).ok()
}

fn position(row: &Judged<'_, '_>, named: &Named<'_>) -> Position {
    // One id may be deployed to several places.
    let of = |row: &DeploymentRow| (row.key.source.clone(), format!("{} {} {}", row.key.id, row.service, row.place));
    let (change, (source, id)) = match named {
        Named::Change { repository, sha, deployment } => ((*repository, *sha), of(deployment)),
        Named::Deployment(row) => (("", ""), of(row)),
        Named::Incident(incident) => (("", ""), (incident.key.source.clone(), incident.key.id.clone())),
    };
    let name = [change.0.to_owned(), change.1.to_owned(), source, id];
    Position { excluded: matches!(row.verdict, Verdict::Out(_)), at: row.at.micros(), name }
}

fn included_row(row: &Judged<'_, '_>, named: &Named<'_>, value: Value) -> Row {
    let mut shown = plain(named);
    match value {
        Value::One => shown.because.clear(),
        Value::Is(value) => shown.value = Some(Shown::Is(value)),
        Value::Lasted(micros) => {
            shown.value = Some(Shown::Seconds(signed_float(micros) / 1e6));
            shown.started_at = Some(Timestamp::from_micros(row.at.micros().saturating_sub(micros)));
            if !matches!(named, Named::Change { .. }) {
                shown.restored_at = Some(row.at);
            }
            if let Named::Deployment(deployment) = named {
                shown.restored_by = deployment.restored.as_ref().map(|end| end.by);
            }
        }
    }
    shown
}

fn excluded_row(row: &Judged<'_, '_>, named: &Named<'_>, reason: Reason) -> Row {
    let mut shown = plain(named);
    shown.reason = Some(reason);
    shown.detail = Some(detail(reason));
    if let (Reason::Negative | Reason::Open, Some(micros)) = (reason, row.lasted) {
        shown.value = Some(Shown::Seconds(signed_float(micros) / 1e6));
    }
    match (reason, named) {
        (Reason::Open, _) => shown.started_at = Some(row.at),
        (Reason::Negative, named) => {
            shown.started_at = row.lasted.map(|micros| Timestamp::from_micros(row.at.micros().saturating_sub(micros)));
            shown.restored_at = Some(row.at).filter(|_| !matches!(named, Named::Change { .. }));
        }
        _ => {}
    }
    shown
}

fn plain(named: &Named<'_>) -> Row {
    let mut row = Row {
        change: None,
        deployment: None,
        incident: None,
        value: None,
        started_at: None,
        restored_at: None,
        restored_by: None,
        because: Vec::new(),
        reason: None,
        detail: None,
    };
    match named {
        Named::Change { repository, sha, deployment } => {
            row.change = Some(ChangeName { repository: (*repository).to_owned(), sha: (*sha).to_owned() });
            row.deployment = Some(DeploymentName::of(deployment));
        }
        Named::Deployment(deployment) => {
            row.deployment = Some(DeploymentName::of(deployment));
            row.because.clone_from(&deployment.because);
        }
        Named::Incident(incident) => row.incident = Some(IncidentName::of(incident)),
    }
    row
}

impl DeploymentName {
    pub fn of(row: &DeploymentRow) -> Self {
        Self {
            key: row.key.clone(),
            service: row.service.clone(),
            environment: row.environment.clone(),
            version: row.version.clone(),
            commit: row.commit.clone(),
            finished_at: row.finished_at,
            kind: row.kind,
            kind_inferred: row.kind_inferred,
            rolls_back: row.rolls_back.clone(),
            changes_from: row.changes_from,
            partial: row.partial,
            no_range: row.no_range,
            no_range_detail: row.no_range.map(NoRange::text),
            took_away: row.took_away.clone(),
        }
    }
}

impl IncidentName {
    fn of(row: &IncidentRow) -> Self {
        let known = row.detected_at.filter(|_| !row.start_unknown);
        Self {
            key: row.key.clone(),
            service: row.service.clone(),
            other_services: row.other_services.clone(),
            environment: row.environment.clone(),
            title: row.title.clone(),
            severity: row.severity.clone(),
            detected_at: row.detected_at,
            seconds_to_detect: known.map(|at| signed_float(at.micros_since(row.started_at)) / 1e6),
        }
    }
}

pub(super) const fn detail(reason: Reason) -> &'static str {
    match reason {
        Reason::InProgress => "it has not finished",
        Reason::FailedAttempt => "it failed before it reached anybody: no incident and no rollback names it",
        Reason::Cancelled => "it was cancelled before it reached anybody",
        Reason::Rollback => "it is a rollback, and `exclude_rollbacks` was asked for",
        Reason::Negative => "it ended before it began: the clocks of the sources disagree",
        Reason::UnknownTime => "the time that `lead_time_from` counts from is not known: send it with the change",
        Reason::Open => "it was not over at the end of the window",
        Reason::Withdrawn => "whoever reported it took it back",
        Reason::Lead(LeadReason::FirstDeployment) => {
            "the deployment names no changes and no earlier deployment exists: send changes[]"
        }
        Reason::Lead(LeadReason::NoChangesKnown) => {
            "the deployment names no changes, and none of its repository are known: send changes[], or a commit and \
             change events, or configure a clone under `repositories`"
        }
        Reason::Lead(LeadReason::NothingNew) => "it brought no change that was not there before",
        Reason::Lead(LeadReason::DeployedBefore) => "an earlier deployment brought the change",
        Reason::Lead(LeadReason::DeployedLater) => "a later deployment brought the change to its last environment",
        Reason::Lead(LeadReason::MergeCommit) => "a merge commit is not a change",
        Reason::Lead(LeadReason::OtherPaths) => {
            "the deployment names the change, but the service owns other paths of the repository than it touched: see \
             `paths` of the service in the configuration"
        }
        Reason::Lead(LeadReason::PathsUnknown) => {
            "the service owns some paths of the repository, and nobody said which paths the change touched: send \
             `service` with the change"
        }
    }
}
