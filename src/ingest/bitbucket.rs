//! Bitbucket Cloud's webhooks: pushes, merged pull requests, and the commit statuses that
//! `sources.bitbucket.deployment_statuses` names.
//!
//! <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/>. A push lists five commits;
//! payloads do not say which branch is the main one.

use super::commits::{self, Commit};
use super::committer::Fact;
use super::fault::{Fault, NAME, SHA};
use super::key::{fact, fact_known_by};
use super::lenient::{fitting, text, url};
use super::pipeline::Run;
use super::place::Repo;
use super::source::{self, Reading, Skip};
use super::wire::{Field, Raw, Text, object, read};
use crate::config::model::Bitbucket;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome, PullRequest};

const SOURCE: &str = "bitbucket";
/// Hashes of pull requests are abbreviated, those of pushes are not.
const FULL_HASH: usize = 40;

pub type Context<'a> = source::Context<'a, Bitbucket>;
type List<T> = Vec<Field<T>>;

object! {
    pub struct Payload<'a> {
        repository: "repository" Repository<'a>,
        push: "push" Push<'a>,
        request: "pullrequest" Request<'a>,
        status: "commit_status" Status<'a>,
    }

    pub struct Repository<'a> {
        full_name: "full_name" Text<'a>,
    }

    pub struct Push<'a> {
        changes: "changes" List<Change<'a>>,
    }

    pub struct Change<'a> {
        new: "new" Reference<'a>,
        commits: "commits" List<Raw<'a>>,
        truncated: "truncated" bool,
    }

    pub struct Reference<'a> {
        kind: "type" Text<'a>,
        name: "name" Text<'a>,
    }

    pub struct Listed<'a> {
        hash: "hash" Text<'a>,
        date: "date" Text<'a>,
        parents: "parents" List<Raw<'a>>,
    }

    pub struct Request<'a> {
        id: "id" u64,
        created_on: "created_on" Text<'a>,
        updated_on: "updated_on" Text<'a>,
        merge_commit: "merge_commit" Hash<'a>,
        destination: "destination" Destination<'a>,
    }

    pub struct Destination<'a> {
        branch: "branch" Reference<'a>,
    }

    pub struct Hash<'a> {
        hash: "hash" Text<'a>,
    }

    pub struct Status<'a> {
        key: "key" Text<'a>,
        name: "name" Text<'a>,
        state: "state" Text<'a>,
        url: "url" Text<'a>,
        created_on: "created_on" Text<'a>,
        updated_on: "updated_on" Text<'a>,
        links: "links" Links<'a>,
    }

    pub struct Links<'a> {
        commit: "commit" Link<'a>,
    }

    pub struct Link<'a> {
        href: "href" Text<'a>,
    }
}

/// Reads the body of a delivery; `event` is the value of `X-Event-Key`.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(event: &str, body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    match event {
        "repo:push" => push(read(body)?, context),
        "pullrequest:fulfilled" => merged(read(body)?, body, context),
        "repo:commit_status_created" | "repo:commit_status_updated" => status(read(body)?, body, context),
        "diagnostics:ping" => Ok(Reading::skipped(Skip::Test, "pong: the webhook works")),
        other if other.starts_with("pullrequest:") => {
            let words = format!("{other}: a pull request becomes a change when it is merged");
            Ok(Reading::skipped(Skip::NotMerged, words))
        }
        other => Ok(Reading::skipped(Skip::UnusedEvent, format!("DevPulse does not use {other}"))),
    }
}

fn repo<'a>(field: Field<Repository<'_>>, context: &Context<'a>) -> Result<Repo<'a>, Fault> {
    let repository = field.required("/repository", "Bitbucket names the repository of every event")?;
    Repo::of(SOURCE, repository.full_name, "/repository/full_name", context.services)
}

fn is_main(branch: &str, context: &Context<'_>) -> bool {
    context.settings.main_branches.iter().any(|main| main == branch)
}

/// Commits pushed to a main branch are merged; others are not yet, whatever they are.
fn push(payload: Payload<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(payload.repository, context)?;
    let push = payload.push.required("/push", "Bitbucket describes the push there")?;
    let changes = push.changes.required("/push/changes", "a push lists what it changed")?;
    let (mut facts, mut truncated) = (Vec::new(), false);
    for (i, change) in changes.into_iter().enumerate() {
        let Field::Given(change) = change else { continue };
        // Nothing is new where a branch was deleted.
        let Field::Given(new) = change.new else { continue };
        if text(new.kind) != "branch" || !is_main(&text(new.name), context) {
            continue;
        }
        truncated |= change.truncated == Field::Given(true);
        let Field::Given(commits) = change.commits else { continue };
        for (j, raw) in commits.into_iter().enumerate() {
            facts.push(commit(raw, &format!("/push/changes/{i}/commits/{j}"), &repo, context)?);
        }
    }
    let listed = facts.len();
    match (listed, truncated) {
        (0, _) => {
            let words = "the push brought no commits to a branch of sources.bitbucket.main_branches";
            Ok(Reading::skipped(Skip::NotMerged, words))
        }
        (_, true) => {
            let words = format!(
                "Bitbucket lists {listed} commits of a push that has more: the others are no changes yet; \
                 `devpulse import git` adds them"
            );
            Ok(Reading::Partial(facts, words))
        }
        (_, false) => Ok(Reading::Facts(facts)),
    }
}

