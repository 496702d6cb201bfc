//! Pull requests: what was said about one, and the fold over it. Its times reach the commits that
//! it became (`landing.rs`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::delivery::{EntityKey, PullRequest};
use super::state::{in_order, newer};
use crate::time::Timestamp;

/// Commits kept of one pull request; of those before them only the time of the first would matter.
pub const MAX_COMMITS: usize = 1_000;

/// What one message says of one pull request, at `time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestEvent {
    /// `id` is the number.
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    pub repository: String,
    pub number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// When a draft became ready for review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// How many commits it has, as far as the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_count: Option<u64>,
    /// Its commits, oldest first, where the source lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<Commit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<Review>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawals: Vec<Withdrawal>,
}

impl PullRequestEvent {
    /// Says nothing yet but which one it is about.
    pub fn of(source: String, repository: String, number: u64) -> Self {
        Self {
            key: EntityKey { source, id: number.to_string() },
            time: Timestamp::default(),
            repository,
            number,
            author: None,
            opened_at: None,
            ready_at: None,
            status: None,
            head: None,
            commit_count: None,
            commits: Vec::new(),
            reviews: Vec::new(),
            withdrawals: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    Open,
    /// Without being merged.
    Closed {
        at: Timestamp,
    },
    Merged {
        at: Timestamp,
        /// The merge commit, the squashed commit, or the last of the rebased ones.
        commit: String,
    },
}

/// The branch that it asks to be merged, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub repository: String,
    pub branch: String,
    pub sha: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub sha: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authored_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// An earlier push had brought it to the repository already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pushed_before: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub id: u64,
    pub reviewer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bot: bool,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// Taken back by somebody; it was a review all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dismissed: bool,
}

/// Whoever approved it no longer does: what they said before was a review, and is no approval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Withdrawal {
    pub reviewer: String,
    pub at: Timestamp,
}

/// A pull request as it stands. Keyed by (repository, number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestState {
    pub repository: String,
    pub number: u64,
    pub author: Option<String>,
    pub opened_at: Option<Timestamp>,
    pub ready_at: Option<Timestamp>,
    pub status: Option<Status>,
    pub head: Option<Head>,
    pub commit_count: Option<u64>,
    /// As listed by the source; else those that were pushed to its branch. Oldest first.
    pub commits: Vec<Commit>,
    /// In order of their ids.
    pub reviews: Vec<Review>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withdrawals: BTreeSet<Withdrawal>,
}

/// `None` when there are no facts.
pub fn fold_pull_request(facts: &[PullRequestEvent]) -> Option<PullRequestState> {
    let sorted = in_order(facts, |fact| fact.time);
    let first = *sorted.first()?;
    let mut state = PullRequestState {
        repository: first.repository.clone(),
        number: first.number,
        author: None,
        opened_at: None,
        ready_at: None,
        status: None,
        head: None,
        commit_count: None,
        commits: Vec::new(),
        reviews: Vec::new(),
        withdrawals: BTreeSet::new(),
    };
    for fact in sorted {
        newer(&mut state.author, fact.author.as_ref());
        newer(&mut state.opened_at, fact.opened_at.as_ref());
        newer(&mut state.head, fact.head.as_ref());
        newer(&mut state.commit_count, fact.commit_count.as_ref());
        // A draft may go back and forth: people could look at it from the first time on.
        state.ready_at = [state.ready_at, fact.ready_at].into_iter().flatten().min();
        if !matches!(state.status, Some(Status::Merged { .. })) || matches!(fact.status, Some(Status::Merged { .. })) {
            newer(&mut state.status, fact.status.as_ref());
        }
        if !fact.commits.is_empty() {
            state.commits.clone_from(&fact.commits);
        }
        for review in &fact.reviews {
            add_review(&mut state.reviews, review);
        }
        state.withdrawals.extend(fact.withdrawals.iter().cloned());
    }
    state.reviews.sort_by_key(|review| review.id);
    Some(state)
}

/// What a review once was, it stays: GitHub calls a dismissed approval `dismissed` and nothing else.
fn add_review(known: &mut Vec<Review>, said: &Review) {
    match known.iter_mut().find(|review| review.id == said.id) {
        None => known.push(said.clone()),
        Some(review) => {
            review.approved |= said.approved;
            review.dismissed |= said.dismissed;
            review.bot |= said.bot;
            review.at = review.at.min(said.at);
        }
    }
}

impl PullRequestState {
    /// The commit it became, and when.
    pub fn merged(&self) -> Option<(Timestamp, &str)> {
        match &self.status {
            Some(Status::Merged { at, commit }) => Some((*at, commit)),
            _ => None,
        }
    }

    /// Its times, as the changes that it became carry them.
    pub fn times(&self) -> PullRequest {
        let first_review_at = self.reviews().map(|review| review.at).min();
        let approvals = self.reviews().filter(|review| review.approved && !review.dismissed && !self.withdrew(review));
        PullRequest {
            number: self.number,
            opened_at: self.open_for_review(first_review_at),
            first_commit_at: self.own_commits().filter_map(|commit| commit.authored_at).min(),
            first_review_at,
            approved_at: approvals.map(|review| review.at).min(),
            merged_at: self.merged().map(|(at, _)| at),
        }
    }

    /// Adds what was pushed to its branch; what the source itself lists comes first.
    pub fn add_pushed(&mut self, pushed: Vec<Commit>) {
        for commit in pushed {
            if !self.commits.iter().any(|known| known.sha == commit.sha) {
                self.commits.push(commit);
            }
        }
    }

    /// Its commits, without those that merge other branches into its own.
    pub fn own_commits(&self) -> impl Iterator<Item = &Commit> {
        self.commits.iter().filter(|commit| !commit.merge)
    }

