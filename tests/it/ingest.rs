//! `POST /api/v1/events` and the webhook of GitHub over the wire: encodings, receipts, repetitions.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::github;
use crate::support::http::Answer;

const SECRET: &str = "between GitHub and DevPulse";

struct Server {
    devpulse: DevPulse,
    _database: Database,
}

impl Server {
    async fn start(configuration: &str) -> Self {
        let database = Database::sqlite().await;
        Self { devpulse: DevPulse::start(&database.url, configuration).await, _database: database }
    }

    async fn post(&self, query: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let mut request = self.devpulse.request("POST", &format!("/api/v1/events{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.devpulse.send(request.body(body.into())).await
    }

    async fn webhook(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.devpulse.request("POST", "/api/v1/webhooks/github");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let signed = request.header("x-hub-signature-256", github::signature(SECRET, body));
        self.devpulse.send(signed.body(body.to_vec())).await
    }
}

fn with_github() -> String {
    format!("sources: {{github: {{secret: \"{SECRET}\"}}}}\n")
}

fn deployment(id: &str) -> Value {
    json!({"type":"deployment","id":id,"source":"ci/acme","time":"2026-01-05T10:04:00Z","service":"checkout",
        "environment":"production","version":"1.4.2","outcome":"succeeded"})
}

fn request() -> Value {
    json!({"type":"request","service":"checkout","environment":"production","status":200,"duration_ms":1.5})
}

fn counts(receipt: &Value) -> [u64; 3] {
    ["accepted", "duplicate", "invalid"].map(|name| receipt[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_is_taken() {
    let server = Server::start("").await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(deployment("gzip").to_string().as_bytes()).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(deployment("deflate").to_string().as_bytes()).unwrap();
    let mut br = Vec::new();
    let plain = deployment("br").to_string();
    brotli::CompressorReader::new(plain.as_bytes(), 4096, 5, 22).read_to_end(&mut br).unwrap();
    let zstd = zstd::encode_all(deployment("zstd").to_string().as_bytes(), 3).unwrap();
    for (encoding, body) in [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("br", br),
        ("zstd", zstd),
        ("identity", deployment("identity").to_string().into_bytes()),
    ] {
        let receipt = server.post("", &[("content-encoding", encoding)], body).await.ok();
        assert_eq!(receipt["items"][0]["id"], encoding, "{receipt:#}");
        assert_eq!(counts(&receipt), [1, 0, 0]);
    }
    assert_eq!(server.devpulse.all("/api/v1/deployments").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_what_counts_and_what_not() {
    let server = Server::start("").await;
    let receipt = server.post("", &[], json!([deployment("d-41"), request()]).to_string()).await.ok();
    let item = &receipt["items"][0];
    assert!(item["counted_in"].as_array().unwrap().contains(&json!("deployment_frequency")), "{receipt:#}");
    let not = &item["not_counted"][0];
    assert_eq!(not["metric"], "change_lead_time");
    assert_eq!(not["reason"], "the deployment names no changes and no earlier deployment exists");
    assert_eq!(not["fix"], "send changes[] or change events");
    assert_eq!(receipt["items"][1], json!({"outcome":"accepted"}));
    let again = server.post("", &[], json!([deployment("d-41"), deployment("d-41")]).to_string()).await.ok();
    assert_eq!(again["items"][0], json!({"outcome":"duplicate","id":"d-41"}));
    assert_eq!(counts(&again), [0, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_batches_of_lines_are_summarised_unless_items_are_asked_for() {
    let server = Server::start("").await;
    let lines = |n: usize| vec![request().to_string(); n].join("\n");
    let ndjson = [("content-type", "application/x-ndjson")];
    assert_eq!(server.post("", &ndjson, lines(100)).await.ok()["items"].as_array().unwrap().len(), 100);
    let summary = server.post("", &ndjson, lines(101)).await.ok();
    assert_eq!(summary, json!({"accepted":101,"duplicate":0,"invalid":0}));
    let items = server.post("?receipt=items", &[], lines(101)).await.ok();
    assert_eq!(items["items"].as_array().unwrap().len(), 101);
    let deployment = json!({"type": "deployment", "id": "d1", "service": "checkout", "environment": "production",
        "version": "1", "outcome": "succeeded"});
    let outcomes = server.post("?receipt=outcomes", &[], deployment.to_string()).await.ok();
    assert_eq!(outcomes["items"], json!([{"id": "d1", "outcome": "accepted"}]));
    let summary = server.post("?receipt=summary", &[], request().to_string()).await.ok();
    assert_eq!(summary, json!({"accepted":1,"duplicate":0,"invalid":0}));
    for query in ["?receipt=all", "?reciept=items"] {
        assert_eq!(server.post(query, &[], lines(1)).await.status, 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_a_request_count_once() {
    let server = Server::start("").await;
    let key = [("idempotency-key", "deploy-41")];
    let body = json!([request(), request()]).to_string();
    assert_eq!(counts(&server.post("", &key, body.as_str()).await.ok()), [2, 0, 0]);
    assert_eq!(counts(&server.post("", &key, body.as_str()).await.ok()), [0, 2, 0]);
    assert_eq!(counts(&server.post("", &[], body.as_str()).await.ok()), [2, 0, 0], "without a key it counts again");
    let reused = server.post("", &key, request().to_string()).await;
    assert_eq!((reused.status, &reused.json["type"]), (422, &json!("idempotency_key_reused")));
    for bad in ["", &"k".repeat(256)] {
        assert_eq!(server.post("", &[("idempotency-key", bad)], body.as_str()).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_with_an_id_counts_once() {
    let server = Server::start("").await;
    let mut named = request();
    named["id"] = json!("r-1");
    assert_eq!(counts(&server.post("", &[], named.to_string()).await.ok()), [1, 0, 0]);
    let again = server.post("", &[], json!([named, request()]).to_string()).await.ok();
    assert_eq!(again["items"], json!([{"outcome":"duplicate","id":"r-1"},{"outcome":"accepted"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_github_counts_once() {
    let server = Server::start(&with_github()).await;
    let status = github::DeploymentStatus {
        id: 7,
        repository: "acme/checkout",
        sha: "0123456789012345678901234567890123456789",
        version: "1.4.2",
        at: "2026-01-05T10:04:00Z".to_owned(),
    };
    let body = status.body().to_string();
    let deliver = async |id: &str| {
        let headers =
            [("content-type", "application/json"), ("x-github-event", "deployment_status"), ("x-github-delivery", id)];
        server.webhook(&headers, body.as_bytes()).await.ok()
    };
    assert_eq!(deliver("one").await, json!({"outcome":"accepted","events":1}));
    assert_eq!(deliver("one").await["reason"], "this delivery was taken in before");
    let other = deliver("two").await;
    assert_eq!((&other["outcome"], &other["events"]), (&json!("duplicate"), &json!(0)), "the same fact again");
    let stored = server.devpulse.all("/api/v1/deployments").await;
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0]["source"], &stored[0]["version"]), (&json!("github/acme/checkout"), &json!("1.4.2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_sends_besides_is_answered_honestly() {
    let server = Server::start(&with_github()).await;
    let json_type = ("content-type", "application/json");
    let ping = server.webhook(&[json_type, ("x-github-event", "ping")], b"{\"zen\":\"x\"}").await.ok();
    assert_eq!(ping, json!({"outcome":"skipped","events":0,"reason":"pong: the webhook works"}));
    let lacking = server.webhook(&[json_type, ("x-github-event", "deployment_status")], b"{}").await;
    let pointer = |answer: &Answer| (answer.json["outcome"].clone(), answer.json["errors"][0]["pointer"].clone());
    assert_eq!((lacking.status, pointer(&lacking)), (200, (json!("invalid"), json!("/deployment_status"))));
    let broken = server.webhook(&[json_type, ("x-github-event", "push")], b"{\"ref\":").await;
    assert_eq!((broken.status, pointer(&broken)), (200, (json!("invalid"), json!(""))));
    let nameless = server.webhook(&[json_type], b"{}").await;
    assert_eq!((nameless.status, pointer(&nameless)), (200, (json!("invalid"), json!("x-github-event"))));
    // The other content type that GitHub offers.
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", "{\"ref\":\"refs/tags/v1\",\"deleted\":false}")
        .finish();
    let form_type = ("content-type", "application/x-www-form-urlencoded");
    let tag = server.webhook(&[form_type, ("x-github-event", "push")], form.as_bytes()).await.ok();
    assert_eq!(tag["reason"], "refs/tags/v1 is not a branch");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_the_webhook_says_which_key_to_set() {
    let server = Server::start("").await;
    let answer = server.webhook(&[("x-github-event", "ping")], b"{}").await;
    assert_eq!(answer.status, 404);
    assert!(answer.json["detail"].as_str().unwrap().contains("sources.github.secret"), "{answer:?}");
}

/// All bodies of npm's `@octokit/webhooks-examples`, signed, over the wire.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_github_gets_an_answer() {
    let server = Server::start(&with_github()).await;
    let mut answers = 0;
    for event in github::examples() {
        for body in event["examples"].as_array().unwrap() {
            let answer = github::deliver(&server.devpulse, event["name"].as_str().unwrap(), body, SECRET).await;
            let outcome = answer.json["outcome"].as_str().unwrap();
            let honest = ["accepted", "duplicate", "skipped"].contains(&outcome);
            assert!(answer.status == 200 && honest, "{} {answer:?}", event["name"]);
            answers += 1;
        }
    }
    assert_eq!(answers, 329);
    // The examples deploy one id to two environments: in each it is one, however many statuses.
    assert_eq!(server.devpulse.all("/api/v1/deployments").await.len(), 2);
}

/// All bodies once more, by JavaScript: signed with npm's `@octokit/webhooks-methods`.
#[tokio::test(flavor = "multi_thread")]
async fn what_octokit_signs_is_taken_and_what_it_signs_otherwise_is_not() {
    let server = Server::start(&with_github()).await;
    let events: Vec<Value> = github::examples()
        .iter()
        .flat_map(|event| {
            event["examples"].as_array().unwrap().iter().map(|body| json!({"name": event["name"], "body": body}))
        })
        .collect();
    let send = |secret: &str, events: &[Value]| -> Vec<Value> {
        let packages = std::env::var("DEVPULSE_TEST_NODE_PACKAGES").expect("run the tests with `make test`");
        let mut command = Command::new("node");
        command.arg("-e").arg(include_str!("support/octokit_sender.cjs"));
        command.args([&server.devpulse.url("/api/v1/webhooks/github"), secret, &packages]);
        let mut sender = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sender.stdin.take().unwrap().write_all(json!(events).to_string().as_bytes()).unwrap();
        let output = sender.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let forged = send("another secret", &events[..3]);
    assert!(forged.len() == 3 && forged.iter().all(|answer| answer["status"] == 401), "{forged:?}");
    let answers = send(SECRET, &events);
    assert_eq!(answers.len(), 329);
    let outcomes: BTreeSet<&str> = answers.iter().map(|answer| answer["body"]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, BTreeSet::from(["accepted", "duplicate", "skipped"]));
    assert_eq!(server.devpulse.all("/api/v1/deployments").await.len(), 2);
    let again = send(SECRET, &events);
    assert!(again.iter().all(|answer| answer["body"]["outcome"] != "accepted"), "{again:?}");
}
