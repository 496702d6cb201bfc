//! `devpulse export openmetrics`: what the gauges would have shown, as Prometheus' own tool reads it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::numbers::same;
use crate::support::wait::until;

const CONFIGURATION: &str = "
teams: [{name: payments, time_zone: Europe/Berlin}]
services: [{name: checkout, team: payments}, {name: quiet}]
environments: [{name: production, tier: production, match: [prod]}, {name: staging, tier: staging}]
dora: {windows: [7d, 30d]}
";
const LEAD: &str = "devpulse_dora_change_lead_time_seconds";
const SOON: Duration = Duration::from_secs(30);

fn deployment(service: &str, environment: &str, id: &str, time: &str, authored: &str) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": time, "service": service, "environment": environment,
        "version": id, "outcome": "succeeded", "changes": [{"repository": "acme/x", "sha": id, "authored_at": authored}]})
}

/// Deployments on two days of January, one of them failed, and one to staging; a name that must be escaped.
fn story() -> Value {
    let incident = |status: &str, time: &str| {
        json!({"type": "incident", "source": "pager", "id": "i1", "time": time, "service": "checkout",
            "environment": "prod", "status": status})
    };
    json!([
        deployment("checkout", "prod", "d1", "2026-01-06T12:00:00Z", "2026-01-06T11:00:00Z"),
        deployment("checkout", "staging", "s1", "2026-01-06T12:00:00Z", "2026-01-06T11:00:00Z"),
        deployment("checkout", "prod", "d2", "2026-01-10T12:00:00Z", "2026-01-10T09:00:00Z"),
        deployment("a \"b\" \\c", "prod", "x1", "2026-01-09T12:00:00Z", "2026-01-09T11:58:00Z"),
        incident("opened", "2026-01-10T12:10:00Z"),
        incident("resolved", "2026-01-10T12:40:00Z"),
    ])
}

/// Series, by their name with labels in order, with the samples (milliseconds, value) of each.
type Dump = BTreeMap<String, Vec<(i64, f64)>>;

/// Makes blocks of the file, and reads them back.
fn through_promtool(text: &str) -> Dump {
    let folder = tempfile::tempdir().unwrap();
    let (file, blocks) = (folder.path().join("dora.om"), folder.path().join("data"));
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("promtool").arg("tsdb").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (file, blocks) = (file.to_str().unwrap(), blocks.to_str().unwrap());
    run(&["create-blocks-from", "openmetrics", file, blocks]);
    // `dump` opens the folder as the one that a Prometheus works in, which has a log as well.
    std::fs::create_dir(format!("{blocks}/wal")).unwrap();
    let mut dump = Dump::new();
    for line in run(&["dump", blocks]).lines() {
        let (series, sample) = line.rsplit_once("} ").unwrap_or_else(|| panic!("{line}"));
        let (value, at) = sample.split_once(' ').unwrap();
        let series = format!("{series}}}").replace("{__name__=\"", "").replacen("\", ", "{", 1);
        dump.entry(series).or_default().push((at.parse().unwrap(), value.parse().unwrap()));
    }
    dump
}

fn series(name: &str, service: &str, window: &str) -> String {
    format!("{name}{{environment=\"production\", service=\"{service}\", window=\"{window}\"}}")
}