fn commit(raw: Field<Raw<'_>>, at: &str, repo: &Repo<'_>, context: &Context<'_>) -> Result<Fact, Fault> {
    let Raw(raw) = raw.required(at, "it is null")?;
    let listed: Listed<'_> = read(raw).map_err(|fault| Fault::new(at, fault.detail()))?;
    let written_at = listed.date.moment(format_args!("{at}/date"))?;
    let commit = Commit {
        sha: listed.hash.needed(format_args!("{at}/hash"), SHA, "which commit is it?")?.into_owned(),
        authored_at: written_at,
        committed_at: written_at,
        merge: matches!(&listed.parents, Field::Given(parents) if parents.len() > 1),
        pushed_before: false,
        paths: Vec::new(),
    };
    let parts = [SOURCE, "push", repo.name.as_str(), &commit.sha.clone()];
    // Bitbucket does not say when it was pushed: it tells at once.
    let change = commit.change(repo, Some(context.received_at));
    Ok(fact_known_by(&parts, DeliveryEvent::Change(change), raw))
}

/// A merged pull request tells the times of the review of the commit it became.
fn merged(payload: Payload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(payload.repository, context)?;
    let request = payload.request.required("/pullrequest", "Bitbucket describes the pull request there")?;
    let destination = request.destination.required("/pullrequest/destination", "where was it merged to?")?;
    let branch = destination.branch.required("/pullrequest/destination/branch", "where was it merged to?")?;
    let branch = branch.name.needed("/pullrequest/destination/branch/name", NAME, "where was it merged to?")?;
    if !is_main(&branch, context) {
        let words = format!("merged to {branch}, which is not one of sources.bitbucket.main_branches");
        return Ok(Reading::skipped(Skip::NotMerged, words));
    }
    let commit = request.merge_commit.required("/pullrequest/merge_commit", "which commit did it become?")?;
    let sha = commit.hash.needed("/pullrequest/merge_commit/hash", SHA, "which commit did it become?")?;
    if sha.len() < FULL_HASH {
        let words = "its commits come with the push; Bitbucket abbreviates the hash of the commit it became";
        return Ok(Reading::skipped(Skip::CountedElsewhere, words));
    }
    let at = "/pullrequest/updated_on";
    let merged_at = request.updated_on.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it merged?"))?;
    let pull = PullRequest {
        number: request.id.required("/pullrequest/id", "which pull request is it?")?,
        opened_at: request.created_on.moment("/pullrequest/created_on")?,
        merged_at: Some(merged_at),
        ..PullRequest::default()
    };
    let change = commits::of_request(&repo, sha.into_owned(), pull, merged_at);
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Change(change), Some(merged_at), context.received_at, raw)?]))
}

/// A status that the configuration names says how a deployment of its commit went.
fn status(payload: Payload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(payload.repository, context)?;
    let status = payload.status.required("/commit_status", "Bitbucket describes the status there")?;
    let state = status.state.needed("/commit_status/state", NAME, "which state is it in?")?;
    let outcome = match &*state {
        "INPROGRESS" => DeploymentOutcome::InProgress,
        "SUCCESSFUL" => DeploymentOutcome::Succeeded,
        "FAILED" => DeploymentOutcome::Failed,
        "STOPPED" => DeploymentOutcome::Cancelled,
        other => return Ok(Reading::skipped(Skip::NoChange, format!("the state {other} is not known to DevPulse"))),
    };
    let key = status.key.needed("/commit_status/key", NAME, "Bitbucket gives each status one")?;
    let href = match status.links {
        Field::Given(Links { commit: Field::Given(link), .. }) => text(link.href),
        _ => Text::Borrowed(""),
    };
    let sha = href.rsplit('/').next().filter(|sha| SHA.check(sha).is_ok());
    let sha = sha.ok_or_else(|| Fault::new("/commit_status/links/commit/href", "is missing: which commit is it?"))?;
    let at = "/commit_status/updated_on";
    let time = status.updated_on.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when did the state change?"))?;
    let run = Run {
        system: SOURCE,
        scope: repo.name.clone(),
        id: format!("{sha}/{key}"),
        names: [Some(key.clone().into_owned()), fitting(&status.name, NAME)].into_iter().flatten().collect(),
        repository: Some(repo.name),
        outcome,
        time,
    };
    let pipelines = source::Context {
        received_at: context.received_at,
        settings: &context.settings.pipelines,
        services: context.services,
        environments: context.environments,
    };
    let Some(environment) = run.target(pipelines.settings) else {
        let words = format!("the status {key} is not named in sources.bitbucket.deployment_statuses");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let event = DeploymentEvent {
        commit: Some(sha.to_owned()),
        started_at: status.created_on.moment("/commit_status/created_on")?,
        url: url(&[status.url]),
        ..run.deployment(environment, &pipelines)
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}
