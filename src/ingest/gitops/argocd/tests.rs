use serde_json::{Value, json};

use super::super::tests::{settings, with_context};
use super::*;

const SHA: &str = "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b";
const EARLIER: &str = "1a429d2f06fa49d8ece5045ac6471dc8a2276895";

fn history(revisions: &[(u64, &str)]) -> Value {
    let entry = |(id, revision): &(u64, &str)| json!({"id": id, "revision": revision, "deployedAt": format!("2026-01-05T{:02}:00:00Z", 10 + id)});
    revisions.iter().map(entry).collect()
}

/// What the shipped template makes of an Application as Argo CD's documentation shows it
/// (`docs/operator-manual/application.yaml` and the `guestbook` of its examples).
fn notification() -> Value {
    json!({"application": {"name": "checkout-prod", "namespace": "argocd", "labels": {"team": "a"}}, "project": "default",
        "destination": {"name": "in-cluster", "namespace": "checkout"},
        "source": {"repoURL": "https://github.com/acme/deploy.git"}, "sources": [],
        "operation": {"phase": "Succeeded", "startedAt": "2026-01-05T11:58:00Z", "finishedAt": "2026-01-05T12:00:00Z"},
        "result": {"revision": SHA}, "history": history(&[(1, EARLIER), (2, SHA)]),
        "health": {"status": "Healthy", "lastTransitionTime": "2026-01-05T12:01:00Z"},
        "images": ["ghcr.io/acme/checkout:1.4.2@sha256:0b31", "redis:7"], "url": "https://argo.example/applications/argocd/checkout-prod"})
}

