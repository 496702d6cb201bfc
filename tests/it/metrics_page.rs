//! What DevPulse shows of itself: metrics, health, its API's description, the stream, its traces.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::{ports, wait};

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_what_prometheus_expects() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    devpulse.text("/no/such/path").await;
    devpulse.send(devpulse.request("BREW", "/api/v1/slos")).await;
    devpulse.get("/api/v1/slos").await;
    let answer = devpulse.send(devpulse.request("GET", "/metrics")).await;
    assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    for sample in [
        "devpulse_build_info{version=\"0.1.0\"} 1",
        "devpulse_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "devpulse_http_requests_total{method=\"other\",route=\"/api/v1/slos\",status=\"405\"} 1",
        "devpulse_http_requests_total{method=\"GET\",route=\"/api/v1/slos\",status=\"200\"} 1",
        "devpulse_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v1/slos\"} 1",
        "devpulse_database_connections{database=\"sqlite\",state=\"limit\"} 8",
    ] {
        assert!(answer.text.lines().any(|line| line == sample), "{sample} is not in\n{}", answer.text);
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(answer.text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
    check_metrics(&answer.text);
}

/// Prometheus' own linter.
fn check_metrics(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_may_be_public() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "server: {metrics_public: true}").await;
    assert!(devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]).status.success());
    assert_eq!(devpulse.send(devpulse.request("GET", "/metrics")).await.status, 200);
    assert_eq!(devpulse.send(devpulse.request("GET", "/api/v1/slos")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_api_is_whole() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let api = devpulse.get("/api/openapi.json").await;
    assert_eq!(api["openapi"], "3.1.0");
    assert_eq!(api["security"][0], serde_json::json!({"key": []}));
    assert_eq!(api["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let (mut operations, mut ids) = (0, std::collections::BTreeSet::new());
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let what = format!("{method} {path}");
            assert!(operation["tags"].is_array(), "{what} has no tag");
            assert!(operation["summary"].is_string(), "{what} has no summary");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: {id} is the name of another operation");
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses {
                assert_ne!(response["description"], "", "{what} {status} has no description");
                for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                    let problem = content["schema"]["$ref"] == "#/components/schemas/Problem";
                    assert_eq!(problem, media_type == "application/problem+json", "{what} {status} {media_type}");
                }
            }
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what} never succeeds");
        }
    }
    assert!(operations > 10, "{operations}");
    references(&api, &mut |reference| {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(api.pointer(pointer).is_some(), "{reference} leads nowhere");
    });
}

