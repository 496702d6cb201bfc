//! Jenkins, by its Notification plugin: builds of the jobs that `sources.jenkins.deployment_jobs` names.
//!
//! <https://plugins.jenkins.io/notification/>. A build ends twice: it is COMPLETED, and after what
//! follows it FINALIZED; whichever of the two comes is its end, and both are one.

use super::fault::{Fault, NAME, SHA};
use super::key::fact_known_by;
use super::lenient::{fitting, text, url, version_of};
use super::pipeline::{Run, repository_of};
use super::source::{self, Reading, Skip};
use super::wire::{Entries, Field, Shape, Text, object, read};
use crate::config::model::Pipelines;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome};
use crate::time::Timestamp;

const SOURCE: &str = "jenkins";

pub type Context<'a> = source::Context<'a, Pipelines>;

object! {
    pub struct Job<'a> {
        name: "name" Text<'a>,
        display_name: "display_name" Text<'a>,
        url: "url" Text<'a>,
        build: "build" Build<'a>,
    }

    pub struct Build<'a> {
        full_url: "full_url" Text<'a>,
        number: "number" u64,
        phase: "phase" Text<'a>,
        status: "status" Text<'a>,
        timestamp: "timestamp" Moment,
        duration: "duration" u64,
        scm: "scm" Scm<'a>,
        parameters: "parameters" Entries<'a>,
    }

    pub struct Scm<'a> {
        url: "url" Text<'a>,
        branch: "branch" Text<'a>,
        commit: "commit" Text<'a>,
    }
}

/// Milliseconds since 1970; older versions of the plugin write a time as text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment(Timestamp);

impl Shape<'_> for Moment {
    const EXPECTED: &'static str = "milliseconds since 1970, or an RFC 3339 time";

    fn whole(millis: u64) -> Option<Self> {
        Some(Self(Timestamp::from_micros(i64::try_from(millis).ok()?.checked_mul(1_000)?)))
    }

    fn text(text: Text<'_>) -> Option<Self> {
        Timestamp::parse(&text).ok().map(Self)
    }
}

/// Reads a notification.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let job: Job<'_> = read(body)?;
    let build = job.build.clone().required("/build", "is this a message of the Notification plugin, as JSON?")?;
    let phase = build.phase.clone().needed("/build/phase", NAME, "what happened to the build?")?;
    let outcome = match &*phase {
        "STARTED" => DeploymentOutcome::InProgress,
        "COMPLETED" | "FINALIZED" => match outcome(&build)? {
            Ok(outcome) => outcome,
            Err(words) => return Ok(Reading::skipped(Skip::NoChange, words)),
        },
        other => return Ok(Reading::skipped(Skip::NoChange, format!("{other} says nothing about a deployment"))),
    };
    let name = job.name.clone().needed("/name", NAME, "which job is it?")?;
    let path = path_of(&text(job.url.clone())).unwrap_or_else(|| name.clone().into_owned());
    // Controllers may have jobs of the same names.
    let scope = match host_of(&text(build.full_url.clone())) {
        Some(host) => format!("{host}/{path}"),
        None => path.clone(),
    };
    let number = build.number.clone().required("/build/number", "which build is it?")?;
    let time = match build.timestamp.clone().optional("/build/timestamp")? {
        Some(Moment(time)) => time,
        None => context.received_at,
    };
    let scm = match &build.scm {
        Field::Given(scm) => scm.clone(),
        _ => Scm::default(),
    };
    let run = Run {
        system: SOURCE,
        scope: scope.clone(),
        id: number.to_string(),
        names: vec![path.clone(), name.into_owned(), text(job.display_name).into_owned()],
        repository: repository_of(&text(scm.url)),
        outcome,
        time,
    };
    let Some(target) = run.target(context.settings) else {
        let words = format!("the job {path} is not named in sources.jenkins.deployment_jobs");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let Some(environment) = environment(target, &build) else {
        let words = format!("the build has no parameter {target}, which says where it deploys to");
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let branch = text(scm.branch);
    let said = parameter(&build, "version").or_else(|| version_of(branch.trim_start_matches("origin/")));
    let lasted = build.duration.optional("/build/duration")?.filter(|_| outcome != DeploymentOutcome::InProgress);
    let event = DeploymentEvent {
        version: said,
        commit: fitting(&scm.commit, SHA),
        started_at: lasted.map(|millis| time.minus(std::time::Duration::from_millis(millis))),
        url: url(&[build.full_url]),
        ..run.deployment(&environment, context)
    };
    let status = if outcome == DeploymentOutcome::InProgress { "STARTED".into() } else { text(build.status) };
    let parts = [SOURCE, &scope, &number.to_string(), &status];
    Ok(Reading::Facts(vec![fact_known_by(&parts, DeliveryEvent::Deployment(event), body)]))
}

/// How a build ended; the inner error is why it does not count.
fn outcome(build: &Build<'_>) -> Result<Result<DeploymentOutcome, String>, Fault> {
    let status = build.status.clone().needed("/build/status", NAME, "a build that has ended has one")?;
    Ok(match &*status {
        // Unstable: it has done its work, and found something to complain about.
        "SUCCESS" | "UNSTABLE" => Ok(DeploymentOutcome::Succeeded),
        "FAILURE" => Ok(DeploymentOutcome::Failed),
        "ABORTED" => Ok(DeploymentOutcome::Cancelled),
        other => Err(format!("a build that ended as {other} has deployed nothing")),
    })
}

/// `job/shop/job/deploy/` → `shop/deploy`, as the folders of Jenkins are written.
fn path_of(url: &str) -> Option<String> {
    let parts: Vec<&str> = url.trim_matches('/').split('/').collect();
    let names = parts.chunks(2).map(|pair| match pair {
        ["job", name] => Some(*name),
        _ => None,
    });
    names.collect::<Option<Vec<&str>>>().map(|names| names.join("/"))
}

/// `ci.example.com` of `https://ci.example.com/job/shop/18/`.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split('/').next().filter(|host| !host.is_empty())
}