fn with(pointer: &str, value: Value) -> Value {
    let mut body = notification();
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

fn reading(body: &Value) -> Result<Reading, Fault> {
    with_context(&settings(), |context| parse(&body.to_string(), context))
}

fn fact(body: &Value) -> (DeploymentEvent, [u8; 32]) {
    let Ok(Reading::Facts(facts)) = reading(body) else { panic!("{:?}", reading(body)) };
    let DeliveryEvent::Deployment(event) = facts[0].event.clone() else { panic!("{body}") };
    (event, facts[0].digest)
}

fn deployment(body: &Value) -> DeploymentEvent {
    fact(body).0
}

fn skipped(body: &Value) -> String {
    let Ok(Reading::Skipped(Skip::NoChange, reason)) = reading(body) else { panic!("{:?}", reading(body)) };
    reason
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_sync_of_another_revision_is_a_deployment() {
    let found = deployment(&notification());
    assert_eq!((found.service.as_str(), found.environment.as_str(), found.place()), ("checkout", "production", "prod"));
    assert_eq!((found.version.as_deref(), found.commit.as_deref()), (Some("1.4.2"), Some(SHA)));
    assert_eq!(found.repository.as_deref(), Some("acme/deploy"));
    assert_eq!((found.outcome, found.time), (DeploymentOutcome::Succeeded, time("2026-01-05T12:01:00Z")), "healthy");
    assert_eq!(found.started_at, Some(time("2026-01-05T11:58:00Z")));
    let long_healthy = with("/health/lastTransitionTime", "2026-01-01T00:00:00Z".into());
    assert_eq!(deployment(&long_healthy).time, time("2026-01-05T12:00:00Z"));
}

#[test]
fn the_same_revision_again_is_the_same_deployment_and_a_return_is_another() {
    let (first, digest) = fact(&notification());
    let again = fact(&with("/history", history(&[(1, EARLIER), (2, SHA), (3, SHA)])));
    assert_eq!((again.0.key, again.1), (first.key.clone(), digest));
    assert_eq!(again.0.time, time("2026-01-05T12:00:00Z"), "when it was deployed first");
    let returned = deployment(&with("/history", history(&[(2, SHA), (3, EARLIER), (4, SHA)])));
    assert_ne!(returned.key, first.key);
    assert_eq!(deployment(&with("/history", history(&[(0, SHA)]))).outcome, DeploymentOutcome::Succeeded, "the first");
    assert!(skipped(&with("/history", history(&[(7, SHA), (8, SHA)]))).contains("revisionHistoryLimit"));
    assert!(skipped(&with("/history", history(&[(1, EARLIER)]))).contains("single resources"));
}

#[test]
fn health_says_how_a_deployment_ended() {
    let degraded = deployment(&with("/health/status", "Degraded".into()));
    assert_eq!(degraded.outcome, DeploymentOutcome::Failed);
    assert_eq!(degraded.key, deployment(&notification()).key, "healthy later, it has succeeded");
    for status in ["Progressing", "Suspended", "Missing", "Unknown"] {
        assert!(skipped(&with("/health/status", status.into())).contains("neither"), "{status}");
    }
}

#[test]
fn a_sync_that_failed_is_a_deployment_that_failed() {
    let mut body = with("/operation/phase", "Failed".into());
    assert!(skipped(&body).contains("deployed already"));
    body["history"] = history(&[(1, EARLIER)]);
    let failed = deployment(&body);
    assert_eq!((failed.outcome, failed.time), (DeploymentOutcome::Failed, time("2026-01-05T12:00:00Z")));
    assert_eq!(failed.key, deployment(&notification()).key, "tried again it succeeds");
    body["result"] = json!({});
    assert!(skipped(&body).contains("before it had a revision"));
    assert!(skipped(&with("/operation/phase", "Running".into())).contains("under way"));
}

#[test]
fn several_sources_have_a_revision_each() {
    let mut body = with("/source", json!({}));
    body["sources"] = json!([{"repoURL": "https://charts.example", "chart": "shop"},
        {"repoURL": "git@github.com:acme/deploy.git"}, {"repoURL": "https://github.com/acme/values"}]);
    let revisions = json!(["6.5.4", SHA, EARLIER]);
    body["result"] = json!({"revision": "", "revisions": revisions});
    body["history"] = json!([{"id": 0, "revisions": ["6.5.3", SHA, EARLIER]}, {"id": 1, "revisions": revisions}]);
    body["images"] = Value::Null;
    let found = deployment(&body);
    assert_eq!((found.version.as_deref(), found.commit), (Some("6.5.4"), None));
    let changes: Vec<&str> = found.changes.iter().map(|change| change.repository.as_str()).collect();
    assert_eq!(changes, ["acme/deploy", "acme/values"]);
    assert_eq!(found.key.id, "argocd/checkout-prod/1/6.5.4+8f3c2d1a9b4e+1a429d2f06fa");
    body["sources"] =
        json!([{"repoURL": "https://charts.example", "chart": "shop"}, {"repoURL": "https://github.com/acme/values"}]);
    body["result"]["revisions"] = json!(["6.5.4", SHA]);
    body["history"] = json!([{"id": 0, "revisions": ["6.5.4", SHA]}]);
    assert_eq!(deployment(&body).commit.as_deref(), Some(SHA));
}

#[test]
fn versions_are_those_that_only_one_thing_says() {
    for (images, label, version) in [
        (json!(["checkout:1.4.1", "checkout:1.4.2"]), Value::Null, None),
        (json!(["other:2.0"]), Value::Null, Some("2.0")),
        (json!(["a:1", "b:2"]), Value::Null, None),
        (json!(["localhost:5000/checkout:latest"]), Value::Null, None),
        (json!(["checkout:1.4.1"]), json!({"app.kubernetes.io/version": "9"}), Some("9")),
        (Value::Null, Value::Null, None),
    ] {
        let mut body = with("/images", images.clone());
        body["application"]["labels"] = label;
        assert_eq!(deployment(&body).version.as_deref(), version, "{images}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (pointer, value, wanted) in [
        ("/operation", Value::Null, "/operation"),
        ("/operation/phase", Value::Null, "/operation/phase"),
        ("/operation/finishedAt", Value::Null, "/operation/finishedAt"),
        ("/operation/startedAt", "soon".into(), "/operation/startedAt"),
        ("/application/name", Value::Null, "/application/name"),
        ("/health", Value::Null, "/health"),
        ("/history", "none".into(), "/history"),
        ("/history/0/deployedAt", 7.into(), "/history/0/deployedAt"),
    ] {
        assert_eq!(reading(&with(pointer, value)).unwrap_err().pointer(), wanted);
    }
}
