//! `push`: what was merged to the default branch, and what was written for it on other branches.

use super::{Context, Project, project, repo};
use crate::event::{ChangeEvent, DeliveryEvent, PushRef};
use crate::ingest::commits;
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact_known_by;
use crate::ingest::place::Repo;
use crate::ingest::requests::pushed;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, object};

object! {
    pub struct Push<'a> {
        git_ref: "ref" Text<'a>,
        before: "before" Text<'a>,
        after: "after" Text<'a>,
        project: "project" Project<'a>,
        commits: "commits" Vec<Field<Raw<'a>>>,
        total: "total_commits_count" u64,
    }
}

/// Commits pushed to the default branch are merged; others are the beginnings of merge requests.
pub fn push(payload: Push<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let git_ref = payload.git_ref.needed("/ref", NAME, "which branch was pushed?")?;
    if matches!(&payload.after, Field::Given(after) if after.bytes().all(|byte| byte == b'0')) {
        return skipped(format!("{git_ref} was deleted"));
    }
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return skipped(format!("{git_ref} is not a branch"));
    };
    let project = project(payload.project)?;
    let default = default_branch(&project)?;
    let merged = branch == default;
    let repo = repo(&project, context)?;
    let commits = payload.commits.required("/commits", "a push lists its commits")?;
    if commits.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    context.bounded(commits.len(), "/commits")?;
    let listed = u64::try_from(commits.len()).unwrap_or(u64::MAX);
    let total = payload.total.optional("/total_commits_count")?.unwrap_or(listed);
    let head = payload.after.within("/after", SHA)?;
    let push = head.map(|head| PushRef { branch: branch.to_owned(), head: head.into_owned() });
    let mut read = Vec::new();
    for (i, raw) in commits.into_iter().enumerate() {
        read.push(commits::listed(raw, &format!("/commits/{i}"))?);
    }
    let landed = read.iter().filter(|_| merged);
    let changes = landed.map(|(raw, commit)| change(raw, commit.clone(), push.as_ref(), &repo, context));
    let mut facts: Vec<Fact> = changes.collect();
    if let Some(push) = push {
        let before = payload.before.within("/before", SHA)?.filter(|sha| sha.bytes().any(|byte| byte != b'0'));
        let kind = if total > listed { "cut push" } else { "whole push" };
        let parts = ["gitlab", kind, repo.name.as_str(), branch, &push.head.clone()];
        let commits: Vec<commits::Commit> = read.into_iter().map(|(_, commit)| commit).collect();
        let before = before.map(Text::into_owned);
        let event = pushed(&repo, push, before, context.received_at, &commits, total > listed);
        facts.push(fact_known_by(&parts, DeliveryEvent::Push(event), raw));
    }
    if facts.is_empty() {
        return skipped(format!("{branch} is not the default branch {default}, and /after does not say where it is"));
    }
    if total > listed {
        let others = if merged {
            "the others are no changes; deployments have them all where a clone stands under `repositories` in the \
             configuration"
        } else {
            "when the others were written is not known"
        };
        return Ok(Reading::Partial(facts, format!("GitLab lists {listed} of the push's {total} commits: {others}")));
    }
    Ok(Reading::Facts(facts))
}

fn change(raw: &str, commit: commits::Commit, push: Option<&PushRef>, repo: &Repo<'_>, context: &Context<'_>) -> Fact {
    let parts = ["gitlab", "push", repo.name.as_str(), &commit.sha.clone()];
    // GitLab does not say when it was pushed: it tells at once.
    let change = commit.change(repo, Some(context.received_at));
    fact_known_by(&parts, DeliveryEvent::Change(ChangeEvent { push: push.cloned(), ..change }), raw)
}

pub(super) fn default_branch(project: &Project<'_>) -> Result<String, Fault> {
    let fix = "without it nobody can tell which commits are merged";
    Ok(project.default_branch.clone().needed("/project/default_branch", NAME, fix)?.into_owned())
}
