//! `push` and `pull_request`: what was merged to the default branch.

use super::Context;
use super::shapes::{PullRequestPayload, PushPayload, default_branch, repo, repository};
use crate::event::{DeliveryEvent, PullRequest};
use crate::ingest::commits;
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw};
use crate::time::Timestamp;

/// Commits pushed to the default branch are merged; others are not yet, whatever they are.
pub fn push(payload: PushPayload<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let git_ref = payload.git_ref.needed("/ref", NAME, "which branch or tag was pushed?")?;
    if payload.deleted == Field::Given(true) {
        return skipped(format!("{git_ref} was deleted"));
    }
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return skipped(format!("{git_ref} is not a branch"));
    };
    let repository = repository(payload.repository)?;
    let default = default_branch(repository.default_branch)?;
    if branch != default {
        return skipped(format!("{branch} is not the default branch {default}: its commits are not merged"));
    }
    let repo = repo(repository.full_name, context)?;
    // Whole seconds here; other events have a text in its place.
    let pushed_at = match repository.pushed_at {
        Field::Given(seconds) => i64::try_from(seconds).ok().map(Timestamp::from_seconds),
        _ => None,
    };
    let commits = payload.commits.required("/commits", "a push lists its commits")?;
    if commits.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    let facts = commits.into_iter().enumerate().map(|(i, raw)| commit(i, raw, pushed_at, &repo, context));
    Ok(Reading::Facts(facts.collect::<Result<_, _>>()?))
}

fn commit(
    i: usize,
    raw: Field<Raw<'_>>,
    pushed_at: Option<Timestamp>,
    repo: &Repo<'_>,
    context: &Context<'_>,
) -> Result<Fact, Fault> {
    let (raw, commit) = commits::listed(raw, &format!("/commits/{i}"))?;
    let mut change = commit.merged(repo, pushed_at.unwrap_or(context.received_at));
    change.time = Timestamp::default();
    fact(DeliveryEvent::Change(change), pushed_at, context.received_at, raw)
}

/// A merged pull request tells the times of the review of the commit it became.
pub fn pull_request(payload: PullRequestPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let action = payload.action.needed("/action", NAME, "what happened to the pull request?")?;
    if action != "closed" {
        return skipped(format!("{action}: a pull request becomes a change when it is merged"));
    }
    let pull = payload.pull_request.required("/pull_request", "GitHub describes the pull request there")?;
    let fix = "was it merged or only closed?";
    if !pull.merged.required("/pull_request/merged", fix)? {
        return skipped("closed without being merged".to_owned());
    }
    let repository = repository(payload.repository)?;
    let default = default_branch(repository.default_branch)?;
    let base = pull.base.required("/pull_request/base", "which branch was it merged to?")?;
    let base = base.git_ref.needed("/pull_request/base/ref", NAME, "which branch was it merged to?")?;
    if base != default {
        return skipped(format!("merged to {base}, which is not the default branch {default}"));
    }
    let repo = repo(repository.full_name, context)?;
    let at = "/pull_request/merged_at";
    let merged_at = pull.merged_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let fix = "which commit did it become?";
    let sha = pull.merge_commit_sha.needed("/pull_request/merge_commit_sha", SHA, fix)?.into_owned();
    let pull = PullRequest {
        number: pull.number.required("/pull_request/number", "which pull request is it?")?,
        opened_at: pull.created_at.moment("/pull_request/created_at")?,
        merged_at: Some(merged_at),
        ..PullRequest::default()
    };
    let change = commits::of_request(&repo, sha, pull, merged_at);
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?]))
}
