//! From the derived rows of a service to the partitions that are kept of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::derive::Derived;
use super::month::Month;
use super::partition::{Deployed, Details, Index, Leads, LeftOut, Other, Partition, Trouble};
use super::row::{DeploymentRow, IncidentRow, LeadRow};
use super::rules::Rules;
use crate::event::{EntityKey, IncidentStatus};
use crate::time::Timestamp;

pub type Partitions = BTreeMap<Month, (Partition, Details)>;

/// (repository, sha).
pub type ChangeName = (String, String);

/// A deployment that brought a change, in another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub service: String,
    /// By its configured name.
    pub environment: String,
    pub at: Timestamp,
    pub deployment: EntityKey,
    pub place: String,
}

/// Where the changes of a service arrived in other services.
pub type Elsewhere = HashMap<ChangeName, Vec<Arrival>>;

/// The partitions of a service, all of them.
pub fn split(derived: &Derived, elsewhere: &Elsewhere, rules: &Rules) -> Partitions {
    let mut drafts = Drafts::default();
    let mut rows = vec![None; derived.deployments.len()];
    for (row, slot) in derived.deployments.iter().zip(&mut rows) {
        *slot = drafts.deployment(row);
    }
    let others = others(derived, elsewhere, rules);
    let mut leads: Vec<(usize, &LeadRow)> = derived.leads.iter().enumerate().collect();
    leads.sort_by_key(|(_, lead)| (lead.deployment, &lead.repository, &lead.sha));
    for (number, lead) in leads {
        if let Some((month, deployment, at)) = finished(derived, &rows, lead.deployment) {
            let others = others.get(&number).map(Vec::as_slice).unwrap_or_default();
            drafts.of(month).lead(lead, deployment, at, others);
        }
    }
    let mut outs: Vec<_> = derived.leads_out.iter().collect();
    outs.sort_by_key(|out| (out.deployment, &out.change, out.reason));
    for out in outs {
        if let Some((month, deployment, _)) = finished(derived, &rows, out.deployment) {
            let draft = drafts.of(month);
            let left_out = LeftOut { deployment, reason: out.reason, is_change: out.change.is_some() };
            draft.partition.left_out.push(left_out);
            let name = out.change.as_ref().map(|(repository, sha)| (draft.repository(repository), sha.clone()));
            draft.details.left_out.push(name);
        }
    }
    let mut incidents: Vec<&IncidentRow> = derived.incidents.iter().collect();
    incidents.sort_by_key(|incident| (incident.started_at, &incident.key));
    for incident in incidents {
        drafts.incident(incident);
    }
    drafts.0.into_iter().map(|(month, draft)| (month, draft.finish())).collect()
}

/// Where a deployment stands, and when it finished.
fn finished(
    derived: &Derived,
    rows: &[Option<(Month, Index)>],
    deployment: usize,
) -> Option<(Month, Index, Timestamp)> {
    let (month, index) = (*rows.get(deployment)?)?;
    Some((month, index, derived.deployments.get(deployment)?.finished_at?))
}

/// A place where the change of a lead arrived too, and whether it did so before.
type Rival<'a> = (&'a str, &'a str, bool);

/// For each lead that has any: the other arrivals of its change. Environments of different tiers
/// are never counted together, so those of other tiers do not matter.
fn others<'a>(derived: &'a Derived, elsewhere: &'a Elsewhere, rules: &Rules) -> HashMap<usize, Vec<Rival<'a>>> {
    let mut by_change: HashMap<(&str, &str), Vec<usize>> = HashMap::with_capacity(derived.leads.len());
    for (number, lead) in derived.leads.iter().enumerate() {
        by_change.entry((&lead.repository, &lead.sha)).or_default().push(number);
    }
    let row_of = |lead: usize| derived.deployments.get(derived.leads.get(lead)?.deployment);
    let mut found: HashMap<usize, Vec<Rival<'a>>> = HashMap::new();
    for ((repository, sha), leads) in by_change {
        let foreign = if elsewhere.is_empty() { None } else { elsewhere.get(&(repository.to_owned(), sha.to_owned())) };
        if leads.len() == 1 && foreign.is_none() {
            continue;
        }
        for lead in &leads {
            let Some(here) = row_of(*lead) else { continue };
            let tier = rules.environment(&here.environment).1;
            let mut rivals: Vec<Rival<'a>> = Vec::new();
            let siblings = leads.iter().filter(|other| *other != lead).filter_map(|other| row_of(*other));
            for there in siblings.filter(|there| rules.environment(&there.environment).1 == tier) {
                rivals.push((&derived.service, &there.environment, rank(there).cmp(&rank(here)) == Ordering::Less));
            }
            let foreign = foreign.into_iter().flatten();
            for there in foreign.filter(|there| rules.environment(&there.environment).1 == tier) {
                let before = there.rank().cmp(&rank(here)) == Ordering::Less;
                rivals.push((&there.service, &there.environment, before));
            }
            rivals.sort_unstable();
            rivals.dedup();
            if !rivals.is_empty() {
                found.insert(*lead, rivals);
            }
        }
    }
    found
}

/// What comes before what, the same for every pair.
type Rank<'a> = (Option<Timestamp>, &'a EntityKey, &'a str, &'a str);

fn rank(row: &DeploymentRow) -> Rank<'_> {
    (row.finished_at, &row.key, &row.service, &row.place)
}

