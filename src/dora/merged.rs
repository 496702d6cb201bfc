//! The rows of many services in one month, arranged so that any window in it is answered without
//! looking at each change, and that what one service has anew is put in without the others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::Metric;
use super::calendar::Window;
use super::count::{Judged, Question, Reason, Subject, Value, Verdict, changes};
use super::month::Month;
use super::partition::{Deployed, Index, Partition, Trouble};
use super::select::{Arrival, Part, Selected};
use super::stages::{STAGES, StageTimes, stages_of};
use super::tally::{Tallies, Tally};
use super::timed::{GONE, Timed};
use crate::time::Timestamp;

/// What is said of a change depends on `lead_from` of the question and on the selection.
#[derive(Debug, Clone)]
pub struct Merged {
    month: Month,
    services: Vec<Arc<str>>,
    /// Deployments and incidents of all services, in the one environment that it has.
    rows: Partition,
    /// The numbers of their services.
    deployed_by: Vec<Index>,
    reported_by: Vec<Index>,
    lead_times: Timed,
    stages: [Timed; STAGES],
    /// Changes, and all changes of deployments, that do not count, in order of the deployments.
    left_out: Vec<(Index, Reason)>,
    /// What all of it adds up to, rollbacks included.
    whole: Tallies,
}

/// A deployment on its way to its new number.
struct Moving {
    deployed: Deployed,
    service: Index,
    /// The part that tells of it; `None` where it was known already.
    part: Option<usize>,
    old: Index,
}

/// What the changes of some parts come to.
#[derive(Default)]
struct Changes {
    lead_times: Vec<(i64, Index)>,
    stages: [Vec<(i64, Index)>; STAGES],
    left_out: Vec<(Index, Reason)>,
}

impl Merged {
    pub fn new(month: Month) -> Self {
        let rows = Partition { environments: vec![String::new()], ..Partition::default() };
        Self {
            month,
            services: Vec::new(),
            rows,
            deployed_by: Vec::new(),
            reported_by: Vec::new(),
            lead_times: Timed::default(),
            stages: Default::default(),
            left_out: Vec::new(),
            whole: Tallies::default(),
        }
    }

    /// With the selected rows in place of all that was known of these services.
    #[must_use]
    pub fn renewed(&self, renewed: &BTreeSet<Arc<str>>, selected: &Selected<'_>, question: &Question) -> Self {
        let known: HashSet<&str> = self.services.iter().map(|name| &**name).collect();
        let new = renewed.iter().filter(|name| !known.contains(&***name));
        let services: Vec<Arc<str>> = self.services.iter().chain(new).cloned().collect();
        let gone: Vec<bool> = services.iter().map(|name| renewed.contains(name)).collect();
        let numbers: HashMap<&str, Index> = services.iter().map(|name| &**name).zip(0..).collect();
        let number = |part: &Part<'_>| numbers.get(part.service).copied().unwrap_or(GONE);

        let deployments = self.deployments(&gone, selected, number);
        let incidents = self.incidents(&gone, selected, number);
        let (moved, new) = self.moves(&deployments, selected);
        let changes = Changes::of(selected, &new, question);
        let mut left_out: Vec<_> = self.left_out.iter().map(|(old, reason)| (at(&moved, *old), *reason)).collect();
        left_out.retain(|(number, _)| *number != GONE);
        left_out.extend(changes.left_out);
        left_out.sort_unstable();
        left_out.shrink_to_fit();
        let mut stages = changes.stages.into_iter();
        let (incidents, reported_by) = incidents.into_iter().unzip();
        let mut merged = Self {
            month: self.month,
            deployed_by: deployments.iter().map(|row| row.service).collect(),
            rows: Partition {
                environments: vec![String::new()],
                deployments: deployments.iter().map(|row| row.deployed).collect(),
                incidents,
                ..Partition::default()
            },
            reported_by,
            lead_times: self.lead_times.renewed(&moved, changes.lead_times),
            stages: self.stages.each_ref().map(|stage| stage.renewed(&moved, stages.next().unwrap_or_default())),
            left_out,
            whole: Tallies::default(),
            services,
        };
        let question = Question { window: self.month.window(), exclude_rollbacks: false, ..*question };
        merged.whole = merged.added_up(&question, true);
        merged.whole.settle();
        merged
    }

