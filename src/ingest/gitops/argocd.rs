//! Argo CD's notifications, in the form of `deploy/argocd/devpulse-notifications.yaml`.
//!
//! Argo CD remembers its last syncs. Those of one revision in a row are one deployment, whose id is
//! that of the first of them: a sync of what is deployed already is none, a return to an earlier
//! revision is one.

use std::collections::BTreeMap;

use crate::config::model::Labelled;
use crate::event::{ChangeRef, DeliveryEvent, DeploymentEvent, DeploymentOutcome, EntityKey};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, URL};
use crate::ingest::key::fact_known_by;
use crate::ingest::lenient::version_of;
use crate::ingest::names::is_commit;
use crate::ingest::pipeline::repository_of;
use crate::ingest::source::{Context, Reading, Skip};
use crate::ingest::wire::{Entries, Field, Text, object, read};
use crate::time::Timestamp;

const SOURCE: &str = "argocd";
/// Kept of a revision in an id: enough to tell two apart.
const SHORT: usize = 12;

type List<T> = Vec<Field<T>>;

object! {
    pub struct Payload<'a> {
        application: "application" Application<'a>,
        project: "project" Text<'a>,
        destination: "destination" Destination<'a>,
        source: "source" Origin<'a>,
        sources: "sources" List<Origin<'a>>,
        operation: "operation" Operation<'a>,
        result: "result" Revisions<'a>,
        history: "history" List<Sync<'a>>,
        health: "health" Health<'a>,
        images: "images" List<Text<'a>>,
        url: "url" Text<'a>,
    }

    pub struct Application<'a> {
        name: "name" Text<'a>,
        namespace: "namespace" Text<'a>,
        labels: "labels" Entries<'a>,
    }

    pub struct Destination<'a> {
        name: "name" Text<'a>,
        namespace: "namespace" Text<'a>,
    }

    pub struct Origin<'a> {
        address: "repoURL" Text<'a>,
        chart: "chart" Text<'a>,
    }

    pub struct Operation<'a> {
        phase: "phase" Text<'a>,
        started_at: "startedAt" Text<'a>,
        finished_at: "finishedAt" Text<'a>,
    }

    pub struct Revisions<'a> {
        revision: "revision" Text<'a>,
        revisions: "revisions" List<Text<'a>>,
    }

    pub struct Sync<'a> {
        id: "id" u64,
        revision: "revision" Text<'a>,
        revisions: "revisions" List<Text<'a>>,
        deployed_at: "deployedAt" Text<'a>,
    }

    pub struct Health<'a> {
        status: "status" Text<'a>,
        since: "lastTransitionTime" Text<'a>,
    }
}

/// A sync that Argo CD remembers.
struct Past {
    id: u64,
    revisions: Vec<String>,
    deployed_at: Option<Timestamp>,
}

/// Which deployment it is, and when it began and ended.
struct Attempt {
    number: u64,
    outcome: DeploymentOutcome,
    started_at: Option<Timestamp>,
    time: Timestamp,
}

/// Reads a notification.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_, Labelled>) -> Result<Reading, Fault> {
    let payload: Payload<'_> = read(body)?;
    let operation = payload.operation.clone().required("/operation", "is this DevPulse's template?")?;
    let phase = operation.phase.needed("/operation/phase", NAME, "how did the sync end?")?;
    let started_at = operation.started_at.moment("/operation/startedAt")?;
    let revisions = revisions(payload.result.clone().optional("/result")?.unwrap_or_default());
    let history = history(payload.history.clone())?;
    let ended = || {
        let at = "/operation/finishedAt";
        operation.finished_at.clone().moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when did the sync end?"))
    };
    let attempt = match &*phase {
        _ if revisions.is_empty() => Err("the sync ended before it had a revision"),
        "Succeeded" => succeeded(&payload, &revisions, &history, started_at, ended()?)?,
        "Failed" | "Error" => failed(&revisions, &history, started_at, ended()?),
        _ => Err("the sync is under way: its end is told, too"),
    };
    match attempt {
        Ok(attempt) => Ok(Reading::Facts(vec![payload.fact(&revisions, &attempt, body, context)?])),
        Err(reason) => Ok(Reading::skipped(Skip::NoChange, reason)),
    }
}

