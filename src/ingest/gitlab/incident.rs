//! Incidents: work items of the type incident, and issues with one of `sources.gitlab.incident_labels`.

use super::{Context, Project, project, repo};
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
use crate::ingest::fault::{Fault, NAME, TITLE};
use crate::ingest::key::fact;
use crate::ingest::lenient::{fitting, text, url};
use crate::ingest::source::{Reading, Skip};
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
    let moment = |name: &str, field: &Field<Text<'_>>| field.clone().moment(format_args!("/object_attributes/{name}"));
    let needed = |name: &str, field: &Field<Text<'_>>| {
        let at = format!("/object_attributes/{name}");
        moment(name, field)?.ok_or_else(|| Fault::new(at, "is missing: when was that?"))
    };
    let acknowledged = text(item.escalation_status.clone()) == "acknowledged";
    let (status, time) = match &*action {
        "open" => (IncidentStatus::Opened, needed("created_at", &item.created_at)?),
        "close" => {
            let closed = moment("closed_at", &item.closed_at)?;
            (IncidentStatus::Resolved, closed.map_or_else(|| needed("updated_at", &item.updated_at), Ok)?)
        }
        "reopen" => (IncidentStatus::Reopened, needed("updated_at", &item.updated_at)?),
        "update" if !by_type && labelled && !labelled_before => {
            (IncidentStatus::Opened, needed("updated_at", &item.updated_at)?)
        }
        "update" if !by_type && !labelled => (IncidentStatus::Resolved, needed("updated_at", &item.updated_at)?),
        "update" if acknowledged => (IncidentStatus::Acknowledged, needed("updated_at", &item.updated_at)?),
        other => {
            return Ok(Reading::skipped(Skip::NoChange, format!("{other} changes nothing about the incident")));
        }
    };
    let started_at = moment("created_at", &item.created_at)?;
    incident(&payload.project, &item, &labels, (status, time, started_at), raw, context)
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
    of: &Field<Project<'_>>,
    item: &Item<'_>,
    labels: &[String],
    (status, time, started_at): (IncidentStatus, Timestamp, Option<Timestamp>),
    raw: &str,
    context: &Context<'_>,
) -> Result<Reading, Fault> {
    let repo = repo(&project(of.clone())?, context)?;
    let number = item.iid.clone().required("/object_attributes/iid", "which work item is it?")?;
    let hints: Vec<&str> = labels.iter().map(String::as_str).collect();
    let key = EntityKey { source: repo.source(), id: number.to_string() };
    let event = IncidentEvent {
        service: Some(repo.service(&hints)),
        // Whenever somebody called it an incident: it began when it was written down.
        started_at,
        severity: fitting(&item.severity, NAME).filter(|severity| severity != "unknown"),
        title: fitting(&item.title, TITLE),
        url: url(std::slice::from_ref(&item.url)),
        ..IncidentEvent::new(key, time, status)
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Incident(event), Some(time), context.received_at, raw)?]))
}
