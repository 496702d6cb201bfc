//! CI systems over HTTP: whose delivery it is, that it counts once, and what `/api/v1/dora` makes of it.

use std::collections::BTreeMap;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::Pipelines;
use devpulse::ingest::source::Context;
use devpulse::ingest::{circleci, jenkins};
use devpulse::time::Timestamp;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::github::hex_signature;
use crate::support::mutilate::everywhere;

const SECRET: &str = "the secret of them all";

/// A build that has ended at 2026-01-05T10:04:00Z, and so many milliseconds.
fn build(phase: &str, millis: u64) -> Value {
    json!({"name": "deploy", "url": "job/shop/job/deploy/", "build": {"number": 7, "phase": phase,
            "status": "SUCCESS", "timestamp": 1_767_607_440_000_u64 + millis, "duration": 60_000,
            "scm": {"url": "git@github.com:acme/checkout.git", "branch": "origin/main", "commit": "8f3c2d1a9b"}}})
}

fn workflow() -> Value {
    json!({"id": "3888f21b", "type": "workflow-completed", "happened_at": "2026-01-05T10:04:00Z",
        "project": {"name": "checkout", "slug": "gh/acme/checkout"},
        "workflow": {"id": "fda08377", "name": "deploy", "status": "success", "created_at": "2026-01-05T10:00:00Z",
            "stopped_at": "2026-01-05T10:04:00Z"},
        "pipeline": {"vcs": {"target_repository_url": "https://github.com/acme/checkout", "revision": "8f3c2d1a9b"}}})
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    let deployments: BTreeMap<_, _> = ["deploy"].map(|name| (name.to_owned(), "production".to_owned())).into();
    let settings = Pipelines { secret: SECRET.into(), deployments, services: BTreeMap::new() };
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, services: &[], environments, max_items: 100 };
    assert!(everywhere(&build("COMPLETED", 0), 6, |body| jenkins::parse(&body.to_string(), &context)) > 10);
    assert!(everywhere(&workflow(), 6, |body| circleci::parse(&body.to_string(), &context)) > 10);
}

/// Posts a body to a source's endpoint; `prove` adds what proves it.
async fn deliver(
    devpulse: &DevPulse,
    source: &str,
    body: &Value,
    prove: impl Fn(RequestBuilder, &str) -> RequestBuilder,
) -> (u16, Value) {
    let body = body.to_string();
    let request = devpulse.request("POST", &format!("/api/v1/webhooks/{source}"));
    let request = prove(request, &body).header("content-type", "application/json");
    let answer = devpulse.send(request.body(body)).await;
    (answer.status, answer.json)
}

/// Production deployments of a service, as the metrics count them.
async fn deployments(devpulse: &DevPulse, service: &str) -> Value {
    let window = "from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z";
    let dora = devpulse.get(&format!("/api/v1/dora?service={service}&{window}")).await;
    dora["metrics"]["deployment_frequency"]["n"].clone()
}

async fn start(source: &str, settings: &str) -> (Database, DevPulse) {
    let database = Database::sqlite().await;
    let yaml = format!(
        "services: [{{name: checkout, repository: acme/checkout}}]\n\
         environments: [{{name: production, tier: production, match: [prod-*]}}]\n\
         sources: {{{source}: {{secret: \"{SECRET}\", {settings}}}}}\n"
    );
    let devpulse = DevPulse::start(&database.url, &yaml).await;
    (database, devpulse)
}

fn refused((status, body): (u16, Value)) {
    assert_eq!((status, &body["type"]), (401, &json!("bad_signature")), "{body}");
}

