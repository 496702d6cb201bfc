//! Bitbucket Cloud's webhooks: pushes, pull requests with their reviews, and the commit statuses that
//! `sources.bitbucket.deployment_statuses` names.
//!
//! <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/>. A push lists five commits;
//! payloads do not say which branch is the main one.

mod pull_request;

use super::commits::Commit;
use super::committer::Fact;
use super::fault::{Fault, NAME, SHA};
use super::key::{fact, fact_known_by};
use super::lenient::{fitting, text, url};
use super::pipeline::Run;
use super::place::Repo;
use super::requests::pushed;
use super::source::{self, Reading, Skip};
use super::wire::{Field, Raw, Text, object, read};
use crate::config::model::Bitbucket;
use crate::event::{ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentOutcome, PushRef};
use pull_request::{Account, Comment, Said};

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
        actor: "actor" Account<'a>,
        approval: "approval" Said<'a>,
        changes_request: "changes_request" Said<'a>,
        comment: "comment" Comment<'a>,
        status: "commit_status" Status<'a>,
    }

    pub struct Repository<'a> {
        full_name: "full_name" Text<'a>,
    }

    pub struct Push<'a> {
        changes: "changes" List<Change<'a>>,
    }

    pub struct Change<'a> {
        old: "old" Reference<'a>,
        new: "new" Reference<'a>,
        commits: "commits" List<Raw<'a>>,
        truncated: "truncated" bool,
    }

    pub struct Reference<'a> {
        kind: "type" Text<'a>,
        name: "name" Text<'a>,
        target: "target" Hash<'a>,
    }

    pub struct Listed<'a> {
        hash: "hash" Text<'a>,
        date: "date" Text<'a>,
        parents: "parents" List<Raw<'a>>,
    }

    pub struct Request<'a> {
        id: "id" u64,
        author: "author" Account<'a>,
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
    if let Some(event) = event.strip_prefix("pullrequest:") {
        return pull_request::pull_request(event, read(body)?, body, context);
    }
    match event {
        "repo:push" => push(read(body)?, body, context),
        "repo:commit_status_created" | "repo:commit_status_updated" => status(read(body)?, body, context),
        "diagnostics:ping" => Ok(Reading::skipped(Skip::Test, "pong: the webhook works")),
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
fn push(payload: Payload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(payload.repository, context)?;
    let push = payload.push.required("/push", "Bitbucket describes the push there")?;
    let changes = push.changes.required("/push/changes", "a push lists what it changed")?;
    let (mut facts, mut listed, mut truncated) = (Vec::new(), 0_usize, false);
    for (i, change) in changes.into_iter().enumerate() {
        let Field::Given(change) = change else { continue };
        // Nothing is new where a branch was deleted.
        let Field::Given(new) = change.new else { continue };
        let branch = text(new.name.clone());
        if text(new.kind.clone()) != "branch" || !is_main(&branch, context) {
            continue;
        }
        let cut = change.truncated == Field::Given(true);
        truncated |= cut;
        let Field::Given(commits) = change.commits else { continue };
        let at = format!("/push/changes/{i}");
        listed += commits.len();
        context.bounded(listed, "/push/changes")?;
        let mut read = Vec::new();
        for (j, raw) in commits.into_iter().enumerate() {
            read.push(commit(raw, &format!("{at}/commits/{j}"))?);
        }
        let head = head(&new, &format!("{at}/new"))?;
        let name = head.map(|head| PushRef { branch: branch.into_owned(), head });
        facts.extend(read.iter().map(|(raw, commit)| change_of(raw, commit, name.as_ref(), &repo, context)));
        if let Some(name) = name.filter(|_| !read.is_empty()) {
            let before = match &change.old {
                Field::Given(old) => self::head(old, &format!("{at}/old"))?,
                _ => None,
            };
            let kind = if cut { "cut push" } else { "whole push" };
            let parts = [SOURCE, kind, repo.name.as_str(), &name.branch.clone(), &name.head.clone()];
            let commits: Vec<Commit> = read.into_iter().map(|(_, commit)| commit).collect();
            let event = pushed(&repo, name, before, context.received_at, &commits, cut);
            facts.push(fact_known_by(&parts, DeliveryEvent::Push(event), raw));
        }
    }
    match (listed, truncated) {
        (0, _) => {
            let words = "the push brought no commits to a branch of sources.bitbucket.main_branches";
            Ok(Reading::skipped(Skip::NotMerged, words))
        }
        (_, true) => {
            let words = format!(
                "Bitbucket lists {listed} commits of a push that has more: the others are no changes; \
                 deployments have them all where a clone stands under `repositories` in the configuration"
            );
            Ok(Reading::Partial(facts, words))
        }
        (_, false) => Ok(Reading::Facts(facts)),
    }
}

/// Where a branch is.
fn head(reference: &Reference<'_>, at: &str) -> Result<Option<String>, Fault> {
    let Field::Given(target) = &reference.target else { return Ok(None) };
    Ok(target.hash.clone().within(format_args!("{at}/target/hash"), SHA)?.map(Text::into_owned))
}

fn commit<'a>(raw: Field<Raw<'a>>, at: &str) -> Result<(&'a str, Commit), Fault> {
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
    Ok((raw, commit))
}

fn change_of(raw: &str, commit: &Commit, push: Option<&PushRef>, repo: &Repo<'_>, context: &Context<'_>) -> Fact {
    let parts = [SOURCE, "push", repo.name.as_str(), &commit.sha];
    // Bitbucket does not say when it was pushed: it tells at once.
    let change = commit.clone().change(repo, Some(context.received_at));
    fact_known_by(&parts, DeliveryEvent::Change(ChangeEvent { push: push.cloned(), ..change }), raw)
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
        max_items: context.max_items,
    };
    let Some(environment) = run.target(pipelines.settings) else {
        let words = format!("the status {key} is not named in sources.bitbucket.deployment_statuses");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let event = DeploymentEvent {
        sighting: run.sighting(pipelines.settings),
        commit: Some(sha.to_owned()),
        url: url(&[status.url]),
        ..run.deployment(environment, &pipelines)
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}
