//! The changes each deployment brought, with the times that lead time may be counted from.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::derive::{Place, Work};
use super::order::Step;
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
}

/// Repositories by name.
struct Known<'a>(BTreeMap<&'a str, &'a Repository>);

impl<'a> Known<'a> {
    fn of(repositories: &'a [Arc<Repository>]) -> Self {
        Self(repositories.iter().map(|repository| (repository.name.as_str(), &**repository)).collect())
    }

    fn named(&self, repository: &str, sha: &str) -> Option<&'a Commit> {
        self.0.get(repository)?.commit(sha)
    }

    /// Forks hold the same hash: the smallest name stands.
    fn with(&self, sha: &str) -> Option<&'a Repository> {
        self.0.values().copied().find(|repository| repository.commit(sha).is_some())
    }
}

pub(super) fn times(work: &mut Work<'_>, repositories: &[Arc<Repository>]) -> Leads {
    let known = Known::of(repositories);
    let mut leads = Leads::default();
    let mut partial = Vec::new();
    for place in &work.places {
        let mut walk = Walk { work, known: &known, seen: HashSet::new(), reached: BTreeMap::new(), leads: &mut leads };
        partial.extend(walk.place(place));
    }
    for row in partial {
        if let Some(row) = work.rows.get_mut(row) {
            row.partial = true;
        }
    }
    leads
}

/// One walk through the deployments of a place.
struct Walk<'a, 'w> {
    work: &'w Work<'a>,
    known: &'w Known<'w>,
    /// Changes that are there already.
    seen: HashSet<(&'w str, &'w str)>,
    /// How far each repository's main line is deployed.
    reached: BTreeMap<&'w str, Timestamp>,
    leads: &'w mut Leads,
}

impl<'w> Walk<'_, 'w> {
    /// Answers the deployments whose changes are not all known.
    fn place(&mut self, place: &Place) -> Vec<usize> {
        let mut partial = Vec::new();
        for (position, (row, step)) in place.order.iter().zip(&place.steps).enumerate() {
            let Some(deployment) = self.work.deployments.get(*row).copied() else { continue };
            if deployment.changes.is_empty() {
                let complete = self.since_the_one_before(*row, deployment, step, position == 0);
                partial.extend((!complete).then_some(*row));
            } else {
                for change in &deployment.changes {
                    self.named(*row, change);
                }
                if let Some((repository, until, _)) = self.until(deployment, *row) {
                    self.advance(&repository.name, until);
                }
            }
        }
        partial
    }

    /// A change that the deployment itself names.
    fn named(&mut self, row: usize, named: &'w ChangeRef) {
        let change = self.known.named(&named.repository, &named.sha);
        if change.is_some_and(|change| change.merge) {
            return self.leave_out(row, Some((&named.repository, &named.sha)), LeadReason::MergeCommit);
        }
        if !self.seen.insert((&named.repository, &named.sha)) {
            return self.leave_out(row, Some((&named.repository, &named.sha)), LeadReason::DeployedBefore);
        }
        let mut lead = lead_of(row, &named.repository, &named.sha, change);
        lead.authored_at = change.and_then(rewritten_from).or(named.authored_at).or(lead.authored_at);
        lead.committed_at = named.committed_at.or(lead.committed_at);
        self.leads.rows.push(lead);
    }

    /// The changes merged after what was deployed before and up to this deployment's commit.
    /// Answers whether they are known to be all.
    fn since_the_one_before(&mut self, row: usize, deployment: &Deployment, step: &Step, first: bool) -> bool {
        let until = self.until(deployment, row);
        let goes_on = !step.again && step.kind != DeploymentKind::Rollback;
        if first {
            self.leave_out(row, None, LeadReason::FirstDeployment);
        } else if !goes_on {
            self.leave_out(row, None, LeadReason::NothingNew);
            return true;
        }
        let Some((repository, until, complete)) = until else {
            if !first {
                self.leave_out(row, None, LeadReason::NoChangesKnown);
            }
            return first;
        };
        let before = self.reached.get(repository.name.as_str()).copied();
        let brought = if first { true } else { self.bring(row, deployment, repository, before, until) };
        self.advance(&repository.name, until);
        first || (complete && brought)
    }

    /// The repository, how far a deployment reaches on its main line, and whether its commit is
    /// known there; `None` where no change of the repository is known.
    fn until(&self, deployment: &Deployment, row: usize) -> Option<(&'w Repository, Timestamp, bool)> {
        let commit = deployment.commit.as_deref();
        let repository = match self.work.rules.repository_of(deployment) {
            Some(name) => *self.known.0.get(name)?,
            None => self.known.with(commit?)?,
        };
        if !repository.has_landed() {
            return None;
        }
        let own = commit.and_then(|sha| repository.commit(sha));
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
        let own = deployment.commit.as_deref().and_then(|sha| repository.commit(sha));
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

    fn advance(&mut self, repository: &'w str, until: Timestamp) {
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
