//! PagerDuty's webhooks over HTTP: signatures, and one incident's life.

use std::collections::BTreeMap;

use devpulse::config::model::PagerDuty;
use devpulse::ingest::pagerduty::{Context, parse};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::mutilate::everywhere;

const SECRET: &str = "pagerduty's secret";

fn event(id: &str, kind: &str, at: &str) -> Value {
    json!({"event": {"id": id, "event_type": format!("incident.{kind}"), "resource_type": "incident", "occurred_at": at,
        "data": {"id": "PGR0VU2", "type": "incident", "title": "A little bump in the road", "created_at": "2026-01-05T10:00:00Z",
            "service": {"id": "PF9KMXH", "summary": "Checkout", "type": "service_reference"}, "urgency": "high"}}})
}

fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

async fn post(devpulse: &DevPulse, body: &str, signature: &str) -> Answer {
    let request = devpulse.request("POST", "/api/v1/webhooks/pagerduty").header("x-pagerduty-signature", signature);
    devpulse.send(request.header("content-type", "application/json").body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_lives_from_its_creation_to_its_last_resolution() {
    let database = Database::sqlite().await;
    let yaml = format!("services: [{{name: checkout}}]\nsources: {{pagerduty: {{secret: \"{SECRET}\"}}}}\n");
    let mut devpulse = DevPulse::start(&database.url, &yaml).await;
    let deliver = async |id: &str, kind: &str, at: &str| {
        let body = event(id, kind, at).to_string();
        let answer = post(&devpulse, &body, &format!("v1={},{}", "0".repeat(64), sign(SECRET, &body))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["outcome"].as_str().unwrap().to_owned()
    };
    let incident = async || devpulse.get("/api/v1/incidents?service=checkout").await["items"][0].clone();
    assert_eq!(deliver("1", "triggered", "2026-01-05T10:00:01Z").await, "accepted");
    assert_eq!(deliver("1", "triggered", "2026-01-05T10:00:01Z").await, "duplicate");
    assert_eq!(deliver("2", "acknowledged", "2026-01-05T10:05:00Z").await, "accepted");
    assert_eq!(deliver("3", "resolved", "2026-01-05T10:30:00Z").await, "accepted");
    assert_eq!(deliver("x", "annotated", "2026-01-05T10:31:00Z").await, "skipped");
    let found = incident().await;
    assert_eq!((&found["status"], &found["started_at"]), (&json!("resolved"), &json!("2026-01-05T10:00:00Z")));
    assert_eq!(deliver("4", "reopened", "2026-01-05T10:40:00Z").await, "accepted");
    assert_eq!(incident().await["resolved_at"], Value::Null);
    assert_eq!(deliver("5", "resolved", "2026-01-05T11:00:00Z").await, "accepted");
    let mttr = devpulse.get("/api/v1/dora?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z").await["metrics"]["mean_time_to_recovery"].clone();
    assert_eq!((&mttr["value"], &mttr["n"]), (&json!(3600.0), &json!(1)));

    let body = event("6", "triggered", "2026-01-06T10:00:00Z").to_string();
    for signature in ["v1=".to_owned(), "v1=00".to_owned(), sign("another secret", &body), sign(SECRET, "another body")]
    {
        let answer = post(&devpulse, &body, &signature).await;
        assert_eq!(
            (answer.status, &answer.json["type"]),
            (401, &json!("bad_signature")),
            "{signature}: {}",
            answer.text
        );
    }
    assert_eq!(devpulse.all("/api/v1/incidents").await.len(), 1);
    // PagerDuty gives a subscription up that refuses: what is malformed is kept, and answered 200.
    let mut malformed = event("7", "resolved", "2026-01-06T11:00:00Z");
    malformed["event"]["occurred_at"] = json!("soon");
    for body in [malformed.to_string(), "{\"event\":".to_owned()] {
        let answer = post(&devpulse, &body, &sign(SECRET, &body)).await;
        assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("invalid")), "{}", answer.text);
    }
    let kept = devpulse.get("/api/v1/sources/invalid?source=pagerduty").await["items"].clone();
    assert_eq!((&kept[0]["pointer"], &kept[0]["body"]), (&json!(""), &json!("{\"event\":")), "{kept:#}");
    assert_eq!((&kept[1]["pointer"], &kept[1]["body"]), (&json!("/event/occurred_at"), &json!(malformed.to_string())));
    // With keys about, PagerDuty still needs none; without the source nobody gets in.
    assert!(devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]).status.success());
    assert_eq!(post(&devpulse, &body, &sign(SECRET, &body)).await.status, 200);
    std::fs::write(devpulse.configuration(), "services: [{name: checkout}]\n").unwrap();
    devpulse.kill();
    devpulse.restart().await;
    assert_eq!(post(&devpulse, &body, &sign(SECRET, &body)).await.status, 404);
}

#[test]
fn mutilated_deliveries_get_an_outcome_too() {
    let settings = PagerDuty { secret: SECRET.into(), services: BTreeMap::new(), environment: None };
    let context = Context { settings: &settings, services: &[] };
    let body = event("1", "resolved", "2026-01-05T10:00:00Z");
    assert!(everywhere(&body, 6, |body| parse(&body.to_string(), &context)) > 10);
}
