//! Delivery metrics over HTTP: numbers, explanations, lists, gauges, and what is refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use devpulse::dora::calendar::Window;
use devpulse::dora::month::Month;
use devpulse::store::dora::{DoraCache, Wanted};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::wait;

const CONFIGURATION: &str = r#"
teams:
  - {name: payments, time_zone: Europe/Berlin, week_starts_on: sunday}
  - {name: idle}
services:
  - {name: checkout, team: payments, repository: acme/checkout}
environments:
  - {name: production, tier: production, match: ["prod", "live*"]}
  - {name: staging, tier: staging}
"#;

const METRICS: [&str; 6] = [
    "deployment_frequency",
    "change_lead_time",
    "change_fail_rate",
    "failed_deployment_recovery_time",
    "rework_rate",
    "mean_time_to_recovery",
];

/// So many minutes before a moment that the whole test shares.
struct Past(DateTime<Utc>);

impl Past {
    fn new() -> Self {
        Self(Utc::now())
    }

    fn minutes(&self, ago: i64) -> String {
        (self.0 - TimeDelta::minutes(ago)).to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    fn deployment(&self, id: &str, version: &str, ago: i64) -> Value {
        json!({"type": "deployment", "source": "ci", "id": id, "time": self.minutes(ago), "service": "checkout",
            "environment": "prod", "version": version, "commit": format!("c{version}"), "outcome": "succeeded"})
    }

    fn change(&self, sha: &str, ago: i64) -> Value {
        json!({"type": "change", "source": "git", "id": sha, "time": self.minutes(ago), "repository": "acme/checkout",
            "sha": sha, "authored_at": self.minutes(ago), "committed_at": self.minutes(ago)})
    }

    fn incident(&self, id: &str, status: &str, ago: i64) -> Value {
        json!({"type": "incident", "source": "pager", "id": id, "time": self.minutes(ago), "service": "checkout",
            "environment": "production", "status": status})
    }

    /// V1, V2 with two changes, V3 with one, trouble, back to V1; and a deployment to staging.
    fn story(&self) -> Value {
        let mut elsewhere = self.deployment("s1", "3", 200);
        elsewhere["environment"] = json!("staging");
        json!([
            self.deployment("d1", "1", 600),
            self.change("c1", 700),
            self.change("a", 500),
            self.change("c2", 480),
            self.deployment("d2", "2", 460),
            self.change("c3", 400),
            elsewhere,
            self.deployment("d3", "3", 120),
            self.incident("i1", "opened", 110),
            self.deployment("d4", "1", 90),
            self.incident("i1", "resolved", 80),
        ])
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn ids(rows: &Value, what: &str, id: &str) -> BTreeSet<String> {
    rows.as_array().unwrap().iter().map(|row| row[what][id].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn nothing_in_production_says_where_else_there_is_something(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let past = Past::new();
        let mut staged = past.deployment("d1", "1", 60);
        staged["environment"] = "staging".into();
        devpulse.post_events(&staged).await;
        let answer = devpulse.get("/api/v1/dora?service=checkout").await;
        assert_eq!(answer["metrics"]["deployment_frequency"]["reason"], "no deployment is known yet");
        assert_eq!(answer["deployed_elsewhere"], json!(["staging"]));
        let text = devpulse.ask(&["report", "--service", "checkout"]);
        assert!(text.contains("production: nothing yet, but in staging"), "{text}");
        devpulse.post_events(&past.deployment("d2", "1", 50)).await;
        assert_eq!(devpulse.get("/api/v1/dora?service=checkout").await["deployed_elsewhere"], Value::Null);
    }
}

on_both! {
    async fn the_numbers_and_what_they_were_computed_from(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&Past::new().story()).await;
        let answer = devpulse.get("/api/v1/dora?service=checkout&team=&window=30d").await;
        assert_eq!(answer["selection"], json!({"service": "checkout", "environment": "production", "environments": ["production"]}));
        assert_eq!((answer["time_zone"].as_str(), answer["benchmark_edition"].as_str()), (Some("Europe/Berlin"), Some("2024")));
        let metrics = &answer["metrics"];
        let frequency = &metrics["deployment_frequency"];
        assert_eq!((frequency["n"].as_u64(), frequency["unit"].as_str()), (Some(4), Some("deployments/day")));
        assert!((number(&frequency["value"]) - 4.0 / 30.0).abs() < 0.01, "{frequency}");
        // Authored 500, 480 and 400 minutes ago; deployed 460, 460 and 120 minutes ago.
        let lead = &metrics["change_lead_time"];
        assert_eq!((lead["value"].as_f64(), lead["n"].as_u64()), (Some(40.0 * 60.0), Some(3)));
        assert_eq!((lead["band"].as_str(), lead["method"].as_str()), (Some("elite"), Some("p50, linear interpolation (type 7)")));
        assert_eq!(lead["excluded"], json!({"first_deployment": 1, "nothing_new": 1}));
        // The order shows that V2 failed (the first after V1); the rollback ran during the incident.
        let fail = &metrics["change_fail_rate"];
        assert_eq!((fail["value"].as_f64(), fail["failed"].as_u64()), (Some(0.25), Some(1)));
        assert!(number(&fail["interval"][0]) > 0.04 && number(&fail["interval"][1]) < 0.71, "{fail}");
        assert_eq!(metrics["rework_rate"]["value"], 0.25);
        assert_eq!(metrics["failed_deployment_recovery_time"]["value"], 370.0 * 60.0);
        assert_eq!(metrics["mean_time_to_recovery"]["value"], 30.0 * 60.0);
        assert_eq!(metrics["mean_time_to_recovery"]["previous"], Value::Null);
        assert_eq!(metrics["mean_time_to_recovery"]["previous_reason"], "no incident was resolved in this window");
        let explained = devpulse.get("/api/v1/dora/change_fail_rate/explain?service=checkout").await;
        let failed = explained["included"].as_array().unwrap().iter().find(|row| row["value"] == true).unwrap();
        assert_eq!(failed["deployment"]["id"], "d2");
        assert_eq!(failed["because"][0]["kind"], "rollback");
        assert_eq!((failed["because"][1]["kind"].as_str(), failed["because"][1]["link"].as_str()), (Some("incident"), Some("rollback")));
        let recovery = devpulse.get("/api/v1/dora/failed_deployment_recovery_time/explain?service=checkout").await;
        assert_eq!(recovery["included"][0]["restored_by"], "rollback");
        let changes = devpulse.get("/api/v1/dora/change_lead_time/explain?service=checkout").await;
        assert_eq!(ids(&changes["included"], "change", "sha"), BTreeSet::from(["a", "c2", "c3"].map(str::to_owned)));
        let staging = devpulse.get("/api/v1/dora?service=checkout&environment=staging").await;
        assert_eq!(staging["metrics"]["deployment_frequency"]["n"], 1);
    }

    async fn every_number_follows_from_its_explanation_and_its_series(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&Past::new().story()).await;
        let window = format!("from={}&to={}", (Utc::now() - TimeDelta::days(3)).to_rfc3339_opts(SecondsFormat::Secs, true),
            Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true));
        let answer = devpulse.get(&format!("/api/v1/dora?{window}")).await;
        let series = devpulse.get(&format!("/api/v1/dora/series?bucket=day&{window}")).await;
        let buckets = series["buckets"].as_array().unwrap();
        for figure in buckets.iter().flat_map(|bucket| bucket["metrics"].as_object().unwrap().values()) {
            assert_ne!(figure["previous"].is_null(), figure["previous_reason"].is_null(), "{figure}");
        }
        assert_eq!((&buckets[0]["from"], &buckets[buckets.len() - 1]["to"]), (&answer["from"], &answer["to"]));
        for metric in METRICS {
            let figure = &answer["metrics"][metric];
            let (mut included, mut excluded, mut next) = (Vec::new(), Vec::new(), String::new());
            loop {
                let page = devpulse.get(&format!("/api/v1/dora/{metric}/explain?{window}&limit=2{next}")).await;
                assert_eq!((&page["value"], &page["n"]), (&figure["value"], &figure["n"]), "{metric}");
                included.extend(page["included"].as_array().unwrap().clone());
                excluded.extend(page["excluded"].as_array().unwrap().clone());
                match page["next"].as_str() {
                    Some(cursor) => next = format!("&cursor={cursor}"),
                    None => break,
                }
            }
            let n = figure["n"].as_u64().unwrap();
            assert_eq!(u64::try_from(included.len()).unwrap(), n, "{metric}");
            let left_out: u64 = figure["excluded"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(u64::try_from(excluded.len()).unwrap(), left_out, "{metric}");
            assert!(excluded.iter().all(|row| row["reason"].is_string() && row["detail"].is_string()), "{metric}");
            let of_buckets: u64 = buckets.iter().map(|bucket| bucket["metrics"][metric]["n"].as_u64().unwrap()).sum();
            assert_eq!(of_buckets, n, "{metric}");
        }
    }

    async fn a_late_fact_a_correction_and_a_reopening_show_at_once(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let past = Past::new();
        devpulse.post_events(&past.story()).await;
        let ask = async |metric: &str| devpulse.get("/api/v1/dora?service=checkout").await["metrics"][metric].clone();
        assert_eq!(ask("mean_time_to_recovery").await["n"], 1);
        devpulse.post_events(&past.incident("i1", "reopened", 70)).await;
        let reopened = ask("mean_time_to_recovery").await;
        assert_eq!((&reopened["value"], reopened["open"].as_u64()), (&Value::Null, Some(1)));
        assert!(reopened["reason"].is_string() && number(&reopened["oldest_open_seconds"]) >= 110.0 * 60.0);
        devpulse.post_events(&past.change("late", 300)).await;
        assert_eq!(ask("change_lead_time").await["n"], 3, "merged after the commit of the last deployment");
        devpulse.post_events(&past.change("late-but-before", 450)).await;
        assert_eq!(ask("change_lead_time").await["n"], 4);
        // The source corrects itself: it was a new version, not the first one again.
        let before = ask("deployment_frequency").await["n"].clone();
        devpulse.post_events(&past.deployment("d4", "4", 89)).await;
        assert_eq!(ask("deployment_frequency").await["n"], before);
        assert_eq!(ask("rework_rate").await["value"], 0.0);
        // A run may deploy several services under one id.
        let mut moved = past.deployment("d4", "1", 89);
        moved["service"] = json!("search");
        devpulse.post_events(&moved).await;
        assert_eq!(ask("deployment_frequency").await["n"], before);
        assert_eq!(devpulse.get("/api/v1/dora?service=search").await["metrics"]["deployment_frequency"]["n"], 1);
    }

    async fn figures_are_measured_against_targets_and_the_benchmark_asked_for(db: Database) {
        let devpulse = DevPulse::start(&db.url, &format!("{CONFIGURATION}dora: {{targets: {{change_fail_rate: 0.3}}}}\n")).await;
        devpulse.post_events(&Past::new().story()).await;
        let metrics = devpulse.get("/api/v1/dora?service=checkout&window=1d").await["metrics"].clone();
        let target = |metric: &str| metrics[metric]["target"].clone();
        assert_eq!(target("change_fail_rate"), json!({"limit": 0.3, "wanted": "below", "met": true}));
        assert_eq!(target("deployment_frequency"), json!({"limit": 1.0, "wanted": "at_least", "met": true}));
        assert_eq!(target("mean_time_to_recovery")["met"], false, "30 minutes are more than 15");
        assert_eq!(target("rework_rate"), Value::Null);
        assert_eq!(metrics["deployment_frequency"]["per_week"], number(&metrics["deployment_frequency"]["value"]) * 7.0);
        // A quarter of the deployments failed: 2021 calls it high, 2023 low.
        let band = async |edition: &str| {
            let answer = devpulse.get(&format!("/api/v1/dora?service=checkout&benchmark_edition={edition}")).await;
            assert_eq!(answer["benchmark_edition"], edition);
            answer["metrics"]["change_fail_rate"]["band"].clone()
        };
        assert_eq!((band("2021").await, band("2023").await), (json!("high"), json!("low")));
        let staging = devpulse.get("/api/v1/dora?tier=staging").await;
        assert_eq!(staging["selection"]["environments"], json!(["staging"]));
        assert_eq!(staging["metrics"]["deployment_frequency"]["n"], 1);
        for wrong in ["tier=prod", "tier=staging&environment=staging", "benchmark_edition=2025"] {
            let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1/dora?{wrong}"))).await;
            assert_eq!((answer.status, answer.json["pointer"].is_string()), (400, true), "{wrong}: {}", answer.text);
        }
    }

    async fn an_incident_may_name_deployments_of_other_services_or_none_at_all(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let past = Past::new();
        let mut other = past.deployment("x1", "9", 50);
        other["service"] = json!("search");
        let mut both = past.incident("i2", "opened", 40);
        both["deployments"] = json!([{"source": "ci", "id": "d1"}, {"source": "ci", "id": "x1"}]);
        both.as_object_mut().unwrap().remove("service");
        let mut nobodys = past.incident("i3", "opened", 30);
        nobodys.as_object_mut().unwrap().remove("service");
        devpulse.post_events(&json!([past.deployment("d1", "1", 60), other])).await;
        assert_eq!(devpulse.get("/api/v1/dora").await["metrics"]["change_fail_rate"]["failed"], 0);
        devpulse.post_events(&json!([both, nobodys])).await;
        for service in ["checkout", "search"] {
            let answer = devpulse.get(&format!("/api/v1/dora?service={service}")).await;
            assert_eq!(answer["metrics"]["change_fail_rate"]["value"], 1.0, "{service}");
            assert_eq!(answer["metrics"]["mean_time_to_recovery"]["open"], 1, "{service}");
        }
        let all = devpulse.get("/api/v1/dora").await;
        assert_eq!(all["metrics"]["change_fail_rate"]["failed"], 2);
        assert_eq!(all["metrics"]["mean_time_to_recovery"]["open"], 2, "each incident once");
    }

    async fn what_is_unknown_is_refused_with_a_suggestion(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&Past::new().story()).await;
        for (path, status, said) in [
            ("/api/v1/dora?servce=checkout", 400, "did you mean `service`?"),
            ("/api/v1/dora?service=chekout", 404, "did you mean `checkout`?"),
            ("/api/v1/dora?environment=stagin", 404, "did you mean `staging`?"),
            ("/api/v1/dora?team=payment", 404, "did you mean `payments`?"),
            ("/api/v1/dora?service=checkout&team=idle", 404, "does not belong"),
            ("/api/v1/dora?window=30", 400, "duration"),
            ("/api/v1/dora?window=7d&from=2026-01-01T00:00:00Z", 400, "exclude each other"),
            ("/api/v1/dora?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", 400, "before `to`"),
            ("/api/v1/dora?from=yesterday", 400, "RFC 3339"),
            ("/api/v1/dora?percentile=101", 400, "0 to 100"),
            ("/api/v1/dora?percentile=NaN", 400, "0 to 100"),
            ("/api/v1/dora?lead_time_from=commited", 400, "authored, committed"),
            ("/api/v1/dora?time_zone=Mars", 400, "IANA"),
            ("/api/v1/dora/lead_time/explain", 404, "change_lead_time"),
            ("/api/v1/dora/rework_rate/explain?limit=501", 400, "1 to 500"),
            ("/api/v1/dora/rework_rate/explain?cursor=x", 400, "next"),
            ("/api/v1/dora/series?bucket=hour", 400, "day, week, month"),
            ("/api/v1/dora/series?window=4000d", 400, "1000 buckets"),
            ("/api/v1/deployments?environment=nowhere", 404, "nowhere"),
            ("/api/v1/deployments?outcome=good", 400, "succeeded"),
            ("/api/v1/changes?environment=production", 400, "unknown parameter `environment`"),
            ("/api/v1/services?team=nobody", 404, "nobody"),
        ] {
            let answer = devpulse.send(devpulse.request("GET", path)).await;
            assert_eq!((answer.status, answer.content_type.as_str()), (status, "application/problem+json"), "{path}: {}", answer.text);
            assert!(answer.json["detail"].as_str().unwrap().contains(said), "{path}: {}", answer.text);
        }
        let idle = devpulse.get("/api/v1/dora?team=idle").await;
        assert_eq!(idle["metrics"]["change_fail_rate"]["value"], Value::Null);
    }

    async fn lists_stay_in_place_while_others_are_added(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let past = Past::new();
        let many: Vec<Value> = (0..25).map(|i| past.deployment(&format!("d{i:02}"), "1", 100 + i / 3)).collect();
        devpulse.post_events(&json!(many)).await;
        let first = devpulse.get("/api/v1/deployments?limit=10").await;
        devpulse.post_events(&past.deployment("new", "2", 1)).await;
        let mut seen: Vec<String> = first["items"].as_array().unwrap().iter().map(|d| d["id"].to_string()).collect();
        let mut next = first["next"].clone();
        while let Some(cursor) = next.as_str() {
            let page = devpulse.get(&format!("/api/v1/deployments?limit=10&cursor={cursor}")).await;
            seen.extend(page["items"].as_array().unwrap().iter().map(|d| d["id"].to_string()));
            next = page["next"].clone();
        }
        assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (25, 25));
        let count = async |path: &str| devpulse.all(path).await.len();
        assert_eq!(count("/api/v1/deployments?limit=7&environment=live-eu").await, 26, "another name of production");
        assert_eq!(count("/api/v1/deployments?version=2&outcome=succeeded&service=checkout").await, 1);
        assert_eq!(count("/api/v1/deployments?kind=rollback").await, 0);
        assert_eq!(count(&format!("/api/v1/deployments?from={}", past.minutes(2))).await, 1);
        devpulse.post_events(&past.story()).await;
        assert_eq!(count("/api/v1/changes?limit=1").await, 4);
        assert_eq!(count("/api/v1/changes?sha=c2&repository=acme/checkout").await, 1);
        assert_eq!(count("/api/v1/incidents?status=resolved&environment=production&service=checkout").await, 1);
    }

