//! `push` and `pull_request`: what was merged to the default branch.

use std::collections::BTreeMap;

use super::Context;
use super::place::{Repo, default_branch, repository};
use super::shapes::{Commit, PullRequestPayload, PushPayload};
use crate::event::{ChangeEvent, DeliveryEvent, EntityKey, PullRequest};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, PATH, SHA};
use crate::ingest::key::fact;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, read};
use crate::time::Timestamp;

/// Paths kept of one commit. Of a commit with more nobody could say whose it is: it is kept without.
const MAX_PATHS: usize = 1_000;

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
    let repo = Repo::of(repository.full_name, context)?;
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
    let at = format_args!("/commits/{i}");
    let Raw(raw) = raw.required(at, "it is null")?;
    let commit: Commit<'_> = read(raw).map_err(|fault| Fault::new(at, fault.detail()))?;
    let sha = commit.id.needed(format_args!("{at}/id"), SHA, "which commit is it?")?.into_owned();
    let written_at = commit.timestamp.moment(format_args!("{at}/timestamp"))?;
    let paths = paths([commit.added, commit.modified, commit.removed]);
    let event = ChangeEvent {
        key: EntityKey { source: repo.source(), id: sha.clone() },
        time: Timestamp::default(),
        repository: repo.name.clone(),
        sha,
        service: repo.service_of_paths(&paths),
        // GitHub gives one time per commit, with the offset of who wrote it.
        authored_at: written_at,
        committed_at: written_at,
        merged_at: Some(pushed_at.unwrap_or(context.received_at)),
        pull_request: None,
        merge: matches!(&commit.message, Field::Given(message) if is_merge(message)),
        paths,
        attributes: BTreeMap::new(),
    };
    fact(DeliveryEvent::Change(event), pushed_at, context.received_at, raw)
}

/// Pushes do not list parents; the messages that git and GitHub give merge commits tell them apart.
fn is_merge(message: &str) -> bool {
    ["Merge pull request #", "Merge branch '", "Merge remote-tracking branch '", "Merge tag '"]
        .iter()
        .any(|start| message.starts_with(start))
}

fn paths(lists: [Field<Vec<Field<Text<'_>>>>; 3]) -> Vec<String> {
    let listed = lists.into_iter().filter_map(|list| match list {
        Field::Given(paths) => Some(paths),
        _ => None,
    });
    let usable = listed.flatten().filter_map(|path| match path {
        Field::Given(path) if PATH.check(&path).is_ok() => Some(path.into_owned()),
        _ => None,
    });
    let mut paths: Vec<String> = usable.take(MAX_PATHS + 1).collect();
    if paths.len() > MAX_PATHS {
        return Vec::new();
    }
    paths.sort();
    paths.dedup();
    paths
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
    let repo = Repo::of(repository.full_name, context)?;
    let at = "/pull_request/merged_at";
    let merged_at = pull.merged_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let fix = "which commit did it become?";
    let sha = pull.merge_commit_sha.needed("/pull_request/merge_commit_sha", SHA, fix)?.into_owned();
    let event = ChangeEvent {
        key: EntityKey { source: repo.source(), id: sha.clone() },
        time: merged_at,
        service: repo.service_of_paths(&[]),
        repository: repo.name,
        sha,
        authored_at: None,
        committed_at: None,
        merged_at: Some(merged_at),
        pull_request: Some(PullRequest {
            number: pull.number.required("/pull_request/number", "which pull request is it?")?,
            opened_at: pull.created_at.moment("/pull_request/created_at")?,
            merged_at: Some(merged_at),
            ..PullRequest::default()
        }),
        merge: false,
        paths: Vec::new(),
        attributes: BTreeMap::new(),
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Change(event), Some(merged_at), context.received_at, raw)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_paths_than_are_kept_none_is() {
        let list = |n: usize| Field::Given((0..n).map(|i| Field::Given(Text::from(format!("a/{i}")))).collect());
        assert_eq!(paths([list(999), Field::Absent, list(1)]).len(), 999, "one of them twice");
        assert!(paths([list(1_000), Field::Absent, list(1)]).is_empty());
    }
}
