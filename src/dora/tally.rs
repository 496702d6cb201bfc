//! What is added up over the rows of a metric.

use std::collections::BTreeMap;

use super::Metric;
use super::count::{Question, Reason, Subject, Value, Verdict, judge};
use super::select::Selected;
use super::stages::StageTimes;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows that count.
    pub n: u64,
    /// Of these, those that failed or were unplanned.
    pub yes: u64,
    pub micros: Vec<i64>,
    /// When each row that counts did.
    pub at: Vec<Timestamp>,
    pub excluded: BTreeMap<Reason, u64>,
    /// Since when the oldest open one is open.
    pub open_since: Option<Timestamp>,
    pub stages: StageTimes,
    /// Deployments whose changes are not all known.
    pub partial: u64,
}

impl Tally {
    /// With `details`, also what only some of the answers need.
    pub fn of(metric: Metric, selected: &Selected<'_>, question: &Question, details: bool) -> Self {
        let mut tally = Self::default();
        judge(metric, selected, question, |row| match row.verdict {
            Verdict::Out(reason) => tally.leave_out(reason, row.at),
            Verdict::Counts(value) => {
                tally.n += 1;
                match value {
                    Value::One => tally.at.extend(details.then_some(row.at)),
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
                tally.partial += u64::from(row.part.deployment(number).is_some_and(|row| row.partial));
            });
        }
        tally
    }

    fn leave_out(&mut self, reason: Reason, at: Timestamp) {
        *self.excluded.entry(reason).or_default() += 1;
        if reason == Reason::Open {
            self.open_since = Some(self.open_since.map_or(at, |since| since.min(at)));
        }
    }
}
