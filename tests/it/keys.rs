//! Who gets in: keys with scopes, nobody else, and this machine while no key exists.

use std::process::Output;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::database::Database;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::ports;

/// Needs no key: says whether the process lives, or brings a signature of its own.
fn is_public(path: &str) -> bool {
    path == "/" || path.starts_with("/-/") || path.starts_with("/api/v1/webhooks/")
}

struct Operation {
    method: String,
    /// With every parameter filled in.
    path: String,
    template: String,
}

async fn operations(devpulse: &DevPulse) -> Vec<Operation> {
    let api = devpulse.get("/api/openapi.json").await;
    let mut all = Vec::new();
    for (template, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| key.as_str() != "parameters") {
            let path = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            all.push(Operation { method: method.to_uppercase(), path, template: template.clone() });
        }
    }
    all
}

async fn call(devpulse: &DevPulse, operation: &Operation, headers: &[(&str, &str)]) -> Answer {
    let mut request = devpulse.request(&operation.method, &operation.path);
    if operation.method != "GET" {
        request = request.json(&json!({}));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    if response.status().is_success() {
        // Not read to its end: the stream has none.
        let status = response.status().as_u16();
        return Answer {
            status,
            content_type: String::new(),
            retry_after: None,
            text: String::new(),
            json: Value::Null,
        };
    }
    Answer::of(response).await
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

fn create(devpulse: &DevPulse, scopes: &str) -> String {
    stdout(&devpulse.run(&["keys", "create", "--name", "test", "--scope", scopes]))
}

fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

#[track_caller]
fn is_refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text);
    assert!(answer.content_type.starts_with("application/problem+json"), "{what}: {answer:?}");
    assert_eq!(answer.json["status"], status, "{what}");
}

