//! Stages of pipelines, environments of classic releases, and builds, as deployments.

use super::{Context, Event, Named, SOURCE, name};
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome};
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::{fitting, text, url, version_of};
use crate::ingest::pipeline::{Run, repository_of};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Field, Text, object};
use crate::time::Timestamp;

type List<T> = Vec<Field<T>>;

object! {
    pub struct StageChanged<'a> {
        stage: "stage" Stage<'a>,
        run: "run" PipelineRun<'a>,
        pipeline: "pipeline" Named<'a>,
        repositories: "repositories" List<Address<'a>>,
    }

    pub struct Stage<'a> {
        name: "name" Text<'a>,
        display_name: "displayName" Text<'a>,
        state: "state" Text<'a>,
        result: "result" Text<'a>,
        start_time: "startTime" Text<'a>,
        links: "_links" Links<'a>,
    }

    pub struct Links<'a> {
        web: "web" Link<'a>,
    }

    pub struct Link<'a> {
        href: "href" Text<'a>,
    }

    pub struct PipelineRun<'a> {
        id: "id" u64,
        resources: "resources" Resources<'a>,
    }

    /// What the run was started with, where Azure DevOps tells it.
    pub struct Resources<'a> {
        repositories: "repositories" Repositories<'a>,
    }

    pub struct Repositories<'a> {
        own: "self" Own<'a>,
    }

    pub struct Own<'a> {
        ref_name: "refName" Text<'a>,
        version: "version" Text<'a>,
    }

    pub struct Address<'a> {
        url: "url" Text<'a>,
    }

    pub struct Completed<'a> {
        environment: "environment" Environment<'a>,
        deployment: "deployment" Attempt<'a>,
        project: "project" Named<'a>,
    }

    pub struct Environment<'a> {
        id: "id" u64,
        name: "name" Text<'a>,
        status: "status" Text<'a>,
        release: "release" Release<'a>,
        definition: "releaseDefinition" Named<'a>,
    }

    pub struct Release<'a> {
        id: "id" u64,
        name: "name" Text<'a>,
    }

    pub struct Attempt<'a> {
        attempt: "attempt" u64,
        started_on: "startedOn" Text<'a>,
    }

    pub struct Build<'a> {
        id: "id" u64,
        number: "buildNumber" Text<'a>,
        status: "status" Text<'a>,
        result: "result" Text<'a>,
        start_time: "startTime" Text<'a>,
        finish_time: "finishTime" Text<'a>,
        source_branch: "sourceBranch" Text<'a>,
        source_version: "sourceVersion" Text<'a>,
        source_get_version: "sourceGetVersion" Text<'a>,
        definition: "definition" Named<'a>,
        project: "project" Named<'a>,
        repository: "repository" Address<'a>,
    }
}

/// What is known of a run besides where it goes.
#[derive(Default)]
struct Known {
    version: Option<String>,
    commit: Option<String>,
    started_at: Option<Timestamp>,
    url: Option<String>,
    /// It may be run again under the same id.
    again: bool,
}

/// The outcome; `None` where nothing was deployed.
fn outcome(result: &str) -> Option<DeploymentOutcome> {
    match result.to_ascii_lowercase().as_str() {
        // Partially: it has done its work, and a step that may fail did.
        "succeeded" | "partiallysucceeded" | "succeededwithissues" => Some(DeploymentOutcome::Succeeded),
        "failed" | "rejected" => Some(DeploymentOutcome::Failed),
        "canceled" | "stopped" => Some(DeploymentOutcome::Cancelled),
        _ => None,
    }
}

fn nothing_deployed(result: &str) -> Reading {
    Reading::skipped(Skip::NoChange, format!("what ended as {result} has deployed nothing"))
}

pub fn stage(changed: StageChanged<'_>, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let stage = changed.stage.required("/resource/stage", "which stage is it?")?;
    let state = stage.state.needed("/resource/stage/state", NAME, "what happened to the stage?")?;
    let result = text(stage.result);
    let outcome = match &*state {
        "completed" => match outcome(&result) {
            Some(outcome) => outcome,
            None => return Ok(nothing_deployed(&result)),
        },
        "running" => DeploymentOutcome::InProgress,
        other => return Ok(Reading::skipped(Skip::NoChange, format!("a stage that is {other} deploys nothing yet"))),
    };
    let run = changed.run.required("/resource/run", "which run is it?")?;
    let id = run.id.required("/resource/run/id", "which run is it?")?;
    let pipeline = name(changed.pipeline, "/resource/pipeline")?;
    let stage_name = stage.name.needed("/resource/stage/name", NAME, "which stage is it?")?;
    let own = match run.resources {
        Field::Given(Resources { repositories: Field::Given(Repositories { own: Field::Given(own), .. }), .. }) => own,
        _ => Own::default(),
    };
    let address = match &changed.repositories {
        Field::Given(list) => match list.first() {
            Some(Field::Given(first)) => text(first.url.clone()),
            _ => Text::Borrowed(""),
        },
        _ => Text::Borrowed(""),
    };
    let web = match stage.links {
        Field::Given(Links { web: Field::Given(link), .. }) => link.href,
        _ => Field::Absent,
    };
    let mut names = vec![format!("{pipeline}/{stage_name}"), stage_name.clone().into_owned()];
    names.extend(fitting(&stage.display_name, NAME));
    let known = Known {
        version: version_of(&text(own.ref_name)),
        commit: fitting(&own.version, SHA),
        started_at: stage.start_time.moment("/resource/stage/startTime")?,
        url: url(&[web]),
        again: true,
    };
    let run = Run {
        system: SOURCE,
        scope: pipeline.into_owned(),
        id: format!("run/{id}/{stage_name}"),
        names,
        repository: repository_of(&address),
        outcome,
        time: event.time,
    };
    deployment(run, known, event, context)
}

