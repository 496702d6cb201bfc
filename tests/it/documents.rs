//! The examples of the README do what it says: each shell block marked `<!-- run -->` is run, in order,
//! against DevPulse on the example configuration.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::wait::until;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../devpulse.example.yaml");

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

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_can_be_followed() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, EXAMPLE).await;
    let (mut commands, mut receipts) = (0, 0);
    for example in examples(README) {
        if example.contains("\"version\": \"1.4.2\"") {
            a_reader_takes_longer_than_a_bucket().await;
        }
        let script = example.replace("127.0.0.1:8080", &devpulse.address());
        assert_eq!(example == script, !example.contains("curl"), "an example that asks someone else: {example}");
        let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}\nprints {text}\nand {errors}");
        commands += 1;
        for receipt in serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok) {
            if !receipt["accepted"].is_null() {
                assert_eq!(
                    (&receipt["invalid"], &receipt["duplicate"]),
                    (&0.into(), &0.into()),
                    "{example}\n{receipt:#}"
                );
                receipts += 1;
            }
        }
    }
    assert!(commands >= 5 && receipts >= 6, "only {commands} examples with {receipts} receipts were found");

    // What the README lets its reader see: the numbers, the burn, and what would have been rolled back.
    let dora = devpulse.get("/api/v1/dora?service=checkout&environment=production&window=30d").await;
    let metrics = &dora["metrics"];
    assert_eq!(
        (&metrics["change_fail_rate"]["n"], &metrics["change_fail_rate"]["failed"]),
        (&2.into(), &1.into()),
        "{dora:#}"
    );
    assert_eq!(metrics["mean_time_to_recovery"]["n"], 1, "{dora:#}");
    until("every request to be counted", Duration::from_secs(10), async || {
        let slo = devpulse.get("/api/v1/slos/checkout-availability").await;
        ((&slo["total"], &slo["bad"]) == (&1_501.into(), &61.into())).then_some(())
    })
    .await;
    let rollbacks = until("what would have been rolled back", Duration::from_secs(10), async || {
        Some(devpulse.all("/api/v1/rollbacks?service=checkout").await).filter(|rollbacks| !rollbacks.is_empty())
    })
    .await;
    assert_eq!(rollbacks.len(), 1, "{rollbacks:#?}");
    assert_eq!(
        (&rollbacks[0]["mode"], &rollbacks[0]["from_version"]),
        (&"shadow".into(), &"1.4.2".into()),
        "{rollbacks:#?}"
    );
}

/// Evidence compares whole buckets of ten seconds before and after a deployment: in a script without
/// a pause the traffic before it would lie in the deployment's own bucket.
async fn a_reader_takes_longer_than_a_bucket() {
    let bucket = || chrono::Utc::now().timestamp() / devpulse::event::BUCKET_SECONDS;
    let now = bucket();
    until("the next bucket", Duration::from_secs(11), async || (bucket() > now).then_some(())).await;
}
