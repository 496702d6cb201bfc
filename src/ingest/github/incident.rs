//! `issues`: an issue with one of `sources.github.incident_labels` is an incident.

use std::collections::BTreeMap;

use super::Context;
use super::shapes::{Issue, IssuePayload, repo, repository};
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{Fault, NAME, TITLE};
use crate::ingest::key::fact;
use crate::ingest::lenient::{text, url};
use crate::ingest::place::Repo;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::step::Step;
use crate::ingest::wire::{Field, Text};
use crate::time::Timestamp;

pub fn issue(payload: IssuePayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let action = payload.action.needed("/action", NAME, "what happened to the issue?")?;
    let issue = payload.issue.required("/issue", "GitHub describes the issue there")?;
    let labels = names(&issue);
    let label = match payload.label {
        Field::Given(label) => text(label.name).into_owned(),
        _ => String::new(),
    };
    let is_incident = |label: &String| context.settings.incident_labels.contains(label);
    let labelled = labels.iter().any(is_incident);
    let concerned = match &*action {
        "labeled" => is_incident(&label),
        "unlabeled" => is_incident(&label) && !labelled,
        _ => labelled,
    };
    if !concerned {
        let words = "no label of sources.github.incident_labels makes this issue an incident";
        return Ok(Reading::skipped(Skip::NotAnIncident, words));
    }
    let steps = steps(&action, &issue)?;
    if steps.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, format!("{action} changes nothing about the incident")));
    }
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let facts = steps.into_iter().map(|step| incident(&step, &issue, &labels, &repo, raw, context));
    Ok(Reading::Facts(facts.collect::<Result<_, _>>()?))
}

fn names(issue: &Issue<'_>) -> Vec<String> {
    let Field::Given(labels) = &issue.labels else { return Vec::new() };
    let given = labels.iter().filter_map(|label| match label {
        Field::Given(label) => Some(text(label.name.clone()).into_owned()),
        _ => None,
    });
    given.collect()
}

fn steps(action: &str, issue: &Issue<'_>) -> Result<Vec<Step>, Fault> {
    let at = |name: &str, field: &Field<Text<'_>>| {
        let time = field.clone().moment(format_args!("/issue/{name}"))?;
        time.ok_or_else(|| Fault::new(format_args!("/issue/{name}"), "is missing: when was that?"))
    };
    let created = || at("created_at", &issue.created_at);
    let updated = || at("updated_at", &issue.updated_at);
    let closed = || at("closed_at", &issue.closed_at);
    Ok(match action {
        "opened" => vec![Step::new(IncidentStatus::Opened, created()?)],
        "labeled" if text(issue.state.clone()) == "closed" => Step::in_hindsight(created()?, closed()?, updated()?),
        "labeled" => vec![Step::new(IncidentStatus::Opened, updated()?)],
        "reopened" => vec![Step::new(IncidentStatus::Reopened, updated()?)],
        "closed" => vec![Step::resolved(closed()?)],
        "unlabeled" => vec![Step::withdrawn(Some(updated()?), "unlabeled")],
        // GitHub does not say when. A transferred issue is an incident of where it went.
        "deleted" => vec![Step::withdrawn(None, "deleted")],
        "transferred" => vec![Step::withdrawn(None, "transferred")],
        _ => Vec::new(),
    })
}

fn incident(
    step: &Step,
    issue: &Issue<'_>,
    labels: &[String],
    repo: &Repo<'_>,
    raw: &str,
    context: &Context<'_>,
) -> Result<Fact, Fault> {
    let number = issue.number.clone().required("/issue/number", "which issue is it?")?;
    let hints: Vec<&str> = labels.iter().map(String::as_str).collect();
    let title = issue.title.clone().within("/issue/title", TITLE)?;
    let attributes = step.resolution.map(|how| ("resolution".to_owned(), how.to_owned()));
    let key = EntityKey { source: repo.source(), id: number.to_string() };
    let event = IncidentEvent {
        service: Some(repo.service(&hints)),
        // Whenever somebody called it an incident: it began when it was written down.
        started_at: issue.created_at.clone().moment("/issue/created_at")?,
        severity: labels.iter().find_map(|label| severity(label)),
        title: title.map(Text::into_owned),
        url: url(std::slice::from_ref(&issue.html_url)),
        attributes: attributes.into_iter().collect::<BTreeMap<_, _>>(),
        ..IncidentEvent::new(key, Timestamp::default(), step.status)
    };
    fact(DeliveryEvent::Incident(event), step.time, context.received_at, raw)
}

/// Labels such as `severity: critical`, `severity/high`, `sev1`.
fn severity(label: &str) -> Option<String> {
    let lower = label.to_ascii_lowercase();
    let value = match lower.strip_prefix("severity") {
        Some(rest) => rest.trim_start_matches([':', '/', '-', '=', ' ']),
        None if lower.starts_with("sev") => lower.as_str(),
        None => return None,
    };
    NAME.check(value).is_ok().then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_read_off_labels() {
        assert_eq!(severity("Severity: Critical").as_deref(), Some("critical"));
        assert_eq!(severity("sev1").as_deref(), Some("sev1"));
        assert_eq!(severity("severity"), None);
        assert_eq!(severity("bug"), None);
    }
}