pub fn release(completed: Completed<'_>, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let fix = "which environment was deployed to?";
    let environment = completed.environment.required("/resource/environment", fix)?;
    let status = environment.status.needed("/resource/environment/status", NAME, "how did it end?")?;
    let Some(outcome) = outcome(&status) else { return Ok(nothing_deployed(&status)) };
    let place = environment.name.needed("/resource/environment/name", NAME, fix)?;
    let environment_id = environment.id.required("/resource/environment/id", fix)?;
    let release = environment.release.required("/resource/environment/release", "which release is it?")?;
    let release_id = release.id.required("/resource/environment/release/id", "which release is it?")?;
    let project = name(completed.project, "/resource/project")?;
    let attempt = match completed.deployment {
        Field::Given(attempt) => attempt,
        _ => Attempt::default(),
    };
    let number = attempt.attempt.optional("/resource/deployment/attempt")?.unwrap_or(1);
    let definition = match environment.definition {
        Field::Given(definition) => fitting(&definition.name, NAME),
        _ => None,
    };
    let exact = definition.map(|definition| format!("{definition}/{place}"));
    let known = Known {
        version: version_of(&text(release.name)),
        started_at: attempt.started_on.moment("/resource/deployment/startedOn")?,
        ..Known::default()
    };
    let run = Run {
        system: SOURCE,
        scope: project.into_owned(),
        id: format!("release/{release_id}/{environment_id}/{number}"),
        names: exact.into_iter().chain([place.into_owned()]).collect(),
        repository: None,
        outcome,
        time: event.time,
    };
    deployment(run, known, event, context)
}

pub fn build(build: Build<'_>, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    // Version 1.0 of the resource has the result in `status`.
    let result = match build.result {
        Field::Absent => build.status.needed("/resource/status", NAME, "how did the build end?")?,
        result => result.needed("/resource/result", NAME, "how did the build end?")?,
    };
    let Some(outcome) = outcome(&result) else { return Ok(nothing_deployed(&result)) };
    let id = build.id.required("/resource/id", "which build is it?")?;
    let definition = name(build.definition, "/resource/definition")?;
    let get_version = text(build.source_get_version);
    let old = get_version.rsplit(':').next().filter(|sha| SHA.check(sha).is_ok());
    let branch = text(build.source_branch);
    if branch.starts_with("refs/pull/") {
        return Ok(Reading::skipped(Skip::NotMerged, "it builds a pull request, which deploys nothing"));
    }
    let number = text(build.number);
    let known = Known {
        version: version_of(&branch).or_else(|| version_of(&number)),
        commit: fitting(&build.source_version, SHA).or_else(|| old.map(str::to_owned)),
        started_at: build.start_time.moment("/resource/startTime")?,
        ..Known::default()
    };
    let repository = match build.repository {
        Field::Given(address) => repository_of(&text(address.url)),
        _ => None,
    };
    let scope = match build.project {
        Field::Given(project) => fitting(&project.name, NAME),
        _ => None,
    };
    let run = Run {
        system: SOURCE,
        scope: scope.unwrap_or_else(|| definition.clone().into_owned()),
        id: format!("build/{id}"),
        names: vec![definition.into_owned()],
        repository,
        outcome,
        time: build.finish_time.moment("/resource/finishTime")?.unwrap_or(event.time),
    };
    deployment(run, known, event, context)
}

fn deployment(run: Run, known: Known, event: &Event<'_>, context: &Context<'_>) -> Result<Reading, Fault> {
    let Some(environment) = run.target(context.settings) else {
        let name = run.names.first().map(String::as_str).unwrap_or_default();
        let words = format!("{name} is not named in sources.azure_devops.deployment_stages");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let time = run.time;
    let Known { version, commit, started_at, url, again } = known;
    let sighting = if again { run.sighting(context.settings) } else { None };
    let deployed =
        DeploymentEvent { version, commit, started_at, url, sighting, ..run.deployment(environment, context) };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(deployed), Some(time), context.received_at, event.body)?]))
}
