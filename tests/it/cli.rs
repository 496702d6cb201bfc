//! What commands say to people and to programs when something is missing or wrong.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::ports;

fn devpulse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
    command.current_dir(folder).env_remove("DEVPULSE_KEY").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_configuration_is_judged_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yaml"), include_str!("../../devpulse.example.yaml")).unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "slos: 7").unwrap();
    let good = said(&devpulse(folder.path(), &["check", "good.yaml"]));
    assert!(good.contains("(1 service, 2 SLOs, 0 receivers, 1 rollback policy)"), "{good}");
    for (file, valid) in [("good.yaml", true), ("bad.yaml", false)] {
        let output = devpulse(folder.path(), &["check", file, "--output", "json"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["valid"], valid, "{text}");
        assert!(text.lines().count() > 3, "not indented: {text}");
    }
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("http://127.0.0.1:{}", ports::free());
    for (arguments, part) in [
        (&["alert", "test", "--receiver", "oncall"][..], "no receiver is configured: add one below `receivers`"),
        (&["rollback", "list", "--server", &server], "--server URL"),
        (&["rollback", "list", "--server", "mailto:x"], "is not a URL of a server"),
        (&["rollback", "show", "--help"], "The rollback's id, as `devpulse rollback list` shows it"),
    ] {
        let text = said(&devpulse(folder.path(), arguments));
        assert!(text.contains(part), "{arguments:?} says {text}");
    }
}

#[test]
fn whoever_stops_reading_has_read_enough() {
    let mut command = Command::new("sh");
    let output = command.arg("-c").arg("\"$0\" config defaults | head -1").arg(env!("CARGO_BIN_EXE_devpulse"));
    let output = output.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_or_too_weak_is_asked_for() {
    let database = Database::sqlite().await;
    let running = DevPulse::start(&database.url, "").await;
    let created = running.run(&["keys", "create", "--name", "ci", "--scope", "ingest"]);
    let key = String::from_utf8(created.stdout).unwrap().trim().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let server = running.url("/");
    let list =
        |key: &[&str]| said(&devpulse(folder.path(), &[&["rollback", "list", "--server", &server], key].concat()));
    let text = list(&[]);
    assert!(text.contains("401") && text.contains("give --key, or set DEVPULSE_KEY"), "{text}");
    let text = list(&["--key", "dp_0_0"]);
    assert!(text.contains("unknown or revoked") && text.contains("DEVPULSE_KEY"), "{text}");
    let text = list(&["--key", &key]);
    assert!(text.contains("--name NAME --scope read --config devpulse.yaml"), "{text}");
}
