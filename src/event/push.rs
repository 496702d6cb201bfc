//! Pushes: what one brought to its branch. Those to the branch of a pull request carry its
//! original commits; those to the main line say which commits landed together.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::EntityKey;
use super::pull_request::{Commit, MAX_COMMITS};
use super::state::{in_order, newer};
use crate::time::Timestamp;

/// Pushes looked at of one pull request.
pub const MAX_PUSHES: usize = 250;

/// Names a push: a branch is at one commit after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct PushRef {
    pub branch: String,
    /// The commit that the branch was at after the push.
    pub head: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEvent {
    /// `id` is the head.
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    pub repository: String,
    #[serde(flatten)]
    pub push: PushRef,
    /// Where the branch was before; `None` where the push created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What was there before was replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Oldest first.
    pub commits: Vec<Commit>,
    /// It brought more commits than the source lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Some may have been on another branch before, as after a rebase: the source does not say which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed: bool,
}

/// Keyed by (repository, branch, head).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    pub repository: String,
    #[serde(flatten)]
    pub push: PushRef,
    pub before: Option<String>,
    pub forced: bool,
    pub commits: Vec<Commit>,
    pub partial: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed: bool,
}

/// `None` when there are no facts.
pub fn fold_push(facts: &[PushEvent]) -> Option<Push> {
    let sorted = in_order(facts, |fact| fact.time);
    let first = *sorted.first()?;
    let mut state = Push {
        repository: first.repository.clone(),
        push: first.push.clone(),
        before: None,
        forced: false,
        commits: Vec::new(),
        // Complete once somebody lists them all.
        partial: sorted.iter().all(|fact| fact.partial),
        mixed: sorted.iter().any(|fact| fact.mixed),
    };
    for fact in sorted {
        newer(&mut state.before, fact.before.as_ref());
        state.forced |= fact.forced;
        for commit in &fact.commits {
            if !state.commits.iter().any(|known| known.sha == commit.sha) {
                state.commits.push(commit.clone());
            }
        }
    }
    Some(state)
}

/// The commits of a pull request as its branch's pushes tell them, newest push first.
#[derive(Debug)]
pub struct Chain {
    wanted: Option<usize>,
    /// Something was replaced on the way: how many commits there are says nothing about how many
    /// there were.
    forced: bool,
    pushes: usize,
    known: HashSet<String>,
    /// When the first commit of the oldest push was written, where the source does not say what later ones
    /// took over from other branches.
    began_at: Option<Timestamp>,
    /// Newest first.
    commits: Vec<Commit>,
}

impl Chain {
    /// `count`: how many commits the pull request has.
    pub fn new(count: Option<u64>) -> Self {
        let wanted = count.and_then(|count| usize::try_from(count).ok());
        Self { wanted, forced: false, pushes: 0, known: HashSet::new(), began_at: None, commits: Vec::new() }
    }

    /// Adds the push before; answers whether and where to look further.
    pub fn add<'p>(&mut self, push: &'p Push) -> Option<&'p str> {
        self.pushes += 1;
        for commit in push.commits.iter().rev().filter(|commit| !commit.pushed_before) {
            if !self.is_complete() && self.known.insert(commit.sha.clone()) {
                self.commits.push(commit.clone());
            }
        }
        if push.mixed {
            let written = push.commits.iter().filter(|commit| !commit.merge).filter_map(|commit| commit.authored_at);
            self.began_at = written.min().or(self.began_at);
        }
        self.forced |= push.forced;
        if self.is_complete() || self.pushes >= MAX_PUSHES { None } else { push.before.as_deref() }
    }

    fn is_complete(&self) -> bool {
        let enough = self.wanted.is_some_and(|wanted| self.commits.len() >= wanted);
        (enough && !self.forced) || self.commits.len() >= MAX_COMMITS
    }

    /// Oldest first; what is older than the branch's own first commit came from elsewhere.
    pub fn into_commits(mut self) -> Vec<Commit> {
        if let Some(began_at) = self.began_at {
            self.commits.retain(|commit| commit.authored_at.is_none_or(|written| written >= began_at));
        }
        self.commits.reverse();
        self.commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(before: Option<&str>, commits: &[&str]) -> Push {
        let commit = |sha: &&str| Commit {
            sha: (*sha).to_owned(),
            authored_at: None,
            merge: false,
            pushed_before: sha.starts_with("main"),
        };
        let head = commits.last().copied().unwrap_or_default().to_owned();
        Push {
            repository: "acme/checkout".to_owned(),
            push: PushRef { branch: "develop".to_owned(), head },
            before: before.map(str::to_owned),
            forced: false,
            commits: commits.iter().map(commit).collect(),
            partial: false,
            mixed: false,
        }
    }

    fn names(chain: Chain) -> Vec<String> {
        chain.into_commits().into_iter().map(|commit| commit.sha).collect()
    }

    #[test]
    fn a_chain_ends_with_the_commits_that_the_pull_request_has() {
        let mut chain = Chain::new(Some(3));
        assert_eq!(
            chain.add(&push(Some("b"), &["main-9", "c", "d"])),
            Some("b"),
            "what is on the main line is no part"
        );
        assert_eq!(chain.add(&push(Some("x"), &["a", "b"])), None, "a branch that lives long has older ones");
        assert_eq!(names(chain), ["b", "c", "d"]);
        let mut chain = Chain::new(None);
        assert_eq!(chain.add(&push(None, &["a", "b"])), None, "the branch began here");
        assert_eq!(names(chain), ["a", "b"]);
    }

    #[test]
    fn what_was_replaced_was_written_all_the_same() {
        let mut chain = Chain::new(Some(1));
        let forced = Push { forced: true, ..push(Some("a"), &["b"]) };
        assert_eq!(chain.add(&forced), Some("a"));
        assert_eq!(chain.add(&push(None, &["a"])), None);
        assert_eq!(names(chain), ["a", "b"]);
    }

    #[test]
    fn what_is_older_than_the_first_push_came_from_another_branch() {
        let written = |before, commits: &[(&str, i64)], mixed| {
            let mut push = push(before, &commits.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            for (commit, (_, hour)) in push.commits.iter_mut().zip(commits) {
                commit.authored_at = Some(Timestamp::from_seconds(hour * 3_600));
            }
            Push { mixed, ..push }
        };
        for (mixed, expected) in [(true, ["a", "b", "c"].as_slice()), (false, &["a", "b", "old", "c"])] {
            let mut chain = Chain::new(None);
            assert_eq!(chain.add(&written(Some("b"), &[("old", 1), ("c", 4)], mixed)), Some("b"));
            assert_eq!(chain.add(&written(None, &[("a", 2), ("b", 3)], mixed)), None);
            assert_eq!(names(chain), expected);
        }
    }

    #[test]
    fn a_chain_has_an_end_however_long_the_branch_is() {
        let mut chain = Chain::new(None);
        let endless = push(Some("before"), &[]);
        let steps = (1..=2 * MAX_PUSHES).find(|_| chain.add(&endless).is_none());
        assert_eq!(steps, Some(MAX_PUSHES));
    }
}
