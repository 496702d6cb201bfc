//! The database dies, the disk fills up, clients dawdle: a clear answer, nothing lost, still running.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::{Answer, client};
use crate::support::postgres::{PrivatePostgres, is_root};
use crate::support::wait::until;

const SOON: Duration = Duration::from_secs(30);

fn deployment(id: &str) -> Value {
    json!({"type": "deployment", "id": id, "source": "ci", "service": "checkout", "environment": "production",
        "version": "1", "outcome": "succeeded", "time": "2026-01-05T10:04:00Z"})
}

async fn post(devpulse: &DevPulse, event: &Value) -> Answer {
    devpulse.send(devpulse.request("POST", "/api/v1/events").json(event)).await
}

/// Whether the one event is on disk.
fn is_acknowledged(answer: &Answer) -> bool {
    assert!(answer.status != 200 || answer.json["accepted"] == 1 || answer.json["duplicate"] == 1, "{}", answer.text);
    answer.status == 200
}

#[track_caller]
fn says_come_back_later(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.content_type.starts_with("application/problem+json"), "{answer:?}");
    assert!(answer.retry_after.as_ref().is_some_and(|after| after.parse::<u32>().is_ok()), "{answer:?}");
}

async fn deployments(devpulse: &DevPulse) -> Vec<String> {
    let kept = devpulse.all("/api/v1/deployments").await;
    let mut ids: Vec<String> = kept.iter().map(|d| d["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_database_is_said_and_survived() {
    let postgres = PrivatePostgres::start();
    let mut devpulse = DevPulse::start(&postgres.url(), "").await;
    let pid = devpulse.process().pid();
    let stop = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn(keep_sending(devpulse.url("/api/v1/events"), Arc::clone(&stop)));

    for round in 0..3 {
        post(&devpulse, &deployment(&format!("before-{round}"))).await.ok();
        postgres.stop();
        says_come_back_later(&post(&devpulse, &deployment("while it is dead")).await);
        until("readiness to be withdrawn", SOON, async || status(&devpulse, "/-/ready", 503).await).await;
        let said = devpulse.text("/-/ready").await;
        assert!(said.contains("the database") && !said.contains("rror") && !said.contains("connect"), "{said}");
        assert!(status(&devpulse, "/-/healthy", 200).await.is_some(), "dead database, live process");
        postgres.go();
        devpulse.ready().await;
        until("events to be taken again", SOON, async || {
            let answer = post(&devpulse, &deployment(&format!("after-{round}"))).await;
            is_acknowledged(&answer).then_some(()).or_else(|| {
                says_come_back_later(&answer);
                None
            })
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = sender.await.unwrap();
    acknowledged.extend((0..3).flat_map(|round| [format!("before-{round}"), format!("after-{round}")]));
    acknowledged.sort();
    assert_eq!(deployments(&devpulse).await, acknowledged);
    assert_eq!((devpulse.process().exited(), devpulse.process().pid()), (None, pid));
}

async fn status(devpulse: &DevPulse, path: &str, wanted: u16) -> Option<()> {
    (devpulse.send(devpulse.request("GET", path)).await.status == wanted).then_some(())
}

/// Sends one deployment after the other, each until it is acknowledged.
async fn keep_sending(url: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let (client, mut acknowledged) = (client(), Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let id = format!("steady-{}", acknowledged.len());
        loop {
            let answer = Answer::of(client.post(&url).json(&deployment(&id)).send().await.unwrap()).await;
            if is_acknowledged(&answer) {
                break;
            }
            says_come_back_later(&answer);
            sleep(Duration::from_millis(20)).await;
        }
        acknowledged.push(id);
    }
    acknowledged
}

/// A file system of 16 MiB, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves not one block free.
    fn fill(&self) {
        let mut output = std::fs::File::create(self.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut output, &[0; 4_096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_survived() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => {
            assert!(!is_root(), "root may mount, but: {reason}");
            eprintln!("SKIPPED: only root can mount a small file system here: {reason}");
            return;
        }
    };
    let mut devpulse = DevPulse::start(&format!("sqlite://{}", disk.path().join("devpulse.db").display()), "").await;
    let pid = devpulse.process().pid();
    post(&devpulse, &deployment("before")).await.ok();
    disk.fill();
    let mut acknowledged = vec!["before".to_owned()];
    let refused = until("the disk to be full for DevPulse too", SOON, async || {
        let id = format!("full-{:04}", acknowledged.len());
        let answer = post(&devpulse, &large(&id)).await;
        if is_acknowledged(&answer) {
            acknowledged.push(id);
            return None;
        }
        Some((id, answer))
    })
    .await;
    says_come_back_later(&refused.1);
    assert_eq!(deployments(&devpulse).await, acknowledged, "what was acknowledged can be read from a full disk");
    assert!(status(&devpulse, "/-/healthy", 200).await.is_some());

    disk.free();
    until("events to be taken again", SOON, async || {
        is_acknowledged(&post(&devpulse, &large(&refused.0)).await).then_some(())
    })
    .await;
    acknowledged.push(refused.0);
    acknowledged.sort();
    assert_eq!(deployments(&devpulse).await, acknowledged);
    assert_eq!((devpulse.process().exited(), devpulse.process().pid()), (None, pid));
}

/// An event of some 50 kB.
fn large(id: &str) -> Value {
    let mut event = deployment(id);
    let change = |n: u32| json!({"repository": "acme/checkout", "sha": format!("{n:040x}"), "authored_at": "2026-01-05T08:00:00Z"});
    event["changes"] = (0..400).map(change).collect();
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nobody_up_and_are_let_go() {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "server: {client_timeout: 1s}\n").await;
    let head = "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let slow_head = (0..50).map(|_| head.to_owned());
    let slow_body = (0..50).map(|_| format!("{head}content-length: 1000\r\n\r\n[{{\"type\""));
    let mut clients = Vec::new();
    for bytes in slow_head.chain(slow_body) {
        let mut client = TcpStream::connect(devpulse.address()).await.unwrap();
        client.write_all(bytes.as_bytes()).await.unwrap();
        clients.push(client);
    }
    let began = Instant::now();
    assert_eq!(post(&devpulse, &deployment("prompt")).await.ok()["accepted"], 1);
    assert!(began.elapsed() < Duration::from_secs(2), "a hundred slow clients held up the quick one");
    for (n, mut client) in clients.into_iter().enumerate() {
        let mut answer = Vec::new();
        let ended = timeout(SOON, client.read_to_end(&mut answer)).await;
        let kind = if n < 50 { "head" } else { "body" };
        assert!(ended.is_ok(), "a client that never finishes its {kind} is kept for ever");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(deployments(&devpulse).await, ["prompt"]);
    assert!(devpulse.process().exited().is_none());
}

/// Sends the parts one after the other, each once the one before was answered, and reads to the end.
async fn held(address: String, parts: &[&str]) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            let answered = client.read(&mut [0; 4096]).await.unwrap();
            assert!(answered > 0);
        }
        client.write_all(part.as_bytes()).await.unwrap();
    }
    client
}

/// None of these needs a key.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_held_for_ever() {
    const MOST: usize = 20;
    let database = Database::sqlite().await;
    let limits = format!("server: {{client_timeout: 1s, keep_alive: 1s, workers: 1, max_connections: {MOST}}}\n");
    let mut devpulse = DevPulse::start(&database.url, &limits).await;
    let healthy = "GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunked = "POST /x HTTP/1.1\r\nhost: evil.example\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab";
    let announced = "POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nab";
    let mut clients = Vec::new();
    for n in 0..MOST * 2 {
        let address = devpulse.address();
        let parts: &[&str] = match n % 4 {
            0 => &[healthy, "G"],
            1 => &[chunked],
            2 => &[announced],
            _ => &[healthy, chunked],
        };
        // Those beyond the limit wait for the first to be let go.
        clients.push((n, timeout(SOON, held(address, parts)).await.expect("room for a new connection")));
    }
    for (n, client) in &mut clients {
        let mut answer = Vec::new();
        let ended = timeout(SOON, async {
            let dripping = *n % 4 == 0;
            loop {
                let mut part = [0; 4096];
                match timeout(Duration::from_millis(200), client.read(&mut part)).await {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(read)) => answer.extend_from_slice(&part[..read]),
                    // A byte now and then is no progress.
                    Err(_) if dripping && client.write_all(b"E").await.is_err() => return,
                    Err(_) => {}
                }
            }
        })
        .await;
        assert!(ended.is_ok(), "connection {n} is held for ever: {}", String::from_utf8_lossy(&answer));
    }
    assert!(status(&devpulse, "/-/healthy", 200).await.is_some());
    assert_eq!(post(&devpulse, &deployment("after")).await.ok()["accepted"], 1);
    assert!(devpulse.process().exited().is_none());
}

/// Senders of webhooks give up what is answered 4xx.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_one_budget() {
    let database = Database::sqlite().await;
    let limits = "ingest: {max_body_bytes: 4096, max_decoded_bytes: 4096, max_buffered_bytes: 32768}\n\
        sources: {github: {secret: s}}\n";
    let devpulse = DevPulse::start(&database.url, limits).await;
    let mut large = deployment("large");
    large["url"] = json!(format!("https://example.com/{}", "x".repeat(1900)));
    let signature = ("x-hub-signature-256", format!("sha256={}", "0".repeat(64)));
    for (path, status) in
        [("/api/v1/events", 429), ("/api/v1/webhooks/alertmanager", 503), ("/api/v1/webhooks/github", 503)]
    {
        let (name, value) = &signature;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{name}: {value}\r\n\
             content-length: 4096\r\n\r\n[{}",
            " ".repeat(4000)
        );
        let send = async || devpulse.send(devpulse.request("POST", path).header(*name, value).json(&large)).await;
        let mut clients = Vec::new();
        let refused = until("the memory for bodies to be used up", SOON, async || {
            let mut client = TcpStream::connect(devpulse.address()).await.unwrap();
            client.write_all(head.as_bytes()).await.unwrap();
            clients.push(client);
            let answer = send().await;
            (answer.status == 429 || answer.status == 503).then_some(answer)
        })
        .await;
        assert_eq!((refused.status, refused.json["type"].as_str()), (status, Some("overloaded")), "{path} {refused:?}");
        assert!(refused.retry_after.is_some(), "{path} {refused:?}");
        drop(clients);
        until("the memory to come back", SOON, async || (send().await.status < 429).then_some(())).await;
    }
    until("events to be taken in", SOON, async || is_acknowledged(&post(&devpulse, &large).await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_leave_room_for_others() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "server: {max_connections: 6, workers: 1}\n").await;
    let listen = async || devpulse.request("GET", "/api/v1/stream").send().await.unwrap();
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(listen().await);
    }
    assert!(listeners.iter().all(|listener| listener.status() == 200));
    let refused = Answer::of(listen().await).await;
    assert_eq!((refused.status, refused.retry_after.as_deref()), (429, Some("10")), "{refused:?}");
    listeners.pop();
    until("room for another", SOON, async || (listen().await.status() == 200).then_some(())).await;
}
