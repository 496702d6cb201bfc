//! The stages of a change on its way, where its pull request is known: coding, pick-up, review,
//! merge to deploy.

use serde::Serialize;
use utoipa::ToSchema;

use super::partition::Leads;
use super::sample::Sample;
use super::stats::Center;

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

/// Microseconds of each stage, change by change.
#[derive(Debug, Clone, Default)]
pub struct StageTimes {
    coding: Sample,
    pick_up: Sample,
    review: Sample,
    merge_to_deploy: Sample,
    any: bool,
}

impl StageTimes {
    pub fn add(&mut self, leads: &Leads, row: usize) {
        // Each is the time from then to the deployment.
        let Some(opened) = Leads::value(&leads.opened, row) else { return };
        self.any = true;
        let began = Leads::value(&leads.first_commit, row).or_else(|| Leads::value(&leads.authored, row));
        let reviewed = Leads::value(&leads.first_review, row);
        let merged = Leads::value(&leads.merged, row);
        for (stage, micros) in [
            (&mut self.coding, began.map(|began| began - opened)),
            (&mut self.pick_up, reviewed.map(|reviewed| opened - reviewed)),
            (&mut self.review, reviewed.zip(merged).map(|(reviewed, merged)| reviewed - merged)),
            (&mut self.merge_to_deploy, merged),
        ] {
            stage.extend(micros.filter(|micros| *micros >= 0));
        }
    }

    pub(super) const fn samples(&mut self) -> [&mut Sample; 4] {
        [&mut self.coding, &mut self.pick_up, &mut self.review, &mut self.merge_to_deploy]
    }

    pub(super) fn share(&mut self, other: &Self) {
        self.any |= other.any;
        self.coding.share(&other.coding);
        self.pick_up.share(&other.pick_up);
        self.review.share(&other.review);
        self.merge_to_deploy.share(&other.merge_to_deploy);
    }

    pub(super) fn len(&self) -> usize {
        self.coding.len() + self.pick_up.len() + self.review.len() + self.merge_to_deploy.len()
    }

    /// `None` where no pull request is known of any change.
    pub fn stages(&mut self, center: Center) -> Option<Stages> {
        let stage = |micros: &mut Sample| Stage { value: center.of(micros).map(|m| m / 1e6), n: micros.len() };
        self.any.then(|| Stages {
            coding: stage(&mut self.coding),
            pick_up: stage(&mut self.pick_up),
            review: stage(&mut self.review),
            merge_to_deploy: stage(&mut self.merge_to_deploy),
        })
    }
}
