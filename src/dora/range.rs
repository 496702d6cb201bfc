//! What lies between two deployed commits, by parents, as a clone of the repository says it.
//!
//! A derivation asks for the ranges that it needs, and takes those that it is given; until then, and
//! where no clone can be asked, changes are reckoned by when they were merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::Timestamp;

/// The commits reachable from `to` and not from `from`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeName {
    pub repository: String,
    pub from: String,
    pub to: String,
}

/// A commit that is no merge, and that touches paths of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeCommit {
    pub sha: String,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
}

pub type Range = Result<Vec<RangeCommit>, NoRange>;
pub type Ranges = BTreeMap<RangeName, Range>;

/// Where the changes of a deployment come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangesFrom {
    /// The deployment names them.
    Named,
    /// The commits since the deployment before, by parents, from a clone of the repository.
    Range,
    /// What was merged since the deployment before.
    MergeTimes,
}

/// Deployments by where their changes come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Origins {
    pub named: u64,
    pub range: u64,
    pub merge_times: u64,
}

impl Origins {
    pub(super) const fn add(&mut self, from: ChangesFrom) {
        match from {
            ChangesFrom::Named => self.named += 1,
            ChangesFrom::Range => self.range += 1,
            ChangesFrom::MergeTimes => self.merge_times += 1,
        }
    }

    pub(super) const fn share(&mut self, other: Self) {
        self.named += other.named;
        self.range += other.range;
        self.merge_times += other.merge_times;
    }
}

/// Why a clone does not say what a deployment brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoRange {
    /// It was not asked yet.
    Waiting,
    /// The deployment, or the one before it, names no commit of the repository.
    NoCommit,
    /// The clone does not have one of the commits: it is not up to date, or they were replaced.
    UnknownCommit,
    /// There are too many commits in between.
    TooLong,
    /// The clone has no complete history.
    Shallow,
    /// There is no clone, or git refuses to read it.
    Unreachable,
}

impl NoRange {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Waiting => "the clone of the repository is not asked yet",
            Self::NoCommit => "it, or the deployment before it, names no commit of the repository: send commit",
            Self::UnknownCommit => {
                "the clone of the repository does not have its commit or that of the deployment before: fetch it; \
                 commits that a push replaced stay unknown"
            }
            Self::TooLong => "there are too many commits since the deployment before",
            Self::Shallow => "the clone of the repository is shallow: run `git fetch --unshallow` in it",
            Self::Unreachable => "the clone of the repository cannot be read: see the log",
        }
    }
}

/// The shortest beginning of a hash that git, and whoever abbreviates, takes for a name.
pub const SHORT_HASH: usize = 7;

/// Whether a text can be the name of a commit: a hash, or as much of it as git abbreviates to.
pub fn is_hash(text: &str) -> bool {
    (SHORT_HASH..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_branches_and_options_are_no_hashes() {
        for good in ["8f3c2d1", "8F3C2D1A9B4E6F705C1D2E3F4A5B6C7D8E9F0A1B"] {
            assert!(is_hash(good), "{good}");
        }
        for bad in ["", "main", "8f3c2d", "--all", "8f3c2d1..", "HEAD~10", "8f3c2d1\0", &"a".repeat(65)] {
            assert!(!is_hash(bad), "{bad}");
        }
    }
}
