//! `push` and `merge_request`: what was merged to the default branch.

use super::{Context, Project, project, repo};
use crate::event::{ChangeEvent, DeliveryEvent, EntityKey, PullRequest, PushEvent, PushRef, pull_request};
use crate::ingest::commits;
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::{fact, fact_known_by};
use crate::ingest::place::Repo;
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

    pub struct MergeRequestPayload<'a> {
        project: "project" Project<'a>,
        request: "object_attributes" MergeRequest<'a>,
    }

    pub struct MergeRequest<'a> {
        iid: "iid" u64,
        action: "action" Text<'a>,
        target_branch: "target_branch" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        merge_commit_sha: "merge_commit_sha" Text<'a>,
        last_commit: "last_commit" LastCommit<'a>,
    }

    pub struct LastCommit<'a> {
        id: "id" Text<'a>,
    }
}

/// Commits pushed to the default branch are merged; others are not yet, whatever they are.
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
    if branch != default {
        return skipped(format!("{branch} is not the default branch {default}: its commits are not merged"));
    }
    let repo = repo(&project, context)?;
    let commits = payload.commits.required("/commits", "a push lists its commits")?;
    if commits.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "the push brought no commits"));
    }
    let listed = u64::try_from(commits.len()).unwrap_or(u64::MAX);
    let total = payload.total.optional("/total_commits_count")?.unwrap_or(listed);
    let head = payload.after.within("/after", SHA)?.filter(|_| total > listed);
    // Only what is said of the push itself makes the answers say that changes are missing.
    let push = head.map(|head| PushRef { branch: branch.to_owned(), head: head.into_owned() });
    let (mut facts, mut listed_commits) = (Vec::new(), Vec::new());
    for (i, raw) in commits.into_iter().enumerate() {
        let (raw, commit) = commits::listed(raw, &format!("/commits/{i}"))?;
        facts.push(change(raw, commit.clone(), push.as_ref(), &repo, context));
        let commits::Commit { sha, authored_at, merge, pushed_before, .. } = commit;
        listed_commits.push(pull_request::Commit { sha, authored_at, merge, pushed_before });
    }
    if let Some(push) = push {
        let before = payload.before.within("/before", SHA)?.filter(|sha| sha.bytes().any(|byte| byte != b'0'));
        let parts = ["gitlab", "cut push", repo.name.as_str(), branch, &push.head.clone()];
        let event = PushEvent {
            key: EntityKey { source: repo.source(), id: push.head.clone() },
            time: context.received_at,
            repository: repo.name.clone(),
            push,
            before: before.map(Text::into_owned),
            forced: false,
            commits: listed_commits,
            partial: true,
        };
        facts.push(fact_known_by(&parts, DeliveryEvent::Push(event), raw));
    }
    if total > listed {
        let words = format!(
            "GitLab lists {listed} of the push's {total} commits: the others are no changes yet; \
             `devpulse import git` adds them"
        );
        return Ok(Reading::Partial(facts, words));
    }
    Ok(Reading::Facts(facts))
}

fn change(raw: &str, commit: commits::Commit, push: Option<&PushRef>, repo: &Repo<'_>, context: &Context<'_>) -> Fact {
    let parts = ["gitlab", "push", repo.name.as_str(), &commit.sha.clone()];
    // GitLab does not say when it was pushed: it tells at once.
    let change = commit.change(repo, Some(context.received_at));
    fact_known_by(&parts, DeliveryEvent::Change(ChangeEvent { push: push.cloned(), ..change }), raw)
}

fn default_branch(project: &Project<'_>) -> Result<String, Fault> {
    let fix = "without it nobody can tell which commits are merged";
    Ok(project.default_branch.clone().needed("/project/default_branch", NAME, fix)?.into_owned())
}

/// A merged request tells the times of the review of the commit it became.
pub fn merge_request(payload: MergeRequestPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: String| Ok(Reading::skipped(Skip::NotMerged, words));
    let request = payload.request.required("/object_attributes", "GitLab describes the merge request there")?;
    // Whoever tries the webhook, and some updates, have no action.
    let action = request.action.within("/object_attributes/action", NAME)?.unwrap_or_default();
    if action != "merge" {
        return skipped(format!("{action}: a merge request becomes a change when it is merged"));
    }
    let project = project(payload.project)?;
    let default = default_branch(&project)?;
    let fix = "which branch was it merged to?";
    let target = request.target_branch.needed("/object_attributes/target_branch", NAME, fix)?;
    if target != default {
        return skipped(format!("merged to {target}, which is not the default branch {default}"));
    }
    let at = "/object_attributes/updated_at";
    let merged_at = request.updated_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let repo = repo(&project, context)?;
    let merge_commit = request.merge_commit_sha.within("/object_attributes/merge_commit_sha", SHA)?;
    let sha = match (merge_commit, request.last_commit) {
        (Some(sha), _) => sha,
        // A fast-forward: the branch's last commit is now the default branch's.
        (None, Field::Given(last)) => {
            last.id.needed("/object_attributes/last_commit/id", SHA, "which commit is it?")?
        }
        (None, _) => {
            return Err(Fault::new("/object_attributes/last_commit", "is missing: which commit did it become?"));
        }
    };
    let pull = PullRequest {
        number: request.iid.required("/object_attributes/iid", "which merge request is it?")?,
        opened_at: request.created_at.moment("/object_attributes/created_at")?,
        merged_at: Some(merged_at),
        ..PullRequest::default()
    };
    let change = commits::of_request(&repo, sha.into_owned(), pull, merged_at);
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?]))
}
