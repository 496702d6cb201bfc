//! Who sends, when last, and what became of it: `GET /api/v1/sources` and `devpulse sources`.

use std::time::Duration;

use devpulse::ingest::source::Skip;
use devpulse::ingest::tally::{Became, Tally};
use devpulse::store::source_count::{self, SourceCount};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::db::{TestDb, on_both, refuse, refuse_no_more};
use crate::support::devpulse::DevPulse;
use crate::support::github::{DeploymentStatus, deliver};
use crate::support::wait::until;

const SECRET: &str = "github's secret";

fn status(id: u64) -> Value {
    let at = "2026-01-05T10:04:00Z".to_owned();
    DeploymentStatus { id, repository: "acme/checkout", sha: "8f3c2d1a9b", version: "v1.4.2", at }.body()
}

/// The status of a source, once it says so many of something; counts are a second behind.
async fn counted(devpulse: &DevPulse, source: &str, field: &str, times: i64) -> Value {
    until(&format!("{times} {field} of {source}"), Duration::from_secs(10), async || {
        let items = devpulse.get("/api/v1/sources").await["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["source"] == source && item[field] == times)
    })
    .await
}

async fn stored(db: &TestDb) -> Vec<(String, String, i64, i64)> {
    let rows = source_count::all(&mut db.store.read().await.unwrap()).await.unwrap();
    rows.into_iter()
        .map(|SourceCount { outcome, reason, count, last_at, .. }| (outcome, reason, count, last_at))
        .collect()
}

on_both! {
    async fn every_delivery_is_counted_and_a_restart_forgets_none(database: Database) {
        let yaml = format!("sources: {{github: {{secret: \"{SECRET}\"}}, pagerduty: {{secret: p}}}}\n");
        let mut devpulse = DevPulse::start(&database.url, &yaml).await;
        let fresh = devpulse.get("/api/v1/sources").await["items"].clone();
        assert_eq!((&fresh[0]["source"], &fresh[1]["source"]), (&json!("github"), &json!("pagerduty")));
        assert_eq!((&fresh[0]["configured"], &fresh[0]["last_event_at"]), (&json!(true), &Value::Null));

        for _ in 0..2 {
            assert_eq!(deliver(&devpulse, "deployment_status", &status(1), SECRET).await.status, 200);
        }
        assert_eq!(deliver(&devpulse, "ping", &json!({}), SECRET).await.json["outcome"], "skipped");
        assert_eq!(deliver(&devpulse, "push", &json!({}), SECRET).await.json["outcome"], "invalid");
        for _ in 0..3 {
            assert_eq!(deliver(&devpulse, "deployment_status", &status(2), "a guess").await.status, 401);
        }
        let event = json!({"type": "request", "service": "a", "environment": "production", "status": 200});
        devpulse.send(devpulse.request("POST", "/api/v1/events").json(&json!([event, event, {}]))).await.ok();

        let github = counted(&devpulse, "github", "failed_signatures", 3).await;
        for (field, times) in [("accepted", 1), ("duplicate", 1), ("skipped", 1), ("invalid", 1)] {
            assert_eq!(github[field], times, "{field}: {github:#}");
        }
        assert_eq!(github["skipped_because"][0]["reason"], "test");
        let time = |field: &str| Timestamp::parse(github[field].as_str().unwrap()).unwrap();
        assert!(time("last_accepted_at") < time("last_event_at"));
        assert!(time("last_event_at") < time("last_failed_signature_at"), "a forged delivery is no event of the source");
        let native = counted(&devpulse, "native", "accepted", 2).await;
        assert_eq!((&native["invalid"], &native["configured"]), (&json!(1), &json!(true)));

        // What is written survives a kill, and further counts are added to it.
        devpulse.kill();
        devpulse.restart().await;
        assert_eq!(deliver(&devpulse, "deployment_status", &status(3), SECRET).await.status, 200);
        let github = counted(&devpulse, "github", "accepted", 2).await;
        assert_eq!((&github["duplicate"], &github["failed_signatures"]), (&json!(1), &json!(3)));
        // Also what was counted in the very last second before an orderly end.
        assert_eq!(deliver(&devpulse, "ping", &json!({}), SECRET).await.status, 200);
        devpulse.process().signal("TERM");
        until("DevPulse to end", Duration::from_secs(20), async || devpulse.process().exited()).await;
        devpulse.restart().await;
        counted(&devpulse, "github", "skipped", 2).await;

        let text = devpulse.ask(&["sources"]);
        let line = text.lines().find(|line| line.starts_with("github")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(2).collect();
        assert!(text.starts_with("SOURCE"), "{text}");
        assert_eq!(cells, ["2", "1", "2", "1", "0", "3", "2", "test"], "{text}");
        let printed: Value = serde_json::from_str(&devpulse.ask(&["sources", "--output", "json"])).unwrap();
        assert_eq!(printed, devpulse.get("/api/v1/sources").await);
    }

    async fn what_is_refused_at_the_door_is_counted_for_its_source(database: Database) {
        let yaml = format!("sources: {{github: {{secret: \"{SECRET}\"}}}}\ningest: {{max_body_bytes: 20000}}\n");
        let mut devpulse = DevPulse::start(&database.url, &yaml).await;
        let key = |scope: &str| {
            let created = devpulse.run(&["keys", "create", "--name", scope, "--scope", scope]);
            String::from_utf8(created.stdout).unwrap().trim().to_owned()
        };
        let (reader, sender) = (key("read"), key("ingest"));
        let large = "x".repeat(20_001);
        for (path, source) in [("webhooks/alertmanager", "alertmanager"), ("cloudevents", "cloudevents"), ("events", "native")] {
            let post = async |key: &str, body: &str| {
                let request = devpulse.request("POST", &format!("/api/v1/{path}")).bearer_auth(key);
                devpulse.send(request.header("content-type", "application/cloudevents+json").body(body.to_owned())).await
            };
            let bare = devpulse.send(devpulse.request("POST", &format!("/api/v1/{path}"))).await;
            assert_eq!(bare.status, 401);
            assert!(bare.json["detail"].as_str().unwrap().contains("--scope ingest"), "{source}: {}", bare.text);
            for (key, body, status) in [("dp_guess", "{}", 401), (&*reader, "{}", 403), (&*sender, &*large, 413)] {
                assert_eq!(post(key, body).await.status, status, "{source}");
            }
        }
        let signed = devpulse.request("POST", "/api/v1/webhooks/github").header("x-hub-signature-256", format!("sha256={}", "0".repeat(64)));
        assert_eq!(devpulse.send(signed.body(large)).await.status, 413);
        let bare = devpulse.send(devpulse.request("GET", "/api/v1/dora")).await;
        assert!(bare.json["detail"].as_str().unwrap().contains("--scope read"), "{}", bare.text);
        let bare = devpulse.send(devpulse.request("POST", "/api/v1/rollbacks/x/approve")).await;
        assert!(bare.json["detail"].as_str().unwrap().contains("--scope operate"), "{}", bare.text);
        devpulse.use_key(&reader);
        for source in ["alertmanager", "cloudevents", "native"] {
            let found = counted(&devpulse, source, "failed_signatures", 3).await;
            let fields = ["too_large", "invalid", "configured", "last_event_at"].map(|name| found[name].clone());
            assert_eq!(fields, [json!(1), json!(0), json!(true), Value::Null], "{found:#}");
        }
        let github = counted(&devpulse, "github", "too_large", 1).await;
        assert_eq!((&github["failed_signatures"], &github["invalid"]), (&json!(0), &json!(0)));
    }

    /// Whatever source says it: one rule, that of the native API.
    async fn times_that_cannot_be_true_are_refused(database: Database) {
        let yaml = format!("sources: {{github: {{secret: \"{SECRET}\"}}, opsgenie: {{secret: s}}, argocd: {{secret: s}}}}\n");
        let devpulse = DevPulse::start(&database.url, &yaml).await;
        let ahead = |minutes: i64| (chrono::Utc::now() + chrono::Duration::minutes(minutes)).to_rfc3339();
        let deployed = |id: u64, at: String| {
            DeploymentStatus { id, repository: "acme/checkout", sha: "8f3c2d1a9b", version: "v1", at }.body()
        };
        let alert = |start: &str| json!({"alerts": [{"status": "firing", "fingerprint": start, "labels": {}, "startsAt": start}]});
        let alerted = async |start: &str| {
            devpulse.send(devpulse.request("POST", "/api/v1/webhooks/alertmanager").json(&alert(start))).await.ok()
        };
        for (minutes, outcome) in [(9, "accepted"), (11, "invalid"), (60 * 24 * 400, "invalid")] {
            let id = u64::try_from(minutes).unwrap();
            let github = deliver(&devpulse, "deployment_status", &deployed(id, ahead(minutes)), SECRET).await.ok();
            assert_eq!(github["outcome"], outcome, "{minutes}: {github}");
            let alertmanager = alerted(&ahead(minutes)).await;
            assert_eq!(alertmanager["outcome"], outcome, "{minutes}: {alertmanager}");
            if outcome == "invalid" {
                for receipt in [github, alertmanager] {
                    assert!(receipt["errors"][0]["detail"].as_str().unwrap().contains("in the future"), "{receipt}");
                }
            }
        }
        assert_eq!(alerted("1999-12-31T23:59:59Z").await["errors"][0]["detail"].as_str().unwrap().split(',').nth(1).unwrap().trim(), "before 2000: check the unit and the sender's clock");
        assert_eq!(devpulse.all("/api/v1/deployments").await.len(), 1);
        assert_eq!(devpulse.all("/api/v1/incidents").await.len(), 1);
        assert_eq!(devpulse.get("/api/v1/sources/invalid").await["items"].as_array().unwrap().len(), 5);
    }

    async fn counts_wait_for_a_database_and_are_added_up(db: TestDb) {
        let at = Timestamp::from_seconds;
        let (one, another) = (Tally::default(), Tally::default());
        for second in [100, 300, 200] {
            one.delivery("github", Became::Unsigned, at(second));
        }
        another.delivery("github", Became::Unsigned, at(250));
        another.delivery("github", Became::Skipped(Skip::NotMerged), at(50));
        refuse(&db.store, "source_count", "INSERT", "NEW.source = 'github'").await;
        one.flush(&db.store).await.unwrap_err();
        assert_eq!(stored(&db).await, []);
        refuse_no_more(&db.store, "source_count").await;
        for tally in [&one, &another, &one] {
            tally.flush(&db.store).await.unwrap();
        }
        let row = |outcome: &str, reason: &str, count, last: i64| (outcome.to_owned(), reason.to_owned(), count, last);
        let both = [row("skipped", "not_merged", 1, 50_000_000), row("unsigned", "", 4, 300_000_000)];
        assert_eq!(stored(&db).await, both, "the last of them stays the last, whoever writes last");
    }
}