    async fn services_are_those_of_the_configuration_and_of_events(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let past = Past::new();
        devpulse.post_events(&past.story()).await;
        let request = json!({"type": "request", "time": past.minutes(1), "service": "search", "environment": "production", "status": 200});
        devpulse.post_events(&json!([request])).await;
        let services = wait::until("telemetry to be materialised", Duration::from_secs(20), async || {
            let services = devpulse.all("/api/v1/services?limit=1").await;
            (services.len() == 2).then_some(services)
        })
        .await;
        assert_eq!((&services[0]["name"], &services[0]["configured"], &services[0]["team"]), (&json!("checkout"), &json!(true), &json!("payments")));
        assert_eq!((&services[1]["name"], &services[1]["configured"]), (&json!("search"), &json!(false)));
        let production = &services[0]["environments"][0];
        assert_eq!((&production["name"], &production["tier"], &production["last_deployment"]["id"]), (&json!("production"), &json!("production"), &json!("d4")));
        assert_eq!(devpulse.all("/api/v1/services?team=payments").await.len(), 1);
        assert_eq!(devpulse.get("/api/v1/dora?service=search").await["metrics"]["rework_rate"]["value"], Value::Null);
    }

    async fn gauges_are_the_numbers_of_the_api(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&Past::new().story()).await;
        let gauge = async |name: &str, window: &str| {
            let text = devpulse.text("/metrics").await;
            let start = format!("{name}{{service=\"checkout\",environment=\"production\"{window}}} ");
            text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse::<f64>().unwrap())
        };
        let thirty = r#",window="30d""#;
        wait::until("the gauges", Duration::from_secs(20), async || gauge("devpulse_dora_rework_ratio", thirty).await).await;
        let answer = devpulse.get("/api/v1/dora?service=checkout&window=30d").await;
        for (name, metric) in [
            ("devpulse_dora_change_lead_time_seconds", "change_lead_time"),
            ("devpulse_dora_change_fail_ratio", "change_fail_rate"),
            ("devpulse_dora_failed_deployment_recovery_seconds", "failed_deployment_recovery_time"),
            ("devpulse_dora_rework_ratio", "rework_rate"),
            ("devpulse_dora_mean_time_to_recovery_seconds", "mean_time_to_recovery"),
        ] {
            assert_eq!(gauge(name, thirty).await, answer["metrics"][metric]["value"].as_f64(), "{name}");
        }
        let frequency = gauge("devpulse_dora_deployment_frequency_per_day", thirty).await.unwrap();
        assert!((frequency - number(&answer["metrics"]["deployment_frequency"]["value"])).abs() < 1e-6);
        assert_eq!(gauge("devpulse_dora_change_lead_time_samples", thirty).await, Some(3.0));
        assert!(gauge("devpulse_last_deployment_timestamp_seconds", "").await.is_some());
        let text = devpulse.text("/metrics").await;
        assert!(!text.contains(r#"environment="staging""#), "gauges are of production");
    }

    async fn what_another_process_took_in_shows_at_the_next_question(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let config = Arc::new(devpulse::config::load(Some(&devpulse.configuration())).unwrap().config);
        let store = devpulse::store::open::open(&db.url, 2).await.unwrap();
        let (cache, past) = (DoraCache::new(64 << 20), Past::new());
        let failed = async || {
            let now = Timestamp::from(Utc::now());
            let window = Window { from: now.minus(Duration::from_hours(48)), to: now };
            let reading = cache.read(&store, &config, &Wanted::All, Some(window)).await.unwrap();
            let of_months = reading.rows.iter().filter(|rows| rows.month != Month::LASTING);
            let rows: Vec<_> = of_months.flat_map(|rows| &rows.partition.deployments).collect();
            (rows.len(), rows.iter().filter(|row| row.failed).count())
        };
        assert_eq!(failed().await, (0, 0));
        for (event, expected) in [
            (past.deployment("d1", "1", 50), (1, 0)),
            (past.deployment("d2", "2", 40), (2, 0)),
            (past.incident("i", "opened", 45), (2, 1)),
            (past.deployment("d3", "1", 30), (3, 2)),
        ] {
            devpulse.post_events(&event).await;
            assert_eq!(failed().await, expected, "{event}");
        }
    }
}