fn references(value: &Value, check: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                check(reference);
            }
            map.values().for_each(|value| references(value, check));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, check)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_problems() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/slos/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/slos", 405),
        ("POST", "/-/ready", 405),
    ] {
        let response = devpulse.request(method, path).header("x-request-id", "mine").send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"], "mine", "{method} {path}");
        let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
        assert_eq!(allow.as_deref(), (status == 405).then_some("GET, HEAD"), "{method} {path}");
        let answer = crate::support::http::Answer::of(response).await;
        assert_eq!((answer.status, &answer.json["status"]), (status, &Value::from(status)), "{method} {path}");
        assert!(answer.content_type.starts_with("application/problem+json"), "{method} {path}");
    }
    let answer = devpulse.send(devpulse.request("GET", "/api/v1/slos?servce=x")).await;
    assert_eq!((answer.status, &answer.json["pointer"]), (400, &Value::from("servce")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_begins_at_once_and_knows_its_kinds() {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "").await;
    let wrong = devpulse.send(devpulse.request("GET", "/api/v1/stream?kind=alert,nonsense")).await;
    assert_eq!((wrong.status, &wrong.json["pointer"]), (400, &Value::from("kind")));
    let mut response = devpulse.request("GET", "/api/v1/stream?kind=alert,rollback").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await.unwrap().unwrap();
    assert_eq!(first.unwrap(), ": keep-alive\n\n");
    // A listener does not keep the process from stopping.
    devpulse.process().signal("TERM");
    let ended = tokio::time::timeout(Duration::from_secs(8), response.chunk()).await;
    assert!(ended.is_ok(), "the stream goes on after SIGTERM");
    wait::until("the process to end", Duration::from_secs(8), async || devpulse.process().exited()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_acts_and_another_stands_by() {
    let database = Database::postgres().await;
    let first = DevPulse::start(&database.url, "").await;
    let second = DevPulse::spawn(&database.url, "");
    let standby = wait::until("the second to stand by", Duration::from_secs(30), async || {
        let answer = second.request("GET", "/-/ready").send().await.ok()?;
        let readiness: Value = answer.json().await.ok()?;
        (readiness["lease"]["reason"] == "another process holds the lease").then_some(readiness)
    })
    .await;
    assert_eq!((&standby["ready"], &standby["database"]["ok"]), (&false.into(), &true.into()));
    let refused = second.send(second.request("POST", "/api/v1/events").body("[]")).await;
    assert_eq!((refused.status, refused.retry_after.as_deref()), (503, Some("1")));
    drop(first);
    second.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_wrong_changes_nothing() {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "").await;
    let config = devpulse.configuration();
    std::fs::write(&config, "slo: []\n").unwrap();
    devpulse.process().signal("HUP");
    wait::until("the error to be logged", Duration::from_secs(10), async || {
        devpulse.process().log().contains("slo: unknown key; did you mean `slos`?").then_some(())
    })
    .await;
    assert_eq!(devpulse.send(devpulse.request("GET", "/-/ready")).await.status, 200);
    // An executor that cannot work takes the rest with it.
    let half = r#"
server: {metrics_public: true}
services: [{name: checkout}]
slos: [{name: a, service: checkout, environment: production, objective: 0.99, indicator: {availability: {}}}]
rollback:
  policies:
    - service: checkout
      environment: production
      mode: approve
      executor: {haproxy: {socket: "tcp:127.0.0.1:1", map: {path: "/m", key: k, backend: b}}}
"#;
    std::fs::write(&config, half).unwrap();
    let check = devpulse.run(&["check"]);
    assert_eq!(check.status.code(), Some(3));
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(said.contains("yaml:10:") && said.contains("must contain {version}"), "{said}");
    devpulse.process().signal("HUP");
    wait::until("the error to be logged", Duration::from_secs(10), async || {
        devpulse.process().log().contains("must contain {version}").then_some(())
    })
    .await;
    let foreign = devpulse.request("GET", "/metrics").header("host", "elsewhere.example");
    assert_eq!(devpulse.send(foreign).await.status, 401, "half of a wrong configuration is in force");
    std::fs::write(&config, "server: {metrics_public: true, workers: 1}\n").unwrap();
    devpulse.process().signal("HUP");
    wait::until("the reload to be logged", Duration::from_secs(10), async || {
        devpulse.process().log().contains("takes_effect_at_restart=\"server.workers\"").then_some(())
    })
    .await;
    let foreign = devpulse.request("GET", "/metrics").header("host", "elsewhere.example");
    assert_eq!(devpulse.send(foreign).await.status, 200, "metrics_public is in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_sent_and_continue_those_of_the_caller() {
    let (seen, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let listener = std::net::TcpListener::bind(("127.0.0.1", ports::free())).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = actix_web::HttpServer::new(move || {
        let seen = seen.clone();
        let take = move |path: actix_web::HttpRequest, body: actix_web::web::Bytes| {
            let traceparent = path.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
            let _ = seen.send((path.path().to_owned(), body.to_vec(), traceparent));
            async { actix_web::HttpResponse::Ok().content_type("application/x-protobuf").finish() }
        };
        actix_web::App::new().default_service(actix_web::web::to(take))
    });
    let collector = collector.workers(1).disable_signals().listen(listener).unwrap().run();
    let stop = collector.handle();
    tokio::spawn(collector);
    let database = Database::sqlite().await;
    let configuration = format!(
        "telemetry: {{otlp_endpoint: \"{endpoint}\"}}
services: [{{name: shop}}]
slos: [{{name: shop, service: shop, environment: production, objective: 0.99, window: 30d, indicator: {{availability: {{}}}}}}]
receivers: [{{name: oncall, webhook: {{url: \"{endpoint}/alerts\", secret: secret}}}}]
route: {{receiver: oncall}}
"
    );
    let mut devpulse = DevPulse::start(&database.url, &configuration).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    devpulse.send(devpulse.request("GET", "/api/v1/slos").header("traceparent", parent)).await.ok();
    let failing = |minute: i64| {
        let time = chrono::Utc::now() - chrono::TimeDelta::minutes(minute);
        serde_json::json!({"type": "performance", "time": time, "service": "shop", "environment": "production",
            "requests": 900, "errors": 900})
    };
    let failing: Vec<Value> = (0..60).map(failing).collect();
    let taken = devpulse.send(devpulse.request("POST", "/api/v1/events").json(&failing)).await;
    assert_eq!(taken.json["accepted"], 60, "{taken:?}");
    let mut sent = Vec::new();
    let alerted = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match bodies.recv().await.unwrap() {
                (path, _, traceparent) if path == "/alerts" => return traceparent,
                (_, body, _) => sent.extend(body),
            }
        }
    });
    let alerted = alerted.await.expect("an alert goes out").expect("it carries its trace on");
    devpulse.process().signal("TERM");
    wait::until("the process to end", Duration::from_secs(20), async || devpulse.process().exited()).await;
    while let Ok((path, body, _)) = bodies.try_recv() {
        assert!(path == "/v1/traces" || path == "/alerts", "{path}");
        sent.extend(body);
    }
    stop.stop(false).await;
    let contains = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
    assert!(contains(b"GET /api/v1/slos") && contains(b"devpulse"), "the span of the request was sent");
    let trace = hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap();
    assert!(contains(&trace), "within the trace of the caller");
    let [_, trace, span, _] = *alerted.split('-').collect::<Vec<_>>() else { panic!("{alerted}") };
    assert!(contains(&hex::decode(trace).unwrap()), "what went out is of a trace that was sent: {alerted}");
    assert!(contains(&hex::decode(span).unwrap()), "and of a span that was sent: {alerted}");
}
