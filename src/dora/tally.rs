//! What is added up over the rows of a metric. Tallies of months add up to the tally of a window,
//! and nothing is lost in it: percentiles are those of all values.

use std::collections::BTreeMap;

use super::Metric;
use super::count::{Question, Reason, Subject, Value, Verdict, judge};
use super::range::Origins;
use super::sample::Sample;
use super::select::Selected;
use super::stages::StageTimes;
use crate::time::Timestamp;

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rows that count.
    pub(super) n: u64,
    /// Of these, those that failed or were unplanned.
    pub(super) yes: u64,
    pub(super) micros: Sample,
    /// When each row that counts did, in microseconds.
    pub(super) at: Sample,
    pub(super) excluded: BTreeMap<Reason, u64>,
    /// Since when the oldest open one is open.
    pub(super) open_since: Option<Timestamp>,
    pub(super) stages: StageTimes,
    /// Deployments whose changes are not all known.
    pub(super) partial: u64,
    pub(super) changes_from: Origins,
}

/// One of each metric, in their order.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    pub(super) of: [Tally; 6],
}

impl Tallies {
    /// With `details`, also what only the answers for the window itself need.
    pub fn of(selected: &Selected<'_>, question: &Question, details: bool) -> Self {
        Self { of: Metric::ALL.map(|metric| Tally::of(metric, selected, question, details)) }
    }

    /// Makes the tallies ready to be shared many times.
    pub fn settle(&mut self) {
        for tally in &mut self.of {
            tally.micros.settle();
            tally.at.settle();
            for stage in &mut tally.stages.0 {
                stage.settle();
            }
        }
    }

    /// Adds the tallies of other rows.
    pub fn share(&mut self, other: &Self) {
        for (tally, other) in self.of.iter_mut().zip(&other.of) {
            tally.share(other);
        }
    }

    pub(super) const fn get_mut(&mut self, metric: Metric) -> &mut Tally {
        let [frequency, lead_time, fail_rate, recovery, rework, mean_time] = &mut self.of;
        match metric {
            Metric::DeploymentFrequency => frequency,
            Metric::ChangeLeadTime => lead_time,
            Metric::ChangeFailRate => fail_rate,
            Metric::FailedDeploymentRecoveryTime => recovery,
            Metric::ReworkRate => rework,
            Metric::MeanTimeToRecovery => mean_time,
        }
    }
}

impl Tally {
    pub(super) fn of(metric: Metric, selected: &Selected<'_>, question: &Question, details: bool) -> Self {
        let mut tally = Self::default();
        judge(metric, selected, question, |row| match row.verdict {
            Verdict::Out(reason) => tally.leave_out(reason, row.at),
            Verdict::Counts(value) => {
                tally.n += 1;
                match value {
                    Value::One => tally.at.extend(details.then_some(row.at.micros())),
                    Value::Is(yes) => tally.yes += u64::from(yes),
                    Value::Lasted(micros) => tally.micros.push(micros),
                }
                if let (true, Subject::Lead(lead)) = (details, row.subject) {
                    tally.stages.add(&row.part.partition.leads, usize::try_from(lead).unwrap_or(usize::MAX));
                }
            }
        });
        if details && metric == Metric::ChangeLeadTime {
            judge(Metric::DeploymentFrequency, selected, question, |row| {
                let Subject::Deployment(number) = row.subject else { return };
                let Some(deployed) = row.part.deployment(number) else { return };
                tally.partial += u64::from(deployed.partial);
                deployed.changes_from.into_iter().for_each(|from| tally.changes_from.add(from));
            });
        }
        tally
    }

    /// Of changes that were judged elsewhere.
    pub(super) fn set_lead_times(&mut self, micros: Sample) {
        self.n = u64::try_from(micros.len()).unwrap_or(u64::MAX);
        self.micros = micros;
    }

    fn leave_out(&mut self, reason: Reason, at: Timestamp) {
        *self.excluded.entry(reason).or_default() += 1;
        if reason == Reason::Open {
            self.open_since = Some(self.open_since.map_or(at, |since| since.min(at)));
        }
    }

    fn share(&mut self, other: &Self) {
        self.n += other.n;
        self.yes += other.yes;
        self.partial += other.partial;
        self.changes_from.share(other.changes_from);
        self.micros.share(&other.micros);
        self.stages.share(&other.stages);
        self.at.share(&other.at);
        for (reason, n) in &other.excluded {
            *self.excluded.entry(*reason).or_default() += n;
        }
        self.open_since = self.open_since.into_iter().chain(other.open_since).min();
    }
}
