//! `devpulse report`: the same figures in five forms, none of which can be broken by a name.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::html::{Element, elements};

const CONFIGURATION: &str = "
teams: [{name: payments, time_zone: Europe/Berlin}]
services: [{name: checkout, repository: acme/checkout}, {name: cart, team: payments}, {name: quiet}]
";
const EVIL: [&str; 3] = ["<script>alert(\"x\")</script>", "=cmd|'/c calc'!A1", "a|b, c [d](javascript:e)"];
const PERIOD: [&str; 4] = ["--from", "2026-01-05T00:00:00Z", "--to", "2026-02-02T00:00:00Z"];

fn deployment(service: &str, id: &str, time: &str, authored: &str) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": time, "service": service, "environment": "production",
        "version": id, "outcome": "succeeded", "changes": [{"repository": "acme/x", "sha": id, "authored_at": authored}]})
}

/// Three deployments in four weeks, after 1 h, 3 h 20 min and 5 h, the last of which failed; one of
/// 10 h in the four weeks before. And services with names that mean something elsewhere.
async fn story() -> (Database, DevPulse) {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, CONFIGURATION).await;
    let incident = |status: &str, time: &str| {
        json!({"type": "incident", "source": "pager", "id": "i1", "time": time, "service": "checkout",
            "environment": "production", "status": status, "deployments": [{"source": "ci", "id": "d3"}]})
    };
    let mut events = vec![
        deployment("checkout", "d0", "2025-12-16T12:00:00Z", "2025-12-16T02:00:00Z"),
        deployment("checkout", "d1", "2026-01-06T12:00:00Z", "2026-01-06T11:00:00Z"),
        deployment("checkout", "d2", "2026-01-13T12:00:00Z", "2026-01-13T08:40:00Z"),
        deployment("checkout", "d3", "2026-01-20T12:00:00Z", "2026-01-20T07:00:00Z"),
        incident("opened", "2026-01-20T12:05:00Z"),
        incident("resolved", "2026-01-20T12:30:00Z"),
        deployment("cart", "c1", "2026-01-21T12:00:00Z", "2026-01-21T13:00:00Z"),
    ];
    for (i, service) in EVIL.iter().enumerate() {
        events.push(deployment(service, &format!("e{i}"), "2026-01-22T12:00:00Z", "2026-01-22T11:00:00Z"));
    }
    devpulse.post_events(&Value::Array(events)).await;
    (database, devpulse)
}

fn report(devpulse: &DevPulse, more: &[&str]) -> String {
    devpulse.ask(&[&["report"], &PERIOD[..], more].concat())
}

