//! The stages of a change on its way, where its pull request is known: coding, pick-up, review,
//! merge to deploy.

use serde::Serialize;
use utoipa::ToSchema;

use super::count::{Counted, Subject};
use super::row::{DeploymentRow, LeadRow};
use super::stats::Center;
use crate::time::Timestamp;

/// Each stage by itself: a change that lacks one of its two times, or has them the wrong way
/// round, is left out of this stage alone. The middles do not add up to the middle of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Stages {
    /// From the first commit to the opening of the pull request.
    pub coding: Stage,
    /// From the opening to the first review.
    pub pick_up: Stage,
    /// From the first review to the merge.
    pub review: Stage,
    /// From the merge to the deployment.
    pub merge_to_deploy: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Stage {
    /// Seconds, by the method of the whole; `null` where no change has both times.
    pub value: Option<f64>,
    pub n: usize,
}

type Ends = (Option<Timestamp>, Option<Timestamp>);

/// `None` where no pull request is known of any change.
pub fn stages(counted: &Counted<'_>, center: Center) -> Option<Stages> {
    let changes = || {
        counted.included.iter().filter_map(|row| match row.subject {
            Subject::Change { lead: Some(lead), deployment, .. } => Some((lead, deployment)),
            _ => None,
        })
    };
    changes().any(|(row, _)| row.opened_at.is_some()).then(|| {
        let stage = |ends: fn(&LeadRow, &DeploymentRow) -> Ends| {
            let mut micros: Vec<i64> = changes()
                .filter_map(|(row, deployment)| {
                    let (from, to) = ends(row, deployment);
                    Some(to?.micros_since(from?)).filter(|micros| *micros >= 0)
                })
                .collect();
            micros.sort_unstable();
            Stage { value: center.of(&micros).map(|micros| micros / 1e6), n: micros.len() }
        };
        Stages {
            coding: stage(|row, _| (row.first_commit_at.or(row.authored_at), row.opened_at)),
            pick_up: stage(|row, _| (row.opened_at, row.first_review_at)),
            review: stage(|row, _| (row.first_review_at, row.merged_at)),
            merge_to_deploy: stage(|row, deployment| (row.opened_at.and(row.merged_at), deployment.finished_at)),
        }
    })
}
