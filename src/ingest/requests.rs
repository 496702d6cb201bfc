//! Pull requests as hosts tell of them that give reviews no ids, and pushes that do
//! not say which of their commits other branches had.

use super::commits::Commit;
use super::key::key_of;
use super::place::Repo;
use crate::event::pull_request::{self, Review, Withdrawal};
use crate::event::{EntityKey, PullRequestEvent, PushEvent, PushRef};
use crate::time::Timestamp;

/// Who did something; names are compared, never shown.
#[derive(Debug, Clone)]
pub struct Person {
    pub name: String,
    pub bot: bool,
}

/// Somebody looked at the pull request.
pub fn reviewed(about: &PullRequestEvent, who: Person, approved: bool, at: Timestamp) -> PullRequestEvent {
    PullRequestEvent { time: at, reviews: vec![review(who, approved, at)], ..about.clone() }
}

/// Somebody looked at it at this moment, whatever they said.
pub fn review(who: Person, approved: bool, at: Timestamp) -> Review {
    let key = key_of(&[&who.name, &at.to_string()]);
    let id = key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Review { id, reviewer: who.name, bot: who.bot, at, approved, dismissed: false }
}

/// Whoever approved it before does so no more.
pub fn withdrawn(about: &PullRequestEvent, who: Person, at: Timestamp) -> PullRequestEvent {
    let withdrawal = Withdrawal { reviewer: who.name, at };
    PullRequestEvent { time: at, withdrawals: vec![withdrawal], ..about.clone() }
}

/// A push with its commits, whichever way round the host lists them.
pub fn pushed(
    repo: &Repo<'_>,
    push: PushRef,
    before: Option<String>,
    time: Timestamp,
    commits: &[Commit],
    partial: bool,
) -> PushEvent {
    let of_push = |commit: &Commit| pull_request::Commit {
        sha: commit.sha.clone(),
        authored_at: commit.authored_at,
        merge: commit.merge,
        pushed_before: commit.pushed_before,
    };
    let mut listed: Vec<pull_request::Commit> = commits.iter().map(of_push).collect();
    if listed.first().is_some_and(|first| first.sha == push.head) {
        listed.reverse();
    }
    PushEvent {
        key: EntityKey { source: repo.source(), id: push.head.clone() },
        time,
        repository: repo.name.clone(),
        push,
        before,
        forced: false,
        commits: listed,
        partial,
        mixed: true,
    }
}