/// The environment itself, or the value of the build's parameter that `{NAME}` names.
fn environment(target: &str, build: &Build<'_>) -> Option<String> {
    match target.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => parameter(build, name),
        None => Some(target.to_owned()),
    }
}

fn parameter(build: &Build<'_>, name: &str) -> Option<String> {
    let Field::Given(Entries(entries)) = &build.parameters else { return None };
    let found = entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.and_then(|(_, value)| fitting(value, NAME))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::EnvironmentNames;
    use crate::config::model::Service;

    /// The example of the plugin's page, with what later versions add to it.
    fn asgard() -> Value {
        json!({"name": "asgard", "display_name": "asgard", "url": "job/asgard/", "build": {
            "full_url": "http://localhost:8080/job/asgard/18/", "number": 18, "queue_id": 13,
            "timestamp": 1_477_320_949_588_u64, "duration": 60_000, "phase": "COMPLETED", "status": "SUCCESS",
            "url": "job/asgard/18/",
            "scm": {"url": "https://github.com/evgeny-goldin/asgard.git", "branch": "origin/master",
                "commit": "c6d86dc654b12425e706bcf951adfe5a8627a517"},
            "parameters": {"branch": "master", "VERSION": "1.4.2", "TARGET": "production"}, "log": "",
            "artifacts": {"asgard.war": {"archive": "http://localhost:8080/job/asgard/18/artifact/asgard.war"}}}})
    }

    fn reading(body: &Value, jobs: &[(&str, &str)], services: &[(&str, &str)]) -> Result<Reading, Fault> {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let settings = Pipelines { secret: "s".into(), deployments: map(jobs), services: map(services) };
        let known = |name: &str| Service { name: name.to_owned(), team: None, repository: None, paths: Vec::new() };
        let services = [known("checkout"), known("search")];
        let received_at = Timestamp::from_seconds(1_477_321_000);
        let environments = EnvironmentNames::new(&[]);
        parse(
            &body.to_string(),
            &Context { received_at, settings: &settings, services: &services, environments, max_items: 100 },
        )
    }

    fn deployed(body: &Value, jobs: &[(&str, &str)], services: &[(&str, &str)]) -> (DeploymentEvent, [u8; 32]) {
        let Ok(Reading::Facts(facts)) = reading(body, jobs, services) else { panic!("{:?}", reading(body, jobs, &[])) };
        let DeliveryEvent::Deployment(event) = facts[0].event.clone() else { panic!() };
        (event, facts[0].digest)
    }

    #[test]
    fn the_documented_example_is_a_deployment_where_the_configuration_says_so() {
        let jobs = [("asgard", "production")];
        let (event, _) = deployed(&asgard(), &jobs, &[]);
        assert_eq!((event.key.source.as_str(), event.key.id.as_str()), ("jenkins/localhost:8080/asgard", "18"));
        assert_eq!((event.service.as_str(), event.environment.as_str()), ("asgard", "production"));
        assert_eq!(event.commit.as_deref(), Some("c6d86dc654b12425e706bcf951adfe5a8627a517"));
        assert_eq!(event.repository.as_deref(), Some("evgeny-goldin/asgard"));
        assert_eq!(event.time.to_string(), "2016-10-24T14:55:49.588Z");
        assert_eq!(event.time.micros_since(event.started_at.unwrap()), 60_000_000);
        assert_eq!(event.version.as_deref(), Some("1.4.2"));
        let other = reading(&asgard(), &[("other", "production")], &[]);
        assert!(matches!(other, Ok(Reading::Skipped(Skip::NotConfigured, _))));
    }

    #[test]
    fn completed_and_finalized_are_one() {
        let jobs = [("asgard", "production")];
        let digest = |change: &dyn Fn(&mut Value)| {
            let mut body = asgard();
            change(&mut body["build"]);
            deployed(&body, &jobs, &[]).1
        };
        let completed = digest(&|_| {});
        let finalized = digest(&|build| {
            build["phase"] = json!("FINALIZED");
            build["timestamp"] = json!(1_477_320_950_000_u64);
        });
        assert_eq!(completed, finalized);
        assert_ne!(completed, digest(&|build| build["status"] = json!("FAILURE")));
        assert_ne!(completed, digest(&|build| build["number"] = json!(19)));
        assert_ne!(completed, digest(&|build| build["full_url"] = json!("http://ci.other.example/job/asgard/18/")));
    }

    #[test]
    fn folders_parameters_and_services() {
        let mut body = asgard();
        body["url"] = json!("job/shop/job/deploy%20checkout/");
        body["name"] = json!("deploy checkout");
        let service = |jobs, services| {
            let (event, _) = deployed(&body, jobs, services);
            (event.service, event.environment, event.key.source)
        };
        let source = "jenkins/localhost:8080/shop/deploy%20checkout".to_owned();
        let expected = |service: &str| (service.to_owned(), "production".to_owned(), source.clone());
        assert_eq!(service(&[("deploy checkout", "{target}")], &[]), expected("checkout"));
        let mapped = [("deploy checkout", "pay")];
        assert_eq!(service(&[("shop/deploy%20checkout", "production")], &mapped), expected("pay"));
        let none = reading(&body, &[("deploy checkout", "{WHERE}")], &[]);
        assert!(matches!(none, Ok(Reading::Skipped(Skip::NotConfigured, words)) if words.contains("{WHERE}")));
    }

    #[test]
    fn how_a_build_ends_and_what_is_missing() {
        let jobs = [("asgard", "production")];
        let with = |field: &str, value: Value| {
            let mut body = asgard();
            body["build"][field] = value;
            body
        };
        for (status, outcome) in [
            ("UNSTABLE", DeploymentOutcome::Succeeded),
            ("FAILURE", DeploymentOutcome::Failed),
            ("ABORTED", DeploymentOutcome::Cancelled),
        ] {
            assert_eq!(deployed(&with("status", json!(status)), &jobs, &[]).0.outcome, outcome);
        }
        assert_eq!(deployed(&with("phase", json!("STARTED")), &jobs, &[]).0.outcome, DeploymentOutcome::InProgress);
        for (field, value) in [("status", "NOT_BUILT"), ("phase", "QUEUED")] {
            let skipped = reading(&with(field, json!(value)), &jobs, &[]);
            assert!(matches!(skipped, Ok(Reading::Skipped(Skip::NoChange, _))), "{value}");
        }
        for field in ["phase", "status", "number"] {
            let fault = reading(&with(field, Value::Null), &jobs, &[]).unwrap_err();
            assert_eq!(fault.pointer(), format!("/build/{field}"));
        }
        assert_eq!(reading(&with("timestamp", json!("soon")), &jobs, &[]).unwrap_err().pointer(), "/build/timestamp");
        let old = deployed(&with("timestamp", json!("2016-10-24T14:55:49.588+00:00")), &jobs, &[]).0;
        assert_eq!(old.time.to_string(), "2016-10-24T14:55:49.588Z");
    }
}
