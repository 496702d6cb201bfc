//! CircleCI's webhooks: completed workflows that `sources.circleci.deployment_workflows` names.
//!
//! <https://circleci.com/docs/reference/outbound-webhooks-reference/>. There is no event of a start.

use super::fault::{Fault, ID, NAME, SHA};
use super::key::fact_known_by;
use super::lenient::{fitting, text, url, version_of};
use super::pipeline::{Run, repository_of};
use super::source::{self, Reading, Skip};
use super::wire::{Field, Text, object, read};
use crate::config::model::Pipelines;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome};

const SOURCE: &str = "circleci";

pub type Context<'a> = source::Context<'a, Pipelines>;

object! {
    pub struct Payload<'a> {
        id: "id" Text<'a>,
        kind: "type" Text<'a>,
        happened_at: "happened_at" Text<'a>,
        project: "project" Project<'a>,
        workflow: "workflow" Workflow<'a>,
        pipeline: "pipeline" Pipeline<'a>,
    }

    pub struct Project<'a> {
        name: "name" Text<'a>,
        slug: "slug" Text<'a>,
    }

    pub struct Workflow<'a> {
        id: "id" Text<'a>,
        name: "name" Text<'a>,
        status: "status" Text<'a>,
        created_at: "created_at" Text<'a>,
        stopped_at: "stopped_at" Text<'a>,
        url: "url" Text<'a>,
    }

    pub struct Pipeline<'a> {
        vcs: "vcs" Vcs<'a>,
        parameters: "trigger_parameters" Parameters<'a>,
    }

    /// Of GitHub's OAuth app and of Bitbucket Cloud.
    pub struct Vcs<'a> {
        target: "target_repository_url" Text<'a>,
        origin: "origin_repository_url" Text<'a>,
        revision: "revision" Text<'a>,
        tag: "tag" Text<'a>,
    }

    /// Of every other host.
    pub struct Parameters<'a> {
        git: "git" Git<'a>,
    }

    pub struct Git<'a> {
        checkout_url: "checkout_url" Text<'a>,
        checkout_sha: "checkout_sha" Text<'a>,
        tag: "tag" Text<'a>,
    }
}

/// What was built.
#[derive(Default)]
struct Built {
    repository: Option<String>,
    commit: Option<String>,
    version: Option<String>,
    /// A pull request from another repository.
    fork: bool,
}

/// Reads a delivery.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let payload: Payload<'_> = read(body)?;
    let kind = payload.kind.needed("/type", NAME, "is this a webhook of CircleCI?")?;
    match &*kind {
        "workflow-completed" => {}
        "job-completed" => {
            return Ok(Reading::skipped(Skip::CountedElsewhere, "jobs are parts of workflows, which are counted"));
        }
        "ping" => return Ok(Reading::skipped(Skip::Test, "pong: the webhook works")),
        other => return Ok(Reading::skipped(Skip::UnusedEvent, format!("DevPulse does not use {other}"))),
    }
    let event_id = payload.id.needed("/id", ID, "CircleCI gives each event one")?;
    let workflow = payload.workflow.required("/workflow", "which workflow has ended?")?;
    let status = workflow.status.needed("/workflow/status", NAME, "how did it end?")?;
    let outcome = match &*status {
        "success" => DeploymentOutcome::Succeeded,
        "failed" | "error" => DeploymentOutcome::Failed,
        "canceled" => DeploymentOutcome::Cancelled,
        other => {
            let words = format!("a workflow that ended as {other} has deployed nothing");
            return Ok(Reading::skipped(Skip::NoChange, words));
        }
    };
    let name = workflow.name.needed("/workflow/name", NAME, "which workflow has ended?")?;
    let project = payload.project.required("/project", "CircleCI names the project of every event")?;
    let slug = project.slug.needed("/project/slug", ID, "CircleCI names the project of every event")?;
    let stopped = workflow.stopped_at.moment("/workflow/stopped_at")?;
    let happened = payload.happened_at.moment("/happened_at")?;
    let time = stopped.or(happened).ok_or_else(|| Fault::new("/happened_at", "is missing: when did it end?"))?;
    let built = built(payload.pipeline);
    let run = Run {
        system: SOURCE,
        scope: slug.into_owned(),
        id: workflow.id.needed("/workflow/id", ID, "which workflow has ended?")?.into_owned(),
        names: vec![format!("{}/{name}", text(project.name)), name.clone().into_owned()],
        repository: built.repository,
        outcome,
        time,
    };
    let Some(environment) = run.target(context.settings) else {
        let words = format!("the workflow {name} is not named in sources.circleci.deployment_workflows");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    if built.fork {
        return Ok(Reading::skipped(Skip::NotMerged, "a run for a fork deploys nothing that is merged"));
    }
    let event = DeploymentEvent {
        version: built.version,
        commit: built.commit,
        started_at: workflow.created_at.moment("/workflow/created_at")?,
        url: url(&[workflow.url]),
        ..run.deployment(environment, context)
    };
    Ok(Reading::Facts(vec![fact_known_by(&[SOURCE, &event_id], DeliveryEvent::Deployment(event), body)]))
}

