//! The real HAProxy, with real traffic through it while it is switched.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devpulse::config::model::{HaProxy, HaProxySwitch};
use devpulse::rollback::executor::{BuildError, Executor, Executors, haproxy::HaProxyExecutor};
use devpulse::rollback::policy::Action;
use devpulse::rollback::state::RollbackState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Stage, decision, executors, settle};
use crate::support::db::{TestDb, on_both};
use crate::support::ports;

const BINARY: &str = "/usr/sbin/haproxy";

struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
    address: String,
    admin: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that answers every request with its version.
async fn version(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all((head + answer).as_bytes()).await;
            });
        }
    });
    address
}

impl Proxy {
    /// Both versions behind one frontend: by a map entry at `/map`, by weights elsewhere.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (version("1.4.1").await, version("1.4.2").await);
        let (port, admin) = (ports::free(), ports::free());
        let home = folder.path().display().to_string();
        std::fs::write(folder.path().join("versions.map"), "checkout be_1.4.2\n").unwrap();
        let config = format!(
            "global\n stats socket {home}/admin.sock mode 600 level admin\n stats socket ipv4@127.0.0.1:{admin} level admin\n\
             defaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n\
             frontend all\n bind 127.0.0.1:{port}\n use_backend weighted if {{ path /weights }}\n \
             use_backend static if {{ path /static }}\n use_backend %[str(checkout),map({home}/versions.map)]\n\
             backend be_1.4.1\n server s {old}\nbackend be_1.4.2\n server s {new}\n\
             backend weighted\n server v1.4.1 {old} weight 0\n server v1.4.2 {new} weight 100\n\
             backend static\n balance static-rr\n server v1.4.1 {old} weight 100\n server v1.4.2 {new} weight 100\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(BINARY)
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("HAProxy is installed: run the tests with `make test`");
        let proxy = Self { child, folder, address: format!("127.0.0.1:{port}"), admin: format!("127.0.0.1:{admin}") };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while proxy.get("/").await.is_none() {
            assert!(tokio::time::Instant::now() < deadline, "HAProxy does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy
    }

    /// The version that answers; `None` unless the answer is a 200.
    async fn get(&self, path: &str) -> Option<String> {
        get(&self.address, path).await
    }

    fn executor(&self, switch: HaProxySwitch, tcp: bool) -> Result<HaProxyExecutor, BuildError> {
        let socket = if tcp {
            format!("tcp:{}", self.admin)
        } else {
            format!("unix:{}/admin.sock", self.folder.path().display())
        };
        HaProxyExecutor::new(&HaProxy { socket, switch, timeout: Duration::from_secs(2) })
    }

    fn place(&self, switch: HaProxySwitch, tcp: bool) -> Executors {
        let executor: Arc<dyn Executor> = Arc::new(self.executor(switch, tcp).unwrap());
        executors("checkout", executor, Duration::from_millis(500))
    }

    fn map(&self, backend: &str) -> HaProxySwitch {
        HaProxySwitch::Map {
            path: format!("{}/versions.map", self.folder.path().display()),
            key: "checkout".to_owned(),
            backend: backend.to_owned(),
        }
    }
}

async fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.starts_with("HTTP/1.1 200").then(|| answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

fn weights(backend: &str) -> HaProxySwitch {
    HaProxySwitch::Weight { server: format!("{backend}/v{{version}}") }
}

/// Rolls back under traffic; answers with the number of requests made, none of which failed.
async fn switched_under_traffic(db: &TestDb, path: &'static str, switch: impl Fn(&Proxy) -> HaProxySwitch, tcp: bool) {
    let (stage, proxy) = (Stage::set(db).await, Proxy::start().await);
    let before = proxy.get(path).await.unwrap();
    assert!(path == "/static" || before == "1.4.2", "{before}");
    let (stop, address) = (Arc::new(AtomicBool::new(false)), proxy.address.clone());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), address.clone());
            tokio::spawn(async move {
                let (mut good, mut bad) = (0, 0);
                while !stop.load(Ordering::SeqCst) {
                    if get(&address, path).await.is_some() { good += 1 } else { bad += 1 }
                }
                (good, bad)
            })
        })
        .collect();
    let deps = stage.process(proxy.place(switch(&proxy), tcp));
    let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
    settle(&deps).await;
    for _ in 0..20 {
        assert_eq!(proxy.get(path).await.as_deref(), Some("1.4.1"));
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (good, bad) = client.await.unwrap();
        assert!(good > 0 && bad == 0, "{good} requests succeeded, {bad} failed");
    }
    let (rollback, steps) = stage.load(&id).await;
    assert_eq!(rollback.state, RollbackState::Done, "{steps:?}");
}

