//! What people do over HTTP: look, approve, withdraw, let out of quarantine.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::wait::until;
use crate::support::webhook::{SECRET, Target};

const SOON: Duration = Duration::from_mins(1);

fn configuration(target: &Target) -> String {
    format!(
        "services: [{{name: shop}}]\n\
         slos:\n  - {{name: shop, service: shop, environment: production, objective: 0.999, window: 30d, \
         indicator: {{availability: {{}}}}}}\n\
         rollback:\n  policies:\n    - {{service: shop, environment: production, mode: approve, \
         executor: {{webhook: {{url: \"{}\", secret: \"{SECRET}\"}}}}}}\n",
        target.url()
    )
}

/// Version 2 fails three requests in five after version 1 was fine; answers with the proposal.
async fn a_proposal(devpulse: &DevPulse) -> Value {
    let ago = |minutes: i64| (chrono::Utc::now() - chrono::Duration::minutes(minutes)).to_rfc3339();
    let place = |mut event: Value, version: &str| {
        event["service"] = json!("shop");
        event["environment"] = json!("production");
        event["version"] = json!(version);
        event
    };
    let deployment = |id: &str, time: String| {
        let event = json!({"type": "deployment", "id": id, "source": "ci", "time": time, "outcome": "succeeded"});
        place(event, id.trim_start_matches("d-"))
    };
    let served = |time: String, requests: u64, errors: u64| json!({"type": "performance", "time": time, "requests": requests, "errors": errors});
    let history =
        json!([deployment("d-1", ago(120)), place(served(ago(30), 2_000, 2), "1"), deployment("d-2", ago(0))]);
    devpulse.post_events(&history).await;
    devpulse.post_events(&json!([place(served(ago(0), 100, 60), "2")])).await;
    until("the proposal", SOON, async || {
        let page = devpulse.get("/api/v1/rollbacks?service=shop&environment=production&state=proposed").await;
        page["items"].as_array().unwrap().first().cloned()
    })
    .await
}

fn key(devpulse: &DevPulse, scopes: &str) -> String {
    let created = devpulse.run(&["keys", "create", "--name", "test", "--scope", scopes]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    String::from_utf8(created.stdout).unwrap().trim().to_owned()
}

async fn call(devpulse: &DevPulse, method: &str, path: &str) -> Answer {
    devpulse.send(devpulse.request(method, path)).await
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.content_type, "application/problem+json");
    assert!(answer.text.contains(word), "{}", answer.text);
}

on_both! {
    async fn a_proposal_is_approved_by_who_may_and_its_version_let_out_again(db: Database) {
        let target = Target::start();
        let mut devpulse = DevPulse::start(&db.url, &configuration(&target)).await;
        let proposal = a_proposal(&devpulse).await;
        let path = format!("/api/v1/rollbacks/{}", proposal["id"].as_str().unwrap());
        assert_eq!((&proposal["from_version"], &proposal["to_version"]), (&json!("2"), &json!("1")));
        let shown = devpulse.get(&path).await;
        assert_eq!(shown["decision"]["indicators"][0]["since"], json!({"bad": 60, "total": 100}));
        assert_eq!(shown["steps"].as_array().unwrap().len(), 4);
        assert!(shown["summary"].as_str().unwrap().starts_with("60 % of 100 requests on 2 failed, 0.1 % before it; chance of a false alarm below 1 in"));

        let (read, operate) = (key(&devpulse, "read"), key(&devpulse, "read,operate"));
        devpulse.use_key(&read);
        is_problem(&call(&devpulse, "POST", &format!("{path}/approve")).await, 403, "operate");
        is_problem(&call(&devpulse, "DELETE", "/api/v1/quarantine/shop/production/2").await, 403, "operate");
        assert!(target.effects("shop").is_empty());
        devpulse.use_key(&operate);
        let approved = call(&devpulse, "POST", &format!("{path}/approve")).await.ok();
        let actor = approved["history"][0]["actor"].as_str().unwrap().to_owned();
        assert!(operate.contains(&actor), "{actor}");
        is_problem(&call(&devpulse, "POST", &format!("{path}/approve")).await, 409, "this rollback is running");
        until("the rollback to be done", SOON, async || {
            (devpulse.get(&path).await["state"] == "done").then_some(())
        }).await;
        assert_eq!(target.effects("shop").len(), 1);
        is_problem(&call(&devpulse, "POST", &format!("{path}/cancel")).await, 409, "this rollback is done");

        let held = devpulse.get("/api/v1/quarantine").await;
        assert_eq!((held["items"][0]["version"].as_str(), held["items"].as_array().unwrap().len()), (Some("2"), 1));
        assert_eq!(call(&devpulse, "DELETE", "/api/v1/quarantine/shop/production/2").await.status, 204);
        is_problem(&call(&devpulse, "DELETE", "/api/v1/quarantine/shop/production/2").await, 404, "not in quarantine");
        assert_eq!(devpulse.get("/api/v1/quarantine").await["items"], json!([]));
        let lifted = devpulse.get("/api/v1/quarantine?lifted=true").await;
        assert_eq!(lifted["items"][0]["lifted_by"], json!(actor));
    }

    async fn a_proposal_is_withdrawn_and_stays_withdrawn(db: Database) {
        let target = Target::start();
        let devpulse = DevPulse::start(&db.url, &configuration(&target)).await;
        let id = a_proposal(&devpulse).await["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/rollbacks/{id}");
        assert_eq!(call(&devpulse, "POST", &format!("{path}/cancel")).await.ok()["state"], "cancelled");
        until("the end to be told", SOON, async || devpulse.get(&path).await["finished_at"].as_str().map(|_| ())).await;
        is_problem(&call(&devpulse, "POST", &format!("{path}/approve")).await, 409, "this rollback is cancelled");
        // The deployment is not decided again, however it goes on.
        let more = json!([{"type": "performance", "time": chrono::Utc::now().to_rfc3339(), "service": "shop",
            "environment": "production", "version": "2", "requests": 100, "errors": 100}]);
        devpulse.post_events(&more).await;
        until("the events to be judged", SOON, async || {
            (devpulse.get("/api/v1/slos/shop").await["bad"] == 162).then_some(())
        }).await;
        assert_eq!(devpulse.all("/api/v1/rollbacks").await.len(), 1);
        assert!(target.effects("shop").is_empty());
    }

    async fn what_cannot_be_answered_is_a_problem(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        for (method, path, status, word) in [
            ("GET", "/api/v1/rollbacks/nope", 404, "nope"),
            ("POST", "/api/v1/rollbacks/nope/approve", 404, "no such rollback"),
            ("POST", "/api/v1/rollbacks/nope/cancel", 404, "no such rollback"),
            ("GET", "/api/v1/rollbacks?colour=red", 400, "colour"),
            ("GET", "/api/v1/rollbacks?state=asleep", 400, "asleep"),
            ("GET", "/api/v1/rollbacks?limit=0", 400, "limit"),
            ("GET", "/api/v1/rollbacks?limit=501", 400, "limit"),
            ("GET", "/api/v1/rollbacks?cursor=x", 400, "cursor"),
            ("GET", "/api/v1/quarantine?lifted=perhaps", 400, ""),
            ("DELETE", "/api/v1/quarantine/shop/production/9", 404, "not in quarantine"),
        ] {
            is_problem(&call(&devpulse, method, path).await, status, word);
        }
        assert_eq!(devpulse.get("/api/v1/rollbacks").await, json!({"items": [], "next": null}));
    }
}
