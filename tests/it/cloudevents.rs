//! CloudEvents, sent for real by the Python and the JavaScript SDK: binary, structured and batched.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::CloudEvents;
use devpulse::ingest::cloudevents::{Content, Context, parse};
use devpulse::ingest::fault::Fault;
use devpulse::ingest::items::{Fate, Item};
use devpulse::ingest::native;
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::mutilate::every_fault;

const PATH: &str = "/api/v1/cloudevents";
const SHA: &str = "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b";

#[derive(Debug, Clone, Copy)]
enum Sdk {
    Python,
    JavaScript,
}

impl Sdk {
    fn command(self) -> Command {
        let set = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"));
        let mut command = Command::new(match self {
            Self::Python => set("DEVPULSE_TEST_PYTHON"),
            Self::JavaScript => "node".to_owned(),
        });
        match self {
            Self::Python => command.arg("-c").arg(include_str!("support/cloudevents_sender.py")),
            Self::JavaScript => {
                command.env("NODE_PATH", set("DEVPULSE_TEST_NODE_PACKAGES"));
                command.arg("-e").arg(include_str!("support/cloudevents_sender.cjs"))
            }
        };
        command
    }

    /// What each request was answered.
    fn send(self, devpulse: &DevPulse, key: &str, mode: &str, events: &[Value]) -> Vec<Value> {
        let mut command = self.command();
        command.args([&devpulse.url(PATH), key, mode]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut sender = command.stderr(Stdio::piped()).spawn().unwrap();
        sender.stdin.take().unwrap().write_all(json!(events).to_string().as_bytes()).unwrap();
        let output = sender.wait_with_output().unwrap();
        assert!(output.status.success(), "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn event(id: &str, kind: &str, time: &str, data: &Value) -> Value {
    json!({"attributes": {"id": id, "source": "/ci/acme", "type": kind, "time": time, "datacontenttype": "application/json",
        "subject": "shop: 100 %", "partitionkey": "a"}, "data": data})
}

fn cdevent(id: &str, kind: &str, time: &str, subject: &str, content: &Value) -> Value {
    let kind = format!("dev.cdevents.{kind}");
    let context = json!({"specversion": "0.5.1", "id": id, "source": "/ci/acme", "type": kind, "timestamp": time});
    event(id, &kind, time, &json!({"context": context, "subject": {"id": subject, "content": content}}))
}

fn deployed(id: &str, predicate: &str, time: &str, version: &str, sha: &str) -> Value {
    let purl = format!("pkg:npm/shop@{version}?vcs_url=git%2Bhttps://github.com/acme/shop.git%40{sha}");
    let content = json!({"environment": {"id": "prod-eu"}, "artifactId": purl});
    cdevent(id, &format!("service.{predicate}.0.3.0"), time, "service/checkout", &content)
}

fn trouble(id: &str, predicate: &str, time: &str) -> Value {
    let content = json!({"environment": {"id": "prod-eu"}, "service": {"id": "checkout"},
        "artifactId": "pkg:npm/shop@1.4.2", "description": "payments fail"});
    cdevent(id, &format!("incident.{predicate}.0.3.0"), time, "incident-9", &content)
}

fn outcomes(answer: &Value) -> Vec<&str> {
    assert_eq!(answer["status"], 200, "{answer:#}");
    answer["body"]["items"].as_array().unwrap().iter().map(|item| item["outcome"].as_str().unwrap()).collect()
}

/// A day of one service, each part of it sent in another mode, and everything twice.
async fn tell(sdk: Sdk) {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "services: [{name: checkout}]\n").await;
    let created = devpulse.run(&["keys", "create", "--name", "ce", "--scope", "ingest,read"]);
    let key = String::from_utf8(created.stdout).unwrap().trim().to_owned();
    devpulse.use_key(&key);

    let change =
        json!({"type": "change", "repository": "acme/shop", "sha": SHA, "authored_at": "2026-01-05T08:00:00Z"});
    let merged = json!({"repository": {"id": "acme/shop"}});
    let binary = [
        deployed("e-8", "deployed", "2026-01-04T10:00:00Z", "1.4.1", &"1".repeat(40)),
        event("e-0", "io.devpulse.change", "2026-01-05T08:30:00Z", &change),
        cdevent("e-9", "change.merged.0.3.0", "2026-01-05T09:00:00Z", SHA, &merged),
        deployed("e-1", "upgraded", "2026-01-05T10:00:00Z", "1.4.2", SHA),
        deployed("e-6", "rolledback", "2026-01-05T10:40:00Z", "1.4.1", &"1".repeat(40)),
    ];
    let structured = [trouble("e-3", "detected", "2026-01-05T10:10:00Z")];
    let mut spoilt = trouble("e-4", "detected", "2026-01-05T10:10:00Z");
    spoilt["data"]["subject"]["id"] = "".into();
    let unused = event("e-7", "com.example.someevent", "2026-01-05T10:00:00Z", &json!({"any": "thing"}));
    let batched = [trouble("e-5", "resolved", "2026-01-05T10:30:00Z"), spoilt.clone(), unused];
    for new in ["accepted", "duplicate"] {
        for (mode, events) in [("binary", &binary[..]), ("structured", &structured[..])] {
            let mut events = events.to_vec();
            // The JavaScript SDK does not encode what it writes into headers.
            if matches!(sdk, Sdk::Python) {
                for event in &mut events {
                    event["attributes"]["subject"] = "Käse – 100 %".into();
                }
            }
            let answers = sdk.send(&devpulse, &key, mode, &events);
            assert_eq!(answers.len(), events.len());
            for answer in answers {
                assert_eq!(outcomes(&answer), [new], "{mode}: {answer:#}");
            }
        }
        let answers = sdk.send(&devpulse, &key, "batched", &batched);
        assert_eq!(outcomes(&answers[0]), [new, "invalid", "skipped"], "{answers:#?}");
        assert_eq!(answers[0]["body"]["items"][1]["error"]["pointer"], "/data/subject/id");
    }
    let refused = sdk.send(&devpulse, &key, "structured", &[spoilt]);
    assert_eq!((&refused[0]["status"], &refused[0]["body"]["pointer"]), (&json!(422), &json!("/data/subject/id")));
    let refused = sdk.send(&devpulse, "dp_nobody", "binary", &structured);
    assert_eq!(refused[0]["status"], 401, "{refused:#?}");

    let incident = devpulse.get("/api/v1/incidents?service=checkout").await["items"][0].clone();
    assert_eq!((&incident["id"], &incident["status"]), (&json!("incident-9"), &json!("resolved")));
    let metrics = devpulse
        .get("/api/v1/dora?service=checkout&environment=production&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z")
        .await["metrics"]
        .clone();
    let value = |name: &str| metrics[name]["value"].as_f64().unwrap_or_else(|| panic!("{name}: {metrics:#}"));
    assert_eq!(metrics["deployment_frequency"]["n"], 2, "{metrics:#}");
    assert!(
        (value("change_lead_time") - 7_200.0).abs() < 1e-9 && (value("mean_time_to_recovery") - 1_200.0).abs() < 1e-9
    );
    assert!((value("change_fail_rate") - 0.5).abs() < 1e-9, "the version that the incident names: {metrics:#}");
    assert!((value("rework_rate") - 0.5).abs() < 1e-9, "a declared rollback: {metrics:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_is_understood() {
    tell(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_is_understood() {
    tell(Sdk::JavaScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cloudevent_is_refused() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let post = async |headers: &[(&str, &str)], body: &str| -> Answer {
        let request =
            headers.iter().fold(devpulse.request("POST", PATH), |request, (name, value)| request.header(*name, *value));
        devpulse.send(request.body(body.to_owned())).await
    };
    let structured = ("content-type", "Application/CloudEvents+JSON; charset=utf-8");
    for (headers, body, status, kind) in [
        (&[("content-type", "application/json")][..], "{}", 400, "no_cloudevent"),
        (&[("content-type", "application/cloudevents+avro")], "x", 415, "unsupported_content_type"),
        (&[structured], "{", 400, "unreadable_body"),
        (&[structured], "[]", 422, "invalid_payload"),
        (&[("content-type", "application/cloudevents-batch+json")], "{}", 400, "unreadable_body"),
        (&[structured, ("content-encoding", "snappy")], "{}", 415, "unsupported_encoding"),
        (&[("ce-id", "1"), ("ce-source", "/x"), ("ce-specversion", "1.0")], "{}", 422, "invalid_payload"),
    ] {
        let answer = post(headers, body).await;
        assert_eq!((answer.status, &answer.json["type"]), (status, &json!(kind)), "{headers:?} {}", answer.text);
    }
    let answer = post(&[("ce-id", "1"), ("ce-source", "/x"), ("ce-type", "t")], "{}").await;
    assert_eq!(answer.json["pointer"], "/specversion");
    let empty = post(&[("content-type", "application/cloudevents-batch+json")], "[]").await;
    assert_eq!((empty.status, &empty.json["items"]), (200, &json!([])));
    let source = crate::support::wait::until("the counts", std::time::Duration::from_secs(10), async || {
        let items = devpulse.get("/api/v1/sources").await["items"].clone();
        items.as_array().unwrap().iter().find(|item| item["source"] == "cloudevents" && item["invalid"] == 5).cloned()
    });
    assert_eq!(source.await["accepted"], 0);
}

#[test]
fn mutilated_events_get_an_outcome_too() {
    let settings = CloudEvents::default();
    let native = native::Context {
        received_at: Timestamp::parse("2026-01-05T12:00:00Z").unwrap(),
        max_future: Duration::from_mins(10),
        max_items: 100,
        environments: EnvironmentNames::new(&[]),
    };
    let context = Context { native, settings: &settings, services: &[] };
    let read = |body: &Value| -> Vec<Fault> {
        let text = body.to_string();
        let fault = |item: Item| match item.fate {
            Fate::Invalid(fault) => Some(fault),
            _ => None,
        };
        parse(Content::Structured(&text), &context).unwrap().items.into_iter().filter_map(fault).collect()
    };
    let structured = |event: Value| {
        let mut flat = event["attributes"].clone();
        (flat["specversion"], flat["data"]) = ("1.0".into(), event["data"].clone());
        flat
    };
    let time = "2026-01-05T10:00:00Z";
    for event in [deployed("1", "deployed", time, "0.2.0", "8f3c1d2"), trouble("2", "detected", time)] {
        let body = structured(event);
        assert!(read(&body).is_empty(), "{body}");
        assert!(every_fault(&body, 6, read) > 10, "{body}");
    }
}
