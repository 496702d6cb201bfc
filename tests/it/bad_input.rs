//! What is wrong with a request is said clearly, each time, and the process stays up.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github;
use crate::support::http::Answer;
use crate::support::wait::until;

const SECRET: &str = "between GitHub and DevPulse";

/// A server on SQLite that must be the same process, and well, at the end.
struct Steady {
    devpulse: DevPulse,
    pid: u32,
    _database: Database,
}

impl Steady {
    async fn start(configuration: &str) -> Self {
        let database = Database::sqlite().await;
        let mut devpulse = DevPulse::start(&database.url, configuration).await;
        let pid = devpulse.process().pid();
        Self { devpulse, pid, _database: database }
    }

    async fn post(&self, content_type: &str, encoding: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
        let mut request = self.devpulse.request("POST", "/api/v1/events").header("content-type", content_type);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        self.devpulse.send(request.body(body.into())).await
    }

    async fn json(&self, event: &Value) -> Answer {
        self.post("application/json", None, event.to_string()).await
    }

    async fn is_well(&mut self) {
        assert!(self.devpulse.process().exited().is_none(), "the process stopped");
        assert_eq!(self.devpulse.process().pid(), self.pid);
        assert_eq!(self.json(&deployment("still-there")).await.ok()["accepted"], 1);
        let log = self.devpulse.process().log();
        assert!(!log.contains("panicked"), "something panicked:\n{log}");
    }
}

fn deployment(id: &str) -> Value {
    json!({"type": "deployment", "id": id, "source": "ci", "time": "2026-01-05T10:04:00Z", "service": "checkout",
        "environment": "production", "version": "1", "outcome": "succeeded"})
}

/// An event with one field replaced.
fn with(mut event: Value, field: &str, value: Value) -> Value {
    event[field] = value;
    event
}

fn without(mut event: Value, field: &str) -> Value {
    event.as_object_mut().unwrap().remove(field);
    event
}

