//! How pull requests land: which of the commits on the main line were one, and what its times and
//! original commits say about them.

use std::collections::HashMap;
use std::time::Duration;

use super::delivery::PullRequest;
use super::pull_request::{Commit, PullRequestState};
use super::push::Push;
use super::state::{Change, newer};
use crate::time::Timestamp;

/// A squashed commit is dated by its merge; clocks of host and git may differ this much.
pub const SQUASH_TOLERANCE: Duration = Duration::from_secs(10);

/// Whether a commit's own authored time is that of its merge, so that it says nothing about when
/// it was written.
pub fn dated_by_merge(authored: Option<Timestamp>, merged: Timestamp) -> bool {
    authored.is_none_or(|authored| authored.plus(SQUASH_TOLERANCE) >= merged)
}

/// What is known of commits on the main line that one push brought, or of which no push is known.
#[derive(Debug)]
pub struct Landing<'a> {
    partial: bool,
    /// The pull request that ended in a commit.
    became: HashMap<&'a str, &'a PullRequestState>,
    /// Whose the commits of the push are.
    owners: HashMap<&'a str, &'a PullRequestState>,
    /// The commits of the push by pull request, oldest first, without merge commits.
    landed: HashMap<u64, Vec<&'a Commit>>,
}

impl<'a> Landing<'a> {
    /// `requests`: merged ones in order of their numbers; those that became other commits do no harm.
    pub fn new(push: Option<&'a Push>, requests: &'a [PullRequestState]) -> Self {
        // Where several claim a commit, the oldest has it: the last one that is put in.
        let ended = requests.iter().rev().filter_map(|request| Some((request.merged()?.1, request)));
        let became: HashMap<&str, &PullRequestState> = ended.collect();
        let commits = push.map(|push| push.commits.as_slice()).unwrap_or_default();
        let owners = owners(commits, &became);
        let mut landed: HashMap<u64, Vec<&Commit>> = HashMap::new();
        for commit in commits.iter().filter(|commit| !commit.merge) {
            if let Some(owner) = owners.get(commit.sha.as_str()) {
                landed.entry(owner.number).or_default().push(commit);
            }
        }
        Self { partial: push.is_some_and(|push| push.partial), became, owners, landed }
    }

    /// Gives the change the times of its pull request, and of the original commit where its own
    /// was lost on the way.
    pub fn complete(&self, change: &mut Change) {
        change.partial = self.partial;
        let sha = change.sha.as_str();
        let Some(request) = self.owners.get(sha).or_else(|| self.became.get(sha)) else { return };
        let mut times = request.times();
        let Some(merged) = times.merged_at else { return };
        let landed = self.landed.get(&request.number).map(Vec::as_slice).unwrap_or_default();
        times.first_commit_at = times.first_commit_at.or_else(|| {
            let written = landed.iter().filter(|commit| !dated_by_merge(commit.authored_at, merged));
            written.filter_map(|commit| commit.authored_at).min()
        });
        if dated_by_merge(change.authored_at, merged) {
            change.authored_at = original(sha, landed, request).or(change.authored_at);
        }
        add(&mut change.pull_request, &times);
    }
}

/// A push brings the commits of a pull request up to the one it became; of several, as a merge
/// queue brings them, each in turn, unless they are known to be another's.
fn owners<'a>(
    commits: &'a [Commit],
    became: &HashMap<&'a str, &'a PullRequestState>,
) -> HashMap<&'a str, &'a PullRequestState> {
    let ended: Vec<&PullRequestState> =
        commits.iter().filter_map(|commit| became.get(commit.sha.as_str()).copied()).collect();
    let mut listed: HashMap<&str, &PullRequestState> = HashMap::new();
    for request in ended.iter().rev() {
        listed.extend(request.commits.iter().map(|commit| (commit.sha.as_str(), *request)));
    }
    let mut owners = HashMap::new();
    let mut following = None;
    for commit in commits.iter().rev() {
        let sha = commit.sha.as_str();
        let ends = became.get(sha).copied();
        following = ends.or(following);
        let owner = ends.or_else(|| listed.get(sha).copied()).or(following);
        owners.extend(owner.map(|owner| (sha, owner)));
    }
    owners
}

/// When the commit that this one was rebased from was written: as many landed as there were, in
/// the same order.
fn original(sha: &str, landed: &[&Commit], request: &PullRequestState) -> Option<Timestamp> {
    let commits: Vec<&Commit> = request.own_commits().collect();
    let place = landed.iter().position(|commit| commit.sha == sha)?;
    if landed.len() != commits.len() || commits.len() < 2 {
        return None;
    }
    commits.get(place)?.authored_at
}

fn add(known: &mut Option<PullRequest>, times: &PullRequest) {
    let known = known.get_or_insert_with(|| PullRequest { number: times.number, ..PullRequest::default() });
    // Somebody who names another one knows better.
    if known.number != times.number {
        return;
    }
    newer(&mut known.opened_at, times.opened_at.as_ref());
    newer(&mut known.first_commit_at, times.first_commit_at.as_ref());
    newer(&mut known.first_review_at, times.first_review_at.as_ref());
    newer(&mut known.approved_at, times.approved_at.as_ref());
    newer(&mut known.merged_at, times.merged_at.as_ref());
}
