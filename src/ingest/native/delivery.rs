//! Deployments, changes and incidents: checked, then facts.

use std::collections::{BTreeMap, BTreeSet};

use super::shapes::{Change, Deployment, Incident, NamedChange, NamedDeployment, PullRequest, Schema};
use super::{Context, check_attributes};
use crate::event::{
    ChangeEvent, ChangeRef, DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, DeploymentRef,
    EntityKey, IncidentEvent, IncidentStatus, SchemaDeclaration,
};
use crate::ingest::fault::{Fault, ID, Limit, NAME, PATH, SHA, SOURCE, TITLE, URL, suggestion};
use crate::ingest::wire::{Field, Object, Text};
use crate::time::Timestamp;

/// Where an event comes from when it does not say.
pub const DEFAULT_SOURCE: &str = "api";
const MAX_CHANGES: usize = 5_000;
const MAX_PATHS: usize = 5_000;
const MAX_DEPLOYMENTS: usize = 100;
const MAX_SERVICES: usize = 100;

/// An event and the time it was sent with; the event's own time is filled in later.
pub type Read = (DeliveryEvent, Option<Timestamp>);

const OUTCOMES: [(&str, DeploymentOutcome); 5] = [
    ("in_progress", DeploymentOutcome::InProgress),
    ("succeeded", DeploymentOutcome::Succeeded),
    ("failed", DeploymentOutcome::Failed),
    ("cancelled", DeploymentOutcome::Cancelled),
    ("withdrawn", DeploymentOutcome::Withdrawn),
];
const KINDS: [(&str, DeploymentKind); 3] =
    [("planned", DeploymentKind::Planned), ("rollback", DeploymentKind::Rollback), ("hotfix", DeploymentKind::Hotfix)];
const STATUSES: [(&str, IncidentStatus); 5] = [
    ("opened", IncidentStatus::Opened),
    ("acknowledged", IncidentStatus::Acknowledged),
    ("resolved", IncidentStatus::Resolved),
    ("reopened", IncidentStatus::Reopened),
    ("withdrawn", IncidentStatus::Withdrawn),
];

fn one_of<T: Copy>(at: &str, name: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    choices.iter().find(|choice| choice.0 == name).map(|choice| choice.1).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|choice| choice.0).collect();
        let near = suggestion(name, &names);
        let short: String = name.chars().take(40).collect();
        Fault::new(at, format!("is `{short}`, must be one of {}{near}", names.join(", ")))
    })
}

fn owned(text: Option<Text<'_>>) -> Option<String> {
    text.map(Text::into_owned)
}

fn source(field: Field<Text<'_>>) -> Result<String, Fault> {
    Ok(field.within("/source", SOURCE)?.map_or_else(|| DEFAULT_SOURCE.to_owned(), Text::into_owned))
}

fn list<T>(elements: Option<Vec<T>>, at: &str, most: usize) -> Result<Vec<T>, Fault> {
    let elements = elements.unwrap_or_default();
    if elements.len() > most {
        return Err(Fault::new(at, format!("has {} entries, at most {most} are allowed", elements.len())));
    }
    Ok(elements)
}

pub fn deployment(item: Deployment<'_>, context: &Context<'_>) -> Result<Read, Fault> {
    item.strict("")?;
    let id_fix = "its statuses are put together by source and id; give the id of the pipeline run or deployment";
    let id = item.id.needed("/id", ID, id_fix)?.into_owned();
    let key = EntityKey { source: source(item.source)?, id };
    let repository = owned(item.repository.within("/repository", NAME)?);
    let outcome_fix = "give in_progress, succeeded, failed, cancelled or withdrawn";
    let outcome = item.outcome.needed("/outcome", NAME, outcome_fix)?;
    let kind = item.nature.within("/kind", NAME)?;
    let changes = list(item.changes.optional("/changes")?, "/changes", MAX_CHANGES)?;
    let changes = changes.into_iter().enumerate().map(|(i, change)| named_change(i, change, repository.as_deref()));
    let time = context.time(item.time)?;
    let event = DeploymentEvent {
        time: Timestamp::default(),
        service: item.service.needed("/service", NAME, "name the service that was deployed")?.into_owned(),
        environment: item
            .environment
            .needed("/environment", NAME, "name the environment, such as production")?
            .into_owned(),
        place: None,
        version: owned(item.version.within("/version", NAME)?),
        commit: owned(item.commit.within("/commit", SHA)?),
        outcome: one_of("/outcome", &outcome, &OUTCOMES)?,
        started_at: context.moment("/started_at", item.started_at)?,
        kind: kind.map(|kind| one_of("/kind", &kind, &KINDS)).transpose()?,
        url: owned(item.url.within("/url", URL)?),
        schema: item.schema.optional("/schema")?.map(schema).transpose()?,
        repository: repository.clone(),
        changes: changes.collect::<Result<_, _>>()?,
        rolls_back: match item.rolls_back.optional("/rolls_back")? {
            None => None,
            Some(named) => Some(rolled_back(named, &key.source)?),
        },
        sighting: None,
        artifact: None,
        chain: None,
        attributes: check_attributes(item.attributes)?,
        key,
    };
    Ok((DeliveryEvent::Deployment(event), time))
}

