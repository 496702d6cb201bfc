//! `workflow_run`: a deployment only where `sources.github.deployment_workflows` says so. Each
//! attempt is one: running an old workflow again deploys again.

use std::collections::BTreeMap;

use super::Context;
use super::shapes::{Workflow, WorkflowPayload, WorkflowRun, repo, repository};
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome, EntityKey};
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::{text, url};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::Field;
use crate::time::Timestamp;

/// The environment that a run of this workflow deploys to, if its runs are deployments.
///
/// The configuration names workflows by name, by path or by file name.
pub fn counted_environment(
    run: &WorkflowRun<'_>,
    workflow: &Field<Workflow<'_>>,
    context: &Context<'_>,
) -> Option<String> {
    let mut names = vec![text(run.name.clone()), text(run.path.clone())];
    if let Field::Given(workflow) = workflow {
        names.extend([text(workflow.name.clone()), text(workflow.path.clone())]);
    }
    let found = names.iter().filter(|name| !name.is_empty()).find_map(|name| {
        // Paths of runs may carry the ref: `.github/workflows/deploy.yml@refs/heads/main`.
        let path = name.split('@').next().unwrap_or(name);
        let file = path.rsplit('/').next().unwrap_or(path);
        let workflows = &context.settings.deployment_workflows;
        workflows.get(&**name).or_else(|| workflows.get(path)).or_else(|| workflows.get(file))
    });
    found.map(|environment| context.environments.canonical(environment).to_owned())
}

pub fn run(payload: WorkflowPayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let run = payload.run.required("/workflow_run", "GitHub describes the run there")?;
    let Some(environment) = counted_environment(&run, &payload.workflow, context) else {
        let words = "this workflow is not named in sources.github.deployment_workflows";
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    if text(run.event.clone()).starts_with("pull_request") {
        return Ok(Reading::skipped(Skip::NotMerged, "a run for a pull request deploys nothing that is merged"));
    }
    let action = payload.action.needed("/action", NAME, "what happened to the run?")?;
    let (outcome, time) = match &*action {
        "completed" => match conclusion(&run)? {
            Ok(outcome) => (outcome, moment(&run, &["updated_at"])?),
            Err(words) => return Ok(Reading::skipped(Skip::NoChange, words)),
        },
        "requested" | "in_progress" => {
            (DeploymentOutcome::InProgress, moment(&run, &["run_started_at", "created_at"])?)
        }
        other => {
            let words = format!("the action {other} says nothing about a deployment");
            return Ok(Reading::skipped(Skip::NoChange, words));
        }
    };
    let id = run.id.clone().required("/workflow_run/id", "which run is it?")?;
    let attempt = run.attempt.clone().optional("/workflow_run/run_attempt")?.unwrap_or(1);
    let workflow = match payload.workflow {
        Field::Given(workflow) => text(workflow.name),
        _ => text(run.name.clone()),
    };
    let event = DeploymentEvent {
        key: EntityKey { source: repo.source(), id: format!("workflow-run/{id}/{attempt}") },
        time,
        service: repo.service(&[&workflow]),
        environment,
        place: None,
        version: None,
        commit: Some(run.head_sha.needed("/workflow_run/head_sha", SHA, "which commit is deployed?")?.into_owned()),
        outcome,
        started_at: run.run_started_at.moment("/workflow_run/run_started_at")?,
        kind: None,
        url: url(&[run.html_url]),
        schema: None,
        repository: Some(repo.name),
        changes: Vec::new(),
        rolls_back: None,
        sighting: None,
        artifact: None,
        chain: None,
        attributes: BTreeMap::new(),
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}

/// How a completed run ended; the inner error is why it does not count.
fn conclusion(run: &WorkflowRun<'_>) -> Result<Result<DeploymentOutcome, String>, Fault> {
    let fix = "a completed run has one";
    let conclusion = run.conclusion.clone().needed("/workflow_run/conclusion", NAME, fix)?;
    Ok(match &*conclusion {
        "success" => Ok(DeploymentOutcome::Succeeded),
        "failure" | "timed_out" | "startup_failure" => Ok(DeploymentOutcome::Failed),
        "cancelled" => Ok(DeploymentOutcome::Cancelled),
        other => Err(format!("a run that ended as {other} has deployed nothing")),
    })
}

/// The first of the run's times that is there.
fn moment(run: &WorkflowRun<'_>, fields: &[&'static str]) -> Result<Timestamp, Fault> {
    for field in fields {
        let value = match *field {
            "updated_at" => &run.updated_at,
            "run_started_at" => &run.run_started_at,
            _ => &run.created_at,
        };
        if let Some(time) = value.clone().moment(format_args!("/workflow_run/{field}"))? {
            return Ok(time);
        }
    }
    let last = fields.last().copied().unwrap_or_default();
    Err(Fault::new(format_args!("/workflow_run/{last}"), "is missing: when was that?"))
}
