//! What is derived of each deployment, change and incident: the rows that metrics count.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::range::{ChangesFrom, NoRange};
use crate::event::{DeploymentKind, DeploymentOutcome, EntityKey, IncidentStatus};
use crate::time::Timestamp;

/// A deployment with what its history says about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRow {
    pub key: EntityKey,
    pub service: String,
    /// As the source names it: versions follow each other within this name.
    pub place: String,
    /// The configured environment that `place` belongs to.
    pub environment: String,
    pub version: Option<String>,
    pub commit: Option<String>,
    pub outcome: DeploymentOutcome,
    /// As declared, else rollback where the order of versions shows one, else planned.
    pub kind: DeploymentKind,
    pub kind_inferred: bool,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The failed deployment that this rollback undoes.
    pub rolls_back: Option<EntityKey>,
    /// Every deployment that is gone with this rollback, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took_away: Vec<EntityKey>,
    /// Why it counts as failed; empty while it does not.
    pub because: Vec<Because>,
    /// What ended the failure.
    pub restored: Option<Restoration>,
    /// `None` where it brought none, or none are known.
    pub changes_from: Option<ChangesFrom>,
    /// Why they are not those that a clone of the repository lists, where there should be one.
    pub no_range: Option<NoRange>,
    /// The changes it brought are not all known.
    pub partial: bool,
}

impl DeploymentRow {
    /// It reached its environment: it succeeded, or someone had to repair what it did there.
    pub fn reached(&self) -> bool {
        match self.outcome {
            DeploymentOutcome::Succeeded => true,
            DeploymentOutcome::Failed | DeploymentOutcome::Cancelled => self.failed(),
            DeploymentOutcome::InProgress | DeploymentOutcome::Withdrawn => false,
        }
    }

    pub fn failed(&self) -> bool {
        !self.because.is_empty()
    }

    pub fn unplanned(&self) -> bool {
        self.kind != DeploymentKind::Planned
    }

    /// When it finished, or began while it has not.
    pub fn at(&self) -> Option<Timestamp> {
        self.finished_at.or(self.started_at)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Rollback,
    Hotfix,
    Incident,
}

/// How one thing is known to belong to another, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A person said so: `PUT /api/v1/incidents/{id}/links`.
    Operator,
    /// An event names it.
    Explicit,
    /// A rollback was declared, and the order of deployments shows what it undid; or a rollback
    /// that ran during the incident did.
    Rollback,
    /// Concluded from order and time alone.
    Inferred,
}

impl LinkKind {
    /// A rank for readers, not a measured probability: 1 is certain.
    pub const fn confidence(self) -> f64 {
        match self {
            Self::Operator | Self::Explicit => 1.0,
            Self::Rollback => 0.9,
            Self::Inferred => 0.5,
        }
    }
}

/// Why a deployment counts as failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Because {
    pub kind: Cause,
    /// The rollback or the hotfix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<EntityKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<EntityKey>,
    pub link: LinkKind,
    pub confidence: f64,
}

impl Because {
    pub(super) fn deployment(kind: Cause, by: &EntityKey, link: LinkKind) -> Self {
        Self { kind, deployment: Some(by.clone()), incident: None, link, confidence: link.confidence() }
    }

    pub(super) fn incident(by: &EntityKey, link: LinkKind) -> Self {
        let confidence = link.confidence();
        Self { kind: Cause::Incident, deployment: None, incident: Some(by.clone()), link, confidence }
    }
}

/// The end of a failure: that of the rollback, of the fix, or of the last linked incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    pub at: Timestamp,
    pub by: Cause,
}

/// A change at the first succeeded deployment of a place that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadRow {
    pub repository: String,
    pub sha: String,
    /// Index into [`Derived::deployments`](super::Derived).
    pub deployment: usize,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    pub merged_at: Option<Timestamp>,
    pub first_commit_at: Option<Timestamp>,
    /// Of its pull request.
    pub opened_at: Option<Timestamp>,
    pub first_review_at: Option<Timestamp>,
}

/// A change, or all changes of a deployment, that give no lead time whatever is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadOut {
    /// (repository, sha); `None` where the deployment as a whole is meant.
    pub change: Option<(String, String)>,
    pub deployment: usize,
    pub reason: LeadReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadReason {
    /// It names no changes, and what was there before it is not known.
    FirstDeployment,
    /// It names no changes, and no repository or no changes of the repository are known.
    NoChangesKnown,
    /// A redeploy, a rollback, or nothing was merged since the deployment before.
    NothingNew,
    /// An earlier deployment brought the change.
    DeployedBefore,
    /// The change is counted where it arrived last, as asked for.
    DeployedLater,
    MergeCommit,
    /// The service owns some paths, and the change touched none of them.
    OtherPaths,
    /// The service owns some paths, and nobody said which paths the change touched.
    PathsUnknown,
}

/// An incident and the deployments it is linked to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentRow {
    pub key: EntityKey,
    pub service: Option<String>,
    /// What else is affected.
    pub other_services: Vec<String>,
    pub environment: String,
    pub title: Option<String>,
    pub severity: Option<String>,
    pub status: IncidentStatus,
    pub started_at: Timestamp,
    /// `started_at` is when it was first heard of.
    pub start_unknown: bool,
    pub detected_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    /// Indices into [`Derived::deployments`](super::Derived), with how each is known.
    pub links: Vec<(usize, LinkKind)>,
}
