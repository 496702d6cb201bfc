//! The examples of the README do what it says: each shell block marked `<!-- run -->` is run, in order,
//! against DevPulse on the example configuration.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::wait::until;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../devpulse.example.yaml");

/// What the README's table of parameters names.
fn parameters() -> BTreeSet<&'static str> {
    let rows = README.lines().skip_while(|line| !line.starts_with("| parameter |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(','));
    names.map(|name| name.trim().trim_matches('`')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_of_a_question_is_explained() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let api = devpulse.get("/api/openapi.json").await;
    for path in ["/api/v1/dora", "/api/v1/dora/{metric}/explain", "/api/v1/dora/series", "/api/v1/dora/compare"] {
        let described = api["paths"][path]["get"]["parameters"].as_array().unwrap();
        let described: BTreeSet<&str> = described.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert!(described.is_superset(&parameters()), "{path}: {described:?}");
        let more: BTreeSet<&str> = described.difference(&parameters()).copied().collect();
        assert!(more.is_subset(&BTreeSet::from(["metric", "bucket", "by", "limit", "cursor"])), "{path}: {more:?}");
    }
}

/// The marked blocks of a document.
fn examples(text: &str) -> Vec<&str> {
    text.split("<!-- run -->\n```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[test]
fn marked_blocks_are_found() {
    assert_eq!(
        examples("a\n<!-- run -->\n```sh\nls\n```\n```sh\nrm\n```\n<!-- run -->\n```sh\npwd\n```\n"),
        ["ls\n", "pwd\n"]
    );
}

/// Pastes scripts into one shell, and gives what each printed.
fn paste(scripts: &[&str], address: &str) -> Vec<String> {
    const END: &str = "--- end of block";
    let whole: String = scripts.iter().map(|script| format!("{script}\necho '{END}'\n")).collect();
    let whole = whole.replace("127.0.0.1:8080", address);
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &whole]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "prints {text}\nand {errors}");
    text.split(END).take(scripts.len()).map(str::to_owned).collect()
}

fn receipts(printed: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(printed).into_iter::<Value>().map_while(Result::ok);
    values.filter(|value| !value["accepted"].is_null()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_can_be_followed() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, EXAMPLE).await;
    let mut scripts = examples(README);
    let told = scripts.len();
    assert!(told >= 6, "only {told} examples were found");
    for script in scripts.iter().skip(1) {
        assert!(script.contains("127.0.0.1:8080"), "an example that asks someone else: {script}");
        assert!(!script.contains(" #"), "zsh takes a comment for an argument: {script}");
    }
    // All at once; and then the second block, a deployment, again.
    scripts.push(scripts[1]);
    let printed = paste(&scripts, &devpulse.address());
    let mut found = 0;
    for (script, printed) in scripts.iter().zip(&printed).take(told) {
        for receipt in receipts(printed) {
            assert_eq!((&receipt["invalid"], &receipt["duplicate"]), (&0.into(), &0.into()), "{script}\n{receipt:#}");
            found += 1;
        }
    }
    assert!(found >= 6, "only {found} receipts were found");
    let again = receipts(&printed[told]);
    assert_eq!((&again[0]["accepted"], &again[0]["duplicate"]), (&0.into(), &1.into()), "{again:#?}");

    // What the README lets its reader see: the numbers, the burn, and what would have been rolled back.
    let dora = devpulse.get("/api/v1/dora?service=checkout&environment=production&window=30d").await;
    let metrics = &dora["metrics"];
    assert_eq!(
        (&metrics["change_fail_rate"]["n"], &metrics["change_fail_rate"]["failed"]),
        (&2.into(), &1.into()),
        "{dora:#}"
    );
    let minutes =
        |metric: &str| metrics[metric]["value"].as_f64().unwrap_or_else(|| panic!("{metric}: {dora:#}")) / 60.0;
    for (metric, wanted) in [
        ("change_lead_time", 35.0..=60.0),
        ("mean_time_to_recovery", 19.0..=21.0),
        ("failed_deployment_recovery_time", 24.0..=26.0),
    ] {
        assert!(wanted.contains(&minutes(metric)), "{metric} {}: {dora:#}", minutes(metric));
    }
    until("every request to be counted", Duration::from_secs(10), async || {
        let slo = devpulse.get("/api/v1/slos/checkout-availability").await;
        ((&slo["total"], &slo["bad"]) == (&1_441.into(), &49.into())).then_some(())
    })
    .await;
    let seen = async |list: &str| {
        until(list, Duration::from_secs(10), async || {
            Some(devpulse.all(&format!("/api/v1/{list}?service=checkout")).await).filter(|items| !items.is_empty())
        })
        .await
    };
    let (rollbacks, alerts) = (seen("rollbacks").await, seen("alerts").await);
    assert_eq!(rollbacks.len(), 1, "{rollbacks:#?}");
    assert_eq!(
        (&rollbacks[0]["mode"], &rollbacks[0]["from_version"], &rollbacks[0]["to_version"]),
        (&"shadow".into(), &"1.4.2".into(), &"1.4.1".into()),
        "{rollbacks:#?}"
    );
    assert_eq!((&alerts[0]["state"], &alerts[0]["severity"]), (&"firing".into(), &"page".into()), "{alerts:#?}");
    let shown = devpulse.ask(&["rollback", "show", rollbacks[0]["id"].as_str().unwrap()]);
    assert!(shown.contains("1.4.2 → 1.4.1") && shown.contains("nothing was touched"), "{shown}");
}
