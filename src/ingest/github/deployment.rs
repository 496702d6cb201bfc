//! `deployment` and `deployment_status`: one deployment is (repository, deployment id), however
//! many statuses it has; it finishes at its first success, else at its first final status.

use std::collections::BTreeMap;

use super::Context;
use super::shapes::{Declared, DeploymentPayload, DeploymentStatus, repo, repository};
use super::workflow::counted_environment;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, EntityKey};
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::{text, url, version_of};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Raw, Text, read};
use crate::time::Timestamp;

const DEPLOYMENT_FIX: &str = "GitHub describes the deployment there";
/// Where previews of pull requests are deployed to.
const PREVIEW: &str = "preview";

/// A deployment was created: it is under way.
pub fn created(payload: DeploymentPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let at = "/deployment/created_at";
    let deployment = payload.deployment.clone().required("/deployment", DEPLOYMENT_FIX)?;
    let time = deployment.created_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it created?"))?;
    facts(payload, DeploymentStatus::default(), DeploymentOutcome::InProgress, time, raw, context)
}

pub fn status(payload: DeploymentPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let status = payload.status.clone().required("/deployment_status", "GitHub describes the status there")?;
    let state = status.state.clone().needed("/deployment_status/state", NAME, "which state is it in?")?;
    let outcome = match &*state {
        "success" => DeploymentOutcome::Succeeded,
        "failure" | "error" => DeploymentOutcome::Failed,
        "in_progress" | "queued" | "pending" | "waiting" => DeploymentOutcome::InProgress,
        "inactive" => {
            return Ok(Reading::skipped(Skip::NoChange, "inactive: a later deployment has replaced this one"));
        }
        unknown => {
            return Ok(Reading::skipped(Skip::UnusedEvent, format!("the state {unknown} is not known to DevPulse")));
        }
    };
    let at = "/deployment_status/created_at";
    let time = status.created_at.clone().moment(at)?;
    let time = time.ok_or_else(|| Fault::new(at, "is missing: when did the state change?"))?;
    facts(payload, status, outcome, time, raw, context)
}

fn facts(
    payload: DeploymentPayload<'_>,
    status: DeploymentStatus<'_>,
    outcome: DeploymentOutcome,
    time: Timestamp,
    raw: &str,
    context: &Context<'_>,
) -> Result<Reading, Fault> {
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let deployment = payload.deployment.required("/deployment", DEPLOYMENT_FIX)?;
    let task = text(deployment.task.clone());
    let said_of_status = status.environment.within("/deployment_status/environment", NAME).unwrap_or(None);
    let sent = match said_of_status {
        Some(name) => name,
        None => deployment.environment.clone().needed("/deployment/environment", NAME, "where is it deployed to?")?,
    };
    let transient = deployment.transient == Field::Given(true);
    let production = deployment.production == Field::Given(true);
    // A preview of a pull request is never production, whatever it is called and patterns say.
    let environment = if transient {
        PREVIEW.to_owned()
    } else {
        let default = context.settings.default_environment.as_deref();
        repo.environment(&sent, production, context.environments, default)
    };
    if let Field::Given(run) = &payload.run
        && counted_environment(run, &payload.workflow, context).as_deref() == Some(environment.as_str())
    {
        let words = "the workflow run that made this deployment is itself counted as the deployment";
        return Ok(Reading::skipped(Skip::CountedElsewhere, words));
    }
    let declared = declared(&deployment.payload);
    let id = deployment.id.clone().required("/deployment/id", "which deployment is it?")?;
    let mut attributes = BTreeMap::new();
    if transient {
        attributes.insert("transient_environment".to_owned(), "true".to_owned());
    }
    let named_service = declared.service.within("/deployment/payload/service", NAME)?.map(Text::into_owned);
    let event = DeploymentEvent {
        key: EntityKey { source: repo.source(), id: id.to_string() },
        time,
        service: named_service.unwrap_or_else(|| repo.service(&[&task, &sent])),
        place: (environment != *sent).then(|| sent.clone().into_owned()),
        environment,
        version: match declared.version.within("/deployment/payload/version", NAME)? {
            Some(version) => Some(version.into_owned()),
            None => version_of(&text(deployment.git_ref.clone())),
        },
        kind: kind_of(&text(declared.kind), &task),
        url: url(&[status.log_url, status.target_url, deployment.url.clone()]),
        commit: Some(deployment.sha.needed("/deployment/sha", SHA, "which commit is deployed?")?.into_owned()),
        outcome,
        started_at: None,
        schema: None,
        repository: Some(repo.name),
        changes: Vec::new(),
        rolls_back: None,
        sighting: None,
        artifact: None,
        chain: None,
        attributes,
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}

/// `payload` is an object, or an object written into a text, or nothing of interest.
fn declared<'a>(payload: &Field<Raw<'a>>) -> Declared<'a> {
    let Field::Given(Raw(raw)) = payload else { return Declared::default() };
    if raw.starts_with('{') {
        return read(raw).unwrap_or_default();
    }
    let Ok(inner) = serde_json::from_str::<String>(raw) else { return Declared::default() };
    let Ok(declared) = read::<Declared<'_>>(&inner) else { return Declared::default() };
    let owned = |field: Field<Text<'_>>| match field {
        Field::Given(text) => Field::Given(Text::Owned(text.into_owned())),
        Field::Wrong(found) => Field::Wrong(found),
        Field::Absent => Field::Absent,
    };
    Declared {
        service: owned(declared.service),
        version: owned(declared.version),
        kind: owned(declared.kind),
        stray: None,
    }
}

/// As declared in the payload, else by the task: GitHub has no kinds of its own.
fn kind_of(declared: &str, task: &str) -> Option<DeploymentKind> {
    let kind = if declared.is_empty() { task } else { declared };
    match kind.split(':').next() {
        Some("rollback") => Some(DeploymentKind::Rollback),
        Some("hotfix") => Some(DeploymentKind::Hotfix),
        Some("planned") => Some(DeploymentKind::Planned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_the_payload_or_the_task() {
        assert_eq!(kind_of("", "rollback:db"), Some(DeploymentKind::Rollback));
        assert_eq!(kind_of("hotfix", "deploy"), Some(DeploymentKind::Hotfix));
        assert_eq!(kind_of("", "deploy"), None);
    }

    #[test]
    fn a_payload_written_into_a_text_is_read() {
        let declared = declared(&Field::Given(Raw(r#""{\"service\":\"checkout\"}""#)));
        assert_eq!(declared.service, Field::Given("checkout".into()));
    }
}
