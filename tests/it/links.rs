//! Which deployments an incident belongs to, as a person corrects it, over HTTP and by command.

use std::process::Command;

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;

const CONFIGURATION: &str = "services: [{name: checkout}, {name: search}]\n";

fn minutes_ago(minutes: i64) -> String {
    (Utc::now() - TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn deployment(service: &str, id: &str, ago: i64) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": minutes_ago(ago), "service": service,
        "environment": "production", "version": id, "outcome": "succeeded"})
}

fn incident(source: &str, status: &str, ago: i64) -> Value {
    json!({"type": "incident", "source": source, "id": "i-1", "time": minutes_ago(ago), "service": "checkout",
        "environment": "production", "status": status})
}

async fn call(devpulse: &DevPulse, method: &str, query: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = devpulse.request(method, &format!("/api/v1/incidents/i-1/links{query}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = devpulse.send(request).await;
    (answer.status, answer.json)
}

/// What it is linked to: (deployment, how that is known).
fn linked(links: &Value) -> Vec<(&str, &str)> {
    let links = links["links"].as_array().unwrap_or_else(|| panic!("{links}"));
    links.iter().map(|link| (link["deployment"]["id"].as_str().unwrap(), link["kind"].as_str().unwrap())).collect()
}

async fn failed(devpulse: &DevPulse) -> Vec<String> {
    let rows = devpulse.get("/api/v1/dora/change_fail_rate/explain").await;
    let rows = rows["included"].as_array().unwrap().iter().filter(|row| row["value"] == true);
    rows.map(|row| row["deployment"]["id"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn a_correction_goes_before_everything_and_can_be_taken_back(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let story = [deployment("checkout", "d1", 300), deployment("search", "s1", 250), deployment("checkout", "d2", 200),
            incident("pager", "opened", 100), incident("pager", "resolved", 90)];
        devpulse.post_events(&json!(story)).await;
        assert_eq!(linked(&call(&devpulse, "GET", "", None).await.1), [("d2", "inferred")]);
        assert_eq!(failed(&devpulse).await, ["d2"]);

        let said = json!({"deployments": [{"id": "d1", "source": "ci"}, {"id": "s1", "source": "ci"}], "reason": "the cache"});
        let (status, links) = call(&devpulse, "PUT", "", Some(said)).await;
        assert_eq!((status, linked(&links)), (200, vec![("d1", "operator"), ("s1", "operator")]));
        assert_eq!(failed(&devpulse).await, ["d1", "s1"]);
        let recovery = devpulse.get("/api/v1/dora?service=checkout").await["metrics"]["failed_deployment_recovery_time"].clone();
        assert!((recovery["value"].as_f64().unwrap() - 210.0 * 60.0).abs() < 2.0, "{recovery}");

        // A late event that names another deployment changes nothing: the person has the last word.
        let mut named = incident("pager", "acknowledged", 95);
        named["deployments"] = json!([{"id": "d2", "source": "ci"}]);
        devpulse.post_events(&named).await;
        assert_eq!(failed(&devpulse).await, ["d1", "s1"]);

        let (status, links) = call(&devpulse, "PUT", "", Some(json!({"deployments": []}))).await;
        assert_eq!((status, linked(&links), failed(&devpulse).await), (200, vec![], vec![]));

        let (status, links) = call(&devpulse, "DELETE", "", None).await;
        assert_eq!((status, linked(&links)), (200, vec![("d2", "explicit")]));
        assert_eq!(failed(&devpulse).await, ["d2"]);
        let corrections = links["corrections"].as_array().unwrap();
        assert_eq!(corrections.len(), 3, "{links}");
        assert_eq!((&corrections[0]["actor"], &corrections[0]["reason"]), (&json!("loopback"), &json!("the cache")));
        assert_eq!(corrections[2]["deployments"], Value::Null);
        // Taking back what is not there adds nothing.
        let (_, links) = call(&devpulse, "DELETE", "", None).await;
        assert_eq!(links["corrections"].as_array().unwrap().len(), 3);
    }

    /// What is accepted is linked: a reference is checked as it is matched.
    async fn a_reference_that_would_link_nothing_is_refused(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let mut staged = deployment("checkout", "d2", 200);
        staged["environment"] = "staging".into();
        let mut twice = deployment("search", "s1", 190);
        twice["source"] = "argo".into();
        let mut abbreviated = deployment("checkout", "d3", 180);
        abbreviated["commit"] = "0123456789abcdef0123456789abcdef01234567".into();
        let mut nowhere = incident("pager", "opened", 100);
        nowhere.as_object_mut().unwrap().remove("service");
        nowhere.as_object_mut().unwrap().remove("environment");
        let story = [deployment("checkout", "d1", 300), staged, deployment("search", "s1", 195), twice, abbreviated, nowhere];
        devpulse.post_events(&json!(story)).await;
        let (_, links) = call(&devpulse, "GET", "", None).await;
        assert_eq!(links["unlinked"]["reason"], "it names neither a service nor a deployment");
        assert!(links["unlinked"]["fix"].as_str().unwrap().contains("send service"), "{links}");

        // An id needs no source where one source has it; what is kept names it.
        let (status, links) = call(&devpulse, "PUT", "", Some(json!({"deployments": [{"id": "d1"}]}))).await;
        assert_eq!((status, linked(&links)), (200, vec![("d1", "operator")]), "{links}");
        assert_eq!(links["corrections"][0]["deployments"], json!([{"id": "d1", "source": "ci"}]));
        assert_eq!(links["unlinked"], Value::Null);
        for (named, part) in [
            (json!({"id": "s1"}), "argo, ci"),
            (json!({"version": "d1"}), "names no service"),
            (json!({"commit": "012345"}), "no such deployment"),
        ] {
            let (status, problem) = call(&devpulse, "PUT", "", Some(json!({"deployments": [named.clone()]}))).await;
            assert_eq!((status, &problem["pointer"]), (422, &json!("/deployments/0")), "{named}");
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        }
        let (status, links) = call(&devpulse, "PUT", "", Some(json!({"deployments": [{"commit": "0123456"}]}))).await;
        assert_eq!((status, linked(&links)), (200, vec![("d3", "operator")]), "{links}");

        devpulse.post_events(&incident("pager", "acknowledged", 95)).await;
        let (status, problem) = call(&devpulse, "PUT", "", Some(json!({"deployments": [{"version": "d2"}]}))).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 422 && detail.contains("of checkout in production"), "known in staging alone: {problem}");
        let (status, links) = call(&devpulse, "PUT", "", Some(json!({"deployments": [{"version": "d1"}]}))).await;
        assert_eq!((status, linked(&links)), (200, vec![("d1", "operator")]));
        let (_, links) = call(&devpulse, "PUT", "", Some(json!({"deployments": []}))).await;
        assert!(links["unlinked"]["reason"].as_str().unwrap().contains("a person said"), "{links}");
    }

    async fn what_cannot_be_meant_is_refused(db: Database) {
        let mut devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&json!([deployment("checkout", "d1", 300), incident("pager", "opened", 100)])).await;
        for (body, status, pointer) in [
            (json!({"deployments": [{"id": "d9", "source": "ci"}]}), 422, json!("/deployments/0")),
            (json!({"deployments": [{"source": "ci"}]}), 422, json!("/deployments/0")),
            (json!({"deployments": [], "reason": "x".repeat(1_001)}), 422, json!("/reason")),
            (json!({"deployment": []}), 400, Value::Null),
            (json!([]), 400, Value::Null),
        ] {
            let (found, problem) = call(&devpulse, "PUT", "", Some(body.clone())).await;
            assert_eq!((found, &problem["pointer"]), (status, &pointer), "{body} {problem}");
        }
        assert_eq!(call(&devpulse, "GET", "?source=other", None).await.0, 404);
        devpulse.post_events(&incident("opsgenie", "opened", 100)).await;
        let (status, problem) = call(&devpulse, "DELETE", "", None).await;
        assert_eq!((status, &problem["pointer"]), (409, &json!("source")));
        assert!(problem["detail"].as_str().unwrap().contains("opsgenie, pager") || problem["detail"].as_str().unwrap().contains("pager, opsgenie"), "{problem}");
        assert_eq!(call(&devpulse, "GET", "?source=pager", None).await.0, 200);
        let created = devpulse.run(&["keys", "create", "--name", "r", "--scope", "read"]);
        devpulse.use_key(String::from_utf8(created.stdout).unwrap().trim());
        assert_eq!(call(&devpulse, "PUT", "?source=pager", Some(json!({"deployments": []}))).await.0, 403);
        assert_eq!(call(&devpulse, "GET", "?source=pager", None).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_the_same() {
    let database = crate::support::database::Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, CONFIGURATION).await;
    let story =
        [deployment("checkout", "d1", 300), deployment("checkout", "d2", 200), incident("pager", "opened", 100)];
    devpulse.post_events(&json!(story)).await;
    let server = devpulse.url("/");
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_devpulse")).args(arguments).args(["--server", &server]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let (ok, text) = run(&["incident", "links", "i-1"]);
    assert!(ok && text.contains("d2") && text.contains("inferred"), "{text}");
    let (ok, text) = run(&["incident", "link", "i-1", "--deployment", "d1@ci", "--reason", "the cache"]);
    assert!(ok && text.contains("operator") && text.contains("linked it to d1: the cache"), "{text}");
    let (ok, text) = run(&["incident", "link", "i-1"]);
    assert!(!ok && text.contains("--none"), "{text}");
    let (ok, text) = run(&["incident", "unlink", "i-1"]);
    assert!(ok && text.contains("took the correction back") && text.contains("inferred"), "{text}");

    let (ok, text) = run(&["explain", "change_fail_rate", "--service", "checkout"]);
    assert!(ok && text.contains("change_fail_rate: 50 %") && text.contains("yes: incident i-1 (inferred)"), "{text}");
    let (ok, text) = run(&["explain", "deployment_frequency", "--output", "json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(ok && answer["included"].as_array().unwrap().len() == 2, "{text}");
    let (ok, text) = run(&["explain", "lead_time"]);
    assert!(!ok && text.contains("change_lead_time"), "{text}");
}
