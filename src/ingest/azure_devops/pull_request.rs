//! `git.pullrequest.*` and comments: when it was opened, commented on, voted on and completed.

use super::code::{HEADS, Repository, default_branch, repo};
use super::{Context, Event};
use crate::event::pull_request::{Head, Status, Withdrawal};
use crate::event::{DeliveryEvent, PullRequestEvent};
use crate::ingest::commits;
use crate::ingest::fault::{Fault, ID, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::text;
use crate::ingest::place::Repo;
use crate::ingest::requests::{Person, review, reviewed};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, object};
use crate::time::Timestamp;

/// A vote of this or more approves; 0 is none, those below are against it.
const APPROVED: f64 = 5.0;

object! {
    pub struct Request<'a> {
        id: "pullRequestId" u64,
        status: "status" Text<'a>,
        author: "createdBy" Identity<'a>,
        source: "sourceRefName" Text<'a>,
        source_commit: "lastMergeSourceCommit" Hash<'a>,
        fork: "forkSource" Raw<'a>,
        target: "targetRefName" Text<'a>,
        creation_date: "creationDate" Text<'a>,
        closed_date: "closedDate" Text<'a>,
        merge_commit: "lastMergeCommit" Hash<'a>,
        reviewers: "reviewers" Vec<Field<Reviewer<'a>>>,
        repository: "repository" Repository<'a>,
    }

    pub struct Hash<'a> {
        id: "commitId" Text<'a>,
    }

    pub struct Identity<'a> {
        id: "id" Text<'a>,
    }

    pub struct Reviewer<'a> {
        id: "id" Text<'a>,
        vote: "vote" f64,
        team: "isContainer" bool,
    }

    pub struct Commented<'a> {
        comment: "comment" Comment<'a>,
        request: "pullRequest" Request<'a>,
    }

    pub struct Comment<'a> {
        author: "author" Identity<'a>,
        kind: "commentType" Text<'a>,
        published: "publishedDate" Text<'a>,
    }
}

/// `merged` comes for every attempt to merge, too: only the status says that it is on the branch.
pub fn pull_request(request: Request<'_>, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let at = "/resource";
    let default = default_branch(&request.repository)?;
    let repo = repo(request.repository.clone(), at, context)?;
    let about = about(&request, &repo, at)?;
    let status = request.status.clone().needed("/resource/status", NAME, "is it active or completed?")?;
    let closed = || {
        let at = "/resource/closedDate";
        let closed_at = request.closed_date.clone().moment(at)?;
        closed_at.ok_or_else(|| Fault::new(at, "is missing: when was it closed?"))
    };
    let (status, time) = match &*status {
        "active" => (Status::Open, event.time),
        "abandoned" => (Status::Closed { at: closed()? }, closed()?),
        "completed" => {
            let fix = "which commit did it become?";
            let commit = request.merge_commit.clone().required("/resource/lastMergeCommit", fix)?;
            let commit = commit.id.needed("/resource/lastMergeCommit/commitId", SHA, fix)?.into_owned();
            (Status::Merged { at: closed()?, commit }, closed()?)
        }
        other => return Ok(Reading::skipped(Skip::NoChange, format!("the status {other} is not known to DevPulse"))),
    };
    let mut facts = Vec::new();
    if let Status::Merged { at, commit } = &status {
        let fix = "which branch was it merged to?";
        let target = request.target.clone().needed("/resource/targetRefName", NAME, fix)?;
        if default.as_ref().is_some_and(|default| *default == target) {
            let change = commits::became(&repo, commit.clone(), *at);
            facts.push(fact(DeliveryEvent::Change(change), Some(*at), context.received_at, event.body)?);
        }
    }
    let mut told = PullRequestEvent { status: Some(status), head: head(&request, &repo)?, ..about };
    votes(&mut told, request.reviewers, time.min(event.time))?;
    facts.push(fact(DeliveryEvent::PullRequest(told), Some(time), context.received_at, event.body)?);
    Ok(Reading::Facts(facts))
}

