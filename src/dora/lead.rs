//! The changes each deployment brought, with the times that lead time may be counted from.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::derive::{Place, Work};
use super::order::Step;
use super::range::{ChangesFrom, NoRange, RangeCommit, RangeName, Ranges, is_hash};
use super::repository::{Commit, Repository};
use super::row::{LeadOut, LeadReason, LeadRow};
use super::rules::Ownership;
use crate::event::landing::dated_by_merge;
use crate::event::{ChangeRef, Deployment, DeploymentKind};
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct Leads {
    pub rows: Vec<LeadRow>,
    pub out: Vec<LeadOut>,
    /// Every range that was asked for.
    pub ranges: BTreeSet<RangeName>,
}

/// Where the changes of one deployment come from.
#[derive(Default)]
struct Brought {
    from: Option<ChangesFrom>,
    no_range: Option<NoRange>,
    partial: bool,
}

impl Brought {
    fn of(from: ChangesFrom) -> Self {
        Self { from: Some(from), ..Self::default() }
    }
}

/// Repositories by name.
struct Known<'a>(BTreeMap<&'a str, &'a Repository>);

impl<'a> Known<'a> {
    fn of(repositories: &'a [Arc<Repository>]) -> Self {
        Self(repositories.iter().map(|repository| (repository.name.as_str(), &**repository)).collect())
    }

    fn named(&self, repository: &str, sha: &str) -> Option<&'a Commit> {
        self.0.get(repository)?.named(sha)
    }

    /// Forks hold the same hash: the smallest name stands. The beginning of a hash must be of one
    /// commit alone.
    fn with(&self, sha: &str) -> Option<&'a Repository> {
        let mut all = self.0.values().copied();
        all.clone().find(|repository| repository.commit(sha).is_some()).or_else(|| {
            let one = all.by_ref().find_map(|repository| Some((repository, &repository.named(sha)?.sha)))?;
            let same = |other: &Repository| other.named(sha).is_none_or(|commit| commit.sha == *one.1);
            all.all(same).then_some(one.0)
        })
    }
}

pub(super) fn times(work: &mut Work<'_>, repositories: &[Arc<Repository>], ranges: &Ranges) -> Leads {
    let known = Known::of(repositories);
    let mut leads = Leads::default();
    let mut told = Vec::new();
    for place in &work.places {
        let (seen, reached) = (HashSet::new(), BTreeMap::new());
        let mut walk = Walk { work, known: &known, ranges, seen, reached, leads: &mut leads };
        told.extend(walk.place(place));
    }
    for (row, brought) in told {
        if let Some(row) = work.rows.get_mut(row) {
            (row.changes_from, row.no_range, row.partial) = (brought.from, brought.no_range, brought.partial);
        }
    }
    leads
}

/// One walk through the deployments of a place.
struct Walk<'a, 'w> {
    work: &'w Work<'a>,
    known: &'w Known<'w>,
    ranges: &'w Ranges,
    /// Changes that are there already.
    seen: HashSet<(&'w str, &'w str)>,
    /// How far each repository's main line is deployed.
    reached: BTreeMap<&'w str, Timestamp>,
    leads: &'w mut Leads,
}

