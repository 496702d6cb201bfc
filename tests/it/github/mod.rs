//! GitHub's webhooks, on the real bodies of npm's `@octokit/webhooks-examples`: every one gets an
//! honest outcome or a fault that names the field.

mod alerts;
mod changes;

use std::collections::BTreeMap;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::{Environment, GitHub, Service, Tier};
use devpulse::event::{
    ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentOutcome, FindingEvent, IncidentEvent, PullRequestEvent,
    PushEvent,
};
use devpulse::ingest::fault::Fault;
use devpulse::ingest::github::{Context, parse};
use devpulse::ingest::signature::Style;
use devpulse::ingest::source::Reading;
use devpulse::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::support::mutilate::everywhere;

const NOW: Timestamp = Timestamp::from_seconds(1_767_609_000);

/// The examples by event, in the order of the package.
fn examples() -> BTreeMap<String, Vec<Value>> {
    let path = std::env::var("DEVPULSE_TEST_OCTOKIT")
        .expect("DEVPULSE_TEST_OCTOKIT is not set: run the tests with `make test`");
    let index: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let of =
        |entry: &Value| (entry["name"].as_str().unwrap().to_owned(), entry["examples"].as_array().unwrap().clone());
    index.as_array().unwrap().iter().map(of).collect()
}

fn examples_of(event: &str) -> Vec<Value> {
    examples().remove(event).unwrap()
}

struct Setup {
    github: GitHub,
    services: Vec<Service>,
    environments: Vec<Environment>,
}

impl Setup {
    fn new() -> Self {
        let environment = |name: &str, tier, patterns: &[&str]| Environment {
            name: name.to_owned(),
            tier,
            matches: patterns.iter().map(ToString::to_string).collect(),
        };
        Self {
            github: GitHub {
                secret: "It's a Secret to Everybody".into(),
                incident_labels: vec!["bug".to_owned()],
                deployment_workflows: BTreeMap::from([("test.yml".to_owned(), "staging".to_owned())]),
                default_environment: None,
                releases: None,
            },
            services: Vec::new(),
            environments: vec![
                environment("production", Tier::Production, &["prod", "prod-*"]),
                environment("staging", Tier::Staging, &[]),
            ],
        }
    }

    /// Services of `Codertocat/Hello-World`, each with its globs.
    fn with_services(mut self, services: &[(&str, &[&str])]) -> Self {
        let service = |&(name, paths): &(&str, &[&str])| Service {
            name: name.to_owned(),
            team: None,
            repository: Some("codertocat/hello-world".to_owned()),
            paths: paths.iter().map(ToString::to_string).collect(),
        };
        self.services = services.iter().map(service).collect();
        self
    }

    fn parse(&self, event: &str, body: &Value) -> Result<Reading, Fault> {
        let context = Context {
            received_at: NOW,
            settings: &self.github,
            services: &self.services,
            environments: EnvironmentNames::new(&self.environments),
            max_items: 10_000,
        };
        parse(event, &body.to_string(), &context)
    }

    fn events(&self, event: &str, body: &Value) -> Vec<DeliveryEvent> {
        match self.parse(event, body).unwrap() {
            Reading::Facts(facts) | Reading::Partial(facts, _) => facts.into_iter().map(|fact| fact.event).collect(),
            other @ (Reading::Mixed(..) | Reading::Skipped(..)) => panic!("{other:?}"),
        }
    }

    fn skipped(&self, event: &str, body: &Value) -> String {
        match self.parse(event, body).unwrap() {
            Reading::Skipped(_, reason) => reason,
            taken => panic!("{taken:?}"),
        }
    }

    fn pointer(&self, event: &str, body: &Value) -> String {
        self.parse(event, body).unwrap_err().pointer().to_owned()
    }