fn request() -> Value {
    json!({"type": "request", "service": "checkout", "environment": "production", "status": 200, "duration_ms": 1.5})
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(answer.content_type.starts_with("application/problem+json"), "{answer:?}");
    assert_eq!(answer.json["status"], status, "{answer:?}");
    for field in ["type", "title", "detail"] {
        assert!(answer.json[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {answer:?}");
    }
}

/// What the receipt of a request with one invalid item says: pointer and detail.
#[track_caller]
fn item_error(answer: Answer) -> (String, String) {
    let receipt = answer.ok();
    assert_eq!((&receipt["accepted"], &receipt["invalid"]), (&json!(0), &json!(1)), "{receipt:#}");
    let error = &receipt["items"][0]["error"];
    let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("no {field}: {receipt:#}")).to_owned();
    (text("pointer"), text("detail"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_names_its_field() {
    let mut server = Steady::start("").await;
    let future = (chrono::Utc::now() + chrono::Duration::days(400)).to_rfc3339();
    for (event, pointer) in [
        (without(request(), "service"), "/service"),
        (with(request(), "service", json!(7)), "/service"),
        (with(request(), "service", json!("")), "/service"),
        (with(request(), "status", json!("503")), "/status"),
        (with(request(), "duration_ms", json!("fast")), "/duration_ms"),
        (with(request(), "duration_ms", json!(-1)), "/duration_ms"),
        (with(request(), "time", json!("yesterday")), "/time"),
        (with(request(), "time", json!("2026-01-05T10:04:00")), "/time"),
        (with(request(), "time", json!(future)), "/time"),
        (with(request(), "type", json!("requests")), "/type"),
        (without(request(), "type"), "/type"),
        (with(deployment("d"), "outcome", json!("exploded")), "/outcome"),
        (with(deployment("d"), "changes", json!([{"repository": "a/b"}])), "/changes/0/sha"),
        (with(deployment("d"), "time", json!(future)), "/time"),
    ] {
        let (found, detail) = item_error(server.json(&json!([event])).await);
        assert_eq!(found, pointer, "{detail}: {event}");
        assert!(!detail.is_empty());
    }
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_field_is_not_swallowed() {
    let mut server = Steady::start("").await;
    let misspelt = with(without(deployment("d"), "outcome"), "outcom", json!("succeeded"));
    let (pointer, detail) = item_error(server.json(&json!([misspelt])).await);
    assert!(pointer.contains("outcom") || detail.contains("outcom"), "{pointer} {detail}");
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_never_spoils_its_batch() {
    let mut server = Steady::start("").await;
    let bad = with(request(), "status", json!("503"));
    let receipt = server.json(&json!([deployment("a"), bad, deployment("b")])).await.ok();
    let outcomes: Vec<_> = receipt["items"].as_array().unwrap().iter().map(|item| &item["outcome"]).collect();
    assert_eq!(outcomes, ["accepted", "invalid", "accepted"], "{receipt:#}");
    let lines = format!("{}\n{{\"type\": \"deploy\n{}\n", deployment("c"), deployment("d"));
    let receipt = server.post("application/x-ndjson", None, lines).await.ok();
    assert_eq!((&receipt["accepted"], &receipt["invalid"]), (&json!(2), &json!(1)), "{receipt:#}");
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_problem() {
    let mut server = Steady::start("").await;
    for body in ["", "{\"type\":", "[1, 2", "null null", "\"text\"", "12"] {
        is_problem(&server.post("application/json", None, body).await, 400);
    }
    is_problem(&server.post("application/json", None, b"{\"type\": \"\xff\xfe\"}".to_vec()).await, 400);
    is_problem(&server.post("application/xml", None, "<event/>").await, 415);
    is_problem(&server.post("application/json", Some("lzma"), "{}").await, 415);
    is_problem(&server.post("application/json", Some("gzip"), "not gzip at all").await, 400);
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_refused() {
    let mut server = Steady::start("").await;
    let arrays = "[".repeat(200_000) + &"]".repeat(200_000);
    let objects = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    for deep in [&arrays, &objects] {
        let answer = server.post("application/json", None, deep.as_str()).await;
        assert!(answer.status == 400 || answer.json["invalid"] == 1, "{} {:.200}", answer.status, answer.text);
        let event =
            format!(r#"[{{"type": "request", "service": "s", "environment": "e", "status": 200, "x": {deep}}}]"#);
        let answer = server.post("application/json", None, event).await;
        assert!(answer.status == 400 || answer.json["invalid"] == 1, "{} {:.200}", answer.status, answer.text);
    }
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_bombs_are_refused_in_little_memory() {
    let mut server = Steady::start("").await;
    let ten_megabytes = json!([with(deployment("big"), "url", json!("x".repeat(10_000_000)))]).to_string();
    is_problem(&server.post("application/json", None, ten_megabytes).await, 413);

    let before = peak_memory(server.pid);
    let blank = vec![b' '; 1 << 20];
    for (encoding, bomb) in
        [("gzip", gzip(&blank)), ("deflate", zlib(&blank)), ("zstd", zstd(&blank)), ("br", brotli(&blank))]
    {
        assert!(bomb.len() < 2_000_000, "{encoding}: {} bytes are no bomb", bomb.len());
        is_problem(&server.post("application/json", Some(encoding), bomb).await, 413);
    }
    let grown = peak_memory(server.pid) - before;
    assert!(grown < 150 << 20, "bombs of 300 MiB made the process grow by {} MiB", grown >> 20);

    let many = vec![request(); 10_001];
    is_problem(&server.json(&json!(many)).await, 413);
    server.is_well().await;
}

/// How many times the mebibyte stands in each bomb.
const MEBIBYTES: usize = 300;

fn gzip(blank: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..MEBIBYTES).for_each(|_| writer.write_all(blank).unwrap());
    writer.finish().unwrap()
}

fn zlib(blank: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..MEBIBYTES).for_each(|_| writer.write_all(blank).unwrap());
    writer.finish().unwrap()
}

fn zstd(blank: &[u8]) -> Vec<u8> {
    let mut writer = zstd::Encoder::new(Vec::new(), 3).unwrap();
    (0..MEBIBYTES).for_each(|_| writer.write_all(blank).unwrap());
    writer.finish().unwrap()
}

fn brotli(blank: &[u8]) -> Vec<u8> {
    let mut bomb = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut bomb, 1 << 16, 1, 22);
    (0..MEBIBYTES).for_each(|_| writer.write_all(blank).unwrap());
    drop(writer);
    bomb
}

/// The most memory a process ever held, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_webhooks_stay_outside() {
    let mut server = Steady::start(&format!("sources: {{github: {{secret: \"{SECRET}\"}}}}\n")).await;
    let status = github::DeploymentStatus {
        id: 7,
        repository: "acme/checkout",
        sha: "0123456789012345678901234567890123456789",
        version: "1",
        at: "2026-01-05T10:04:00Z".to_owned(),
    };
    let body = serde_json::to_vec(&status.body()).unwrap();
    let good = github::signature(SECRET, &body);
    let cases =
        [None, Some(github::signature("guessed", &body)), Some("sha256=zz".to_owned()), Some(good[..30].to_owned())];
    for signature in cases {
        let mut request = server.devpulse.request("POST", "/api/v1/webhooks/github").body(body.clone());
        request = request.header("content-type", "application/json").header("x-github-event", "deployment_status");
        request = request.header("x-github-delivery", "the-same-delivery");
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        is_problem(&server.devpulse.send(request).await, 401);
    }
    let listed = server.devpulse.all("/api/v1/deployments").await;
    assert_eq!(listed, Vec::<Value>::new(), "an unsigned webhook was taken in");
    github::deliver(&server.devpulse, "deployment_status", &status.body(), SECRET).await.ok();
    assert_eq!(server.devpulse.all("/api/v1/deployments").await.len(), 1);
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_and_no_more() {
    let mut server = Steady::start("").await;
    let ingest = create_key(&server.devpulse, "ingest");
    let read = create_key(&server.devpulse, "read");
    is_problem(&server.json(&deployment("nobody")).await, 401);
    server.devpulse.use_key("dp_none_of_ours");
    is_problem(&server.json(&deployment("stranger")).await, 401);
    server.devpulse.use_key(&read);
    is_problem(&server.json(&deployment("reader")).await, 403);
    assert_eq!(server.devpulse.all("/api/v1/deployments").await, Vec::<Value>::new());
    server.devpulse.use_key(&ingest);
    is_problem(&server.devpulse.send(server.devpulse.request("GET", "/api/v1/dora")).await, 403);
    is_problem(&server.devpulse.send(server.devpulse.request("POST", "/api/v1/rollbacks/x/approve")).await, 403);
    server.is_well().await;
}

fn create_key(devpulse: &DevPulse, scope: &str) -> String {
    let output = devpulse.run(&["keys", "create", "--name", scope, "--scope", scope]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let key = text.split_whitespace().find(|word| word.starts_with("dp_"));
    key.unwrap_or_else(|| panic!("no key in {text:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_not_answered_with_nothing() {
    let mut server = Steady::start("").await;
    server.devpulse.post_events(&deployment("d")).await;
    for (path, status) in [
        ("/api/v1/dora?service=chekout", 404),
        ("/api/v1/dora?servce=checkout", 400),
        ("/api/v1/dora?from=yesterday", 400),
        ("/api/v1/dora?window=-3d", 400),
        ("/api/v1/dora?percentile=101", 400),
        ("/api/v1/dora?time_zone=Mars/Olympus", 400),
        ("/api/v1/dora/speed/explain", 404),
        ("/api/v1/deployments?limit=0", 400),
        ("/api/v1/deployments?cursor=%00%ff", 400),
        ("/api/v1/rollbacks/none", 404),
        ("/api/v1/slos/none", 404),
        ("/api/v2/everything", 404),
        ("/api/v1/rollbacks/a%00b", 400),
        ("/api/v1/deployments?service=a%00b", 400),
        ("/api/v2/a%00b", 400),
    ] {
        let answer = server.devpulse.send(server.devpulse.request("GET", path)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        is_problem(&answer, status);
    }
    is_problem(&server.devpulse.send(server.devpulse.request("DELETE", "/api/v1/events")).await, 405);
    server.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_body() {
    let mut server = Steady::start("").await;
    for path in
        ["/-/healthy", "/-/ready", "/api/v1/slos", "/api/openapi.json", "/metrics", "/api/v1/stream", "/nowhere"]
    {
        let get = server.devpulse.request("GET", path).send().await.unwrap();
        let head = server.devpulse.request("HEAD", path).send().await.unwrap();
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert_eq!(head.text().await.unwrap(), "", "{path}");
    }
    let refused = server.devpulse.request("DELETE", "/api/v1/slos").send().await.unwrap();
    assert_eq!(refused.headers()["allow"], "GET, HEAD");
    is_problem(&Answer::of(refused).await, 405);
    let refused = server.devpulse.request("HEAD", "/api/v1/events").send().await.unwrap();
    assert_eq!(refused.status(), 405);
    server.is_well().await;
}

on_both! {
    /// PostgreSQL keeps no U+0000: that is a matter of the item, never of the server.
    async fn no_text_is_a_fault_of_the_server(database: Database) {
        let devpulse = DevPulse::start(&database.url, "").await;
        let odd = "a\0b\u{fffe}\u{1f525}";
        let mut deployed = deployment(odd);
        for field in ["source", "service", "environment", "version", "commit", "url", "actor"] {
            deployed[field] = json!(odd);
        }
        let incident = json!({"type": "incident", "id": odd, "source": odd, "service": odd, "environment": odd,
            "status": "opened", "title": odd, "time": "2026-01-05T10:04:00Z"});
        let change = json!({"type": "change", "repository": odd, "sha": odd, "authored_at": "2026-01-05T08:00:00Z"});
        let timed = json!({"type": "request", "id": odd, "source": odd, "service": odd, "environment": odd,
            "version": odd, "route": odd, "status": 200, "duration_ms": 1.5});
        let error = json!({"type": "error", "service": odd, "environment": odd, "message": odd, "level": odd,
            "fingerprint": odd});
        for event in [deployed, incident, change, timed, error] {
            let sent = devpulse.request("POST", "/api/v1/events").header("idempotency-key", "k").json(&event);
            let answer = devpulse.send(sent).await;
            assert!([200, 422].contains(&answer.status), "{event}: {}", answer.text);
            let answer = devpulse.send(devpulse.request("POST", "/api/v1/events").json(&event)).await;
            assert_eq!(answer.status, 200, "{event}: {}", answer.text);
        }
        for list in ["deployments", "incidents", "changes", "services"] {
            let answer = devpulse.send(devpulse.request("GET", &format!("/api/v1/{list}"))).await;
            assert_eq!(answer.status, 200, "{list}: {}", answer.text);
        }
        devpulse.post_events(&json!([request()])).await;
        // Telemetry is journalled first; what cannot be stored would stay there for ever.
        until("the journal to be worked off", Duration::from_secs(20), async || {
            devpulse.text("/metrics").await.contains("devpulse_journal_rows 0").then_some(())
        })
        .await;
        for path in ["/api/v1/deployments?service=a%00b", "/api/v1/rollbacks/a%00b"] {
            is_problem(&devpulse.send(devpulse.request("GET", path)).await, 400);
        }
    }
}
