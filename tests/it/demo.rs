//! `devpulse demo`: the story happens, its facts hold, and nothing is left behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http::client;
use crate::support::process::Process;
use crate::support::wait::until;

/// The demo with its temporary data in `folder`.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
    command.arg("demo").args(["--fast", "--port", "0"]).args(arguments).env("TMPDIR", folder);
    command
}

fn leftovers(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_happens() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let output = demo(folder.path(), &["--output", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_mins(1), "the demo promises less than a minute");
    let facts: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();

    let (bad, good) = (facts["bad_version"].as_str().unwrap(), facts["live_version"].as_str().unwrap());
    assert_ne!(bad, good);
    let rollback = &facts["rollback"];
    assert_eq!((&rollback["from_version"], &rollback["to_version"]), (&bad.into(), &good.into()), "{facts:#}");
    assert_eq!((&rollback["state"], &facts["calls"]), (&"done".into(), &1.into()), "{facts:#}");
    assert!(facts["alerts"].as_u64().unwrap() > 0, "nobody was told: {facts:#}");
    let (failed, requests) = (facts["requests_failed"].as_u64().unwrap(), facts["requests"].as_u64().unwrap());
    assert!(failed > 0 && failed * 10 < requests, "{failed} of {requests} requests failed");
    assert!(facts["seconds_to_rollback"].as_f64().unwrap() < 10.0, "{facts:#}");

    // 42 deployments of four weeks, one of them failed and one its hotfix; then the bad one and its rollback.
    let counts = |when: &str, metric: &str| facts[when][metric]["n"].as_u64().unwrap();
    assert_eq!((counts("before", "change_fail_rate"), counts("after", "change_fail_rate")), (42, 44), "{facts:#}");
    let value = |when: &str, metric: &str| facts[when][metric]["value"].as_f64().unwrap();
    let near = |value: f64, wanted: f64| assert!((value - wanted).abs() < 1e-3, "{value}, not {wanted}: {facts:#}");
    near(value("before", "change_fail_rate"), 1.0 / 42.0);
    near(value("after", "change_fail_rate"), 2.0 / 44.0);
    near(value("after", "rework_rate"), 2.0 / 44.0);
    near(value("before", "failed_deployment_recovery_time"), 95.0 * 60.0);
    assert!(value("after", "failed_deployment_recovery_time") < 95.0 * 60.0, "{facts:#}");
    assert_eq!(leftovers(folder.path()), 0, "the temporary folder is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_explored_and_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo(folder.path(), &["--keep"]);
    let mut running = Process::start("demo", &mut command, folder.path().join("demo.log"));
    let url = until("the demo to say that it stays up", Duration::from_mins(1), async || {
        assert!(running.exited().is_none(), "the demo stopped: {}", running.log());
        let log = running.log();
        let (_, rest) = log.split_once("DevPulse stays up at ")?;
        rest.split_once(' ').map(|(url, _)| url.to_owned())
    })
    .await;
    let text = running.log();
    for part in [
        "Rolled back, because:",
        "Recovered:",
        "Change fail rate",
        "before",
        "after",
        "[alert.fired]",
        "[target]",
        "curl '",
    ] {
        assert!(text.contains(part), "the story lacks {part:?}:\n{text}");
    }
    let services = client().get(format!("{url}/api/v1/services")).send().await.unwrap().text().await.unwrap();
    assert!(services.contains("checkout"), "{services}");

    running.signal("INT");
    let status = until("the demo to end", Duration::from_secs(15), async || running.exited()).await;
    assert!(status.success(), "{status}: {}", running.log());
    assert!(client().get(url).send().await.is_err(), "the server still runs");
    assert_eq!(leftovers(folder.path()), 0, "the temporary folder is still there");
}

#[test]
fn at_its_end_it_says_how_to_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, end) = text.rsplit_once("curl '").expect("it shows where to look");
    assert!(end.contains("the URLs above are dead") && end.contains("devpulse demo --keep"), "{text}");
}
