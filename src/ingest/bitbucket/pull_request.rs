//! `pullrequest:…`: when it was opened, commented on, approved and merged.

use super::{Context, FULL_HASH, Payload, Request, is_main, repo};
use crate::event::pull_request::Status;
use crate::event::{DeliveryEvent, PullRequestEvent};
use crate::ingest::commits;
use crate::ingest::fault::{Fault, ID, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::text;
use crate::ingest::place::Repo;
use crate::ingest::requests::{Person, reviewed, withdrawn};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Text, object};
use crate::time::Timestamp;

object! {
    pub struct Account<'a> {
        uuid: "uuid" Text<'a>,
        kind: "type" Text<'a>,
    }

    pub struct Said<'a> {
        date: "date" Text<'a>,
    }

    pub struct Comment<'a> {
        created_on: "created_on" Text<'a>,
    }
}

/// `event` is what follows `pullrequest:`.
pub fn pull_request(event: &str, payload: Payload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(payload.repository, context)?;
    let request = payload.request.required("/pullrequest", "Bitbucket describes the pull request there")?;
    let about = about(&request, &repo)?;
    let at = "/pullrequest/updated_on";
    let updated = || request.updated_on.clone().moment(at)?.ok_or_else(|| Fault::new(at, "is missing: since when?"));
    let said = |field: Field<Said<'_>>, at: &str| {
        let said = field.required(at, "when was it said?")?;
        let at = format!("{at}/date");
        said.date.moment(&at)?.ok_or_else(|| Fault::new(at, "is missing: when was it said?"))
    };
    let told = |event: PullRequestEvent, time: Timestamp| {
        Ok(Reading::Facts(vec![fact(DeliveryEvent::PullRequest(event), Some(time), context.received_at, raw)?]))
    };
    let status = match event {
        "created" | "updated" => Status::Open,
        "rejected" => Status::Closed { at: updated()? },
        "fulfilled" => return merged(about, request, &repo, raw, context),
        "approved" | "unapproved" | "changes_request_created" | "comment_created" => {
            let Some(who) = person(payload.actor)? else {
                return Ok(Reading::skipped(Skip::NoChange, "who it was is not known any more"));
            };
            let (event, time) = match event {
                "approved" => {
                    let time = said(payload.approval, "/approval")?;
                    (reviewed(&about, who, true, time), time)
                }
                "unapproved" => {
                    let time = said(payload.approval, "/approval")?;
                    (withdrawn(&about, who, time), time)
                }
                "changes_request_created" => {
                    let time = said(payload.changes_request, "/changes_request")?;
                    (reviewed(&about, who, false, time), time)
                }
                _ => {
                    let comment = payload.comment.required("/comment", "Bitbucket describes the comment there")?;
                    let at = "/comment/created_on";
                    let time = comment.created_on.moment(at)?;
                    let time = time.ok_or_else(|| Fault::new(at, "is missing: when was it written?"))?;
                    (reviewed(&about, who, false, time), time)
                }
            };
            return told(event, time);
        }
        other => {
            let words = format!("{other} says nothing about how far the pull request is");
            return Ok(Reading::skipped(Skip::NoChange, words));
        }
    };
    let time = updated()?;
    told(PullRequestEvent { status: Some(status), ..about }, time)
}

/// Which one it is, who opened it, and when.
fn about(request: &Request<'_>, repo: &Repo<'_>) -> Result<PullRequestEvent, Fault> {
    let number = request.id.clone().required("/pullrequest/id", "which pull request is it?")?;
    let author = match &request.author {
        Field::Given(author) => author.uuid.clone().within("/pullrequest/author/uuid", ID)?.map(Text::into_owned),
        _ => None,
    };
    let opened_at = request.created_on.clone().moment("/pullrequest/created_on")?;
    Ok(PullRequestEvent { author, opened_at, ..PullRequestEvent::of(repo.source(), repo.name.clone(), number) })
}

/// `None` where that is not known any more.
fn person(actor: Field<Account<'_>>) -> Result<Option<Person>, Fault> {
    let Field::Given(actor) = actor else { return Ok(None) };
    let bot = text(actor.kind) == "app_user";
    Ok(actor.uuid.within("/actor/uuid", ID)?.map(|name| Person { name: name.into_owned(), bot }))
}

/// Bitbucket abbreviates the commit that it became: the push tells it in full.
fn merged(
    about: PullRequestEvent,
    request: Request<'_>,
    repo: &Repo<'_>,
    raw: &str,
    context: &Context<'_>,
) -> Result<Reading, Fault> {
    let destination = request.destination.required("/pullrequest/destination", "where was it merged to?")?;
    let branch = destination.branch.required("/pullrequest/destination/branch", "where was it merged to?")?;
    let branch = branch.name.needed("/pullrequest/destination/branch/name", NAME, "where was it merged to?")?;
    let commit = request.merge_commit.required("/pullrequest/merge_commit", "which commit did it become?")?;
    let commit = commit.hash.needed("/pullrequest/merge_commit/hash", SHA, "which commit did it become?")?;
    let commit = commit.into_owned();
    let at = "/pullrequest/updated_on";
    let merged_at = request.updated_on.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let mut facts = Vec::new();
    if commit.len() >= FULL_HASH && is_main(&branch, context) {
        let change = commits::became(repo, commit.clone(), merged_at);
        facts.push(fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?);
    }
    let event = PullRequestEvent { status: Some(Status::Merged { at: merged_at, commit }), ..about };
    facts.push(fact(DeliveryEvent::PullRequest(event), Some(merged_at), context.received_at, raw)?);
    Ok(Reading::Facts(facts))
}
