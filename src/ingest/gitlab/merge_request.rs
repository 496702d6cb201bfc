//! `merge_request` and `note`: when it was opened, commented on, approved and merged.

use super::change::default_branch;
use super::{Context, Project, project, repo};
use crate::event::pull_request::{Head, Status};
use crate::event::{DeliveryEvent, PullRequestEvent};
use crate::ingest::commits;
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::{fact, fact_known_by};
use crate::ingest::lenient::text;
use crate::ingest::place::Repo;
use crate::ingest::requests::{Person, reviewed, withdrawn};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Text, object};
use crate::time::Timestamp;

object! {
    pub struct MergeRequestPayload<'a> {
        project: "project" Project<'a>,
        user: "user" User<'a>,
        request: "object_attributes" MergeRequest<'a>,
        changes: "changes" Changes<'a>,
    }

    pub struct NotePayload<'a> {
        project: "project" Project<'a>,
        user: "user" User<'a>,
        note: "object_attributes" Note<'a>,
        request: "merge_request" MergeRequest<'a>,
    }

    pub struct User<'a> {
        id: "id" u64,
        username: "username" Text<'a>,
    }

    pub struct MergeRequest<'a> {
        iid: "iid" u64,
        author: "author_id" u64,
        action: "action" Text<'a>,
        source: "source" Project<'a>,
        source_branch: "source_branch" Text<'a>,
        target_branch: "target_branch" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        merge_commit_sha: "merge_commit_sha" Text<'a>,
        squash_commit_sha: "squash_commit_sha" Text<'a>,
        last_commit: "last_commit" LastCommit<'a>,
    }

    pub struct LastCommit<'a> {
        id: "id" Text<'a>,
    }

    pub struct Note<'a> {
        id: "id" u64,
        on: "noteable_type" Text<'a>,
        system: "system" bool,
        created_at: "created_at" Text<'a>,
    }

    pub struct Changes<'a> {
        draft: "draft" Draft<'a>,
    }

    pub struct Draft<'a> {
        current: "current" bool,
        previous: "previous" bool,
    }
}

pub fn merge_request(
    payload: MergeRequestPayload<'_>,
    raw: &str,
    delivery: Option<&str>,
    context: &Context<'_>,
) -> Result<Reading, Fault> {
    let request = payload.request.required("/object_attributes", "GitLab describes the merge request there")?;
    // Whoever tries the webhook, and some updates, have no action.
    let action = request.action.clone().within("/object_attributes/action", NAME)?.unwrap_or_default();
    let ready = matches!(
        &payload.changes,
        Field::Given(Changes { draft: Field::Given(draft), .. })
            if draft.previous == Field::Given(true) && draft.current == Field::Given(false)
    );
    let project = project(payload.project)?;
    let repo = repo(&project, context)?;
    let about = about(&request, &repo, "/object_attributes")?;
    let head = head(&request)?;
    let at = "/object_attributes/updated_at";
    let updated_at = request.updated_at.clone().moment(at)?;
    let status = match &*action {
        "approved" | "approval" | "unapproved" | "unapproval" => {
            let which = [&*text(request.updated_at), delivery.unwrap_or_default()];
            return approval(&action, &about, payload.user, which, (raw, context));
        }
        "open" | "reopen" => Status::Open,
        "update" if ready => Status::Open,
        "close" => Status::Closed { at: updated_at.ok_or_else(|| Fault::new(at, "is missing: when was it closed?"))? },
        "merge" => {
            let merged_at = updated_at.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
            return merged(PullRequestEvent { head, ..about }, request, merged_at, &project, (raw, context, &repo));
        }
        other => {
            let words = format!("{other} says nothing about how far the merge request is");
            return Ok(Reading::skipped(Skip::NoChange, words));
        }
    };
    let ready_at = updated_at.filter(|_| ready);
    let event = PullRequestEvent { status: Some(status), ready_at, head, ..about };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::PullRequest(event), updated_at, context.received_at, raw)?]))
}

/// Which one it is, who opened it, and when.
fn about(request: &MergeRequest<'_>, repo: &Repo<'_>, at: &str) -> Result<PullRequestEvent, Fault> {
    let number = request.iid.clone().required(format_args!("{at}/iid"), "which merge request is it?")?;
    let opened_at = request.created_at.clone().moment(format_args!("{at}/created_at"))?;
    let author = request.author.clone().optional(format_args!("{at}/author_id"))?.map(|id| id.to_string());
    Ok(PullRequestEvent { author, opened_at, ..PullRequestEvent::of(repo.source(), repo.name.clone(), number) })
}

/// The branch that it asks to be merged; `None` where its project is gone.
fn head(request: &MergeRequest<'_>) -> Result<Option<Head>, Fault> {
    let at = "/object_attributes";
    let (Field::Given(source), Field::Given(last)) = (&request.source, &request.last_commit) else { return Ok(None) };
    let within = format!("{at}/source/path_with_namespace");
    let repository = source.path_with_namespace.clone().within(within, NAME)?;
    let branch = request.source_branch.clone().within(format_args!("{at}/source_branch"), NAME)?;
    let sha = last.id.clone().within(format_args!("{at}/last_commit/id"), SHA)?;
    let (Some(repository), Some(branch), Some(sha)) = (repository, branch, sha) else { return Ok(None) };
    Ok(Some(Head { repository: repository.into_owned(), branch: branch.into_owned(), sha: sha.into_owned() }))
}