/// The end of a sync that applied everything; whether that works is what the health says.
fn succeeded(
    payload: &Payload<'_>,
    revisions: &[String],
    history: &[Past],
    started_at: Option<Timestamp>,
    ended: Timestamp,
) -> Result<Result<Attempt, &'static str>, Fault> {
    let health = payload.health.clone().required("/health", "is this DevPulse's template?")?;
    let status = health.status.needed("/health/status", NAME, "is the application healthy?")?;
    let outcome = match &*status {
        "Healthy" => DeploymentOutcome::Succeeded,
        // A deployment that was healthy once stays succeeded, whatever comes later.
        "Degraded" => DeploymentOutcome::Failed,
        _ => return Ok(Err("the application is neither healthy nor degraded yet")),
    };
    let same = history.iter().rev().take_while(|past| past.revisions == revisions).count();
    let first = same.checked_sub(1).and_then(|before| history.iter().nth_back(before));
    let Some(first) = first else {
        return Ok(Err("a sync of single resources is no deployment"));
    };
    if same == history.len() && first.id > 0 {
        return Ok(Err("every sync that Argo CD remembers (revisionHistoryLimit) has this revision"));
    }
    let since = health.since.moment("/health/lastTransitionTime")?;
    let again = same > 1;
    let time = match (outcome, first.deployed_at) {
        (DeploymentOutcome::Succeeded, Some(deployed_at)) if again => deployed_at,
        _ => since.map_or(ended, |since| since.max(ended)),
    };
    Ok(Ok(Attempt { number: first.id, outcome, started_at: started_at.filter(|_| !again), time }))
}

/// A sync that failed has no place in the history: were it tried again, it would have the next one.
fn failed(
    revisions: &[String],
    history: &[Past],
    started_at: Option<Timestamp>,
    time: Timestamp,
) -> Result<Attempt, &'static str> {
    let last = history.last();
    if last.is_some_and(|past| past.revisions == revisions) {
        return Err("the revision is deployed already: another sync of it failed");
    }
    let number = last.map_or(0, |past| past.id.saturating_add(1));
    Ok(Attempt { number, outcome: DeploymentOutcome::Failed, started_at, time })
}

/// Of every source, in their order.
fn revisions(said: Revisions<'_>) -> Vec<String> {
    let several = texts(said.revisions);
    if several.is_empty() { texts(Field::Given(vec![said.revision])) } else { several }
}

fn texts(list: Field<List<Text<'_>>>) -> Vec<String> {
    let Field::Given(list) = list else { return Vec::new() };
    let usable = list.into_iter().filter_map(|text| match text {
        Field::Given(text) if URL.check(&text).is_ok() => Some(text.into_owned()),
        _ => None,
    });
    usable.collect()
}

fn history(field: Field<List<Sync<'_>>>) -> Result<Vec<Past>, Fault> {
    let list = field.optional("/history")?.unwrap_or_default();
    let past = |(i, sync): (usize, Field<Sync<'_>>)| {
        let at = format!("/history/{i}");
        let sync = sync.required(&at, "leave the entry out")?;
        Ok(Past {
            id: sync.id.optional(format_args!("{at}/id"))?.unwrap_or(0),
            deployed_at: sync.deployed_at.moment(format_args!("{at}/deployedAt"))?,
            revisions: revisions(Revisions { revision: sync.revision, revisions: sync.revisions, stray: None }),
        })
    };
    list.into_iter().enumerate().map(past).collect()
}