    fn deployment(&self, event: &str, body: &Value) -> DeploymentEvent {
        match self.events(event, body).as_slice() {
            [DeliveryEvent::Deployment(event)] => event.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The only change that the body tells of.
    fn change(&self, event: &str, body: &Value) -> ChangeEvent {
        let events = self.events(event, body);
        let mut changes = events.iter().filter_map(|event| match event {
            DeliveryEvent::Change(event) => Some(event.clone()),
            _ => None,
        });
        let only = changes.next().expect("a change");
        assert!(changes.next().is_none(), "{events:?}");
        only
    }

    /// The only thing that the body tells of a pull request.
    fn request(&self, event: &str, body: &Value) -> PullRequestEvent {
        let events = self.events(event, body);
        match events.as_slice() {
            [DeliveryEvent::PullRequest(event)] | [DeliveryEvent::Change(_), DeliveryEvent::PullRequest(event)] => {
                event.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    fn push(&self, body: &Value) -> PushEvent {
        match self.events("push", body).pop() {
            Some(DeliveryEvent::Push(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn finding(&self, event: &str, body: &Value) -> FindingEvent {
        match self.events(event, body).as_slice() {
            [DeliveryEvent::Finding(event)] => event.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn incidents(&self, body: &Value) -> Vec<IncidentEvent> {
        let incident = |event| match event {
            DeliveryEvent::Incident(event) => event,
            other => panic!("{other:?}"),
        };
        self.events("issues", body).into_iter().map(incident).collect()
    }
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn all_examples_get_an_honest_outcome() {
    let setup = Setup::new();
    let (mut bodies, mut taken, mut skipped, mut refused) = (0, BTreeMap::<String, usize>::new(), 0, Vec::new());
    for (event, examples) in examples() {
        for body in examples {
            bodies += 1;
            let raw = body.to_string();
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"It's a Secret to Everybody").unwrap();
            mac.update(raw.as_bytes());
            let header = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
            assert!(Style::Hub.is_signed(&setup.github.secret, &header, raw.as_bytes()));
            match setup.parse(&event, &body) {
                Ok(Reading::Facts(facts) | Reading::Partial(facts, _) | Reading::Mixed(facts, _)) => {
                    *taken.entry(event.clone()).or_insert(0) += facts.len();
                }
                Ok(Reading::Skipped(_, reason)) => {
                    assert!(!reason.is_empty());
                    skipped += 1;
                }
                Err(fault) => refused.push(format!("{event}: {fault}")),
            }
        }
    }
    assert_eq!(bodies, 329);
    // Bodies from the real GitHub that lack nothing; what is refused would be a field it always sends.
    assert_eq!(refused, Vec::<String>::new());
    let expected = [
        ("code_scanning_alert", 6),
        ("dependabot_alert", 3),
        ("deployment", 4),
        ("deployment_status", 4),
        ("issues", 8),
        ("pull_request", 15),
        ("pull_request_review", 4),
        // Two pushes, each of one commit.
        ("push", 4),
        ("workflow_run", 4),
    ];
    assert_eq!(taken, expected.map(|(event, facts)| (event.to_owned(), facts)).into());
    let taken: usize = taken.values().sum();
    assert_eq!(skipped, 329 - (taken - 2), "each of the others is one fact");
}

#[test]
fn a_deployment_and_its_status_are_facts_of_one_deployment() {
    let setup = Setup::new();
    let created = setup.deployment("deployment", &examples_of("deployment")[0]);
    assert_eq!(created.key.source, "github/Codertocat/Hello-World");
    assert_eq!(created.key.id, "145988746");
    assert_eq!(created.outcome, DeploymentOutcome::InProgress);
    assert_eq!(created.time, time("2019-05-15T15:20:53Z"));
    assert_eq!(created.environment, "production");
    assert_eq!(created.service, "Hello-World", "no service is configured for the repository");
    assert_eq!(created.commit.as_deref(), Some("f95f852bd8fca8fcc58a9a2d6c842781e32a215e"));
    let succeeded = setup.deployment("deployment_status", &examples_of("deployment_status")[0]);
    assert_eq!(succeeded.key, created.key);
    assert_eq!(succeeded.outcome, DeploymentOutcome::Succeeded);
    assert_eq!(succeeded.time, time("2019-05-15T15:20:55Z"));
}

#[test]
fn every_state_of_a_deployment() {
    let setup = Setup::new();
    let mut body = examples_of("deployment_status")[0].clone();
    for (state, outcome) in [
        ("success", DeploymentOutcome::Succeeded),
        ("failure", DeploymentOutcome::Failed),
        ("error", DeploymentOutcome::Failed),
        ("in_progress", DeploymentOutcome::InProgress),
        ("queued", DeploymentOutcome::InProgress),
        ("pending", DeploymentOutcome::InProgress),
    ] {
        body["deployment_status"]["state"] = json!(state);
        assert_eq!(setup.deployment("deployment_status", &body).outcome, outcome, "{state}");
    }
    body["deployment_status"]["state"] = json!("inactive");
    assert!(setup.skipped("deployment_status", &body).contains("replaced"));
}

#[test]
fn environments_get_their_configured_names() {
    let mut setup = Setup::new();
    let named = |setup: &Setup, name: &str, transient: bool, production: bool| {
        let mut body = examples_of("deployment_status")[0].clone();
        body["deployment_status"]["environment"] = json!(name);
        body["deployment"]["transient_environment"] = json!(transient);
        body["deployment"]["production_environment"] = json!(production);
        let event = setup.deployment("deployment_status", &body);
        (event.environment, event.place)
    };
    let environment = |setup: &Setup, name: &str, transient, production| named(setup, name, transient, production).0;
    assert_eq!(environment(&setup, "prod-eu", false, false), "production");
    assert_eq!(environment(&setup, "github-pages", false, false), "github-pages");
    assert_eq!(environment(&setup, "live", false, true), "production", "GitHub says that users work there");
    for name in ["prod-pr-7", "production"] {
        let preview = ("preview".to_owned(), Some(name.to_owned()));
        assert_eq!(named(&setup, name, true, false), preview, "a preview is never production");
    }
    setup.github.default_environment = Some("staging".to_owned());
    assert_eq!(environment(&setup, "github-pages", false, false), "staging");
}

#[test]
fn a_repository_with_several_services() {
    let setup = Setup::new().with_services(&[("pay", &["pay/**"]), ("pay-api", &["api/**"])]);
    let service = |task: &str, environment: &str, payload: Value| {
        let mut body = examples_of("deployment_status")[0].clone();
        body["deployment"]["task"] = json!(task);
        body["deployment_status"]["environment"] = json!(environment);
        body["deployment"]["payload"] = payload;
        let event = setup.deployment("deployment_status", &body);
        (event.service, event.environment)
    };
    let pair = |service: &str, environment: &str| (service.to_owned(), environment.to_owned());
    assert_eq!(service("deploy:pay", "prod", json!({})), pair("pay", "production"));
    assert_eq!(service("deploy", "pay-api-prod", json!({})), pair("pay-api", "production"));
    assert_eq!(service("deploy", "prod", json!({"service":"other"})), pair("other", "production"));
    assert_eq!(service("deploy", "prod", json!("{\"service\":\"pay\"}")), pair("pay", "production"));
    assert_eq!(service("deploy", "prod", json!({})), pair("Hello-World", "production"));
    let one = Setup::new().with_services(&[("checkout", &["services/checkout/**"])]);
    assert_eq!(one.deployment("deployment", &examples_of("deployment")[0]).service, "checkout");
}

#[test]
fn versions_and_kinds_are_taken_from_what_was_declared() {
    let setup = Setup::new();
    let mut body = examples_of("deployment_status")[0].clone();
    body["deployment"]["ref"] = json!("v1.4.2");
    body["deployment"]["task"] = json!("rollback");
    let event = setup.deployment("deployment_status", &body);
    assert_eq!(event.version.as_deref(), Some("v1.4.2"));
    assert_eq!(event.kind, Some(devpulse::event::DeploymentKind::Rollback));
    body["deployment"]["payload"] = json!({"version":"1.4.2","kind":"hotfix"});
    let event = setup.deployment("deployment_status", &body);
    assert_eq!(event.version.as_deref(), Some("1.4.2"));
    assert_eq!(event.kind, Some(devpulse::event::DeploymentKind::Hotfix));
}

#[test]
fn a_run_and_the_deployment_it_makes_count_once() {
    let mut setup = Setup::new();
    let body = &examples_of("workflow_run")[1];
    let run = setup.deployment("workflow_run", body);
    assert_eq!(run.key.id, "workflow-run/289782451/1");
    assert_eq!((run.environment.as_str(), run.outcome), ("staging", DeploymentOutcome::Succeeded));
    assert_eq!(run.time, time("2020-10-05T16:33:49Z"));
    let mut again = body.clone();
    again["workflow_run"]["run_attempt"] = json!(2);
    assert_ne!(setup.deployment("workflow_run", &again).key, run.key, "another attempt deploys again");
    let mut for_review = body.clone();
    for_review["workflow_run"]["event"] = json!("pull_request");
    assert!(setup.skipped("workflow_run", &for_review).contains("pull request"));
    // The status of a deployment that a counted workflow made.
    let pages = &examples_of("deployment_status")[1];
    assert_eq!(setup.events("deployment_status", pages).len(), 1);
    setup.github.deployment_workflows =
        BTreeMap::from([("pages build and deployment".to_owned(), "github-pages".to_owned())]);
    assert!(setup.skipped("deployment_status", pages).contains("itself counted"));
    assert!(setup.skipped("workflow_run", body).contains("deployment_workflows"));
}

#[test]
fn how_a_run_ends() {
    let setup = Setup::new();
    let mut body = examples_of("workflow_run")[1].clone();
    for (conclusion, outcome) in [
        ("failure", DeploymentOutcome::Failed),
        ("timed_out", DeploymentOutcome::Failed),
        ("cancelled", DeploymentOutcome::Cancelled),
    ] {
        body["workflow_run"]["conclusion"] = json!(conclusion);
        assert_eq!(setup.deployment("workflow_run", &body).outcome, outcome);
    }
    body["workflow_run"]["conclusion"] = json!("skipped");
    assert!(setup.skipped("workflow_run", &body).contains("skipped"));
    body["workflow_run"]["conclusion"] = Value::Null;
    assert_eq!(setup.pointer("workflow_run", &body), "/workflow_run/conclusion");
    body["action"] = json!("requested");
    assert_eq!(setup.deployment("workflow_run", &body).outcome, DeploymentOutcome::InProgress);
}

/// Every field of one body of each kind, taken away or given another type: an outcome, or a fault
/// that names a field; never a panic.
#[test]
fn mutilated_bodies_get_an_outcome_too() {
    let setup = Setup::new();
    for (event, which) in [
        ("deployment", 1),
        ("deployment_status", 1),
        ("push", 4),
        ("pull_request", 4),
        ("pull_request_review", 0),
        ("code_scanning_alert", 3),
        ("dependabot_alert", 0),
        ("workflow_run", 1),
        ("issues", 9),
    ] {
        // Below that nothing is read but paths.
        const DEPTH: usize = 3;
        let places = everywhere(&examples_of(event)[which], DEPTH, |body| setup.parse(event, body));
        assert!(places > 50, "{event}");
    }
    let raw = examples_of("push")[4].to_string();
    let environments = EnvironmentNames::new(&[]);
    let context = Context { received_at: NOW, settings: &setup.github, services: &[], environments, max_items: 10_000 };
    for cut in (0..2_000).step_by(7) {
        assert!(parse("push", &raw[..cut], &context).unwrap_err().is_malformed());
    }
}