fn schema(item: Schema<'_>) -> Result<SchemaDeclaration, Fault> {
    item.strict("/schema")?;
    let fix = "give the schema revision that this deployment runs on";
    Ok(SchemaDeclaration {
        revision: item.revision.needed("/schema/revision", NAME, fix)?.into_owned(),
        compatible_from: owned(item.compatible_from.within("/schema/compatible_from", NAME)?),
    })
}

fn named_change(i: usize, item: Field<NamedChange<'_>>, repository: Option<&str>) -> Result<ChangeRef, Fault> {
    let at = format_args!("/changes/{i}");
    let item = item.required(at, "leave the entry out")?;
    item.strict(at)?;
    let fix = "give OWNER/NAME here, or as `repository` of the deployment";
    let repository = match (item.repository, repository) {
        (Field::Absent, Some(repository)) => repository.to_owned(),
        (named, _) => named.needed(format_args!("{at}/repository"), NAME, fix)?.into_owned(),
    };
    Ok(ChangeRef {
        repository,
        sha: item.sha.needed(format_args!("{at}/sha"), SHA, "give the commit's full hash")?.into_owned(),
        authored_at: git_time(format_args!("{at}/authored_at"), item.authored_at)?,
        committed_at: git_time(format_args!("{at}/committed_at"), item.committed_at)?,
    })
}

/// What git says, which may be the clock of any laptop: only what cannot be a time is refused.
fn git_time(at: impl std::fmt::Display, field: Field<Text<'_>>) -> Result<Option<Timestamp>, Fault> {
    let time = field.moment(&at)?;
    if time.is_some_and(|time| time < Timestamp::default()) {
        return Err(Fault::new(at, "is before 1970"));
    }
    Ok(time)
}

fn rolled_back(item: NamedDeployment<'_>, own_source: &str) -> Result<EntityKey, Fault> {
    item.strict("/rolls_back")?;
    if item.version != Field::Absent || item.commit != Field::Absent {
        return Err(Fault::new("/rolls_back", "names the failed deployment by id and source only"));
    }
    let id = item.id.needed("/rolls_back/id", ID, "give the id of the failed deployment")?.into_owned();
    let source = owned(item.source.within("/rolls_back/source", SOURCE)?).unwrap_or_else(|| own_source.to_owned());
    Ok(EntityKey { source, id })
}

pub fn change(item: Change<'_>, context: &Context<'_>) -> Result<Read, Fault> {
    item.strict("")?;
    let sha = item.sha.needed("/sha", SHA, "give the commit's full hash")?.into_owned();
    let id = item.id.within("/id", ID)?.map_or_else(|| sha.clone(), Text::into_owned);
    item.environment.within("/environment", NAME)?;
    item.version.within("/version", NAME)?;
    let paths = list(item.paths.optional("/paths")?, "/paths", MAX_PATHS)?.into_iter().enumerate();
    let paths = paths
        .map(|(i, path)| path.needed(format_args!("/paths/{i}"), PATH, "leave the entry out").map(Text::into_owned));
    let time = context.time(item.time)?;
    let event = ChangeEvent {
        key: EntityKey { source: source(item.source)?, id },
        time: Timestamp::default(),
        repository: item.repository.needed("/repository", NAME, "give OWNER/NAME of the repository")?.into_owned(),
        sha,
        service: owned(item.service.within("/service", NAME)?),
        authored_at: git_time("/authored_at", item.authored_at)?,
        committed_at: git_time("/committed_at", item.committed_at)?,
        merged_at: context.moment("/merged_at", item.merged_at)?,
        pull_request: match item.pull_request.optional("/pull_request")? {
            None => None,
            Some(item) => Some(pull_request(item, context)?),
        },
        merge: item.merge.optional("/merge")?.unwrap_or(false),
        paths: paths.collect::<Result<_, _>>()?,
        push: None,
        attributes: check_attributes(item.attributes)?,
    };
    Ok((DeliveryEvent::Change(event), time))
}