impl Arrival {
    fn rank(&self) -> Rank<'_> {
        (Some(self.at), &self.deployment, &self.service, &self.place)
    }
}

#[derive(Default)]
struct Drafts(BTreeMap<Month, Draft>);

#[derive(Default)]
struct Draft {
    partition: Partition,
    details: Details,
    environments: HashMap<String, Index>,
    repositories: HashMap<String, Index>,
    elsewhere: HashMap<(String, String), Index>,
}

/// No partition has more rows than fit: 2³² would be terabytes.
fn index(length: usize) -> Index {
    Index::try_from(length).unwrap_or(Index::MAX)
}

impl Drafts {
    fn of(&mut self, month: Month) -> &mut Draft {
        self.0.entry(month).or_default()
    }

    /// Answers where the row stands; `None` where nothing says when it was.
    fn deployment(&mut self, row: &DeploymentRow) -> Option<(Month, Index)> {
        let at = row.at()?;
        let month = Month::of(at);
        let standing = self.of(month).deployment(row, at);
        let ends = row.restored.as_ref().map(|end| end.at);
        if row.failed() && row.reached() && lasts(month, ends) {
            self.of(Month::LASTING).deployment(row, at);
        }
        Some((month, standing))
    }

    fn incident(&mut self, incident: &IncidentRow) {
        let month = Month::of(incident.started_at);
        self.of(month).incident(incident);
        if incident.status != IncidentStatus::Withdrawn && lasts(month, incident.resolved_at) {
            self.of(Month::LASTING).incident(incident);
        }
    }
}

fn lasts(month: Month, end: Option<Timestamp>) -> bool {
    end.is_none_or(|end| Month::of(end) != month)
}

impl Draft {
    fn environment(&mut self, name: &str) -> Index {
        if let Some(known) = self.environments.get(name) {
            return *known;
        }
        let new = index(self.partition.environments.len());
        self.partition.environments.push(name.to_owned());
        self.environments.insert(name.to_owned(), new);
        new
    }

    fn repository(&mut self, name: &str) -> Index {
        if let Some(known) = self.repositories.get(name) {
            return *known;
        }
        let new = index(self.details.repositories.len());
        self.details.repositories.push(name.to_owned());
        self.repositories.insert(name.to_owned(), new);
        new
    }

    fn deployment(&mut self, row: &DeploymentRow, at: Timestamp) -> Index {
        let deployed = Deployed {
            at,
            environment: self.environment(&row.environment),
            outcome: row.outcome,
            kind: row.kind,
            failed: row.failed(),
            changes_from: row.changes_from,
            partial: row.partial,
            restored_at: row.restored.as_ref().map(|end| end.at),
        };
        let new = index(self.partition.deployments.len());
        self.partition.deployments.push(deployed);
        self.details.deployments.push(row.clone());
        new
    }

    fn lead(&mut self, lead: &LeadRow, deployment: Index, at: Timestamp, others: &[Rival<'_>]) {
        let number = index(self.partition.leads.deployment.len());
        let since = |time: Option<Timestamp>| time.map_or(Leads::UNKNOWN, |time| at.micros_since(time));
        let leads = &mut self.partition.leads;
        leads.deployment.push(deployment);
        leads.authored.push(since(lead.authored_at));
        leads.committed.push(since(lead.committed_at));
        leads.merged.push(since(lead.merged_at));
        leads.first_commit.push(since(lead.first_commit_at));
        leads.opened.push(since(lead.opened_at));
        leads.first_review.push(since(lead.first_review_at));
        let repository = self.repository(&lead.repository);
        self.details.leads.push((repository, lead.sha.clone()));
        for (service, environment, before) in others {
            let elsewhere = self.elsewhere(service, environment);
            self.partition.others.push(Other { lead: number, elsewhere, before: *before });
        }
    }

    fn elsewhere(&mut self, service: &str, environment: &str) -> Index {
        let name = (service.to_owned(), environment.to_owned());
        let new = index(self.partition.elsewhere.len());
        let known = self.elsewhere.entry(name.clone()).or_insert(new);
        if *known == new {
            self.partition.elsewhere.push(name);
        }
        *known
    }

    fn incident(&mut self, row: &IncidentRow) {
        let trouble = Trouble {
            environment: self.environment(&row.environment),
            started_at: row.started_at,
            start_unknown: row.start_unknown,
            resolved_at: row.resolved_at,
            withdrawn: row.status == IncidentStatus::Withdrawn,
            shared: (row.service.is_none() || !row.other_services.is_empty())
                .then(|| (row.key.source.clone(), row.key.id.clone())),
        };
        self.partition.incidents.push(trouble);
        // Links are by the row of a derivation; here nobody could follow them.
        self.details.incidents.push(IncidentRow { links: Vec::new(), ..row.clone() });
    }

    fn finish(mut self) -> (Partition, Details) {
        let leads = &mut self.partition.leads;
        for column in [
            &mut leads.authored,
            &mut leads.committed,
            &mut leads.merged,
            &mut leads.first_commit,
            &mut leads.opened,
            &mut leads.first_review,
        ] {
            if column.iter().all(|micros| *micros == Leads::UNKNOWN) {
                *column = Vec::new();
            }
        }
        (self.partition, self.details)
    }
}