    /// All deployments in order of time: those that stay and the new ones.
    fn deployments(&self, gone: &[bool], selected: &Selected<'_>, number: impl Fn(&Part<'_>) -> Index) -> Vec<Moving> {
        let known = self.rows.deployments.iter().zip(&self.deployed_by).zip(0..);
        let known = known.filter(|((_, service), _)| !is_gone(gone, **service));
        let mut deployments: Vec<Moving> = known
            .map(|((deployed, service), old)| Moving { deployed: *deployed, service: *service, part: None, old })
            .collect();
        for (place, part) in selected.parts.iter().enumerate() {
            let service = number(part);
            let new = part.partition.deployments.iter().zip(0..).filter(|(row, _)| part.wants(row.environment));
            deployments.extend(new.map(|(row, old)| Moving {
                deployed: Deployed { environment: 0, ..*row },
                service,
                part: Some(place),
                old,
            }));
        }
        deployments.sort_by_key(|row| row.deployed.at);
        deployments
    }

    fn incidents(
        &self,
        gone: &[bool],
        selected: &Selected<'_>,
        number: impl Fn(&Part<'_>) -> Index,
    ) -> Vec<(Trouble, Index)> {
        let known = self.rows.incidents.iter().zip(&self.reported_by);
        let known = known.filter(|(_, service)| !is_gone(gone, **service));
        let mut incidents: Vec<_> = known.map(|(row, service)| (row.clone(), *service)).collect();
        for part in &selected.parts {
            let new = part.partition.incidents.iter().filter(|row| part.wants(row.environment));
            incidents.extend(new.map(|row| (Trouble { environment: 0, ..row.clone() }, number(part))));
        }
        incidents
    }

    /// The new numbers of the deployments that were known, and of those of each part.
    fn moves(&self, deployments: &[Moving], selected: &Selected<'_>) -> (Vec<Index>, Vec<Vec<Index>>) {
        let mut moved = vec![GONE; self.rows.deployments.len()];
        let parts = selected.parts.iter();
        let mut new: Vec<Vec<Index>> = parts.map(|part| vec![GONE; part.partition.deployments.len()]).collect();
        for (row, number) in deployments.iter().zip(0..) {
            let numbers = row.part.map_or(Some(&mut moved), |part| new.get_mut(part));
            let place = numbers.zip(usize::try_from(row.old).ok()).and_then(|(numbers, old)| numbers.get_mut(old));
            if let Some(place) = place {
                *place = number;
            }
        }
        (moved, new)
    }

    /// What its rows add up to in the window of a question; with `details`, also what only the
    /// answers for the window itself need.
    pub fn tallies(&self, question: &Question, details: bool) -> Tallies {
        if !self.month.is_within(question.window) {
            return self.added_up(question, details);
        }
        let mut tallies = self.whole.clone();
        if question.exclude_rollbacks {
            *tallies.get_mut(Metric::ChangeFailRate) =
                Tally::of(Metric::ChangeFailRate, &self.selected(), question, details);
        }
        tallies
    }

    fn added_up(&self, question: &Question, details: bool) -> Tallies {
        let mut tallies = Tallies::of(&self.selected(), question, details);
        self.add_changes(tallies.get_mut(Metric::ChangeLeadTime), question.window, details);
        tallies
    }

    fn selected(&self) -> Selected<'_> {
        Selected::new([("", self.month, &self.rows)], |_, _| true, None, Arrival::First)
    }

    fn add_changes(&self, tally: &mut Tally, window: Window, details: bool) {
        let before = |end: Timestamp| {
            let number = self.rows.deployments.partition_point(|row| row.at < end);
            Index::try_from(number).unwrap_or(GONE)
        };
        let numbers = before(window.from)..before(window.to);
        let all = usize::try_from(numbers.end - numbers.start).is_ok_and(|n| n == self.rows.deployments.len());
        let counted = |times: &Timed| if all { times.all() } else { times.between(&numbers) };
        tally.set_lead_times(counted(&self.lead_times));
        if details {
            tally.stages = StageTimes(self.stages.each_ref().map(counted));
        }
        for (_, reason) in between(&self.left_out, &numbers) {
            *tally.excluded.entry(*reason).or_default() += 1;
        }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rows.bytes()
            + size_of_val(self.services.as_slice())
            + size_of_val(self.deployed_by.as_slice())
            + size_of_val(self.reported_by.as_slice())
            + self.lead_times.bytes()
            + self.stages.iter().map(Timed::bytes).sum::<usize>()
            + size_of_val(self.left_out.as_slice())
            // When each was, in the tally of the whole.
            + self.rows.deployments.len() * size_of::<i64>()
    }
}

impl Changes {
    /// `numbers` are those of the deployments, part by part.
    fn of(selected: &Selected<'_>, numbers: &[Vec<Index>], question: &Question) -> Self {
        let all_time = Window { from: Timestamp::from_micros(i64::MIN), to: Timestamp::from_micros(i64::MAX) };
        let question = Question { window: all_time, ..*question };
        let leads = selected.parts.iter().map(|part| part.partition.leads.deployment.len()).sum();
        let room = || Vec::with_capacity(leads);
        let mut found = Self { lead_times: room(), stages: std::array::from_fn(|_| room()), left_out: Vec::new() };
        for (part, numbers) in selected.parts.iter().zip(numbers) {
            changes(part, selected.arrival, &question, &mut |row| found.add(&row, numbers));
        }
        found
    }

    fn add(&mut self, row: &Judged<'_, '_>, numbers: &[Index]) {
        let partition = row.part.partition;
        let (deployment, lead) = match row.subject {
            Subject::Lead(lead) => {
                let lead = usize::try_from(lead).unwrap_or(usize::MAX);
                (partition.leads.deployment.get(lead).copied(), Some(lead))
            }
            Subject::LeftOut(number) => {
                let row = usize::try_from(number).ok().and_then(|number| partition.left_out.get(number));
                (row.map(|row| row.deployment), None)
            }
            Subject::Deployment(_) | Subject::Incident(_) => return,
        };
        let number = at(numbers, deployment.unwrap_or(GONE));
        match (row.verdict, lead) {
            (Verdict::Out(reason), _) => self.left_out.push((number, reason)),
            (Verdict::Counts(Value::Lasted(micros)), Some(lead)) => {
                self.lead_times.push((micros, number));
                for (stage, micros) in self.stages.iter_mut().zip(stages_of(&partition.leads, lead)) {
                    stage.extend(micros.map(|micros| (micros, number)));
                }
            }
            (Verdict::Counts(_), _) => {}
        }
    }
}

fn is_gone(gone: &[bool], service: Index) -> bool {
    usize::try_from(service).ok().and_then(|service| gone.get(service)).copied().unwrap_or_default()
}

fn at(numbers: &[Index], old: Index) -> Index {
    usize::try_from(old).ok().and_then(|old| numbers.get(old)).copied().unwrap_or(GONE)
}

fn between<'a>(rows: &'a [(Index, Reason)], numbers: &Range<Index>) -> &'a [(Index, Reason)] {
    let place = |number: Index| rows.partition_point(|(at, _)| *at < number);
    rows.get(place(numbers.start)..place(numbers.end)).unwrap_or_default()
}