/// A line of a table, by its first cell.
#[track_caller]
fn line<'a>(text: &'a str, first: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(first)).unwrap_or_else(|| panic!("no line of {first} in\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_values_how_sure_they_are_and_what_became_of_them() {
    let (_database, devpulse) = story().await;
    let text = report(&devpulse, &["--service", "checkout"]);
    assert!(text.starts_with("Delivery of service checkout\n"), "{text}");
    assert!(text.contains("2026-01-05 00:00 to 2026-02-02 00:00") && text.contains("DORA 2024"), "{text}");
    for (metric, parts) in [
        (
            "Deployment frequency",
            &["0.107 per day", "0.036 per day", "+200 %, better", "medium (2024)", "missed: at least 1 per day"][..],
        ),
        ("Change lead time", &["3 h 20 min", "10 h", "−66.7 %, better", "elite (2024)", "missed: below 2 h"]),
        ("Change fail rate", &["33.3 %", "6.15 % to 79.2 %", "0 %", "+33.3 points, worse", "missed: below 5 %"]),
        ("Failed deployment recovery time", &["30 min", "elite (2024)", "missed: below 15 min"]),
        ("Rework rate", &["0 %", "unchanged"]),
        ("Mean time to recovery", &["25 min", "missed: below 15 min"]),
    ] {
        let line = line(&text, metric);
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} are not in {line}");
    }
    assert!(line(&text, "2026-01-12").contains("3 h 20 min (1) !"), "{text}");
    assert!(line(&text, "2026-01-26").contains('–'), "{text}");
    assert!(!text.contains("By service"), "the whole is the only service: {text}");

    let all = report(&devpulse, &["--by", "team", "--time-zone", "Europe/Berlin"]);
    assert!(all.contains("Delivery of all services") && all.contains("Europe/Berlin"), "{all}");
    assert!(all.contains("2026-01-05 (partial)") && all.contains("2026-01-05 01:00"), "{all}");
    assert!(all.contains("Change lead time: 1 negative"), "what was left out: {all}");
    assert!(line(&all, "payments").contains("0.036 per day (1) !"), "{all}");
    assert!(line(&all, "payments: Change lead time").ends_with("see excluded (1 negative)"), "{all}");
    let quiet = report(&devpulse, &["--service", "quiet"]);
    assert!(quiet.contains("Change lead time: no change was deployed in this window"), "{quiet}");
    let days = devpulse.ask(&["report", "--to", "2026-01-08T00:00:00Z", "--window", "3d"]);
    assert!(days.contains("By day") && line(&days, "2026-01-06").contains("1 h (1)"), "{days}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_what_the_api_answers() {
    let (_database, devpulse) = story().await;
    let json = report(&devpulse, &["--format", "json"]);
    assert_eq!(json, report(&devpulse, &["--output", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let window = "from=2026-01-05T00:00:00Z&to=2026-02-02T00:00:00Z";
    let ask = async |path: &str| devpulse.get(&format!("/api/v1/dora{path}{window}")).await;
    assert_eq!(json["metrics"], ask("?").await["metrics"]);
    assert_eq!(json["series"]["buckets"], ask("/series?bucket=week&").await["buckets"]);
    assert_eq!(json["comparison"]["rows"], ask("/compare?by=service&").await["rows"]);
    assert_eq!(json["metrics"]["change_lead_time"]["value"], 3_600.0, "seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn spreadsheets_read_a_row_per_metric_and_no_formula() {
    let (_database, devpulse) = story().await;
    let text = report(&devpulse, &["--format", "csv"]);
    assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    let column =
        |name: &str| head.iter().position(|title| title == name).unwrap_or_else(|| panic!("{name} in {head:?}"));
    let cell = |row: &[String], name: &str| row[column(name)].clone();
    // The whole, and six services.
    assert_eq!(rows.len(), 6 * 7);
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '@'])), "{text}");
    let of = |selection: &str, name: &str, metric: &str| {
        let found = rows.iter().find(|row| {
            (cell(row, "selection"), cell(row, "name"), cell(row, "metric"))
                == (selection.to_owned(), name.to_owned(), metric.to_owned())
        });
        found.unwrap_or_else(|| panic!("{selection} {name} {metric} in {text}")).clone()
    };
    let lead = of("service", "checkout", "change_lead_time");
    let cells = ["value", "unit", "n", "previous", "change", "band", "target_met"].map(|name| cell(&lead, name));
    assert_eq!(cells, ["12000", "seconds", "3", "36000", "-24000", "elite", "false"]);
    let fail = of("service", "checkout", "change_fail_rate");
    assert_eq!(cell(&fail, "value"), (1.0_f64 / 3.0).to_string());
    let none = of("service", "quiet", "mean_time_to_recovery");
    assert_eq!(
        (cell(&none, "value").as_str(), cell(&none, "reason").as_str()),
        ("", "no incident was resolved in this window")
    );
    assert_eq!(cell(&of("service", "cart", "change_lead_time"), "excluded"), "1 negative");
    assert_eq!(cell(&of("service", "cart", "change_lead_time"), "time_zone"), "Europe/Berlin");
    assert_eq!(cell(&of("service", &format!("'{}", EVIL[1]), "rework_rate"), "value"), "0");
    assert_eq!(cell(&of("service", EVIL[2], "rework_rate"), "n"), "1");
    of("all", "", "deployment_frequency");
    let one = report(&devpulse, &["--format", "csv", "--service", "checkout"]);
    assert_eq!(one.matches("\r\n").count(), 7, "once, not also as a row of the comparison: {one}");
}

/// Of a change by its pull request: 2 h, 1 h, 3 h and 30 min; a deployment of which nothing is known; a
/// failure of seven days and an incident of twelve, both not over, beside one of twenty minutes.
async fn unfinished() -> (Database, DevPulse) {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, CONFIGURATION).await;
    let incident = |id: &str, status: &str, time: &str, named: Value| {
        json!({"type": "incident", "source": "pager", "id": id, "time": time, "service": "checkout",
            "environment": "production", "status": status, "deployments": named})
    };
    let none = json!([]);
    let silent = json!({"type": "deployment", "source": "ci", "id": "d3", "time": "2026-01-26T00:00:00Z",
        "service": "checkout", "environment": "production", "outcome": "succeeded"});
    let pull_request = json!({"type": "change", "repository": "acme/x", "sha": "d2", "authored_at": "2026-01-13T08:00:00Z",
        "pull_request": {"number": 7, "opened_at": "2026-01-13T10:00:00Z", "first_review_at": "2026-01-13T11:00:00Z",
            "merged_at": "2026-01-13T14:00:00Z"}});
    let events = vec![
        deployment("checkout", "d1", "2026-01-06T12:00:00Z", "2026-01-06T11:00:00Z"),
        deployment("checkout", "d2", "2026-01-13T14:30:00Z", "2026-01-13T08:00:00Z"),
        pull_request,
        silent,
        incident("i1", "opened", "2026-01-26T01:00:00Z", json!([{"source": "ci", "id": "d3"}])),
        incident("i2", "opened", "2026-01-21T00:00:00Z", none.clone()),
        incident("i3", "opened", "2026-01-07T12:00:00Z", none.clone()),
        incident("i3", "resolved", "2026-01-07T12:20:00Z", none),
    ];
    devpulse.post_events(&Value::Array(events)).await;
    (database, devpulse)
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_and_what_is_not_over_are_said_to_people_too() {
    let (_database, devpulse) = unfinished().await;
    let one = |more: &[&str]| report(&devpulse, &[&["--service", "checkout"], more].concat());
    let text = one(&[]);
    let details = [
        ("Change lead time", "Stages", "coding 2 h (1), pick-up 1 h (1), review 3 h (1), merge to deploy 30 min (1)"),
        ("Change lead time", "Incomplete", "1 deployment with incomplete changes"),
        ("Failed deployment recovery time", "Open", "1 at the end of the period, the oldest for 7 d"),
        ("Mean time to recovery", "Median", "20 min"),
        ("Mean time to recovery", "Open", "2 at the end of the period, the oldest for 12 d"),
    ];
    let (html, markdown) = (one(&["--format", "html"]), one(&["--format", "markdown"]));
    for (metric, label, words) in details {
        let line = format!("{metric}, {}: {words}", label.to_lowercase());
        assert!(text.contains(&format!("\n  {line}\n")), "{line} is not in {text}");
        assert!(markdown.contains(&format!("\n- {line}\n")), "{line} is not in {markdown}");
        assert!(html.contains(&format!("<dt>{label}</dt><dd>{words}</dd>")), "{label} {words} is not in {html}");
    }
    for form in [&text, &html, &markdown] {
        assert!(form.contains("Change lead time: 1 no changes known") && !form.contains(": 1 open"), "{form}");
    }
    let csv = one(&["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let cell = |metric: &str, name: &str| rows.iter().find(|row| row["metric"] == metric).unwrap()[name].clone();
    let stages = ["coding", "pick_up", "review", "merge_to_deploy"];
    let seconds = stages.map(|stage| cell("change_lead_time", &format!("{stage}_seconds")));
    assert_eq!(seconds, ["7200", "3600", "10800", "1800"]);
    assert_eq!(stages.map(|stage| cell("change_lead_time", &format!("{stage}_n"))), ["1"; 4]);
    assert_eq!(cell("change_lead_time", "incomplete_deployments"), "1");
    assert_eq!(cell("mean_time_to_recovery", "median"), "1200");
    assert_eq!(cell("mean_time_to_recovery", "oldest_open_seconds"), (12 * 86_400).to_string());
    assert_eq!(cell("failed_deployment_recovery_time", "open"), "1");
    assert!(cell("mean_time_to_recovery", "method").contains("mean"), "the last column: {csv}");
    assert_eq!(cell("deployment_frequency", "coding_n"), "");
}

/// Every value of one attribute.
fn all(page: &[Element], attribute: &str) -> Vec<String> {
    page.iter().filter_map(|element| element.attributes.get(attribute)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_one_file_that_runs_nothing() {
    let (_database, devpulse) = story().await;
    let html = report(&devpulse, &["--format", "html"]);
    let page = elements(&html);
    let count = |name: &str| page.iter().filter(|element| element.name == name).count();
    assert_eq!((count("script"), count("svg"), count("table"), count("h1")), (0, 6, 2, 1));
    assert!(html.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;"), "the name is shown as it is: {html}");
    for attribute in ["src", "href", "onload", "onclick", "style"] {
        assert!(all(&page, attribute).is_empty(), "{attribute}: {:?}", all(&page, attribute));
    }
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""), "{html}");
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("@media print"));
    // For those who do not see it: names and texts for pictures and regions, heads of rows and columns.
    let ids = all(&page, "id");
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{ids:?}");
    for reference in all(&page, "aria-labelledby").iter().chain(&all(&page, "aria-describedby")) {
        assert!(ids.contains(reference), "{reference} is not there");
    }
    for element in &page {
        let has = |attribute: &str| element.attributes.contains_key(attribute);
        match element.name.as_str() {
            "svg" => assert!(has("aria-labelledby") && has("aria-describedby") && element.attributes["role"] == "img"),
            "th" => assert!(has("scope")),
            "html" => assert_eq!(element.attributes["lang"], "en"),
            _ => {}
        }
    }
    assert!(html.contains("✓ met: at least") || html.contains("✗ missed: at least"), "no colour alone: {html}");
    // What the picture shows, in words; the course is interrupted where there is no value.
    let html = report(&devpulse, &["--format", "html", "--service", "checkout"]);
    let said = "By week: from 1 h (2026-01-05) to 5 h (2026-01-19); lowest 1 h (2026-01-05), highest 5 h (2026-01-19). Without a value: 1 of 4.";
    assert!(html.contains(said), "{html}");
    assert!(html.contains("<dt>Change</dt><dd>−66.7 %, better</dd>"), "{html}");
    elements(&devpulse.ask(&["report", "--service", "quiet", "--format", "html"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_has_tables_that_no_name_breaks() {
    let (_database, devpulse) = story().await;
    let text = report(&devpulse, &["--format", "markdown"]);
    assert!(text.contains("| Change lead time | 1 h | 6 |"), "{text}");
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    assert!(text.contains(r"a\|b, c \[d\](javascript:e)"), "{text}");
    let mut width = 0;
    let mut rows = 0;
    for line in text.lines() {
        let cells = line.replace(r"\|", "").matches('|').count();
        assert!(cells == 0 || width == 0 || cells == width, "{line}");
        (width, rows) = (cells, rows + usize::from(cells > 0));
    }
    assert_eq!(rows, (2 + 6) + (2 + 4) + (2 + 6), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_can_be_asked_has_an_option_of_its_name() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let api = devpulse.get("/api/openapi.json").await;
    let parameters = api["paths"]["/api/v1/dora"]["get"]["parameters"].as_array().unwrap();
    assert!(parameters.len() >= 13, "{parameters:#?}");
    for command in ["report", "compare", "explain"] {
        let help = devpulse.ask(&[command, "--help"]);
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap().replace('_', "-");
            let option = format!("--{name}");
            assert!(help.split_whitespace().any(|word| word == option), "{command} has no {option}: {help}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_can_be_written_to_a_file() {
    let (_database, devpulse) = story().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let printed = report(&devpulse, &["--format", "html", "--out", file.to_str().unwrap()]);
    assert_eq!(
        (printed.as_str(), std::fs::read_to_string(&file).unwrap()),
        ("", report(&devpulse, &["--format", "html"]))
    );
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_devpulse"))
            .args(arguments)
            .args(["--server", &devpulse.url("/")])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["report", "--out", "/nowhere/report"]);
    assert!(code == Some(1) && said.contains("/nowhere/report cannot be written"), "{said}");
    let (code, said) = run(&["report", "--service", "chekout"]);
    assert!(code == Some(1) && said.contains("did you mean `checkout`?"), "{said}");
    let (code, said) = run(&["report", "--lead-time-from", "commited"]);
    assert!(code == Some(1) && said.contains("`--lead-time-from` must be one of authored, committed"), "{said}");
    let (code, said) = run(&["report", "--percentile", "101"]);
    assert!(code == Some(1) && said.contains("`--percentile` must be a number from 0 to 100, or mean"), "{said}");
    let (code, said) = run(&["report", "--service", "checkout", "--by", "team"]);
    assert!(code == Some(1) && said.contains("exclude each other"), "{said}");
}