impl<'w> Walk<'_, 'w> {
    fn place(&mut self, place: &Place) -> Vec<(usize, Brought)> {
        let mut told = Vec::with_capacity(place.order.len());
        let mut before = None;
        for (row, step) in place.order.iter().zip(&place.steps) {
            let Some(deployment) = self.work.deployments.get(*row).copied() else { continue };
            let brought = if deployment.changes.is_empty() {
                self.since(before, *row, deployment, step)
            } else {
                for change in &deployment.changes {
                    self.named(*row, deployment, change);
                }
                self.advance(deployment, *row);
                Brought::of(ChangesFrom::Named)
            };
            told.push((*row, brought));
            before = Some(deployment);
        }
        told
    }

    /// A change that the deployment itself names.
    fn named(&mut self, row: usize, deployment: &Deployment, named: &'w ChangeRef) {
        let change = self.known.named(&named.repository, &named.sha);
        let sha = change.map_or(&*named.sha, |change| &*change.sha);
        let rules = self.work.rules;
        let reason = match change {
            Some(change) if change.merge => Some(LeadReason::MergeCommit),
            Some(change) if rules.is_of_other_paths(deployment, &named.repository, change) => {
                Some(LeadReason::OtherPaths)
            }
            _ if !self.seen.insert((&named.repository, sha)) => Some(LeadReason::DeployedBefore),
            _ => None,
        };
        if let Some(reason) = reason {
            return self.leave_out(row, Some((&named.repository, sha)), reason);
        }
        let mut lead = lead_of(row, &named.repository, sha, change);
        lead.authored_at = change.and_then(rewritten_from).or(named.authored_at).or(lead.authored_at);
        lead.committed_at = named.committed_at.or(lead.committed_at);
        self.leads.rows.push(lead);
    }

    /// The changes since the deployment before.
    fn since(
        &mut self,
        before: Option<&'w Deployment>,
        row: usize,
        deployment: &'w Deployment,
        step: &Step,
    ) -> Brought {
        let Some(before) = before else {
            self.leave_out(row, None, LeadReason::FirstDeployment);
            self.advance(deployment, row);
            return Brought::default();
        };
        if step.again || step.kind == DeploymentKind::Rollback {
            self.leave_out(row, None, LeadReason::NothingNew);
            return Brought::default();
        }
        let no_range = match self.range(before, deployment) {
            Some((repository, Ok(commits))) => {
                self.bring_range(row, repository, commits);
                self.advance(deployment, row);
                return Brought::of(ChangesFrom::Range);
            }
            Some((_, Err(why))) => Some(why),
            None => None,
        };
        let Some((repository, until, known)) = self.until(deployment, row) else {
            self.leave_out(row, None, LeadReason::NoChangesKnown);
            return Brought { from: None, no_range, partial: true };
        };
        let reached = self.reached.get(repository.name.as_str()).copied();
        let complete = self.bring(row, deployment, repository, reached, until);
        self.advance(deployment, row);
        Brought { from: Some(ChangesFrom::MergeTimes), no_range, partial: no_range.is_some() || !(known && complete) }
    }

    /// What a clone says about the commits since the deployment before; `None` where there is none.
    fn range(
        &mut self,
        before: &'w Deployment,
        deployment: &'w Deployment,
    ) -> Option<(&'w str, Result<&'w [RangeCommit], NoRange>)> {
        let repository = self.repository(deployment).filter(|name| self.work.rules.has_clone(name))?;
        let same = self.repository(before).is_none_or(|of| of == repository);
        let (Some(from), Some(to), true) = (&before.commit, &deployment.commit, same) else {
            return Some((repository, Err(NoRange::NoCommit)));
        };
        if !is_hash(from) || !is_hash(to) {
            return Some((repository, Err(NoRange::UnknownCommit)));
        }
        if from == to {
            return Some((repository, Ok(&[])));
        }
        let name = RangeName { repository: repository.to_owned(), from: from.clone(), to: to.clone() };
        let found = match self.ranges.get(&name) {
            Some(Ok(commits)) => Ok(commits.as_slice()),
            Some(Err(why)) => Err(*why),
            None => Err(NoRange::Waiting),
        };
        self.leads.ranges.insert(name);
        Some((repository, found))
    }

    fn bring_range(&mut self, row: usize, repository: &'w str, commits: &'w [RangeCommit]) {
        let before = self.leads.rows.len();
        for commit in commits {
            let known = self.known.named(repository, &commit.sha);
            let ours = self.work.rules.owns_of_range(self.work.service, repository, known);
            if !ours || !self.seen.insert((repository, &commit.sha)) {
                continue;
            }
            let mut lead = lead_of(row, repository, &commit.sha, known);
            lead.authored_at = lead.authored_at.or(commit.authored_at);
            lead.committed_at = lead.committed_at.or(commit.committed_at);
            self.leads.rows.push(lead);
        }
        if self.leads.rows.len() == before {
            self.leave_out(row, None, LeadReason::NothingNew);
        }
    }

    /// The repository that a deployment was built from: as it or the configuration says, else that
    /// of its commit.
    fn repository(&self, deployment: &'w Deployment) -> Option<&'w str> {
        let by_commit = || Some(self.known.with(deployment.commit.as_deref()?)?.name.as_str());
        self.work.rules.repository_of(deployment).or_else(by_commit)
    }

    /// The repository, how far a deployment reaches on its main line, and whether its commit is
    /// known there; `None` where no change of the repository is known.
    fn until(&self, deployment: &'w Deployment, row: usize) -> Option<(&'w Repository, Timestamp, bool)> {
        let repository = *self.known.0.get(self.repository(deployment)?)?;
        if !repository.has_landed() {
            return None;
        }
        let own = deployment.commit.as_deref().and_then(|sha| repository.named(sha));
        let until = own.and_then(Commit::landed_at).or_else(|| self.work.began(row))?;
        Some((repository, until, own.is_some()))
    }

    /// Answers whether the changes are all that were pushed.
    fn bring(
        &mut self,
        row: usize,
        deployment: &Deployment,
        repository: &'w Repository,
        before: Option<Timestamp>,
        until: Timestamp,
    ) -> bool {
        // Nothing deployed from this repository so far: where its changes begin is not known.
        let after = before.map_or(until, |before| before.min(until));
        let own = deployment.commit.as_deref().and_then(|sha| repository.named(sha));
        let (mut brought, mut complete) = (0_usize, true);
        for change in repository.landed(after, until).chain(own) {
            complete &= !change.partial;
            if self.seen.contains(&(&*repository.name, &*change.sha)) {
                continue;
            }
            brought += usize::from(self.take(row, &repository.name, change));
        }
        if brought == 0 {
            self.leave_out(row, None, LeadReason::NothingNew);
        }
        complete
    }

    /// Answers whether there is anything to say about the change.
    fn take(&mut self, row: usize, repository: &'w str, change: &'w Commit) -> bool {
        let reason = match self.work.rules.ownership(self.work.service, repository, change) {
            Ownership::Others => return false,
            _ if change.merge => Some(LeadReason::MergeCommit),
            Ownership::Unknown => Some(LeadReason::PathsUnknown),
            Ownership::Ours => None,
        };
        self.seen.insert((repository, &change.sha));
        match reason {
            Some(reason) => self.leave_out(row, Some((repository, &change.sha)), reason),
            None => self.leads.rows.push(lead_of(row, repository, &change.sha, Some(change))),
        }
        true
    }

    fn advance(&mut self, deployment: &'w Deployment, row: usize) {
        let Some((repository, until, _)) = self.until(deployment, row) else { return };
        let repository = repository.name.as_str();
        let reached = self.reached.entry(repository).or_insert(until);
        *reached = (*reached).max(until);
    }

    fn leave_out(&mut self, deployment: usize, change: Option<(&str, &str)>, reason: LeadReason) {
        let change = change.map(|(repository, sha)| (repository.to_owned(), sha.to_owned()));
        self.leads.out.push(LeadOut { change, deployment, reason });
    }
}

fn lead_of(deployment: usize, repository: &str, sha: &str, change: Option<&Commit>) -> LeadRow {
    let request = change.and_then(|change| change.pull_request.as_ref());
    LeadRow {
        repository: repository.to_owned(),
        sha: sha.to_owned(),
        deployment,
        authored_at: change.and_then(|change| rewritten_from(change).or(change.authored_at)),
        committed_at: change.and_then(|change| change.committed_at),
        merged_at: change.and_then(|c| c.merged_at).or_else(|| request.and_then(|r| r.merged_at)),
        first_commit_at: request.and_then(|request| request.first_commit_at),
        opened_at: request.and_then(|request| request.opened_at),
        first_review_at: request.and_then(|request| request.first_review_at),
    }
}

/// The first original commit of a squashed pull request, whose own authored time is its merge.
fn rewritten_from(change: &Commit) -> Option<Timestamp> {
    let request = change.pull_request.as_ref()?;
    let (first, merged) = (request.first_commit_at?, request.merged_at?);
    (dated_by_merge(change.authored_at, merged) && first < merged).then_some(first)
}