/// The change that it became, where GitLab names one that the merge made; a fast-forward is told by
/// the push, as are its commits. That only its `last_commit` is named says nothing: it is what was on
/// the branch, and never reaches the default branch where a squash goes by without being named.
/// <https://gitlab.com/gitlab-org/gitlab/-/issues/415449>
fn merged(
    about: PullRequestEvent,
    request: MergeRequest<'_>,
    merged_at: Timestamp,
    project: &Project<'_>,
    (raw, context, repo): (&str, &Context<'_>, &Repo<'_>),
) -> Result<Reading, Fault> {
    let at = "/object_attributes";
    let default = default_branch(project)?;
    let fix = "which branch was it merged to?";
    let target = request.target_branch.clone().needed(format_args!("{at}/target_branch"), NAME, fix)?;
    let merge_commit = request.merge_commit_sha.within(format_args!("{at}/merge_commit_sha"), SHA)?;
    let squashed = request.squash_commit_sha.within(format_args!("{at}/squash_commit_sha"), SHA)?;
    let made = merge_commit.or(squashed).map(Text::into_owned);
    let fix = "which commit did it become?";
    let commit = if let Some(commit) = &made {
        commit.clone()
    } else {
        let last = request.last_commit.required(format_args!("{at}/last_commit"), fix)?;
        last.id.needed(format_args!("{at}/last_commit/id"), SHA, fix)?.into_owned()
    };
    let mut facts = Vec::new();
    if let Some(made) = made.filter(|_| *target == default) {
        let change = commits::became(repo, made, merged_at);
        facts.push(fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?);
    }
    let event = PullRequestEvent { status: Some(Status::Merged { at: merged_at, commit }), ..about };
    facts.push(fact(DeliveryEvent::PullRequest(event), Some(merged_at), context.received_at, raw)?);
    Ok(Reading::Facts(facts))
}

/// GitLab does not say when it was approved, and approving does not touch `updated_at`: it tells at once, and
/// only the delivery tells a second approval from the first.
fn approval(
    action: &str,
    about: &PullRequestEvent,
    user: Field<User<'_>>,
    [updated_at, delivery]: [&str; 2],
    (raw, context): (&str, &Context<'_>),
) -> Result<Reading, Fault> {
    let Some(who) = person(user)? else { return Ok(unknown_person()) };
    let parts = ["gitlab", action, &about.repository, &about.key.id, &who.name, updated_at, delivery];
    let parts = parts.map(str::to_owned);
    let event = if action.starts_with("un") {
        withdrawn(about, who, context.received_at)
    } else {
        reviewed(about, who, true, context.received_at)
    };
    let parts = parts.each_ref().map(String::as_str);
    Ok(Reading::Facts(vec![fact_known_by(&parts, DeliveryEvent::PullRequest(event), raw)]))
}

/// Whoever comments has looked at it.
pub fn note(payload: NotePayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |why, words: &str| Ok(Reading::skipped(why, words));
    let note = payload.note.required("/object_attributes", "GitLab describes the comment there")?;
    if text(note.on) != "MergeRequest" {
        return skipped(Skip::UnusedEvent, "only comments on merge requests say something about delivery");
    }
    if note.system == Field::Given(true) {
        return skipped(Skip::NoChange, "GitLab's own notes are no reviews");
    }
    let at = "/object_attributes/created_at";
    let written_at = note.created_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it written?"))?;
    let id = note.id.required("/object_attributes/id", "which comment is it?")?.to_string();
    let request = payload.request.required("/merge_request", "GitLab describes the merge request there")?;
    let repo = repo(&project(payload.project)?, context)?;
    let about = about(&request, &repo, "/merge_request")?;
    let Some(who) = person(payload.user)? else { return Ok(unknown_person()) };
    let event = reviewed(&about, who, false, written_at);
    // Edited, it is the same comment.
    let parts = ["gitlab", "note", repo.name.as_str(), &id];
    Ok(Reading::Facts(vec![fact_known_by(&parts, DeliveryEvent::PullRequest(event), raw)]))
}

fn unknown_person() -> Reading {
    Reading::skipped(Skip::NoChange, "who it was is not known any more")
}

/// `None` where that is not known any more. Access tokens of projects and groups have users of their
/// own: `project_7_bot_…`.
fn person(user: Field<User<'_>>) -> Result<Option<Person>, Fault> {
    let Field::Given(user) = user else { return Ok(None) };
    let username = text(user.username);
    let bot = ["project_", "group_"].iter().any(|start| username.starts_with(start)) && username.contains("_bot");
    Ok(user.id.optional("/user/id")?.map(|id| Person { name: id.to_string(), bot }))
}