/// The branch that it asks to be merged; `None` where that is a fork's, whose pushes nobody tells of.
fn head(request: &Request<'_>, repo: &Repo<'_>) -> Result<Option<Head>, Fault> {
    let (Field::Given(commit), Field::Absent) = (&request.source_commit, &request.fork) else {
        return Ok(None);
    };
    let branch = request.source.clone().within("/resource/sourceRefName", NAME)?;
    let branch = branch.as_deref().and_then(|branch| branch.strip_prefix(HEADS));
    let sha = commit.id.clone().within("/resource/lastMergeSourceCommit/commitId", SHA)?;
    let (Some(branch), Some(sha)) = (branch, sha) else { return Ok(None) };
    Ok(Some(Head { repository: repo.name.clone(), branch: branch.to_owned(), sha: sha.into_owned() }))
}

/// Every message has all votes, and not when they were given: not after it.
fn votes(
    told: &mut PullRequestEvent,
    reviewers: Field<Vec<Field<Reviewer<'_>>>>,
    time: Timestamp,
) -> Result<(), Fault> {
    let Field::Given(reviewers) = reviewers else { return Ok(()) };
    for (i, reviewer) in reviewers.into_iter().enumerate() {
        let Field::Given(reviewer) = reviewer else { continue };
        let at = format!("/resource/reviewers/{i}");
        let id = reviewer.id.within(format_args!("{at}/id"), ID)?;
        // A team's vote is that of one of its members, who is listed as well.
        let Some(id) = id.filter(|_| reviewer.team != Field::Given(true)) else { continue };
        let (vote, name) = (vote(&reviewer.vote), id.into_owned());
        if vote < APPROVED {
            told.withdrawals.push(Withdrawal { reviewer: name.clone(), at: time });
        }
        if vote != 0.0 {
            told.reviews.push(review(Person { name, bot: false }, vote >= APPROVED, time));
        }
    }
    Ok(())
}

const fn vote(field: &Field<f64>) -> f64 {
    match field {
        Field::Given(vote) => *vote,
        _ => 0.0,
    }
}

/// Whoever comments has looked at it.
pub fn comment(payload: Commented<'_>, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let comment = payload.comment.required("/resource/comment", "Azure DevOps describes the comment there")?;
    if text(comment.kind) == "system" {
        return Ok(Reading::skipped(Skip::NoChange, "Azure DevOps' own comments are no reviews"));
    }
    let Field::Given(author) = comment.author else {
        return Ok(Reading::skipped(Skip::NoChange, "who commented is not known any more"));
    };
    let name = author.id.needed("/resource/comment/author/id", ID, "who commented?")?.into_owned();
    let at = "/resource/comment/publishedDate";
    let written_at = comment.published.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it written?"))?;
    let at = "/resource/pullRequest";
    let request = payload.request.required(at, "Azure DevOps describes the pull request there")?;
    let repo = repo(request.repository.clone(), at, context)?;
    let told = reviewed(&about(&request, &repo, at)?, Person { name, bot: false }, false, written_at);
    let told = fact(DeliveryEvent::PullRequest(told), Some(written_at), context.received_at, event.body)?;
    Ok(Reading::Facts(vec![told]))
}

/// Which one it is, who opened it, and when.
fn about(request: &Request<'_>, repo: &Repo<'_>, at: &str) -> Result<PullRequestEvent, Fault> {
    let number = request.id.clone().required(format_args!("{at}/pullRequestId"), "which pull request is it?")?;
    let author = match &request.author {
        Field::Given(author) => author.id.clone().within(format_args!("{at}/createdBy/id"), ID)?.map(Text::into_owned),
        _ => None,
    };
    let opened_at = request.creation_date.clone().moment(format_args!("{at}/creationDate"))?;
    Ok(PullRequestEvent { author, opened_at, ..PullRequestEvent::of(repo.source(), repo.name.clone(), number) })
}
