//! History from elsewhere: a git repository's tags and branch, and CSV files.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::repository::Repository;

const README: &str = include_str!("../../README.md");
const CONFIGURATION: &str = "
services: [{name: checkout, repository: acme/shop, paths: [checkout/**]}, {name: search, repository: acme/shop, paths: [search/**]}]
";

/// Three releases: commits at 15:00 and 16:00, released at 19:00 (Datadog's example), after a first
/// release; then a merge that brings a commit of a branch.
fn repository() -> Repository {
    let new = Repository::new();
    new.git(&["remote", "add", "origin", "git@example.com:acme/checkout.git"], "2026-01-05T10:00:00Z");
    new.commit("a/1", "2026-01-05T10:00:00Z");
    new.git(&["tag", "-a", "-m", "first", "v1"], "2026-01-05T12:00:00Z");
    new.commit("a/2", "2026-01-05T15:00:00Z");
    new.commit("b/3", "2026-01-05T17:00:00+01:00");
    new.git(&["tag", "-a", "-m", "second", "v2"], "2026-01-05T19:00:00Z");
    new.git(&["checkout", "-q", "-b", "work"], "2026-01-06T10:00:00Z");
    new.commit("a/4", "2026-01-06T10:00:00Z");
    new.git(&["checkout", "-q", "main"], "2026-01-06T11:00:00Z");
    new.merge("work", "2026-01-06T11:00:00Z");
    new.git(&["tag", "-a", "-m", "third", "v3"], "2026-01-06T12:00:00Z");
    new
}

fn run(devpulse: &DevPulse, arguments: &[&str]) -> (bool, String) {
    let server = devpulse.url("/");
    let output =
        Command::new(env!("CARGO_BIN_EXE_devpulse")).args(arguments).args(["--server", &server]).output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

async fn lead_times(devpulse: &DevPulse, service: &str) -> Vec<f64> {
    let path = format!(
        "/api/v1/dora/change_lead_time/explain?service={service}&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"
    );
    let rows = devpulse.get(&path).await["included"].clone();
    rows.as_array().unwrap().iter().map(|row| row["value"].as_f64().unwrap() / 3_600.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_deployments_with_the_commits_they_brought() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let repository = repository();
    let path = repository.path().to_str().unwrap();
    let (ok, text) = run(&devpulse, &["import", "git", path]);
    assert!(ok && text.contains("3 events accepted, 0 known before"), "{text}");
    assert_eq!(lead_times(&devpulse, "checkout").await, [4.0, 3.0, 2.0], "the merge is no change");
    let (ok, text) = run(&devpulse, &["import", "git", path, "--output", "json"]);
    assert_eq!(
        (ok, serde_json::from_str::<Value>(&text).unwrap()),
        (true, json!({"accepted": 0, "duplicate": 3, "skipped": 0, "invalid": 0}))
    );
    // One service of the repository.
    let (ok, text) = run(&devpulse, &["import", "git", path, "--service", "a", "--path", "a"]);
    assert!(ok, "{text}");
    assert_eq!(lead_times(&devpulse, "a").await, [4.0, 2.0]);
    // Every commit on the main line, and what the merge brought.
    let (ok, text) = run(&devpulse, &["import", "git", path, "--service", "trunk", "--deployments", "branch=main"]);
    assert!(ok && text.contains("4 events accepted"), "{text}");
    assert_eq!(lead_times(&devpulse, "trunk").await, [0.0, 0.0, 1.0]);
    let (ok, text) = run(&devpulse, &["import", "git", path, "--deployments", "tags=release-*"]);
    assert!(!ok && text.contains("names nothing"), "{text}");
    let (ok, text) = run(&devpulse, &["import", "git", "/proc"]);
    assert!(!ok && text.contains("not a git repository"), "{text}");
}

/// More commits than one event may name.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_release_keeps_all_its_commits() {
    const COMMITS: usize = 12_003;
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let repository = Repository::new();
    repository.commit("first", "2026-01-05T10:00:00Z");
    repository.git(&["tag", "-a", "-m", "first", "v1"], "2026-01-05T12:00:00Z");
    repository.commits(COMMITS, 1_767_628_800);
    repository.git(&["tag", "-a", "-m", "second", "v2"], "2026-01-06T12:00:00Z");
    let path = repository.path().to_str().unwrap();
    let import = ["import", "git", path, "--service", "checkout", "--repository", "acme/checkout"];
    let (ok, text) = run(&devpulse, &import);
    assert!(ok && text.contains("4 events accepted"), "v1, and v2 in three messages: {text}");
    let dora = devpulse.get("/api/v1/dora?service=checkout&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z").await;
    let n = |metric: &str| dora["metrics"][metric]["n"].as_u64().unwrap();
    assert_eq!((n("change_lead_time"), n("deployment_frequency")), (u64::try_from(COMMITS).unwrap(), 2), "{dora:#}");
    let (ok, text) = run(&devpulse, &import);
    assert!(ok && text.contains("0 events accepted, 4 known before"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_are_events() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployments.csv");
    let mut text = "id,time,service,environment,version,outcome,attributes.team\n".to_owned();
    for n in 0..1_200 {
        let at = chrono::DateTime::from_timestamp(1_767_600_000 + n * 600, 0).unwrap().to_rfc3339();
        writeln!(text, "d-{n},{at},checkout,production,\"1.{n}\",succeeded,payments").unwrap();
    }
    text += "d-x,yesterday,checkout,production,2,succeeded,\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (ok, said) = run(&devpulse, &["import", "csv", file, "--type", "deployment"]);
    assert!(
        !ok && said.contains("1200 events accepted")
            && said.contains("1 event was refused, the first of them: line 1202: /time"),
        "{said}"
    );
    let dora = devpulse.get("/api/v1/dora?service=checkout&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z").await;
    assert_eq!(dora["metrics"]["deployment_frequency"]["n"], 1_200);
    let (_, said) = run(&devpulse, &["import", "csv", file, "--type", "deployment"]);
    assert!(said.contains("0 events accepted, 1200 known before"), "{said}");
}

/// The README's example, after the deployment that its incident names; and changes with all that they say.
#[tokio::test(flavor = "multi_thread")]
async fn rows_carry_lists_and_numbers() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, CONFIGURATION).await;
    let folder = tempfile::tempdir().unwrap();
    let import = |name: &str, rows: &str, more: &[&str]| {
        let file = folder.path().join(name);
        std::fs::write(&file, rows).unwrap();
        run(&devpulse, &[&["import", "csv", file.to_str().unwrap()], more].concat())
    };
    let deployments = "\
type,id,time,service,environment,version,outcome,repository,changes
deployment,d-1,2026-01-19T12:00:00Z,checkout,production,1.3,succeeded,acme/shop,\"[{\"\"sha\"\": \"\"a0\"\"}]\"
deployment,d-2,2026-01-20T12:00:00Z,checkout,production,1.4,succeeded,acme/shop,\"[{\"\"sha\"\": \"\"a1\"\"}, {\"\"sha\"\": \"\"a2\"\"}, {\"\"sha\"\": \"\"a3\"\"}]\"
";
    let (ok, said) = import("deployments.csv", deployments, &[]);
    assert!(ok && said.contains("2 events accepted"), "{said}");
    let changes = "\
repository,sha,authored_at,merge,paths,pull_request.number,pull_request.merged_at
acme/shop,a0,2026-01-19T11:00:00Z,,,,
acme/shop,a1,2026-01-20T11:00:00Z,false,\"[\"\"checkout/a.rs\"\"]\",7,2026-01-20T11:30:00Z
acme/shop,a2,2026-01-20T10:00:00Z,TRUE,,,
acme/shop,a3,2026-01-20T10:00:00Z,,\"[\"\"search/b.rs\"\", \"\"search/c.rs\"\"]\",,
";
    let (ok, said) = import("changes.csv", changes, &["--type", "change"]);
    assert!(ok && said.contains("4 events accepted"), "{said}");
    assert_eq!(lead_times(&devpulse, "checkout").await, [1.0, 1.0], "a merge and another service's change are none");

    let example = README.split("```csv\n").nth(1).unwrap().split_once("```").unwrap().0;
    let (ok, said) = import("incidents.csv", example, &["--type", "incident", "--source", "pagerduty"]);
    assert!(ok && said.contains("2 events accepted"), "{said}");
    let dora = devpulse.get("/api/v1/dora?service=checkout&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z").await;
    let fail = &dora["metrics"]["change_fail_rate"];
    assert_eq!((&fail["failed"], &fail["n"]), (&1.into(), &2.into()), "{dora:#}");

    let bad = example.replace("{\"\"version\"\": \"\"1.4\"\"}", "{\"\"version\"\": 1.4");
    let (ok, said) = import("bad.csv", &bad, &["--type", "incident", "--source", "pagerduty"]);
    assert!(!ok && said.contains("1 known before") && said.contains("1 event was refused"), "{said}");
    assert!(said.contains("line 2, column `deployments`: is `[{\"version\": 1.4]`, must be a list in JSON"), "{said}");
}
