//! `push`: what was merged to the default branch, and what was written for it on other branches.

use super::Context;
use super::shapes::{PushPayload, default_branch, repo, repository};
use crate::event::{ChangeEvent, DeliveryEvent, EntityKey, PushEvent, PushRef, pull_request};
use crate::ingest::commits::{self, Commit};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Text};
use crate::time::Timestamp;

/// GitHub lists no more commits of one push.
const MAX_LISTED: usize = 2_048;

/// Commits pushed to the default branch are merged; others are the beginnings of pull requests.
pub fn push(payload: PushPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let git_ref = payload.git_ref.needed("/ref", NAME, "which branch or tag was pushed?")?;
    if payload.deleted == Field::Given(true) {
        return skipped(format!("{git_ref} was deleted"));
    }
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return skipped(format!("{git_ref} is not a branch"));
    };
    let repository = repository(payload.repository)?;
    let merged = branch == default_branch(repository.default_branch)?;
    let repo = repo(repository.full_name, context)?;
    // Whole seconds here; other events have a text in its place.
    let pushed_at = match repository.pushed_at {
        Field::Given(seconds) => i64::try_from(seconds).ok().map(Timestamp::from_seconds),
        _ => None,
    };
    let listed = payload.commits.required("/commits", "a push lists its commits")?;
    if listed.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    context.bounded(listed.len(), "/commits")?;
    let told = usize::try_from(payload.size.optional("/size")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let cut = listed.len() >= MAX_LISTED || listed.len() < told;
    let mut commits = Vec::with_capacity(listed.len());
    for (i, raw) in listed.into_iter().enumerate() {
        commits.push(commits::listed(raw, &format!("/commits/{i}"))?);
    }
    // GitHub says where the branch is even where it does not list that commit.
    let head = match payload.head_commit {
        head @ Field::Given(_) => Some(commits::listed(head, "/head_commit")?),
        _ => None,
    };
    let missing = head.filter(|(_, head)| commits.iter().all(|(_, commit)| commit.sha != head.sha));
    let partial = cut || missing.is_some();
    commits.extend(missing);
    // An import lists the commits of the main line without knowing which pushes brought them.
    let after = payload.after.within("/after", SHA)?.map(Text::into_owned);
    let name = after.map(|head| PushRef { branch: branch.to_owned(), head });
    let mut facts = Vec::new();
    if merged {
        for (raw, commit) in &commits {
            facts.push(change(raw, commit, pushed_at, name.as_ref(), &repo, context)?);
        }
    }
    if let Some(name) = name {
        let before = payload.before.within("/before", SHA)?.filter(|sha| sha.bytes().any(|byte| byte != b'0'));
        let event = PushEvent {
            key: EntityKey { source: repo.source(), id: name.head.clone() },
            time: Timestamp::default(),
            repository: repo.name,
            push: name,
            before: before.map(Text::into_owned),
            forced: payload.forced == Field::Given(true),
            commits: commits.into_iter().map(|(_, commit)| of_push(commit)).collect(),
            partial,
            mixed: false,
        };
        facts.push(fact(DeliveryEvent::Push(event), pushed_at, context.received_at, raw)?);
    }
    if partial {
        let words = "GitHub does not list all commits of this push: `devpulse import github` adds the others";
        return Ok(Reading::Partial(facts, words.to_owned()));
    }
    Ok(Reading::Facts(facts))
}

fn change(
    raw: &str,
    commit: &Commit,
    pushed_at: Option<Timestamp>,
    push: Option<&PushRef>,
    repo: &Repo<'_>,
    context: &Context<'_>,
) -> Result<Fact, Fault> {
    let merged_at = push.map(|_| pushed_at.unwrap_or(context.received_at));
    let event = ChangeEvent { push: push.cloned(), ..commit.clone().change(repo, merged_at) };
    let sent = if push.is_some() { pushed_at } else { commit.committed_at };
    fact(DeliveryEvent::Change(event), sent, context.received_at, raw)
}

fn of_push(Commit { sha, authored_at, merge, pushed_before, .. }: Commit) -> pull_request::Commit {
    pull_request::Commit { sha, authored_at, merge, pushed_before }
}
