//! `GET /api/v1/findings`: GitHub's alerts, kept and listed; and incidents that were none.

use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::{deliver, examples};

const SECRET: &str = "It's a Secret to Everybody";

/// An example of an event with this action at `minute`; the alert is open since the minute of its number.
fn alert(event: &str, action: &str, number: u64, minute: u32) -> Value {
    let events = examples();
    let of_event = events.iter().find(|entry| entry["name"] == event).unwrap()["examples"].as_array().unwrap().clone();
    let mut body = of_event.into_iter().find(|body| body["action"] == action).unwrap();
    let at = json!(format!("2026-01-05T10:{minute:02}:00Z"));
    body["repository"]["full_name"] = json!("acme/checkout");
    let alert = &mut body["alert"];
    alert["number"] = json!(number);
    alert["created_at"] = json!(format!("2026-01-05T10:{number:02}:00Z"));
    alert["updated_at"] = at.clone();
    if action == "fixed" {
        alert["fixed_at"] = at;
    }
    body
}

async fn start(url: &str) -> DevPulse {
    let yaml = format!(
        "services: [{{name: checkout, repository: acme/checkout}}]\nsources: {{github: {{secret: \"{SECRET}\"}}}}\n"
    );
    DevPulse::start(url, &yaml).await
}

on_both! {
    async fn findings_are_listed_page_by_page_and_by_what_they_are(db: Database) {
        let devpulse = start(&db.url).await;
        for (event, action, number, minute) in [
            ("dependabot_alert", "fixed", 2, 30),
            ("code_scanning_alert", "created", 1, 1),
            ("dependabot_alert", "created", 2, 2),
            ("dependabot_alert", "created", 3, 3),
        ] {
            let body = alert(event, action, number, minute);
            let receipt = deliver(&devpulse, event, &body, SECRET).await.ok();
            assert_eq!(receipt["outcome"], "accepted", "{receipt}");
            assert_eq!(deliver(&devpulse, event, &body, SECRET).await.ok()["outcome"], "duplicate");
        }
        let ids = async |query: &str| {
            let items = devpulse.all(&format!("/api/v1/findings{query}")).await;
            items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("?limit=1").await, ["dependency/3", "dependency/2", "code/1"], "newest first, page by page");
        let fixed = devpulse.get("/api/v1/findings?status=fixed").await["items"][0].clone();
        assert_eq!((&fixed["id"], &fixed["service"], &fixed["severity"]), (&json!("dependency/2"), &json!("checkout"), &json!("medium")));
        assert_eq!((&fixed["fixed_at"], &fixed["package"]), (&json!("2026-01-05T10:30:00Z"), &json!("pip/ansible")));
        for (query, found) in [
            ("?kind=code&severity=high", &["code/1"][..]),
            ("?service=checkout&status=open", &["dependency/3", "code/1"]),
            ("?repository=acme/checkout&from=2026-01-05T10:02:00Z&to=2026-01-05T10:03:00Z", &["dependency/2"]),
            ("?repository=acme/other", &[]),
        ] {
            assert_eq!(ids(query).await, found, "{query}");
        }
        for wrong in ["?status=opened", "?severity=worst", "?kind=bug", "?service=nobody", "?state=open"] {
            let status = devpulse.send(devpulse.request("GET", &format!("/api/v1/findings{wrong}"))).await.status;
            assert!((400..=404).contains(&status), "{wrong}: {status}");
        }
    }

    async fn an_issue_without_its_label_is_no_incident_any_more(db: Database) {
        let devpulse = start(&db.url).await;
        let events = examples();
        let issues = events.iter().find(|entry| entry["name"] == "issues").unwrap()["examples"].as_array().unwrap();
        let say = async |action: &str, labels: &[&str], minute: u32| {
            let mut body = issues.iter().find(|body| body["action"] == "opened").unwrap().clone();
            body["action"] = json!(action);
            body["label"] = json!({"name": "incident"});
            body["repository"]["full_name"] = json!("acme/checkout");
            let issue = &mut body["issue"];
            issue["labels"] = labels.iter().map(|name| json!({"name": name})).collect();
            issue["created_at"] = json!("2026-01-05T10:00:00Z");
            issue["updated_at"] = json!(format!("2026-01-05T10:{minute:02}:00Z"));
            if action == "closed" {
                issue["closed_at"] = issue["updated_at"].clone();
            }
            deliver(&devpulse, "issues", &body, SECRET).await.ok()["outcome"].clone()
        };
        devpulse.post_events(&json!({"type": "deployment", "id": "d-1", "time": "2026-01-05T09:50:00Z", "service": "checkout",
            "environment": "production", "version": "1", "outcome": "succeeded"})).await;
        let rate = async || {
            let window = "service=checkout&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z";
            devpulse.get(&format!("/api/v1/dora?{window}")).await["metrics"].clone()
        };
        assert_eq!(say("labeled", &["incident"], 5).await, "accepted");
        assert_eq!(rate().await["change_fail_rate"]["value"], 1.0);
        assert_eq!(say("unlabeled", &[], 8).await, "accepted");
        let metrics = rate().await;
        assert_eq!(metrics["change_fail_rate"]["value"], 0.0, "{metrics:#}");
        assert_eq!(metrics["mean_time_to_recovery"]["excluded"], json!({"withdrawn": 1}), "{metrics:#}");
        let withdrawn = devpulse.all("/api/v1/incidents?status=withdrawn").await;
        assert_eq!((withdrawn.len(), &withdrawn[0]["resolved_at"]), (1, &Value::Null));
        assert_eq!(say("closed", &[], 9).await, "skipped", "an issue like any other");
        assert_eq!(say("labeled", &["incident"], 12).await, "accepted");
        assert_eq!(say("closed", &["incident"], 20).await, "accepted");
        let metrics = rate().await;
        assert_eq!((&metrics["change_fail_rate"]["value"], &metrics["mean_time_to_recovery"]["value"]), (&json!(1.0), &json!(1200.0)), "{metrics:#}");
        assert_eq!(say("deleted", &["incident"], 30).await, "accepted");
        assert_eq!(rate().await["change_fail_rate"]["value"], 0.0);
    }
}
