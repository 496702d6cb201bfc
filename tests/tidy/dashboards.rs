//! What every Grafana dashboard must have to import, to be provisioned and to be understood.

use std::collections::BTreeSet;

use devpulse::dora::Metric;
use devpulse::dora::benchmark::{Band, edition};
use serde_json::{Value, json};

/// Panel types that Grafana no longer draws, or will stop to.
const GONE: &[&str] = &["graph", "singlestat", "table-old", "grafana-piechart-panel", "grafana-worldmap-panel"];

/// The problems of one dashboard.
pub fn problems(dashboard: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            problems.push(what.to_owned());
        }
    };
    expect(dashboard["id"].is_null(), "id is not null: it would overwrite another dashboard");
    expect(dashboard["uid"].as_str().is_some_and(|uid| !uid.is_empty() && uid.len() <= 40), "no stable uid");
    expect(dashboard["schemaVersion"].as_u64() >= Some(39), "schemaVersion is below 39");
    let variables: Vec<_> = items(&dashboard["templating"]["list"]).iter().map(|v| &v["name"]).collect();
    expect(variables.contains(&&json!("datasource")), "no variable chooses the data source");
    let panels = items(&dashboard["panels"]);
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    expect(ids.len() == panels.len(), "the panels' ids are not unique");
    for (at, panel) in panels.iter().enumerate() {
        problems.extend(panel_problems(panel).iter().map(|what| format!("panel {}: {what}", panel["title"])));
        for other in panels.iter().skip(at + 1).filter(|other| overlap(panel, other)) {
            problems.push(format!("panels {} and {} overlap", panel["title"], other["title"]));
        }
    }
    problems
}

fn panel_problems(panel: &Value) -> Vec<&'static str> {
    let mut problems = Vec::new();
    let kind = panel["type"].as_str().unwrap_or("");
    if kind == "row" {
        return problems;
    }
    let said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let from_variable = |owner: &Value| owner["datasource"] == json!({"type": "prometheus", "uid": "${datasource}"});
    let targets = items(&panel["targets"]);
    let refs: BTreeSet<_> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
    let checks = [
        (!kind.is_empty() && !GONE.contains(&kind), "its type is not drawn any more"),
        (said(&panel["title"]), "no title"),
        (said(&panel["description"]), "no description"),
        (said(&panel["fieldConfig"]["defaults"]["unit"]), "no unit"),
        (from_variable(panel), "its data source is not the variable"),
        (!targets.is_empty(), "no query"),
        (refs.len() == targets.len(), "its queries' refIds are not unique"),
        (targets.iter().all(from_variable), "a query's data source is not the variable"),
    ];
    problems.extend(checks.iter().filter(|(holds, _)| !holds).map(|(_, what)| *what));
    problems
}

