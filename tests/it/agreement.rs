//! One number, wherever it is asked for: the API, /metrics, the dashboard on a real Prometheus, and the
//! commands.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::numbers::same;
use crate::support::prometheus::Prometheus;
use crate::support::wait::until;

const CONFIGURATION: &str = "
teams: [{name: payments, time_zone: Europe/Berlin}]
services: [{name: checkout, team: payments, repository: acme/checkout}, {name: search}]
environments: [{name: production, tier: production, match: [prod]}, {name: staging, tier: staging}]
";
const DASHBOARD: &str = include_str!("../../dashboards/devpulse.json");
const SOON: Duration = Duration::from_secs(40);

/// Each metric with its gauge.
const METRICS: [(&str, &str); 6] = [
    ("deployment_frequency", "devpulse_dora_deployment_frequency_per_day"),
    ("change_lead_time", "devpulse_dora_change_lead_time_seconds"),
    ("change_fail_rate", "devpulse_dora_change_fail_ratio"),
    ("failed_deployment_recovery_time", "devpulse_dora_failed_deployment_recovery_seconds"),
    ("rework_rate", "devpulse_dora_rework_ratio"),
    ("mean_time_to_recovery", "devpulse_dora_mean_time_to_recovery_seconds"),
];

/// Good and bad deployments of two services over eighty days, none of them near a window's edge.
fn story(now: DateTime<Utc>) -> Value {
    let at = |hours: i64, minutes: i64| {
        (now - TimeDelta::hours(hours) + TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Micros, true)
    };
    let deployment = |service: &str, hours: i64, version: &str, lead: i64| {
        json!({"type": "deployment", "source": "ci", "id": format!("{service}-{hours}"), "time": at(hours, 0),
            "service": service, "environment": "prod", "version": version, "outcome": "succeeded",
            "changes": [{"repository": format!("acme/{service}"), "sha": format!("{service}{hours}"),
                "authored_at": at(hours, -lead)}]})
    };
    let incident = |status: &str, hours: i64, minutes: i64| {
        json!({"type": "incident", "source": "pager", "id": format!("i-{hours}"), "time": at(hours, minutes),
            "service": "checkout", "environment": "prod", "status": status})
    };
    let staged = |hours: i64, version: &str, lead: i64| {
        let mut staged = deployment("checkout", hours, version, lead);
        staged["environment"] = "staging".into();
        staged
    };
    json!([
        staged(301, "4", 140),
        staged(52, "6", 9),
        staged(51, "6", 70),
        deployment("checkout", 1_900, "1", 30),
        deployment("checkout", 1_500, "2", 95),
        deployment("checkout", 500, "3", 45),
        deployment("checkout", 300, "4", 200),
        deployment("checkout", 100, "5", 61),
        deployment("checkout", 99, "4", 1),
        deployment("checkout", 50, "6", 17),
        deployment("search", 400, "1", 5),
        deployment("search", 40, "2", 500),
        incident("opened", 500, 10),
        incident("resolved", 500, 47),
        incident("opened", 50, 3),
        incident("resolved", 50, 31),
    ])
}

/// The value of a figure; `None` where it has none.
fn value(answer: &Value, metric: &str) -> Option<f64> {
    answer["metrics"][metric]["value"].as_f64()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// What the commands say of a question is what the API says of it.
async fn commands_agree(devpulse: &DevPulse, service: &str, more: &[&str]) -> Value {
    let selection = [&["--service", service], more].concat();
    let query =
        more.split(|word| word.starts_with("--")).skip(1).zip(more.iter().filter_map(|word| word.strip_prefix("--")));
    let query: String = query
        .map(|(value, name)| format!("&{}={}", name.replace('-', "_"), value.first().unwrap_or(&"true")))
        .collect();
    let api = devpulse.get(&format!("/api/v1/dora?service={service}{query}")).await;
    let report = parsed(&devpulse.ask(&[&["report", "--format", "json"][..], &selection].concat()));
    let row = &report["comparison"]["rows"][0];
    let compared = parsed(&devpulse.ask(&[&["compare", "--output", "json"][..], &selection].concat()));
    assert_eq!((&row["name"], &report["selection"]), (&service.into(), &api["selection"]));
    for (metric, _) in METRICS {
        let wanted = value(&api, metric);
        let explained = parsed(&devpulse.ask(&[&["explain", metric, "--output", "json"][..], &selection].concat()));
        for (who, seen) in [
            ("report", value(&report, metric)),
            ("its comparison", value(row, metric)),
            ("compare", value(&compared["rows"][0], metric)),
            ("explain", explained["value"].as_f64()),
        ] {
            let agreed = seen.zip(wanted).map_or(seen == wanted, |(a, b)| same(metric, a, b));
            assert!(agreed, "{who}: {metric} of {selection:?}: {seen:?}, not {wanted:?}");
        }
        assert_eq!(explained["n"], api["metrics"][metric]["n"], "{metric} of {selection:?}");
    }
    api
}

/// The dashboard's queries for this gauge, with its variables filled in.
fn queries(gauge: &str, service: &str, window: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let asked = targets.flatten().filter_map(|target| target["expr"].as_str()).filter(|query| query.contains(gauge));
    let variables = [
        ("job", "devpulse"),
        ("instance", ".+"),
        ("service", service),
        ("environment", "production"),
        ("window", window),
    ];
    asked
        .map(|query| {
            let filled = variables.iter().fold(query.to_owned(), |query, (name, value)| {
                query.replace(&format!("\"${name}\""), &format!("\"{value}\""))
            });
            assert!(!filled.contains('$'), "a variable is left: {filled}");
            filled
        })
        .collect()
}

on_both! {
    async fn the_same_question_has_the_same_answer_everywhere(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&story(Utc::now())).await;
        let prometheus = Prometheus::start(&devpulse.address()).await;
        let mut compared = 0;
        for service in ["checkout", "search"] {
            for window in ["7d", "30d", "90d"] {
                let api = commands_agree(&devpulse, service, &["--environment", "production", "--window", window]).await;
                for (metric, gauge) in METRICS {
                    let wanted = value(&api, metric);
                    let asked = queries(gauge, service, window);
                    assert!(!asked.is_empty(), "the dashboard does not show {gauge}");
                    for query in asked {
                        let Some(wanted) = wanted else {
                            assert!(prometheus.query(&query).await.is_empty(), "{query} has a value");
                            continue;
                        };
                        until(&format!("{query} = {wanted}"), SOON, async || {
                            let samples = prometheus.query(&query).await;
                            assert!(samples.len() <= 1, "{query}: {samples:?}");
                            samples.first().filter(|(_, seen)| same(metric, *seen, wanted)).map(drop)
                        })
                        .await;
                        compared += 1;
                    }
                }
            }
        }
        // Questions that no gauge answers.
        let plain = commands_agree(&devpulse, "checkout", &["--window", "90d"]).await;
        for tier in ["production", "staging"] {
            let more = ["--tier", tier, "--window", "90d", "--percentile", "90", "--exclude-rollbacks"];
            let other = commands_agree(&devpulse, "checkout", &more).await;
            for metric in ["change_lead_time", "change_fail_rate"] {
                assert_ne!(value(&other, metric), value(&plain, metric), "{metric} of tier {tier}");
            }
        }
        // The figures that have values: all but search's recovery times, and three more panels.
        assert!(compared >= 40, "only {compared} queries of the dashboard had a value");
    }
}
