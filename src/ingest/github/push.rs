//! `push`: what was merged to the default branch, and what was written for it on other branches.

use std::collections::BTreeMap;

use super::Context;
use super::place::{Repo, default_branch, repository};
use super::shapes::{Commit, PushPayload, Signature};
use crate::event::{ChangeEvent, DeliveryEvent, EntityKey, PushEvent, PushRef, pull_request};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, PATH, SHA};
use crate::ingest::key::fact;
use crate::ingest::source::Reading;
use crate::ingest::wire::{Field, Raw, Text, read};
use crate::time::Timestamp;

/// Paths kept of one commit. Of a commit with more nobody could say whose it is: it is kept without.
const MAX_PATHS: usize = 1_000;
/// GitHub lists no more commits of one push.
const MAX_LISTED: usize = 2_048;

/// Commits pushed to the default branch are merged; others are the beginnings of pull requests.
pub fn push(payload: PushPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |reason: String| Ok(Reading::Skipped(reason));
    let git_ref = payload.git_ref.needed("/ref", NAME, "which branch or tag was pushed?")?;
    if payload.deleted == Field::Given(true) {
        return skipped(format!("{git_ref} was deleted"));
    }
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return skipped(format!("{git_ref} is not a branch"));
    };
    let repository = repository(payload.repository)?;
    let merged = branch == default_branch(repository.default_branch)?;
    let repo = Repo::of(repository.full_name, context)?;
    // Whole seconds here; other events have a text in its place.
    let pushed_at = match repository.pushed_at {
        Field::Given(seconds) => i64::try_from(seconds).ok().map(Timestamp::from_seconds),
        _ => None,
    };
    let listed = payload.commits.required("/commits", "a push lists its commits")?;
    if listed.is_empty() {
        return skipped("the push brought no commits".to_owned());
    }
    let told = usize::try_from(payload.size.optional("/size")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let cut = listed.len() >= MAX_LISTED || listed.len() < told;
    let mut commits = Vec::with_capacity(listed.len());
    for (i, commit) in listed.into_iter().enumerate() {
        let at = format_args!("/commits/{i}");
        commits.push(Read::of(at, commit.required(at, "it is null")?)?);
    }
    // GitHub says where the branch is even where it does not list that commit.
    let head = match payload.head_commit {
        Field::Given(head) => Some(Read::of(format_args!("/head_commit"), head)?),
        _ => None,
    };
    let missing = head.filter(|head| commits.iter().all(|commit| commit.sha != head.sha));
    let partial = cut || missing.is_some();
    commits.extend(missing);
    // An import lists the commits of the main line without knowing which pushes brought them.
    let after = payload.after.within("/after", SHA)?.map(Text::into_owned);
    let name = after.map(|head| PushRef { branch: branch.to_owned(), head });
    let mut facts = Vec::new();
    if merged {
        for commit in &commits {
            facts.push(commit.change(pushed_at, name.as_ref(), &repo, context)?);
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
            commits: commits.iter().map(Read::listed).collect(),
            partial,
        };
        facts.push(fact(DeliveryEvent::Push(event), pushed_at, context.received_at, raw)?);
    }
    Ok(Reading::Facts(facts))
}

/// A commit of a push.
struct Read<'a> {
    raw: &'a str,
    sha: String,
    authored_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
    merge: bool,
    pushed_before: bool,
    paths: Vec<String>,
}

impl<'a> Read<'a> {
    fn of(at: std::fmt::Arguments<'_>, Raw(raw): Raw<'a>) -> Result<Self, Fault> {
        let commit: Commit<'_> = read(raw).map_err(|fault| Fault::new(at, fault.detail()))?;
        // Most deliveries give one time per commit, with the offset of who wrote it.
        let written_at = commit.timestamp.moment(format_args!("{at}/timestamp"))?;
        let message_says = matches!(&commit.message, Field::Given(message) if is_merge(message));
        Ok(Self {
            raw,
            sha: commit.id.needed(format_args!("{at}/id"), SHA, "which commit is it?")?.into_owned(),
            authored_at: date(commit.author, format_args!("{at}/author/date"))?.or(written_at),
            committed_at: date(commit.committer, format_args!("{at}/committer/date"))?.or(written_at),
            merge: match commit.parents {
                Field::Given(parents) => parents.len() > 1,
                _ => message_says,
            },
            pushed_before: commit.distinct == Field::Given(false),
            paths: paths([commit.added, commit.modified, commit.removed]),
        })
    }

    fn change(
        &self,
        pushed_at: Option<Timestamp>,
        push: Option<&PushRef>,
        repo: &Repo<'_>,
        context: &Context<'_>,
    ) -> Result<Fact, Fault> {
        let event = ChangeEvent {
            key: EntityKey { source: repo.source(), id: self.sha.clone() },
            time: Timestamp::default(),
            repository: repo.name.clone(),
            sha: self.sha.clone(),
            service: repo.service_of_paths(&self.paths),
            authored_at: self.authored_at,
            committed_at: self.committed_at,
            merged_at: push.map(|_| pushed_at.unwrap_or(context.received_at)),
            pull_request: None,
            merge: self.merge,
            paths: self.paths.clone(),
            push: push.cloned(),
            attributes: BTreeMap::new(),
        };
        let sent = if push.is_some() { pushed_at } else { self.committed_at };
        fact(DeliveryEvent::Change(event), sent, context.received_at, self.raw)
    }

    fn listed(&self) -> pull_request::Commit {
        let (authored_at, merge, pushed_before) = (self.authored_at, self.merge, self.pushed_before);
        pull_request::Commit { sha: self.sha.clone(), authored_at, merge, pushed_before }
    }
}

pub(super) fn date(field: Field<Signature<'_>>, at: std::fmt::Arguments<'_>) -> Result<Option<Timestamp>, Fault> {
    match field {
        Field::Given(signature) => signature.date.moment(at),
        _ => Ok(None),
    }
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
