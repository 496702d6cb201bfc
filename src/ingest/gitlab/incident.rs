//! Incidents: work items of the type incident, and issues with one of `sources.gitlab.incident_labels`.

use super::{Context, Project, project, repo};
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, TITLE};
use crate::ingest::key::fact;
use crate::ingest::lenient::{fitting, text, url};
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::step::Step;
use crate::ingest::wire::{Field, Text, object};
use crate::time::Timestamp;

type List<T> = Vec<Field<T>>;

object! {
    pub struct Payload<'a> {
        project: "project" Project<'a>,
        item: "object_attributes" Item<'a>,
        changes: "changes" Changes<'a>,
    }

    pub struct Item<'a> {
        iid: "iid" u64,
        kind: "type" Text<'a>,
        action: "action" Text<'a>,
        state: "state" Text<'a>,
        title: "title" Text<'a>,
        url: "url" Text<'a>,
        severity: "severity" Text<'a>,
        escalation_status: "escalation_status" Text<'a>,
        created_at: "created_at" Text<'a>,
        updated_at: "updated_at" Text<'a>,
        closed_at: "closed_at" Text<'a>,
        labels: "labels" List<Label<'a>>,
    }

    pub struct Label<'a> {
        title: "title" Text<'a>,
    }

    pub struct Changes<'a> {
        labels: "labels" LabelsChanged<'a>,
    }

    pub struct LabelsChanged<'a> {
        previous: "previous" List<Label<'a>>,
    }
}

pub fn work_item(payload: Payload<'_>, kind: &str, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let item = payload.item.required("/object_attributes", "GitLab describes the work item there")?;
    let by_type = kind == "incident" || text(item.kind.clone()).eq_ignore_ascii_case("incident");
    let labels = names(&item.labels);
    let is_incident = |labels: &[String]| labels.iter().any(|label| context.settings.incident_labels.contains(label));
    let labelled = is_incident(&labels);
    // An update tells the labels from before when it changed them.
    let labelled_before = match &payload.changes {
        Field::Given(Changes { labels: Field::Given(changed), .. }) => is_incident(&names(&changed.previous)),
        _ => labelled,
    };
    if !by_type && !labelled && !labelled_before {
        let words = "neither its type nor a label of sources.gitlab.incident_labels makes this an incident";
        return Ok(Reading::skipped(Skip::NotAnIncident, words));
    }
    let action = item.action.clone().within("/object_attributes/action", NAME)?.unwrap_or_default();
    let relabelled = match (labelled_before, labelled) {
        _ if by_type => Relabelled::No,
        (false, true) => Relabelled::Became,
        (true, false) => Relabelled::Ceased,
        _ => Relabelled::No,
    };
    let steps = steps(&action, by_type, relabelled, &item)?;
    if steps.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, format!("{action} changes nothing about the incident")));
    }
    let repo = repo(&project(payload.project.clone())?, context)?;
    let facts = steps.into_iter().map(|step| incident(&step, &item, &labels, &repo, raw, context));
    Ok(Reading::Facts(facts.collect::<Result<_, _>>()?))
}

/// What the message did to the labels that make an issue an incident.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relabelled {
    No,
    Became,
    Ceased,
}

fn steps(action: &str, by_type: bool, relabelled: Relabelled, item: &Item<'_>) -> Result<Vec<Step>, Fault> {
    let moment = |name: &str, field: &Field<Text<'_>>| field.clone().moment(format_args!("/object_attributes/{name}"));
    let needed = |name: &str, field: &Field<Text<'_>>| {
        let at = format!("/object_attributes/{name}");
        moment(name, field)?.ok_or_else(|| Fault::new(at, "is missing: when was that?"))
    };
    let created = || needed("created_at", &item.created_at);
    let updated = || needed("updated_at", &item.updated_at);
    let closed = || moment("closed_at", &item.closed_at)?.map_or_else(updated, Ok);
    Ok(match action {
        _ if relabelled == Relabelled::Ceased => vec![Step::withdrawn(Some(updated()?), "unlabeled")],
        "open" => vec![Step::new(IncidentStatus::Opened, created()?)],
        "close" => vec![Step::resolved(closed()?)],
        "reopen" => vec![Step::new(IncidentStatus::Reopened, updated()?)],
        "update" if relabelled == Relabelled::Became && text(item.state.clone()) == "closed" => {
            Step::in_hindsight(created()?, closed()?, updated()?)
        }
        "update" if relabelled == Relabelled::Became => vec![Step::new(IncidentStatus::Opened, updated()?)],
        "update" if text(item.escalation_status.clone()) == "acknowledged" => {
            vec![Step::new(IncidentStatus::Acknowledged, updated()?)]
        }
        // Its type may be what was updated, which GitLab does not say: said again, this changes nothing.
        "update" if by_type && text(item.state.clone()) == "opened" => {
            vec![Step::new(IncidentStatus::Opened, created()?)]
        }
        _ => Vec::new(),
    })
}

fn names(labels: &Field<List<Label<'_>>>) -> Vec<String> {
    let Field::Given(labels) = labels else { return Vec::new() };
    let given = labels.iter().filter_map(|label| match label {
        Field::Given(label) => Some(text(label.title.clone()).into_owned()),
        _ => None,
    });
    given.collect()
}

fn incident(
    step: &Step,
    item: &Item<'_>,
    labels: &[String],
    repo: &Repo<'_>,
    raw: &str,
    context: &Context<'_>,
) -> Result<Fact, Fault> {
    let number = item.iid.clone().required("/object_attributes/iid", "which work item is it?")?;
    let hints: Vec<&str> = labels.iter().map(String::as_str).collect();
    let attributes = step.resolution.map(|how| ("resolution".to_owned(), how.to_owned()));
    let key = EntityKey { source: repo.source(), id: number.to_string() };
    let event = IncidentEvent {
        service: Some(repo.service(&hints)),
        // Whenever somebody called it an incident: it began when it was written down.
        started_at: item.created_at.clone().moment("/object_attributes/created_at")?,
        severity: fitting(&item.severity, NAME).filter(|severity| severity != "unknown"),
        title: fitting(&item.title, TITLE),
        url: url(std::slice::from_ref(&item.url)),
        attributes: attributes.into_iter().collect(),
        ..IncidentEvent::new(key, Timestamp::default(), step.status)
    };
    fact(DeliveryEvent::Incident(event), step.time, context.received_at, raw)
}
