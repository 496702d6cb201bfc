//! The OpenAPI document against what is really answered, and how wrong questions are answered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::schema::Schemas;
use crate::support::wait::until;

const EXAMPLE: &str = include_str!("../../devpulse.example.yaml");

/// A deployment that burns the budget: there are deployments, an alert and a shadow rollback.
async fn story() -> (Database, DevPulse) {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, EXAMPLE).await;
    let ago = |minutes: i64| (chrono::Utc::now() - chrono::Duration::minutes(minutes)).to_rfc3339();
    let place = json!({"service": "checkout", "environment": "production"});
    let with = |mut event: Value| {
        event.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        event
    };
    let mut events: Vec<Value> = (0..30)
        .map(|i| {
            let minute = 60 - 2 * i;
            let (version, errors) = if minute > 10 { ("1.4.1", 0) } else { ("1.4.2", 200) };
            let durations = json!({"count": 1_000, "sum": 12_000, "buckets": [[10, 900], [25, 100]]});
            with(json!({"type": "performance", "time": ago(minute), "version": version, "requests": 1_000,
                "errors": errors, "duration_ms": durations}))
        })
        .collect();
    let deployed = |id: &str, version: &str, minutes| {
        json!({"type": "deployment", "id": id, "source": "ci", "version": version, "outcome": "succeeded",
            "time": ago(minutes), "commit": "8f3c1d2", "repository": "acme/checkout",
            "changes": [{"repository": "acme/checkout", "sha": format!("{minutes:040}"), "authored_at": ago(90)}]})
    };
    events.push(with(deployed("d-40", "1.4.1", 61)));
    events.push(with(deployed("d-41", "1.4.2", 11)));
    events.push(with(json!({"type": "incident", "id": "i-9", "source": "ops", "status": "opened", "time": ago(9),
        "title": "payments fail", "deployments": [{"version": "1.4.2"}]})));
    events
        .push(json!({"type": "change", "repository": "acme/checkout", "sha": "9".repeat(40), "authored_at": ago(80)}));
    devpulse.post_events(&Value::Array(events)).await;
    (database, devpulse)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_description_says() {
    let (_database, devpulse) = story().await;
    let first_id = async |path: &str| {
        until(path, Duration::from_secs(20), async || {
            Some(devpulse.get(path).await["items"][0]["id"].as_str()?.to_owned())
        })
        .await
    };
    let (rollback, alert) = (first_id("/api/v1/rollbacks").await, first_id("/api/v1/alerts").await);
    let schemas = Schemas(devpulse.get("/api/openapi.json").await);
    let text = schemas.0.to_string();
    for name in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.0.pointer(name).is_some(), "{name} is referred to and missing");
    }
    let mut judged = 0;
    for (template, item) in schemas.0["paths"].as_object().unwrap() {
        let json = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if !json.is_object() {
            continue;
        }
        let metrics = if template.contains("{metric}") {
            schemas.0["components"]["schemas"]["Metric"]["enum"].clone()
        } else {
            json!([""])
        };
        for metric in metrics.as_array().unwrap() {
            let id = match template {
                _ if template.contains("rollbacks") => rollback.as_str(),
                _ if template.contains("incidents") => "i-9",
                _ => alert.as_str(),
            };
            let path = template
                .replace("{id}", id)
                .replace("{name}", "checkout-availability")
                .replace("{metric}", metric.as_str().unwrap());
            let answer = devpulse.send(devpulse.request("GET", &path)).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert!(answer.text.ends_with("}\n"), "{path} does not end its line");
            let problems = schemas.problems(schemas.of_answer(template), &answer.json);
            assert!(problems.is_empty(), "{path}:\n{}\n{:#}", problems.join("\n"), answer.json);
            judged += 1;
        }
    }
    assert!(judged >= 18, "only {judged} answers were judged");

    let mixed = json!([{"type": "error", "service": "checkout", "environment": "production", "message": "x"}, {},
        {"type": "incident", "id": "i-9", "source": "ops", "status": "resolved", "service": "checkout"}]);
    let receipt = devpulse.send(devpulse.request("POST", "/api/v1/events").json(&mixed)).await.ok();
    let posted = &schemas.0["paths"]["/api/v1/events"]["post"]["responses"]["200"]["content"]["application/json"];
    let problems = schemas.problems(&posted["schema"], &receipt);
    assert!(receipt["invalid"] == 1 && problems.is_empty(), "{problems:?}\n{receipt:#}");
    let problem = devpulse.send(devpulse.request("GET", "/api/v1/alerts?state=foo")).await.json;
    let problems = schemas.problems(&json!({"$ref": "#/components/schemas/Problem"}), &problem);
    assert!(problems.is_empty(), "{problems:?}\n{problem:#}");

    let mut spoilt = devpulse.get(&format!("/api/v1/rollbacks/{rollback}")).await;
    spoilt["state"] = "Shadowed".into();
    spoilt["surprise"] = 1.into();
    let problems = schemas.problems(schemas.of_answer("/api/v1/rollbacks/{id}"), &spoilt);
    assert_eq!(problems.len(), 2, "and the check itself sees what it should: {problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_told_what_is_right() {
    let (_database, devpulse) = story().await;
    for (path, status, kind, said) in [
        ("/alerts?stat=firing", 400, "unknown_parameter", "unknown parameter `stat`: did you mean `state`?"),
        ("/alerts?state=foo", 400, "invalid_parameter", "`state` must be one of pending, firing, resolved, not `foo`"),
        ("/alerts?kind=rolback", 400, "invalid_parameter", "did you mean `rollback`?"),
        ("/rollbacks?state=shadow", 400, "invalid_parameter", "did you mean `shadowed`?"),
        ("/quarantine?lifted=yes", 400, "invalid_parameter", "`lifted` must be true or false"),
        ("/stream?kind=alerts", 400, "invalid_parameter", "did you mean `alert`?"),
        ("/slos?limit=0", 400, "invalid_parameter", "`limit` must be a number from 1 to 500"),
        ("/slos?cursor=x", 400, "invalid_parameter", "`cursor` must be `next` of a page of this list"),
        ("/slos/nosuch", 404, "not_found", "no objective is named `nosuch`; GET /api/v1/slos lists them"),
        ("/slos/checkout-avail", 404, "not_found", "did you mean `checkout-availability`?"),
        ("/alerts/nosuch", 404, "not_found", "no alert has the id `nosuch`"),
        ("/rollbacks/nosuch", 404, "not_found", "no rollback has the id `nosuch`"),
        ("/rollbacks/nosuch/evidence", 404, "not_found", "/api/openapi.json"),
    ] {
        let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1{path}"))).await;
        assert_eq!((answer.status, answer.json["type"].as_str()), (status, Some(kind)), "{path}: {}", answer.text);
        assert!(answer.json["detail"].as_str().unwrap().contains(said), "{path}: {}", answer.text);
        assert!(answer.text.ends_with("}\n"), "{path} does not end its line");
    }
    for list in ["dora", "deployments", "changes", "incidents", "slos", "alerts", "rollbacks"] {
        let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1/{list}?service=chekout"))).await;
        assert_eq!(answer.status, 404, "{list}: {}", answer.text);
        assert_eq!(answer.json["detail"], "unknown service `chekout`: did you mean `checkout`?", "{list}");
        if list != "changes" {
            let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1/{list}?environment=moon"))).await;
            assert_eq!(answer.status, 404, "{list}: {}", answer.text);
            devpulse.get(&format!("/api/v1/{list}?service=checkout&environment=prod")).await;
        }
    }
    assert_eq!(devpulse.get("/").await["links"]["openapi"], "/api/openapi.json");
}