on_both! {
    async fn every_route_is_closed_to_all_but_those_who_may(database: Database) {
        let mut devpulse = DevPulse::start(&database.url, "").await;
        let operations = operations(&devpulse).await;
        assert!(operations.len() > 10, "{}", operations.len());
        let guarded: Vec<&Operation> = operations.iter().filter(|operation| !is_public(&operation.path)).collect();

        // While no key exists: this machine, but no page of another site, and no proxy.
        for operation in &guarded {
            let what = &operation.template;
            assert_ne!(call(&devpulse, operation, &[]).await.status, 401, "{what}");
            assert_ne!(call(&devpulse, operation, &[("origin", "http://127.0.0.1:1")]).await.status, 401, "{what}");
            for foreign in [
                ("host", "rebound.example"),
                ("host", "localhost.evil.example:8080"),
                ("origin", "https://evil.example"),
                ("origin", "null"),
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-proto", "https"),
                ("via", "1.1 proxy"),
                ("authorization", "Bearer dp_0123456789ab_0123"),
                ("authorization", "Basic YTpi"),
            ] {
                is_refused(&call(&devpulse, operation, &[foreign]).await, 401, &format!("{what} {foreign:?}"));
            }
        }

        let admin = create(&devpulse, "admin");
        let revoked = create(&devpulse, "admin");
        let (ingest, read) = (create(&devpulse, "ingest"), create(&devpulse, "read"));
        stdout(&devpulse.run(&["keys", "revoke", id(&revoked)]));
        let other = if admin.ends_with('0') { '1' } else { '0' };
        let wrong = format!("{}{other}", &admin[..admin.len() - 1]);
        let bearer = |key: &str| format!("Bearer {key}");
        for operation in &guarded {
            let what = &operation.template;
            is_refused(&call(&devpulse, operation, &[]).await, 401, what);
            for nobody in [&revoked, &wrong, &"dp_".to_owned(), &format!("dp_{}_", id(&admin))] {
                is_refused(&call(&devpulse, operation, &[("authorization", &bearer(nobody))]).await, 401, what);
            }
            let answer = call(&devpulse, operation, &[("authorization", &bearer(&admin))]).await;
            assert!(![401, 403].contains(&answer.status), "{what}: {}", answer.text);
            if operation.path == "/api/openapi.json" {
                continue;
            }
            let takes_in = operation.method == "POST" && operation.path == "/api/v1/events";
            let lacking = if takes_in || operation.method != "GET" { &read } else { &ingest };
            is_refused(&call(&devpulse, operation, &[("authorization", &bearer(lacking))]).await, 403, what);
        }
        // Some senders know basic authentication alone: then the key is the password.
        let basic = |key: &str| format!("Basic {}", STANDARD.encode(format!("anybody:{key}")));
        let answer = call(&devpulse, guarded[0], &[("authorization", &basic(&admin))]).await;
        assert!(![401, 403].contains(&answer.status), "{}", answer.text);
        is_refused(&call(&devpulse, guarded[0], &[("authorization", &basic(&wrong))]).await, 401, "a wrong password");
        // Revoking the last key does not open the door again.
        for key in [&ingest, &read, &admin] {
            stdout(&devpulse.run(&["keys", "revoke", id(key)]));
        }
        is_refused(&call(&devpulse, guarded[0], &[]).await, 401, "no valid key is left");
        devpulse.use_key(&create(&devpulse, "read"));
        devpulse.get("/api/v1/slos").await;
    }

    async fn a_revoked_key_hears_nothing_more(database: Database) {
        let mut devpulse = DevPulse::start(&database.url, "").await;
        let (ingest, read) = (create(&devpulse, "ingest"), create(&devpulse, "read"));
        let listen = devpulse.request("GET", "/api/v1/stream").bearer_auth(&read).send().await.unwrap();
        assert_eq!(listen.status(), 200);
        stdout(&devpulse.run(&["keys", "revoke", id(&read)]));
        devpulse.use_key(&ingest);
        devpulse.post_events(&json!([{"type": "deployment", "id": "d", "source": "ci", "service": "s",
            "environment": "production", "version": "secret-version", "outcome": "succeeded",
            "time": "2026-01-05T10:04:00Z"}])).await;
        let heard = tokio::time::timeout(Duration::from_secs(30), listen.text()).await.expect("the stream ends");
        assert!(!heard.unwrap().contains("secret-version"));
    }

    async fn keys_are_listed_without_their_secrets(database: Database) {
        let devpulse = DevPulse::start(&database.url, "").await;
        let key = create(&devpulse, "read,ingest");
        let list = stdout(&devpulse.run(&["keys", "list", "--output", "json"]));
        let secret = key.rsplit('_').next().unwrap();
        assert!(!list.contains(secret), "{list}");
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list[0]["id"], &list[0]["scopes"]), (&json!(id(&key)), &json!(["ingest", "read"])));
        assert_eq!(list[0]["revoked_at"], Value::Null);
        let unknown = devpulse.run(&["keys", "revoke", "nobody"]);
        assert_eq!(unknown.status.code(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_to_the_world_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("devpulse.db").display());
    let serve = |port: u16| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_devpulse"));
        command.arg("serve").current_dir(folder.path()).env("DEVPULSE_DATABASE_URL", &url);
        command.env("DEVPULSE_SERVER_LISTEN", format!("0.0.0.0:{port}"));
        command
    };
    let refused = async || {
        let mut command = serve(ports::free());
        let refused = tokio::task::spawn_blocking(move || command.output().unwrap());
        let refused = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap().unwrap();
        assert_eq!(refused.status.code(), Some(3));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("needs a key: run `devpulse keys create --name NAME --scope admin`"), "{said}");
        assert!(!said.contains("listening on http"), "{said}");
    };
    refused().await;
    // Nor as one that would stand by while another process leads.
    let _leads = DevPulse::start(&url, "").await;
    refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_no_key_exists_is_said_at_the_start() {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "").await;
    let log = devpulse.process().log();
    assert!(log.contains("NO API KEY EXISTS") && log.contains("--scope admin --config devpulse.yaml"), "{log}");
    assert!(log.contains(&database.url) && log.contains("/api/openapi.json"), "{log}");
    assert!(!log.contains("actix"), "{log}");
    let key = create(&devpulse, "read");
    devpulse.use_key(&key);
    let refused = devpulse.send(devpulse.request("POST", "/api/v1/events").json(&json!([]))).await;
    let command = "devpulse keys create --name NAME --scope ingest --config devpulse.yaml";
    assert!(refused.json["detail"].as_str().unwrap().contains(command), "{}", refused.text);
    devpulse.kill();
    devpulse.restart().await;
    let log = devpulse.process().log();
    assert_eq!(log.matches("NO API KEY EXISTS").count(), 1, "said without a reason: {log}");
}

/// nginx as it comes: HTTP/1.0, and the address it was given as the host.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_plain_proxy_forwards_is_not_from_this_machine() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    for (version, status) in [("1.0", "401"), ("1.1", "200")] {
        let mut client = tokio::net::TcpStream::connect(devpulse.address()).await.unwrap();
        let request =
            format!("GET /api/v1/slos HTTP/{version}\r\nhost: {}\r\nconnection: close\r\n\r\n", devpulse.address());
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "HTTP/{version}: {answer}");
    }
}