fn overlap(a: &Value, b: &Value) -> bool {
    let span = |panel: &Value, start: &str, length: &str| {
        let grid = &panel["gridPos"];
        let from = grid[start].as_u64().expect("a place on the grid");
        (from, from + grid[length].as_u64().expect("a size on the grid"))
    };
    let meet = |start, length| {
        let ((a_from, a_to), (b_from, b_to)) = (span(a, start, length), span(b, start, length));
        a_from < b_to && b_from < a_to
    };
    meet("x", "w") && meet("y", "h")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Every query of panels and annotations, with the variables filled in.
pub fn queries(dashboard: &Value) -> Vec<String> {
    let targets = items(&dashboard["panels"]).iter().flat_map(|panel| items(&panel["targets"]));
    let all = targets.chain(items(&dashboard["annotations"]["list"]));
    let fill = |query: &str| {
        let mut query = query.replace("$__rate_interval", "1m").replace("$__range", "1d");
        for variable in items(&dashboard["templating"]["list"]) {
            query = query.replace(&format!("${}", variable["name"].as_str().expect("variables have names")), ".+");
        }
        query
    };
    all.filter_map(|owner| owner["expr"].as_str()).map(fill).collect()
}

/// The queries as rules, which promtool can check; JSON is YAML.
pub fn as_rules(queries: &[String]) -> String {
    let rule = |(at, query): (usize, &String)| json!({"record": format!("query:{at}"), "expr": query});
    json!({"groups": [{"name": "queries", "rules": queries.iter().enumerate().map(rule).collect::<Vec<_>>()}]})
        .to_string()
}

#[test]
fn a_bad_dashboard_is_found() {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let good = json!({
        "id": null, "uid": "x", "schemaVersion": 39,
        "templating": {"list": [{"name": "datasource"}, {"name": "service"}]},
        "annotations": {"list": [{"expr": "a{b=~\"$service\"}"}]},
        "panels": [
            {"id": 1, "type": "row", "title": "r", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
            {"id": 2, "type": "stat", "title": "t", "description": "d", "datasource": source.clone(),
             "gridPos": {"x": 0, "y": 1, "w": 4, "h": 4}, "fieldConfig": {"defaults": {"unit": "s"}},
             "targets": [{"refId": "A", "datasource": source, "expr": "rate(c[$__rate_interval])"}]},
        ],
    });
    assert_eq!(problems(&good), Vec::<String>::new());
    assert_eq!(queries(&good), ["rate(c[1m])", "a{b=~\".+\"}"]);
    let broken = |pointer: &str, value: Value| {
        let mut dashboard = good.clone();
        *dashboard.pointer_mut(pointer).unwrap() = value;
        problems(&dashboard).len()
    };
    assert_eq!(broken("/id", json!(7)), 1);
    assert_eq!(broken("/uid", json!("")), 1);
    assert_eq!(broken("/schemaVersion", json!(38)), 1);
    assert_eq!(broken("/templating/list/0/name", json!("ds")), 1);
    assert_eq!(broken("/panels/1/id", json!(1)), 1);
    assert_eq!(broken("/panels/1/gridPos/y", json!(0)), 1);
    assert_eq!(broken("/panels/1/type", json!("graph")), 1);
    assert_eq!(broken("/panels/1/description", json!("")), 1);
    assert_eq!(broken("/panels/1/fieldConfig/defaults", json!({})), 1);
    assert_eq!(broken("/panels/1/datasource/uid", json!("prometheus")), 1);
    assert_eq!(broken("/panels/1/targets/0/datasource", json!(null)), 1);
    assert_eq!(broken("/panels/1/targets", json!([])), 1);
}

/// The stat panels that are coloured by a benchmark's bands.
const BANDED: [(&str, Metric); 4] = [
    ("Deployment frequency", Metric::DeploymentFrequency),
    ("Change lead time", Metric::ChangeLeadTime),
    ("Change fail rate", Metric::ChangeFailRate),
    ("Failed deployment recovery", Metric::FailedDeploymentRecoveryTime),
];

/// Where a panel's colour says something else than the API's band of the same value.
pub fn wrong_colours(dashboard: &Value, year: &str) -> Vec<String> {
    let benchmark = edition(year).expect("an edition with clusters");
    let mut wrong = Vec::new();
    for (title, metric) in BANDED {
        let panel =
            items(&dashboard["panels"]).iter().find(|panel| panel["title"] == title).expect("the panel is there");
        let steps = items(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]);
        for (i, step) in steps.iter().enumerate() {
            let from = step["value"].as_f64().unwrap_or(0.0);
            let to = steps.get(i + 1).map_or(from * 2.0, |next| next["value"].as_f64().expect("a number"));
            // Within the step, but not at its ends: those belong to the better band in one of the two.
            for value in [from + (to - from) * 0.01, f64::midpoint(from, to), from + (to - from) * 0.99] {
                let band = benchmark.band(metric, value).expect("the metric has bands");
                let fits = match step["color"].as_str().expect("a colour") {
                    "green" => band == Band::Elite,
                    "semi-dark-green" => band == Band::High,
                    "yellow" => matches!(band, Band::High | Band::Medium),
                    "red" => band == Band::Low,
                    _ => false,
                };
                if !fits {
                    wrong.push(format!("panel {title}: {value} is {}, but {band:?}", step["color"]));
                }
            }
        }
    }
    wrong
}
