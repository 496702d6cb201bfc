//! Every row in, every row out, and why, down to the deployment and the commit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::count::{Counted, Excluded, Included, Reason, Subject, Value};
use super::row::{Because, Cause, DeploymentRow, IncidentRow, LeadReason};
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
    /// Seconds, or whether the deployment failed or was unplanned.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<EntityKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IncidentName {
    #[serde(flatten)]
    pub key: EntityKey,
    pub service: Option<String>,
    pub environment: String,
    pub title: Option<String>,
    pub severity: Option<String>,
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

/// The rows after `after`, at most `limit` of them.
pub fn page(counted: &Counted<'_>, after: Option<&Position>, limit: usize) -> Page {
    let included = counted.included.iter().map(|row| (position(false, row.at, row.subject), Either::In(row)));
    let excluded = counted.excluded.iter().map(|row| (position(true, row.at, row.subject), Either::Out(row)));
    let mut rows: Vec<_> =
        included.chain(excluded).filter(|(position, _)| after.is_none_or(|after| position > after)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut page = Page::default();
    if more {
        page.next = rows.last().map(|(position, _)| position.clone());
    }
    for (_, row) in rows {
        match row {
            Either::In(row) => page.included.push(included_row(row)),
            Either::Out(row) => page.excluded.push(excluded_row(row)),
        }
    }
    page
}

enum Either<'c, 'a> {
    In(&'c Included<'a>),
    Out(&'c Excluded<'a>),
}

fn position(excluded: bool, at: Timestamp, subject: Subject<'_>) -> Position {
    // One id may be deployed to several places.
    let of = |row: &DeploymentRow| (row.key.source.clone(), format!("{} {} {}", row.key.id, row.service, row.place));
    let (change, (source, id)) = match subject {
        Subject::Change { repository, sha, deployment, .. } => ((repository, sha), of(deployment)),
        Subject::Deployment(row) => (("", ""), of(row)),
        Subject::Incident(incident) => (("", ""), (incident.key.source.clone(), incident.key.id.clone())),
    };
    let name = [change.0.to_owned(), change.1.to_owned(), source, id];
    Position { excluded, at: at.micros(), name }
}

fn included_row(row: &Included<'_>) -> Row {
    let mut shown = plain(row.subject);
    match row.value {
        Value::One => shown.because.clear(),
        Value::Is(value) => shown.value = Some(Shown::Is(value)),
        Value::Between { from, to } => {
            shown.value = Some(Shown::Seconds(signed_float(to.micros_since(from)) / 1e6));
            shown.started_at = Some(from);
            if !matches!(row.subject, Subject::Change { .. }) {
                shown.restored_at = Some(to);
            }
        }
    }
    if let (Subject::Deployment(deployment), Value::Between { .. }) = (row.subject, row.value) {
        shown.restored_by = deployment.restored.as_ref().map(|end| end.by);
    }
    shown
}

fn excluded_row(row: &Excluded<'_>) -> Row {
    let mut shown = plain(row.subject);
    shown.reason = Some(row.reason);
    shown.detail = Some(detail(row.reason));
    if row.reason == Reason::Open {
        shown.started_at = Some(row.at);
    }
    shown
}

fn plain(subject: Subject<'_>) -> Row {
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
    match subject {
        Subject::Change { repository, sha, deployment, .. } => {
            row.change = Some(ChangeName { repository: repository.to_owned(), sha: sha.to_owned() });
            row.deployment = Some(DeploymentName::of(deployment));
        }
        Subject::Deployment(deployment) => {
            row.deployment = Some(DeploymentName::of(deployment));
            row.because.clone_from(&deployment.because);
        }
        Subject::Incident(incident) => row.incident = Some(IncidentName::of(incident)),
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
        }
    }
}

impl IncidentName {
    fn of(row: &IncidentRow) -> Self {
        Self {
            key: row.key.clone(),
            service: row.service.clone(),
            environment: row.environment.clone(),
            title: row.title.clone(),
            severity: row.severity.clone(),
        }
    }
}

const fn detail(reason: Reason) -> &'static str {
    match reason {
        Reason::InProgress => "it has not finished",
        Reason::FailedAttempt => "it failed before it reached anybody: no incident and no rollback names it",
        Reason::Cancelled => "it was cancelled before it reached anybody",
        Reason::Rollback => "it is a rollback, and `exclude_rollbacks` was asked for",
        Reason::Negative => "it ended before it began: the clocks of the sources disagree",
        Reason::UnknownTime => "the time that `lead_time_from` counts from is not known: send it with the change",
        Reason::Open => "it was not over at the end of the window",
        Reason::Withdrawn => "whoever reported it took it back: it was no incident",
        Reason::Lead(LeadReason::FirstDeployment) => {
            "the deployment names no changes and no earlier deployment exists: send changes[]"
        }
        Reason::Lead(LeadReason::NoChangesKnown) => {
            "the deployment names no changes, and none of its repository are known: send changes[], or a commit and \
             change events"
        }
        Reason::Lead(LeadReason::NothingNew) => "it brought no change that was not there before",
        Reason::Lead(LeadReason::DeployedBefore) => "an earlier deployment brought the change",
        Reason::Lead(LeadReason::DeployedLater) => "a later deployment brought the change to its last environment",
        Reason::Lead(LeadReason::MergeCommit) => "a merge commit is not a change",
        Reason::Lead(LeadReason::PathsUnknown) => {
            "the service owns some paths of the repository, and nobody said which paths the change touched: send \
             `service` with the change"
        }
    }
}