fn pull_request(item: PullRequest<'_>, context: &Context<'_>) -> Result<crate::event::PullRequest, Fault> {
    item.strict("/pull_request")?;
    Ok(crate::event::PullRequest {
        number: item.number.required("/pull_request/number", "give the pull request's number")?,
        opened_at: context.moment("/pull_request/opened_at", item.opened_at)?,
        first_commit_at: git_time("/pull_request/first_commit_at", item.first_commit_at)?,
        first_review_at: context.moment("/pull_request/first_review_at", item.first_review_at)?,
        approved_at: context.moment("/pull_request/approved_at", item.approved_at)?,
        merged_at: context.moment("/pull_request/merged_at", item.merged_at)?,
    })
}

pub fn incident(item: Incident<'_>, context: &Context<'_>) -> Result<Read, Fault> {
    item.strict("")?;
    let id_fix = "opening and resolution are put together by source and id; give the id of the incident";
    let key = EntityKey { id: item.id.needed("/id", ID, id_fix)?.into_owned(), source: source(item.source)? };
    let fix = "give opened, acknowledged, resolved, reopened or withdrawn";
    let status = item.status.needed("/status", NAME, fix)?;
    item.version.within("/version", NAME)?;
    let named = list(item.deployments.optional("/deployments")?, "/deployments", MAX_DEPLOYMENTS)?;
    let named = named.into_iter().enumerate().map(|(i, named)| named_deployment(i, named));
    let time = context.time(item.time)?;
    let mut services = services(item.service, item.services)?.into_iter();
    let event = IncidentEvent {
        time: Timestamp::default(),
        service: services.next(),
        other_services: services.collect(),
        environment: owned(item.environment.within("/environment", NAME)?),
        place: None,
        status: one_of("/status", &status, &STATUSES)?,
        started_at: context.moment("/started_at", item.started_at)?,
        detected_at: context.moment("/detected_at", item.detected_at)?,
        severity: owned(item.severity.within("/severity", NAME)?),
        title: owned(item.title.within("/title", TITLE)?),
        url: owned(item.url.within("/url", URL)?),
        deployments: named.collect::<Result<_, _>>()?,
        attributes: check_attributes(item.attributes)?,
        key,
    };
    Ok((DeliveryEvent::Incident(event), time))
}

/// `service` first, then those of `services` in order of their names, each once.
fn services(one: Field<Text<'_>>, more: Field<Vec<Field<Text<'_>>>>) -> Result<Vec<String>, Fault> {
    let first = owned(one.within("/service", NAME)?);
    let more = list(more.optional("/services")?, "/services", MAX_SERVICES)?.into_iter().enumerate();
    let more = more
        .map(|(i, name)| name.needed(format_args!("/services/{i}"), NAME, "leave the entry out").map(Text::into_owned));
    let mut more: BTreeSet<String> = more.collect::<Result<_, _>>()?;
    if let Some(first) = &first {
        more.remove(first);
    }
    Ok(first.into_iter().chain(more).collect())
}

/// By id (and source), or by version, or by commit.
fn named_deployment(i: usize, item: Field<NamedDeployment<'_>>) -> Result<DeploymentRef, Fault> {
    let at = format_args!("/deployments/{i}");
    let item = item.required(at, "leave the entry out")?;
    item.strict(at)?;
    let named = DeploymentRef {
        id: owned(item.id.within(format_args!("{at}/id"), ID)?),
        source: owned(item.source.within(format_args!("{at}/source"), SOURCE)?),
        version: owned(item.version.within(format_args!("{at}/version"), NAME)?),
        commit: owned(item.commit.within(format_args!("{at}/commit"), SHA)?),
    };
    match (&named.id, &named.version, &named.commit) {
        (None, None, None) => Err(Fault::new(at, "names no deployment: give id and source, or version, or commit")),
        (None, ..) if named.source.is_some() => {
            Err(Fault::new(format_args!("{at}/source"), "belongs to an id: give the id too, or leave it out"))
        }
        _ => Ok(named),
    }
}

/// Limits of `attributes`: at most 64, keys of 128 bytes, values of 1,024.
pub(super) fn attributes(entries: Vec<(Text<'_>, Field<Text<'_>>)>) -> Result<BTreeMap<String, String>, Fault> {
    const AT: &str = "/attributes";
    if entries.len() > 64 {
        return Err(Fault::new(AT, format!("has {} entries, at most 64 are allowed", entries.len())));
    }
    let mut kept = BTreeMap::new();
    for (key, value) in entries {
        let at = format_args!("{AT}/{}", crate::ingest::fault::step(&key));
        Limit::line(128).check(&key).map_err(|reason| Fault::new(at, format!("has a key that {reason}")))?;
        if let Some(value) = value.within(at, Limit::lines(1_024))?
            && kept.insert(key.to_string(), value.into_owned()).is_some()
        {
            return Err(Fault::new(at, "is given twice: keep one"));
        }
    }
    Ok(kept)
}
