//! Services and teams side by side: the same numbers as when each is asked about alone.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;

const CONFIGURATION: &str = "
teams:
  - {name: payments, time_zone: Europe/Berlin}
  - {name: discovery}
  - {name: idle}
services:
  - {name: checkout, team: payments, repository: acme/checkout}
  - {name: cart, team: payments, repository: acme/cart}
  - {name: search, team: discovery}
  - {name: quiet}
";

const METRICS: [&str; 6] = [
    "deployment_frequency",
    "change_lead_time",
    "change_fail_rate",
    "failed_deployment_recovery_time",
    "rework_rate",
    "mean_time_to_recovery",
];

fn deployment(now: DateTime<Utc>, service: &str, id: &str, hours_ago: i64, lead_hours: &[i64]) -> Value {
    let at = |hours: i64| (now - TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Micros, true);
    let change = |(i, lead): (usize, &i64)| json!({"repository": format!("acme/{service}"), "sha": format!("{id}-{i}"), "authored_at": at(hours_ago + lead)});
    json!({"type": "deployment", "source": "ci", "id": id, "time": at(hours_ago), "service": service,
        "environment": "production", "version": id, "outcome": "succeeded",
        "changes": lead_hours.iter().enumerate().map(change).collect::<Vec<_>>()})
}

/// Three changes of an hour in one service of the team, one of nine hours in the other; `search` has
/// an incident where nobody else has anything.
fn story(now: DateTime<Utc>) -> Value {
    let opened = (now - TimeDelta::hours(3)).to_rfc3339_opts(SecondsFormat::Micros, true);
    json!([
        deployment(now, "checkout", "k1", 50, &[1, 1]),
        deployment(now, "checkout", "k2", 40, &[1]),
        deployment(now, "cart", "c1", 30, &[9]),
        deployment(now, "search", "s1", 20, &[2]),
        {"type": "incident", "source": "pager", "id": "i1", "time": opened, "service": "cart",
         "environment": "production", "status": "opened", "deployments": [{"source": "ci", "id": "c1"}]},
        {"type": "incident", "source": "pager", "id": "i2", "time": opened, "service": "search",
         "environment": "lab", "status": "opened"},
    ])
}

fn names(answer: &Value) -> Vec<&str> {
    answer["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

on_both! {
    async fn each_row_is_what_is_answered_for_it_alone(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&story(Utc::now())).await;
        for (by, rows) in [("service", &["cart", "checkout", "quiet", "search"][..]), ("team", &["discovery", "idle", "payments"])] {
            let answer = devpulse.get(&format!("/api/v1/dora/compare?by={by}&window=7d")).await;
            assert_eq!(names(&answer), rows);
            let window = format!("from={}&to={}", answer["from"].as_str().unwrap(), answer["to"].as_str().unwrap());
            for row in answer["rows"].as_array().unwrap() {
                let name = row["name"].as_str().unwrap();
                let alone = devpulse.get(&format!("/api/v1/dora?{by}={name}&{window}")).await;
                assert_eq!((&row["metrics"], &row["time_zone"]), (&alone["metrics"], &alone["time_zone"]), "{name}");
            }
            let twice = devpulse.get(&format!("/api/v1/dora/compare?by={by}&percentile=mean&time_zone=Asia/Tokyo")).await;
            assert!(twice["rows"].as_array().unwrap().iter().all(|row| row["time_zone"] == "Asia/Tokyo"), "{twice:#}");
        }
        let mut seen = Vec::new();
        let mut next = String::new();
        loop {
            let page = devpulse.get(&format!("/api/v1/dora/compare?limit=3{next}")).await;
            seen.extend(names(&page).iter().map(ToString::to_string));
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, ["cart", "checkout", "quiet", "search"]);
    }

    async fn a_team_has_the_rows_of_its_services_and_not_their_averages(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&story(Utc::now())).await;
        let answer = devpulse.get("/api/v1/dora/compare?by=team&team=payments").await;
        assert_eq!(names(&answer), ["payments"]);
        let metrics = &answer["rows"][0]["metrics"];
        // Medians of an hour and of nine hours, over three changes and one.
        assert_eq!((&metrics["change_lead_time"]["value"], &metrics["change_lead_time"]["n"]), (&json!(3_600.0), &json!(4)));
        // None of two failed, and one of one.
        assert_eq!(metrics["change_fail_rate"]["value"], 1.0 / 3.0);
        let services = devpulse.get("/api/v1/dora/compare?by=service&team=payments").await;
        assert_eq!(names(&services), ["cart", "checkout"]);
        assert_eq!(names(&devpulse.get("/api/v1/dora/compare?service=cart").await), ["cart"]);
    }

    async fn what_has_no_data_has_null_and_a_reason(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&story(Utc::now())).await;
        let answer = devpulse.get("/api/v1/dora/compare").await;
        let quiet = &answer["rows"][2];
        assert_eq!(quiet["name"], "quiet");
        for metric in METRICS {
            let figure = &quiet["metrics"][metric];
            assert!(figure["value"].is_null() && figure["reason"].is_string() && figure["n"] == 0, "{metric}: {figure:#}");
        }
        // An environment that only one service's incident names.
        let lab = devpulse.get("/api/v1/dora/compare?environment=lab").await;
        let open: Vec<_> = lab["rows"].as_array().unwrap().iter().map(|row| &row["metrics"]["mean_time_to_recovery"]["open"]).collect();
        assert_eq!(open, [0, 0, 0, 1], "{lab:#}");
        let text = devpulse.ask(&["compare"]);
        for part in ["SERVICE", "9 h (1) !", "1 h (3)", "quiet: Change lead time: no change was deployed in this window"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let json: Value = serde_json::from_str(&devpulse.ask(&["compare", "--by", "team", "--output", "json"])).unwrap();
        assert_eq!((names(&json), json["by"].as_str()), (vec!["discovery", "idle", "payments"], Some("team")));
    }

    async fn commands_read_every_page(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        let now = Utc::now();
        let all: Vec<String> = (0..120).map(|i| format!("s{i:03}")).collect();
        let events: Vec<Value> = all.iter().map(|name| deployment(now, name, &format!("{name}-1"), 5, &[1, 2, 3, 4, 5])).collect();
        devpulse.post_events(&Value::Array(events)).await;
        let json: Value = serde_json::from_str(&devpulse.ask(&["compare", "--output", "json"])).unwrap();
        assert_eq!((names(&json), &json["next"]), (all.iter().map(String::as_str).collect(), &Value::Null));
        // Six hundred changes, of which a page holds five hundred.
        let json: Value = serde_json::from_str(&devpulse.ask(&["explain", "change_lead_time", "--output", "json"])).unwrap();
        assert_eq!((json["n"].as_u64(), json["included"].as_array().unwrap().len(), &json["next"]), (Some(600), 600, &Value::Null));
    }

    async fn what_cannot_be_compared_is_refused(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        for (query, status, said) in [
            ("by=teams", 400, "did you mean `team`?"),
            ("by=team&service=cart", 400, "exclude each other"),
            ("by=service&service=crat", 404, "did you mean `cart`?"),
            ("by=team&team=payment", 404, "did you mean `payments`?"),
            ("environment=nowhere", 404, "nowhere"),
            ("limit=501", 400, "1 to 500"),
            ("cursor=x", 400, "next"),
            ("window=7", 400, "duration"),
        ] {
            let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1/dora/compare?{query}"))).await;
            assert_eq!(answer.status, status, "{query}: {}", answer.text);
            assert!(answer.json["detail"].as_str().unwrap().contains(said), "{query}: {}", answer.text);
        }
    }
}