fn outcome((status, body): (u16, Value)) -> String {
    assert_eq!(status, 200, "{body}");
    body["outcome"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_jenkins_counts_once() {
    let (_database, devpulse) = start("jenkins", "deployment_jobs: {shop/deploy: prod-eu}").await;
    let completed = build("COMPLETED", 0);
    let with =
        |password: &'static str| move |request: RequestBuilder, _: &str| request.basic_auth("jenkins", Some(password));
    refused(deliver(&devpulse, "jenkins", &completed, |request, _| request).await);
    refused(deliver(&devpulse, "jenkins", &completed, with("guess")).await);
    refused(deliver(&devpulse, "jenkins", &completed, |request, _| request.bearer_auth(SECRET)).await);
    assert_eq!(deployments(&devpulse, "checkout").await, 0);
    assert_eq!(outcome(deliver(&devpulse, "jenkins", &completed, with(SECRET)).await), "accepted");
    assert_eq!(outcome(deliver(&devpulse, "jenkins", &completed, with(SECRET)).await), "duplicate");
    assert_eq!(outcome(deliver(&devpulse, "jenkins", &build("FINALIZED", 900), with(SECRET)).await), "duplicate");
    assert_eq!(deployments(&devpulse, "checkout").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_of_circleci_counts_once() {
    let (_database, devpulse) = start("circleci", "deployment_workflows: {deploy: production}").await;
    let workflow = workflow();
    let signed = |secret: &'static str| {
        move |request: RequestBuilder, body: &str| {
            request.header("circleci-signature", format!("v1={}", hex_signature(secret, body.as_bytes())))
        }
    };
    refused(deliver(&devpulse, "circleci", &workflow, |request, _| request).await);
    refused(deliver(&devpulse, "circleci", &workflow, signed("guess")).await);
    assert_eq!(outcome(deliver(&devpulse, "circleci", &workflow, signed(SECRET)).await), "accepted");
    assert_eq!(outcome(deliver(&devpulse, "circleci", &workflow, signed(SECRET)).await), "duplicate");
    assert_eq!(deployments(&devpulse, "checkout").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_azure_devops_counts_once() {
    let (_database, devpulse) =
        start("azure_devops", "deployment_stages: {shop/deploy: production}, services: {deploy: checkout}").await;
    let stage = json!({"eventType": "ms.vss-pipelines.stage-state-changed-event", "createdDate": "2026-01-05T10:04:00Z",
        "resource": {"stage": {"name": "deploy", "state": "completed", "result": "succeeded"}, "run": {"id": 7},
            "pipeline": {"name": "shop"}}});
    let with = |password: &'static str| move |request: RequestBuilder, _: &str| request.basic_auth("", Some(password));
    refused(deliver(&devpulse, "azure_devops", &stage, |request, _| request).await);
    refused(deliver(&devpulse, "azure_devops", &stage, with("guess")).await);
    assert_eq!(outcome(deliver(&devpulse, "azure_devops", &stage, with(SECRET)).await), "accepted");
    assert_eq!(outcome(deliver(&devpulse, "azure_devops", &stage, with(SECRET)).await), "duplicate");
    assert_eq!(deployments(&devpulse, "checkout").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_bitbucket_counts_once() {
    let (_database, devpulse) = start("bitbucket", "deployment_statuses: {deploy: production}").await;
    let status = json!({"repository": {"full_name": "acme/checkout"}, "commit_status": {"key": "deploy",
        "state": "SUCCESSFUL", "updated_on": "2026-01-05T10:04:00+00:00",
        "links": {"commit": {"href": "https://api.bitbucket.org/2.0/repositories/acme/checkout/commit/9fec847784abb10b2fa567ee63b85bd238955d0e"}}}});
    let signed = |secret: &'static str, id: &'static str| {
        move |request: RequestBuilder, body: &str| {
            let signature = format!("sha256={}", hex_signature(secret, body.as_bytes()));
            let request = request.header("x-hub-signature", signature).header("x-request-uuid", id);
            request.header("x-event-key", "repo:commit_status_updated")
        }
    };
    refused(deliver(&devpulse, "bitbucket", &status, signed("guess", "1")).await);
    let (code, answer) = deliver(&devpulse, "bitbucket", &status, |request, body| {
        request.header("x-hub-signature", format!("sha256={}", hex_signature(SECRET, body.as_bytes())))
    })
    .await;
    assert_eq!((code, &answer["errors"][0]["pointer"]), (200, &json!("x-event-key")), "{answer}");
    assert_eq!(outcome(deliver(&devpulse, "bitbucket", &status, signed(SECRET, "1")).await), "accepted");
    assert_eq!(outcome(deliver(&devpulse, "bitbucket", &status, signed(SECRET, "1")).await), "duplicate");
    assert_eq!(outcome(deliver(&devpulse, "bitbucket", &status, signed(SECRET, "2")).await), "duplicate");
    assert_eq!(deployments(&devpulse, "checkout").await, 1);
}
