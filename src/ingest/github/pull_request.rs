//! `pull_request` and `pull_request_review`: when it was written, opened, reviewed and merged.

use super::Context;
use super::shapes::{
    Branch, ListedCommit, PullRequest, PullRequestPayload, ReviewPayload, User, default_branch, repo, repository,
};
use crate::event::pull_request::{Commit, Head, MAX_COMMITS, Review, Status};
use crate::event::{DeliveryEvent, PullRequestEvent};
use crate::ingest::commits::{self, date};
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::text;
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Text};
use crate::time::Timestamp;

/// What moves a pull request on; its labels, its assignees and the like do not.
const ACTIONS: [&str; 6] = ["opened", "reopened", "synchronize", "ready_for_review", "converted_to_draft", "closed"];

pub fn pull_request(payload: PullRequestPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let action = payload.action.needed("/action", NAME, "what happened to the pull request?")?;
    if !ACTIONS.contains(&&*action) {
        let words = format!("{action} says nothing about how far the pull request is");
        return Ok(Reading::skipped(Skip::NoChange, words));
    }
    let pull = payload.pull_request.required("/pull_request", "GitHub describes the pull request there")?;
    let repository = repository(payload.repository)?;
    let default = default_branch(repository.default_branch)?;
    let repo = repo(repository.full_name, context)?;
    let mut event = about(&pull, &repo)?;
    let updated_at = pull.updated_at.clone().moment("/pull_request/updated_at")?;
    let closed_at = pull.closed_at.clone().moment("/pull_request/closed_at")?;
    let status = status(&pull, closed_at.or(updated_at))?;
    // What came after its end, such as a comment, moves `updated_at` and nothing else.
    let time = match &status {
        Status::Merged { at, .. } | Status::Closed { at } => Some(*at),
        Status::Open => updated_at,
    };
    let base = pull.base.required("/pull_request/base", "which branch is it for?")?;
    let base = base.git_ref.needed("/pull_request/base/ref", NAME, "which branch is it for?")?;
    let mut facts = Vec::new();
    if let Status::Merged { at, commit } = &status
        && *base == default
    {
        let change = commits::became(&repo, commit.clone(), *at);
        facts.push(fact(DeliveryEvent::Change(change), Some(*at), context.received_at, raw)?);
    }
    if let Some(commits) = payload.commits.optional("/commits")? {
        let listed = commits.into_iter().take(MAX_COMMITS).enumerate().map(|(i, commit)| listed(i, commit));
        let commits = listed.collect::<Result<_, _>>()?;
        let event = PullRequestEvent { commits, ..event.clone() };
        facts.push(fact(DeliveryEvent::PullRequest(event), time, context.received_at, raw)?);
    }
    event.status = Some(status);
    event.ready_at = if action == "ready_for_review" { updated_at } else { None };
    event.head = head(pull.head)?;
    event.commit_count = pull.commits.optional("/pull_request/commits")?;
    facts.push(fact(DeliveryEvent::PullRequest(event), time, context.received_at, raw)?);
    Ok(Reading::Facts(facts))
}

/// Which one it is, who opened it, and when.
fn about(pull: &PullRequest<'_>, repo: &Repo<'_>) -> Result<PullRequestEvent, Fault> {
    let number = pull.number.clone().required("/pull_request/number", "which pull request is it?")?;
    let opened_at = pull.created_at.clone().moment("/pull_request/created_at")?;
    let author = match &pull.user {
        Field::Given(user) => user.login.clone().within("/pull_request/user/login", NAME)?.map(Text::into_owned),
        _ => None,
    };
    Ok(PullRequestEvent { author, opened_at, ..PullRequestEvent::of(repo.source(), repo.name.clone(), number) })
}

/// Lists of pull requests (as an import reads them) do not say `merged`, but when.
fn status(pull: &PullRequest<'_>, closed_at: Option<Timestamp>) -> Result<Status, Fault> {
    let at = "/pull_request/merged_at";
    let merged_at = pull.merged_at.clone().moment(at)?;
    if pull.merged.clone().optional("/pull_request/merged")?.unwrap_or(merged_at.is_some()) {
        let fix = "which commit did it become?";
        let commit = pull.merge_commit_sha.clone().needed("/pull_request/merge_commit_sha", SHA, fix)?.into_owned();
        let at = merged_at.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
        return Ok(Status::Merged { at, commit });
    }
    let state = pull.state.clone().needed("/pull_request/state", NAME, "is it open or closed?")?;
    if state != "closed" {
        return Ok(Status::Open);
    }
    let at = "/pull_request/closed_at";
    let at = closed_at.ok_or_else(|| Fault::new(at, "is missing: when was it closed?"))?;
    Ok(Status::Closed { at })
}

/// `None` where the fork is gone.
fn head(field: Field<Branch<'_>>) -> Result<Option<Head>, Fault> {
    let Field::Given(head) = field else { return Ok(None) };
    let Field::Given(repo) = head.repo else { return Ok(None) };
    let repository = repo.full_name.within("/pull_request/head/repo/full_name", NAME)?;
    let branch = head.git_ref.within("/pull_request/head/ref", NAME)?;
    let sha = head.sha.within("/pull_request/head/sha", SHA)?;
    let (Some(repository), Some(branch), Some(sha)) = (repository, branch, sha) else { return Ok(None) };
    Ok(Some(Head { repository: repository.into_owned(), branch: branch.into_owned(), sha: sha.into_owned() }))
}

fn listed(i: usize, commit: Field<ListedCommit<'_>>) -> Result<Commit, Fault> {
    let at = format_args!("/commits/{i}");
    let commit = commit.required(at, "it is null")?;
    let detail = commit.commit.required(format_args!("{at}/commit"), "GitHub describes the commit there")?;
    Ok(Commit {
        sha: commit.sha.needed(format_args!("{at}/sha"), SHA, "which commit is it?")?.into_owned(),
        authored_at: date(detail.author, format_args!("{at}/commit/author/date"))?,
        merge: matches!(&commit.parents, Field::Given(parents) if parents.len() > 1),
        pushed_before: false,
    })
}

pub fn review(payload: ReviewPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let skipped = |words: &str| Ok(Reading::skipped(Skip::NoChange, words));
    let action = payload.action.needed("/action", NAME, "what happened to the review?")?;
    if !["submitted", "dismissed"].contains(&&*action) {
        return skipped(&format!("{action} changes neither when it was reviewed nor whether it is approved"));
    }
    let review = payload.review.required("/review", "GitHub describes the review there")?;
    let state = review.state.needed("/review/state", NAME, "what does the review say?")?.to_ascii_lowercase();
    if state == "pending" {
        return skipped("the review is not submitted yet");
    }
    let Field::Given(User { login, kind, .. }) = review.user else {
        return skipped("who reviewed it is not known any more");
    };
    let reviewer = login.needed("/review/user/login", NAME, "who reviewed it?")?.into_owned();
    let at = "/review/submitted_at";
    let at = review.submitted_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it reviewed?"))?;
    let pull = payload.pull_request.required("/pull_request", "GitHub describes the pull request there")?;
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let mut event = about(&pull, &repo)?;
    event.reviews.push(Review {
        id: review.id.required("/review/id", "which review is it?")?,
        bot: text(kind).eq_ignore_ascii_case("bot") || reviewer.ends_with("[bot]"),
        reviewer,
        at,
        approved: state == "approved",
        dismissed: state == "dismissed" || action == "dismissed",
    });
    Ok(Reading::Facts(vec![fact(DeliveryEvent::PullRequest(event), Some(at), context.received_at, raw)?]))
}
