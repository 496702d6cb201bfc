//! What is kept of a derivation: the rows of one service that belong to one month.
//!
//! A [`Partition`] holds what figures are computed from, without a name or a text per row: a
//! window is answered from the partitions of its months alone, however long the history is. Its
//! [`Details`] hold the names, row by row; only explanations read them.

use serde::{Deserialize, Serialize};

use super::column;
use super::count::LeadFrom;
use super::range::ChangesFrom;
use super::row::{DeploymentRow, IncidentRow, LeadReason};
use crate::event::{DeploymentKind, DeploymentOutcome};
use crate::time::Timestamp;

/// The number of a row in a list of its partition.
pub type Index = u32;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Names that the rows refer to.
    pub environments: Vec<String>,
    /// In order of time.
    pub deployments: Vec<Deployed>,
    pub leads: Leads,
    pub left_out: Vec<LeftOut>,
    pub incidents: Vec<Trouble>,
    /// Services and environments where changes of this partition arrived too.
    pub elsewhere: Vec<(String, String)>,
    /// In order of `lead`.
    pub others: Vec<Other>,
}

impl Partition {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let leads = &self.leads;
        let columns =
            [&leads.authored, &leads.committed, &leads.merged, &leads.first_commit, &leads.opened, &leads.first_review];
        size_of::<Self>()
            + size_of_val(self.deployments.as_slice())
            + size_of_val(leads.deployment.as_slice())
            + columns.into_iter().map(|column| size_of_val(column.as_slice())).sum::<usize>()
            + size_of_val(self.left_out.as_slice())
            + size_of_val(self.incidents.as_slice())
            + size_of_val(self.others.as_slice())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Its finish, or its start while it has not finished.
    pub at: Timestamp,
    pub environment: Index,
    pub outcome: DeploymentOutcome,
    pub kind: DeploymentKind,
    pub failed: bool,
    pub changes_from: Option<ChangesFrom>,
    pub partial: bool,
    /// The end of its failure.
    pub restored_at: Option<Timestamp>,
}

impl Deployed {
    /// See [`DeploymentRow::reached`].
    pub const fn reached(&self) -> bool {
        match self.outcome {
            DeploymentOutcome::Succeeded => true,
            DeploymentOutcome::Failed | DeploymentOutcome::Cancelled => self.failed,
            DeploymentOutcome::InProgress | DeploymentOutcome::Withdrawn => false,
        }
    }

    pub fn unplanned(&self) -> bool {
        self.kind != DeploymentKind::Planned
    }
}

/// Changes at the deployments that brought them, column by column: microseconds from a time of the
/// change to the finish of the deployment. A column without any time is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leads {
    /// Never decreasing.
    pub deployment: Vec<Index>,
    #[serde(with = "column")]
    pub authored: Vec<i64>,
    #[serde(with = "column")]
    pub committed: Vec<i64>,
    #[serde(with = "column")]
    pub merged: Vec<i64>,
    #[serde(with = "column")]
    pub first_commit: Vec<i64>,
    #[serde(with = "column")]
    pub opened: Vec<i64>,
    #[serde(with = "column")]
    pub first_review: Vec<i64>,
}

impl Leads {
    /// Stands for a time that is not known.
    pub const UNKNOWN: i64 = i64::MIN;

    pub fn from(&self, from: LeadFrom) -> &[i64] {
        match from {
            LeadFrom::Authored => &self.authored,
            LeadFrom::Committed => &self.committed,
            LeadFrom::Merged => &self.merged,
            LeadFrom::FirstCommitOfPullRequest => &self.first_commit,
        }
    }

    pub fn value(column: &[i64], row: usize) -> Option<i64> {
        column.get(row).copied().filter(|micros| *micros != Self::UNKNOWN)
    }
}

/// A change, or all changes of a deployment, without a lead time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub deployment: Index,
    pub reason: LeadReason,
    /// It is one change, not the deployment as a whole.
    pub is_change: bool,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub environment: Index,
    pub started_at: Timestamp,
    /// `started_at` is when it was first heard of.
    pub start_unknown: bool,
    pub resolved_at: Option<Timestamp>,
    /// It was none, and concerns only the month it began in.
    pub withdrawn: bool,
    /// It names no service or several, and may be told of by several: by this name it is counted once.
    pub shared: Option<(String, String)>,
}

/// The change of a lead arrived somewhere else, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    pub lead: Index,
    pub elsewhere: Index,
    /// Before it arrived here, rather than after.
    pub before: bool,
}

/// The names of a partition's rows, list by list in the same order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    pub repositories: Vec<String>,
    pub deployments: Vec<DeploymentRow>,
    pub leads: Vec<(Index, String)>,
    pub left_out: Vec<Option<(Index, String)>>,
    pub incidents: Vec<IncidentRow>,
}

impl Details {
    /// (repository, sha) of a lead.
    pub fn lead(&self, row: Index) -> Option<(&str, &str)> {
        self.change(self.leads.get(usize::try_from(row).ok()?)?)
    }

    /// (repository, sha) of what is left out, unless it is a whole deployment.
    pub fn left_out(&self, row: Index) -> Option<(&str, &str)> {
        self.change(self.left_out.get(usize::try_from(row).ok()?)?.as_ref()?)
    }

    fn change<'a>(&'a self, (repository, sha): &'a (Index, String)) -> Option<(&'a str, &'a str)> {
        Some((self.repositories.get(usize::try_from(*repository).ok()?)?, sha))
    }
}
