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

/// How many there are.
pub const STAGES: usize = 4;

/// Microseconds of a change on each of its stages, in their order, that are known and not negative.
pub fn stages_of(leads: &Leads, row: usize) -> [Option<i64>; STAGES] {
    // Each is the time from then to the deployment.
    let Some(opened) = Leads::value(&leads.opened, row) else { return [None; STAGES] };
    let began = Leads::value(&leads.first_commit, row).or_else(|| Leads::value(&leads.authored, row));
    let reviewed = Leads::value(&leads.first_review, row);
    let merged = Leads::value(&leads.merged, row);
    let stages = [
        began.map(|began| began - opened),
        reviewed.map(|reviewed| opened - reviewed),
        reviewed.zip(merged).map(|(reviewed, merged)| reviewed - merged),
        merged,
    ];
    stages.map(|micros| micros.filter(|micros| *micros >= 0))
}

/// Microseconds of each stage, in their order.
#[derive(Debug, Clone, Default)]
pub struct StageTimes(pub(super) [Sample; STAGES]);

impl StageTimes {
    pub fn add(&mut self, leads: &Leads, row: usize) {
        for (stage, micros) in self.0.iter_mut().zip(stages_of(leads, row)) {
            stage.extend(micros);
        }
    }

    pub(super) fn share(&mut self, other: &Self) {
        for (stage, other) in self.0.iter_mut().zip(&other.0) {
            stage.share(other);
        }
    }

    /// `None` where no stage of any change is known.
    pub fn stages(&mut self, center: Center) -> Option<Stages> {
        let stage = |micros: &mut Sample| Stage { value: center.of(micros).map(|m| m / 1e6), n: micros.len() };
        let any = self.0.iter().any(|stage| !stage.is_empty());
        let [coding, pick_up, review, merge_to_deploy] = &mut self.0;
        any.then(|| Stages {
            coding: stage(coding),
            pick_up: stage(pick_up),
            review: stage(review),
            merge_to_deploy: stage(merge_to_deploy),
        })
    }
}