fn built(pipeline: Field<Pipeline<'_>>) -> Built {
    let Field::Given(pipeline) = pipeline else { return Built::default() };
    match (pipeline.vcs, pipeline.parameters) {
        (Field::Given(vcs), _) => {
            let (target, origin) = (text(vcs.target), text(vcs.origin));
            Built {
                repository: repository_of(&target),
                commit: fitting(&vcs.revision, SHA),
                version: version_of(&text(vcs.tag)),
                fork: !origin.is_empty() && origin != target,
            }
        }
        (_, Field::Given(Parameters { git: Field::Given(git), .. })) => Built {
            repository: repository_of(&text(git.checkout_url)),
            commit: fitting(&git.checkout_sha, SHA),
            version: version_of(&text(git.tag)),
            fork: false,
        },
        _ => Built::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::EnvironmentNames;
    use crate::time::Timestamp;

    /// The examples of CircleCI's documentation: of GitHub's OAuth app, and of GitLab.
    fn completed() -> Value {
        json!({"id": "3888f21b-eaa7-38e3-8f3d-75a63bba8895", "type": "workflow-completed",
            "happened_at": "2021-09-01T22:49:34.317Z",
            "webhook": {"id": "cf8c4fdd-0587-4da1-b4ca-4846e9640af9", "name": "Sample Webhook"},
            "project": {"id": "84996744-a854-4f5e-aea3-04e2851dc1d2", "name": "webhook-service",
                "slug": "github/circleci/webhook-service"},
            "organization": {"id": "f22b6566-597d-46d5-ba74-99ef5bb3d85c", "name": "circleci"},
            "workflow": {"id": "fda08377-fe7e-46b1-8992-3a7aaecac9c3", "name": "build-test-deploy",
                "created_at": "2021-09-01T22:49:03.616Z", "stopped_at": "2021-09-01T22:49:34.170Z",
                "url": "https://app.circleci.com/pipelines/github/circleci/webhook-service/130/workflows/fda08377",
                "status": "success"},
            "pipeline": {"id": "1285fe1d-d3a6-44fc-8886-8979558254c4", "number": 130,
                "created_at": "2021-09-01T22:49:03.544Z", "trigger": {"type": "webhook"},
                "vcs": {"provider_name": "github", "branch": "main",
                    "origin_repository_url": "https://github.com/circleci/webhook-service",
                    "target_repository_url": "https://github.com/circleci/webhook-service",
                    "revision": "1dc6aa69429bff4806ad6afe58d3d8f57e25973e",
                    "commit": {"subject": "Description of change", "authored_at": "2021-09-01T22:48:53Z"}}}})
    }

    fn of_gitlab() -> Value {
        json!({"type": "workflow-completed", "id": "cbabbb40-6084-4f91-8311-a326c0f4963a",
            "happened_at": "2022-05-27T16:20:13.954328Z",
            "workflow": {"id": "c2006ece-778d-49fc-9e6e-b9965f72bee9", "name": "build",
                "created_at": "2022-05-27T16:20:07.631Z", "stopped_at": "2022-05-27T16:20:13.812Z", "status": "failed"},
            "pipeline": {"id": "37c74cb7-d64d-4032-8731-1cb95bfef921", "number": 1, "trigger": {"type": "gitlab"},
                "trigger_parameters": {"git": {"tag": "", "checkout_sha": "850a1519f25d14e968649cc420d1bd381715c05c",
                    "ref": "refs/heads/main", "branch": "main",
                    "checkout_url": "git@gitlab.com:circleci/hello-world.git"}}},
            "project": {"id": "2a68fe5f-2fe5-4d4f-91e1-15f111116743", "name": "hello-world",
                "slug": "circleci/DdaVtNusHqi24D4YT3X4eu/6EkDPZoN4ZdMKKZtBkRodt"}})
    }

    fn reading(body: &Value, workflow: &str) -> Result<Reading, Fault> {
        let deployments = [(workflow.to_owned(), "production".to_owned())].into();
        let settings = Pipelines { secret: "s".into(), deployments, services: std::collections::BTreeMap::new() };
        let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
        parse(
            &body.to_string(),
            &Context { received_at, settings: &settings, services: &[], environments, max_items: 100 },
        )
    }

    fn deployed(body: &Value, workflow: &str) -> DeploymentEvent {
        let Ok(Reading::Facts(facts)) = reading(body, workflow) else { panic!("{:?}", reading(body, workflow)) };
        let DeliveryEvent::Deployment(event) = facts[0].event.clone() else { panic!() };
        event
    }

    fn why(body: &Value, workflow: &str) -> Skip {
        let Ok(Reading::Skipped(why, _)) = reading(body, workflow) else { panic!("taken") };
        why
    }

    #[test]
    fn the_documented_examples_are_deployments_where_the_configuration_says_so() {
        for name in ["build-test-deploy", "webhook-service/build-test-deploy"] {
            let event = deployed(&completed(), name);
            assert_eq!(event.key.source, "circleci/github/circleci/webhook-service");
            assert_eq!((event.service.as_str(), event.outcome), ("webhook-service", DeploymentOutcome::Succeeded));
            assert_eq!(event.commit.as_deref(), Some("1dc6aa69429bff4806ad6afe58d3d8f57e25973e"));
            assert_eq!(event.repository.as_deref(), Some("circleci/webhook-service"));
            assert_eq!(event.time.to_string(), "2021-09-01T22:49:34.170Z");
            assert!(event.started_at.is_some());
        }
        let event = deployed(&of_gitlab(), "build");
        assert_eq!(event.commit.as_deref(), Some("850a1519f25d14e968649cc420d1bd381715c05c"));
        assert_eq!((event.service.as_str(), event.outcome), ("hello-world", DeploymentOutcome::Failed));
        assert_eq!(why(&completed(), "deploy"), Skip::NotConfigured);
    }

    #[test]
    fn what_is_no_deployment_says_why() {
        let with = |pointer: &str, value: &str| {
            let mut body = completed();
            *body.pointer_mut(pointer).unwrap() = json!(value);
            body
        };
        let name = "build-test-deploy";
        assert_eq!(why(&with("/type", "job-completed"), name), Skip::CountedElsewhere);
        assert_eq!(why(&with("/type", "ping"), name), Skip::Test);
        assert_eq!(why(&with("/workflow/status", "unauthorized"), name), Skip::NoChange);
        let fork = with("/pipeline/vcs/origin_repository_url", "https://github.com/stranger/webhook-service");
        assert_eq!(why(&fork, name), Skip::NotMerged);
        assert_eq!(deployed(&with("/workflow/status", "canceled"), name).outcome, DeploymentOutcome::Cancelled);
        for field in ["/id", "/type", "/workflow/id", "/workflow/name", "/workflow/status", "/project/slug"] {
            let mut body = completed();
            *body.pointer_mut(field).unwrap() = Value::Null;
            assert_eq!(reading(&body, name).unwrap_err().pointer(), field);
        }
    }
}