on_both! {
    async fn prometheus_takes_the_past_as_the_api_tells_it(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        devpulse.post_events(&story()).await;
        let period = ["--from", "2026-01-05T00:00:00Z", "--to", "2026-01-20T00:00:00Z"];
        let text = devpulse.ask(&[&["export", "openmetrics"][..], &period].concat());
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        assert!(!text.contains("quiet") && !text.contains("staging"), "what has no gauges has no series");
        let dump = through_promtool(&text);
        let mut compared = 0;
        for window in ["7d", "30d"] {
            for day in 5..=20 {
                let to = format!("2026-01-{day:02}T00:00:00Z");
                let at = to.parse::<chrono::DateTime<Utc>>().unwrap().timestamp_millis();
                let answer = devpulse.get(&format!("/api/v1/dora?service=checkout&environment=production&to={to}&window={window}")).await;
                for (metric, name) in [
                    ("deployment_frequency", "devpulse_dora_deployment_frequency_per_day"),
                    ("change_lead_time", LEAD),
                    ("change_fail_rate", "devpulse_dora_change_fail_ratio"),
                    ("failed_deployment_recovery_time", "devpulse_dora_failed_deployment_recovery_seconds"),
                    ("rework_rate", "devpulse_dora_rework_ratio"),
                    ("mean_time_to_recovery", "devpulse_dora_mean_time_to_recovery_seconds"),
                ] {
                    let samples = &dump[&series(name, "checkout", window)];
                    let seen = samples.iter().find(|(when, _)| *when == at).map(|(_, value)| *value);
                    match answer["metrics"][metric]["value"].as_f64() {
                        Some(value) => assert!((seen.unwrap() - value).abs() <= 1e-9 * value.abs(), "{metric} {window} {to}"),
                        None => assert!(seen.is_none_or(f64::is_nan), "{metric} {window} {to}: {seen:?}"),
                    }
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 2 * 16 * 6);
        // By hand: an hour; from the 11th on, an hour and three; on the 14th the first has left the week.
        let lead: Vec<f64> = dump[&series(LEAD, "checkout", "7d")].iter().map(|(_, value)| *value / 3_600.0).collect();
        assert_eq!(lead[..11], [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]);
        assert!(lead[11..].iter().all(|value| value.is_nan()) && lead.len() == 14, "{lead:?}");
        let counts = &dump[&series("devpulse_dora_change_lead_time_samples", "checkout", "30d")];
        assert_eq!(counts.iter().map(|(_, n)| *n).collect::<Vec<_>>()[..6], [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert!(dump.contains_key(&series(LEAD, r#"a \"b\" \\c"#, "30d")), "{:?}", dump.keys());
    }

    async fn the_last_step_is_what_the_gauges_show_now(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let ago = |hours: i64| (Utc::now() - chrono::TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Micros, true);
        devpulse.post_events(&json!([
            deployment("checkout", "prod", "d1", &ago(400), &ago(402)),
            deployment("checkout", "prod", "d2", &ago(50), &ago(55)),
            deployment("search", "prod", "x1", &ago(90), &ago(91)),
        ])).await;
        let gauges = until("the gauges to be there", SOON, async || {
            let shown = gauges(&devpulse.text("/metrics").await);
            shown.keys().any(|name| name.contains("search")).then_some(shown)
        })
        .await;
        let exported = gauges_of_export(&devpulse, &[]);
        assert_eq!(gauges.keys().collect::<Vec<_>>(), exported.keys().collect::<Vec<_>>());
        for (name, value) in &gauges {
            assert!(same(name, exported[name], *value), "{name}: {} and {value}", exported[name]);
        }
        let one = gauges_of_export(&devpulse, &["--service", "search", "--window", "1w"]);
        assert!(!one.is_empty() && one.keys().all(|name| name.contains("search") && name.contains("window=\"7d\"")), "{one:?}");
    }

    async fn what_cannot_be_exported_is_said(db: Database) {
        let devpulse = DevPulse::start(&db.url, CONFIGURATION).await;
        let refused = |arguments: &[&str]| {
            let server = devpulse.url("/");
            let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
            let output = command.args(["export", "openmetrics", "--server", &server]).args(arguments).output().unwrap();
            assert!(!output.status.success(), "{arguments:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        for (arguments, said) in [
            (&["--from", "2026-01-05"][..], "RFC 3339"),
            (&["--from", "2026-01-05T00:00:00Z", "--step", "1"], "a duration with a unit"),
            (&["--from", "2026-01-05T00:00:00Z", "--step", "0s"], "longer than zero"),
            (&["--from", "2026-01-05T00:00:00Z", "--to", "2026-02-05T00:00:00Z", "--step", "1m"], "give a longer --step"),
            (&["--from", "2026-01-05T00:00:00Z", "--to", "2026-01-01T00:00:00Z"], "--from must lie before --to"),
            (&["--from", "2026-01-05T00:00:00Z", "--to", "2026-01-06T00:00:00Z", "--service", "nobody"], "devpulse compare"),
            (&["--from", "2026-01-05T00:00:00Z", "--to", "2026-01-05T00:00:00Z", "--out", "/nowhere/x"], "/nowhere/x cannot be written"),
        ] {
            let text = refused(arguments);
            assert!(text.contains(said), "{arguments:?} says {text}");
        }
        // Nothing is known: a file without series, which promtool would still read.
        let empty = devpulse.ask(&["export", "openmetrics", "--from", "2026-01-05T00:00:00Z", "--to", "2026-01-05T00:00:00Z"]);
        assert!(empty.ends_with("# EOF\n") && !empty.contains('{'), "{empty}");
    }
}

/// The gauges of delivery metrics on a page, by name and labels in order.
fn gauges(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| line.starts_with("devpulse_dora_") && line.contains('{'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once('{').unwrap();
            let (labels, rest) = rest.split_once("} ").unwrap();
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            let value = rest.split(' ').next().unwrap();
            (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
        })
        .collect()
}

fn gauges_of_export(devpulse: &DevPulse, more: &[&str]) -> BTreeMap<String, f64> {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let arguments = ["export", "openmetrics", "--from", &now, "--to", &now];
    gauges(&devpulse.ask(&[&arguments[..], more].concat()))
}