on_both! {
    async fn a_map_entry_is_switched_and_no_request_fails(db: TestDb) {
        switched_under_traffic(&db, "/map", |proxy| proxy.map("be_{version}"), false).await;
    }

    async fn weights_are_switched_over_tcp_and_no_request_fails(db: TestDb) {
        switched_under_traffic(&db, "/weights", |_| weights("weighted"), true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_balancing_takes_its_weights_in_percent() {
    let db = TestDb::sqlite().await;
    switched_under_traffic(&db, "/static", |_| weights("static"), false).await;
}

/// What HAProxy refuses is understood and not repeated; a person is called.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_understood() {
    let proxy = Proxy::start().await;
    let elsewhere = HaProxySwitch::Map {
        path: "/no/such.map".to_owned(),
        key: "checkout".to_owned(),
        backend: "be_{version}".to_owned(),
    };
    let cases = [
        (elsewhere, "Unknown map"),
        (proxy.map("nope_{version}"), "HAProxy has no backend nope_1.4.1"),
        (weights("nope"), "No such backend"),
        (HaProxySwitch::Weight { server: "weighted/x{version}".to_owned() }, "No such server"),
    ];
    for (switch, word) in cases {
        let db = TestDb::sqlite().await;
        let stage = Stage::set(&db).await;
        let deps = stage.process(proxy.place(switch, false));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        let error = steps[0].response.as_ref().unwrap()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{word}: {error}");
        assert_eq!((rollback.state, steps[0].attempt), (RollbackState::Failed, 1), "{word}");
        assert_eq!(proxy.get("/map").await.as_deref(), Some("1.4.2"), "nothing was switched");
    }
}

/// The key stands in no file yet: it is added; and the map is read back whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_added_to_the_map() {
    let (db, proxy) = (TestDb::sqlite().await, Proxy::start().await);
    let stage = Stage::set(&db).await;
    let HaProxySwitch::Map { path, backend, .. } = proxy.map("be_{version}") else { unreachable!() };
    let deps = stage.process(proxy.place(HaProxySwitch::Map { path, key: "cart".to_owned(), backend }, false));
    let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
    settle(&deps).await;
    assert_eq!(stage.load(&id).await.0.state, RollbackState::Done);
    assert_eq!(proxy.get("/map").await.as_deref(), Some("1.4.2"), "another key's traffic stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_haproxy_is_tried_again_until_it_is_back() {
    let db = TestDb::sqlite().await;
    let stage = Stage::set(&db).await;
    let mut proxy = Proxy::start().await;
    let deps = stage.process(proxy.place(proxy.map("be_{version}"), false));
    proxy.child.kill().unwrap();
    proxy.child.wait().unwrap();
    let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
    assert!(devpulse::worker::saga::advance(&deps).await.unwrap().is_some(), "due again");
    assert_eq!(stage.steps(&id).await, "pending pending pending pending");
    proxy.child = Command::new(BINARY)
        .arg("-db")
        .arg("-f")
        .arg(proxy.folder.path().join("haproxy.cfg"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    settle(&deps).await;
    assert_eq!(stage.load(&id).await.0.state, RollbackState::Done);
}
