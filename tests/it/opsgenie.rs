//! Opsgenie's webhook over HTTP: the token, and one alert's life.

use std::collections::BTreeMap;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::Labelled;
use devpulse::ingest::opsgenie;
use devpulse::ingest::source::Context;
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::mutilate::everywhere;

const SECRET: &str = "opsgenie's secret";

/// 2026-01-05T10:00:00Z and so many minutes later, in milliseconds.
const fn millis(minutes: u64) -> u64 {
    (1_767_607_200 + 60 * minutes) * 1_000
}

fn event(action: &str, alert: &str, minutes: u64) -> Value {
    json!({"action": action, "integrationName": "DevPulse", "source": {"name": "web", "type": "API"},
        "alert": {"alertId": alert, "alias": "payments", "message": "payments fail", "priority": "P1", "entity": "db-1",
            "tags": ["service:checkout", "env"], "details": {"environment": "prod"}, "createdAt": millis(0),
            "updatedAt": millis(minutes) * 1_000_000}})
}

async fn post(devpulse: &DevPulse, body: &Value, authorization: &str) -> Answer {
    let request = devpulse.request("POST", "/api/v1/webhooks/opsgenie").header("authorization", authorization);
    devpulse.send(request.json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_lives_from_its_creation_to_its_closing() {
    let database = Database::sqlite().await;
    let yaml = format!("services: [{{name: checkout}}]\nsources: {{opsgenie: {{secret: \"{SECRET}\"}}}}\n");
    let mut devpulse = DevPulse::start(&database.url, &yaml).await;
    let deliver = async |action: &str, alert: &str, minutes| {
        let answer = post(&devpulse, &event(action, alert, minutes), &format!("Bearer {SECRET}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["outcome"].as_str().unwrap().to_owned()
    };
    let incident = async || devpulse.get("/api/v1/incidents?service=checkout").await["items"][0].clone();
    assert_eq!(deliver("Create", "a-1", 0).await, "accepted");
    assert_eq!(deliver("Create", "a-1", 0).await, "duplicate");
    assert_eq!(deliver("Acknowledge", "a-1", 5).await, "accepted");
    assert_eq!(incident().await["status"], "acknowledged");
    assert_eq!(deliver("UnAcknowledge", "a-1", 10).await, "accepted");
    assert_eq!(incident().await["status"], "opened");
    assert_eq!(deliver("AddNote", "a-1", 12).await, "skipped");
    assert_eq!(deliver("Close", "a-1", 30).await, "accepted");
    assert_eq!(deliver("Close", "a-1", 30).await, "duplicate");
    let found = incident().await;
    assert_eq!((&found["status"], &found["environment"]), (&json!("resolved"), &json!("production")));
    assert_eq!(
        (&found["started_at"], &found["resolved_at"]),
        (&json!("2026-01-05T10:00:00Z"), &json!("2026-01-05T10:30:00Z"))
    );
    let day = "/api/v1/dora?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z";
    let mttr = devpulse.get(day).await["metrics"]["mean_time_to_recovery"].clone();
    assert_eq!((&mttr["value"], &mttr["n"]), (&json!(1800.0), &json!(1)));

    for wrong in ["Bearer another", SECRET, "Basic x"] {
        let answer = post(&devpulse, &event("Create", "a-2", 0), wrong).await;
        assert_eq!((answer.status, &answer.json["type"]), (401, &json!("bad_signature")), "{wrong}: {}", answer.text);
    }
    assert_eq!(devpulse.all("/api/v1/incidents").await.len(), 1);
    // With keys about, Opsgenie still needs none; without the source nobody gets in.
    assert!(devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]).status.success());
    assert_eq!(deliver("Create", "a-2", 0).await, "accepted");
    std::fs::write(devpulse.configuration(), "services: [{name: checkout}]\n").unwrap();
    devpulse.kill();
    devpulse.restart().await;
    assert_eq!(post(&devpulse, &event("Create", "a-3", 0), &format!("Bearer {SECRET}")).await.status, 404);
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    let settings = Labelled {
        secret: SECRET.into(),
        service_label: "service".to_owned(),
        environment_label: "environment".to_owned(),
        services: BTreeMap::new(),
        environment: None,
    };
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, services: &[], environments, max_items: 100 };
    assert!(everywhere(&event("Close", "a-1", 5), 6, |body| opsgenie::parse(&body.to_string(), &context)) > 10);
}