impl Payload<'_> {
    fn fact(
        &self,
        revisions: &[String],
        attempt: &Attempt,
        body: &str,
        context: &Context<'_, Labelled>,
    ) -> Result<Fact, Fault> {
        let application = self.application.clone().required("/application", "is this DevPulse's template?")?;
        let name = application.name.needed("/application/name", NAME, "which application is it?")?;
        let label = |name: &str| match &application.labels {
            Field::Given(Entries(labels)) => {
                labels.iter().find(|label| label.0 == name).and_then(|label| text(&label.1))
            }
            _ => None,
        };
        let destination = self.destination.clone().optional("/destination")?.unwrap_or_default();
        let hint = |field: &Field<Text<'_>>| text(field).unwrap_or_default();
        let hints = [hint(&self.project), hint(&destination.name), hint(&destination.namespace)];
        let place = context.place(&name, label, &[&hints[0], &hints[1], &hints[2]]);
        let short: Vec<String> = revisions.iter().map(|revision| revision.chars().take(SHORT).collect()).collect();
        let namespace = text(&application.namespace).unwrap_or_default();
        let id = format!("{namespace}/{name}/{}/{}", attempt.number, short.join("+"));
        let commits = self.commits(revisions);
        let single = if let [only] = commits.as_slice() { Some(only.clone()) } else { None };
        let canonical = context.environments.canonical(&place.environment).to_owned();
        let key = EntityKey { source: SOURCE.to_owned(), id: id.clone() };
        let version = self.version(&place.service, revisions, label("app.kubernetes.io/version"));
        let mut event = DeploymentEvent {
            version,
            commit: single.as_ref().map(|commit| commit.sha.clone()),
            started_at: attempt.started_at,
            url: text(&self.url).filter(|url| URL.check(url).is_ok()),
            repository: single.as_ref().map(|commit| commit.repository.clone()),
            changes: if single.is_some() { Vec::new() } else { commits },
            attributes: BTreeMap::from([("revision".to_owned(), revisions.join(", "))]),
            ..DeploymentEvent::new(key, attempt.time, place.service, place.environment, attempt.outcome)
        };
        event.name_environment(canonical);
        let succeeded = if attempt.outcome == DeploymentOutcome::Succeeded { "succeeded" } else { "failed" };
        // Several Argo CDs have applications of the same names.
        let (service, place) = (event.service.clone(), event.place().to_owned());
        let parts = [SOURCE, &id, succeeded, &service, &place];
        Ok(fact_known_by(&parts, DeliveryEvent::Deployment(event), body))
    }

    /// The commits that revisions of git are, each with its repository.
    fn commits(&self, revisions: &[String]) -> Vec<ChangeRef> {
        let origins = self.origins();
        let commits = origins.into_iter().zip(revisions).filter_map(|(origin, revision)| {
            let address = text(&origin.address)?;
            let of_git = is_commit(revision) && text(&origin.chart).is_none_or(|chart| chart.is_empty());
            let (sha, repository) = (revision.clone(), repository_of(&address)?);
            of_git.then_some(ChangeRef { repository, sha, authored_at: None, committed_at: None })
        });
        commits.filter(|commit| NAME.check(&commit.repository).is_ok()).collect()
    }

    fn origins(&self) -> Vec<Origin<'_>> {
        let several = match &self.sources {
            Field::Given(list) => list.as_slice(),
            _ => &[],
        };
        let several: Vec<Origin<'_>> = several.iter().filter_map(|origin| origin.clone().optional("").ok()?).collect();
        match (several.is_empty(), &self.source) {
            (true, Field::Given(only)) => vec![only.clone()],
            _ => several,
        }
    }

    /// What requests carry, as near as Argo CD knows it: its label, the tag of the service's image,
    /// the version of its chart.
    fn version(&self, service: &str, revisions: &[String], label: Option<String>) -> Option<String> {
        let images = texts(self.images.clone());
        let tagged: Vec<(&str, &str)> = images.iter().filter_map(|image| tagged(image)).collect();
        let mut own: Vec<&str> = tagged.iter().filter(|(name, _)| *name == service).map(|found| found.1).collect();
        if own.is_empty() && images.len() == 1 {
            own = tagged.iter().map(|found| found.1).collect();
        }
        // Pods of the version before may still be there: then two tags say nothing.
        let image = if let [only] = own.as_slice() { Some((*only).to_owned()) } else { None };
        let chart = || {
            let charts = self.origins().into_iter().zip(revisions).filter(|(origin, _)| text(&origin.chart).is_some());
            charts.into_iter().find_map(|(_, revision)| version_of(revision))
        };
        label.or(image).or_else(chart).filter(|version| NAME.check(version).is_ok())
    }
}

fn text(field: &Field<Text<'_>>) -> Option<String> {
    match field {
        Field::Given(text) => Some(text.to_string()),
        _ => None,
    }
}

/// `ghcr.io/acme/checkout:1.4.2@sha256:…` → `checkout`, `1.4.2`.
fn tagged(image: &str) -> Option<(&str, &str)> {
    let path = image.split('@').next()?;
    let last = path.rsplit('/').next()?;
    last.split_once(':').filter(|(_, tag)| *tag != "latest")
}

#[cfg(test)]
mod tests;