    fn withdrew(&self, review: &Review) -> bool {
        self.withdrawals.iter().any(|later| later.reviewer == review.reviewer && later.at >= review.at)
    }

    /// Some hosts abbreviate the commit that it became; `known` are commits in full.
    pub fn complete_commit(&mut self, known: &[&str]) {
        if let Some(Status::Merged { commit, .. }) = &mut self.status
            && let Some(full) = known.iter().find(|sha| sha.starts_with(commit.as_str()))
        {
            (*full).clone_into(commit);
        }
    }

    /// By somebody else than the author, not by a program, and not after the fact.
    fn reviews(&self) -> impl Iterator<Item = &Review> {
        let by_author =
            |review: &Review| self.author.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&review.reviewer));
        let in_time = |review: &Review| self.merged().is_none_or(|(merged, _)| review.at <= merged);
        self.reviews.iter().filter(move |review| !review.bot && !by_author(review) && in_time(review))
    }

    /// A draft is open for review once it is ready, or once somebody reviews it all the same.
    fn open_for_review(&self, first_review: Option<Timestamp>) -> Option<Timestamp> {
        match self.ready_at {
            Some(ready) => Some(first_review.map_or(ready, |review| review.min(ready))),
            None => self.opened_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_seconds(minute * 60)
    }

    fn said(minute: i64) -> PullRequestEvent {
        let base = PullRequestEvent::of("github/acme/checkout".to_owned(), "acme/checkout".to_owned(), 7);
        PullRequestEvent { time: at(minute), author: Some("Author".to_owned()), opened_at: Some(at(1)), ..base }
    }

    fn review(id: u64, reviewer: &str, minute: i64, approved: bool) -> PullRequestEvent {
        let reviewer = reviewer.to_owned();
        let review = Review { id, reviewer, bot: false, at: at(minute), approved, dismissed: false };
        PullRequestEvent { reviews: vec![review], ..said(minute) }
    }

    fn times(facts: &[PullRequestEvent]) -> PullRequest {
        let folded = fold_pull_request(facts).unwrap();
        let mut turned = facts.to_vec();
        turned.reverse();
        turned.extend(facts.to_vec());
        assert_eq!(fold_pull_request(&turned).unwrap(), folded, "in any order");
        folded.times()
    }

    #[test]
    fn only_others_review_and_only_in_time() {
        let merged = Status::Merged { at: at(9), commit: "s".to_owned() };
        let facts =
            [review(1, "author", 2, true), review(2, "a", 5, false), review(3, "b", 6, true), review(4, "c", 10, true)];
        let known = times(&facts);
        assert_eq!((known.first_review_at, known.approved_at), (Some(at(5)), Some(at(6))));
        let late = [review(4, "c", 10, true), PullRequestEvent { status: Some(merged), ..said(9) }];
        assert_eq!((times(&late).first_review_at, times(&late).merged_at), (None, Some(at(9))));
    }

    #[test]
    fn a_dismissed_approval_was_a_review_and_is_no_approval() {
        let mut dismissed = review(2, "a", 5, false);
        dismissed.reviews[0].dismissed = true;
        let known = times(&[review(2, "a", 5, true), dismissed, review(3, "a", 8, true)]);
        assert_eq!((known.first_review_at, known.approved_at), (Some(at(5)), Some(at(8))));
    }

    #[test]
    fn an_approval_holds_until_it_is_withdrawn() {
        let withdrawn = |reviewer: &str, minute| {
            let withdrawal = Withdrawal { reviewer: reviewer.to_owned(), at: at(minute) };
            PullRequestEvent { withdrawals: vec![withdrawal], ..said(minute) }
        };
        let facts = [review(1, "a", 3, true), withdrawn("a", 5), withdrawn("b", 9), review(2, "a", 8, true)];
        let known = times(&facts);
        assert_eq!((known.first_review_at, known.approved_at), (Some(at(3)), Some(at(8))));
        assert_eq!(times(&facts[..2]).approved_at, None);
    }

    #[test]
    fn an_abbreviated_commit_is_completed() {
        let merged = Status::Merged { at: at(5), commit: "6ca069123978".to_owned() };
        let mut state = fold_pull_request(&[PullRequestEvent { status: Some(merged), ..said(5) }]).unwrap();
        state.complete_commit(&["6ca0", "7ca0691239785a61"]);
        assert_eq!(state.merged().unwrap().1, "6ca069123978");
        state.complete_commit(&["6ca0691239785a619fa1dce7bf1073f50499cd60"]);
        assert_eq!(state.merged().unwrap().1, "6ca0691239785a619fa1dce7bf1073f50499cd60");
    }

    #[test]
    fn a_draft_is_open_once_it_is_ready_or_reviewed() {
        let ready = |minute| PullRequestEvent { ready_at: Some(at(minute)), ..said(minute) };
        assert_eq!(times(&[said(1)]).opened_at, Some(at(1)));
        assert_eq!(times(&[said(1), ready(4), ready(6)]).opened_at, Some(at(4)));
        assert_eq!(times(&[said(1), review(1, "a", 3, false), ready(4)]).opened_at, Some(at(3)));
    }

    #[test]
    fn what_is_merged_stays_merged() {
        let status = |minute, status| PullRequestEvent { status: Some(status), ..said(minute) };
        let merged = Status::Merged { at: at(5), commit: "s".to_owned() };
        let facts = [status(2, Status::Closed { at: at(2) }), status(3, Status::Open), status(5, merged.clone())];
        assert_eq!(fold_pull_request(&facts[..2]).unwrap().status, Some(Status::Open));
        let late = [facts.as_slice(), &[status(6, Status::Open)]].concat();
        assert_eq!(fold_pull_request(&late).unwrap().status, Some(merged));
    }
}
