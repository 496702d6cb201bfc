//! The signed webhook against a receiver that keeps the contract, and against some that do not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devpulse::config::model;
use devpulse::rollback::executor::{Executor, Executors, webhook::WebhookExecutor};
use devpulse::rollback::policy::Action;
use devpulse::rollback::state::{RollbackState, StepState};
use devpulse::time::Clock;
use devpulse::worker::saga;
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Stage, decision, die_after, executors, settle};
use crate::support::db::on_both;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the receiver does with one request, after it has taken effect.
#[derive(Clone)]
enum Reply {
    Answer(u16, String),
    /// Closes the connection without an answer.
    Hang,
}

struct Request {
    line: String,
    headers: HeaderMap,
    body: String,
}

/// A receiver of rollbacks: an effect per webhook-id, however often it is sent.
struct Receiver {
    address: String,
    effects: Mutex<BTreeSet<String>>,
    requests: Mutex<Vec<Request>>,
    script: Mutex<Vec<Reply>>,
}

impl Receiver {
    /// Answers as the script says, first to last, then `{"status":"done"}`.
    async fn start(script: &[Reply]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Arc::new(Self {
            address: listener.local_addr().unwrap().to_string(),
            effects: Mutex::default(),
            requests: Mutex::default(),
            script: Mutex::new(script.to_vec()),
        });
        let shared = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = Arc::clone(&shared);
                tokio::spawn(async move { receiver.serve(stream).await });
            }
        });
        receiver
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        if request.line.starts_with("POST ") {
            let id = request.headers["webhook-id"].to_str().unwrap().to_owned();
            self.effects.lock().insert(id);
        }
        self.requests.lock().push(request);
        let reply = {
            let mut script = self.script.lock();
            if script.is_empty() { Reply::Answer(200, r#"{"status":"done"}"#.to_owned()) } else { script.remove(0) }
        };
        if let Reply::Answer(status, body) = reply {
            let head = format!(
                "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    }

    fn executor(&self, clock: Clock) -> Arc<dyn Executor> {
        let config = model::Webhook {
            url: format!("http://{}/hook?token=s3cret", self.address).parse().unwrap(),
            secret: SECRET.into(),
            timeout: Duration::from_secs(2),
        };
        Arc::new(WebhookExecutor::new(&config, clock).unwrap())
    }

    fn place(&self, service: &str) -> Executors {
        executors(service, self.executor(Clock::system()), Duration::from_secs(5))
    }

    fn lines(&self) -> Vec<String> {
        self.requests.lock().iter().map(|request| request.line.clone()).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .collect();
    let length = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { line, headers, body: String::from_utf8(bytes[end..end + length].to_vec()).unwrap() })
}

fn answer(status: u16, body: &Value) -> Reply {
    Reply::Answer(status, body.to_string())
}

fn verified(request: &Request) -> bool {
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(request.body.as_bytes(), &request.headers).is_ok()
}

on_both! {
    async fn the_call_is_that_of_the_contract_and_signed(db: TestDb) {
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&[Reply::Answer(204, String::new())]).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Done, "an empty 2xx is done");
        assert_eq!(receiver.lines(), ["POST /hook?token=s3cret"]);
        let requests = receiver.requests.lock();
        assert!(verified(&requests[0]));
        let body: Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(body["evidence"]["indicators"][0]["since"], json!({"bad": 82, "total": 410}));
        let mut rest = body.clone();
        rest["evidence"] = json!({});
        assert_eq!(rest, json!({
            "type": "rollback.requested", "rollback_id": id, "idempotency_key": format!("{id}-route"),
            "service": "checkout", "environment": "production",
            "from": {"version": "1.4.2", "commit": "8f3c", "deployment": "checkout-d-41"},
            "to": {"version": "1.4.1", "commit": "8f3c", "deployment": "checkout-d-40"},
            "summary": "20 % of 410 requests on 1.4.2 failed, 0.3 % before it; chance of a false alarm below 1 in 41,000", "evidence": {},
        }));
        assert_eq!(requests[0].headers["webhook-id"], format!("{id}-route").as_str());
    }

    async fn a_running_target_is_polled_until_it_is_done(db: TestDb) {
        let running = json!({"status": "running", "poll_url": "/jobs/7?token=s3cret"});
        let script = [answer(202, &running), answer(200, &running), answer(503, &json!({})), answer(200, &running)];
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&script).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Done);
        let mut wanted = vec!["POST /hook?token=s3cret"];
        wanted.resize(5, "GET /jobs/7?token=s3cret");
        assert_eq!(receiver.lines(), wanted);
        assert!(receiver.requests.lock().iter().all(verified), "the polls are signed too");
        let (_, steps) = stage.load(&id).await;
        let kept = format!("{:?} {:?}", steps[0].request, steps[0].response.as_ref().unwrap()["answer"]);
        assert!(!kept.contains("s3cret") && !kept.contains("/hook"), "{kept}");
    }

    async fn a_target_that_says_failed_calls_a_person(db: TestDb) {
        let running = json!({"status": "running", "poll_url": "/jobs/7"});
        let failed = json!({"status": "failed", "detail": "no such image"});
        let script = [answer(202, &running), answer(200, &failed)];
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&script).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!(rollback.state, RollbackState::Failed);
        assert_eq!(steps[1].response, Some(json!({"error": "no such image"})));
    }

    /// Whatever goes wrong on the way, every call bears the same key: the effect happens once.
    async fn lost_answers_and_errors_are_retried_under_one_key(db: TestDb) {
        let script = [Reply::Hang, answer(500, &json!({})), answer(429, &json!({})), Reply::Hang];
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&script).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, steps[0].attempt), (RollbackState::Done, 5));
        assert_eq!((receiver.lines().len(), receiver.effects.lock().len()), (5, 1));
        let bodies: BTreeSet<String> = receiver.requests.lock().iter().map(|request| request.body.clone()).collect();
        assert_eq!(bodies.len(), 1, "the same call each time");
    }

    async fn a_crash_at_any_point_has_one_effect_and_one_record(db: TestDb) {
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&[]).await);
        let mut polls = 0;
        loop {
            polls += 1;
            let service = format!("s{polls}");
            let deps = stage.process(receiver.place(&service));
            let id = stage.decide(&deps, &decision(&service, Action::Rollback)).await;
            let whole = die_after(polls, saga::advance(&deps)).await;
            settle(&stage.process(receiver.place(&service))).await;
            assert_eq!(stage.load(&id).await.0.state, RollbackState::Done, "after {polls} polls");
            assert_eq!(stage.recorded(&id).await.len(), 1, "after {polls} polls");
            assert_eq!(stage.told(&id).await.len(), 2, "after {polls} polls");
            assert_eq!(receiver.effects.lock().len(), polls, "one effect each");
            if whole.is_some() {
                break;
            }
        }
        assert!(polls > 8, "it was interrupted {polls} times");
    }
}

/// Answers that say no: a person is called, nothing is followed, nothing is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_say_no_are_final() {
    let replies = [
        (answer(302, &json!({})), "redirects are not followed"),
        (answer(404, &json!({})), "404"),
        (answer(200, &json!({"status": "failed", "error": "locked"})), "locked"),
    ];
    for (reply, word) in replies {
        let db = crate::support::db::TestDb::sqlite().await;
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&[reply]).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        let error = steps[0].response.as_ref().unwrap()["error"].as_str().unwrap().to_owned();
        assert!(rollback.state == RollbackState::Failed && error.contains(word), "{word}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
        assert_eq!(receiver.lines().len(), 1, "{word}");
    }
}

/// A 2xx that cannot be understood may have moved traffic: it is asked again under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_outside_the_contract_is_asked_again() {
    let elsewhere = json!({"status": "running", "poll_url": "http://169.254.169.254/latest"});
    let replies = [
        (answer(200, &json!({"status": "maybe"})), "neither empty nor"),
        (Reply::Answer(200, "OK".to_owned()), "neither empty nor"),
        (Reply::Answer(200, "x".repeat(70_000)), "more than 65536 bytes"),
        (answer(200, &json!({"status": "running"})), "without a poll_url"),
        (answer(200, &elsewhere), "must be on http://127.0.0.1"),
    ];
    for (reply, word) in replies {
        let db = crate::support::db::TestDb::sqlite().await;
        let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&[reply]).await);
        let deps = stage.process(receiver.place("checkout"));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        devpulse::worker::saga::advance(&deps).await.unwrap();
        let (_, steps) = stage.load(&id).await;
        assert_eq!(steps[0].state, StepState::Unknown, "{word}");
        let response = steps[0].response.clone().unwrap();
        assert!(response["error"].as_str().unwrap().contains(word) && response["effect"] == "unknown", "{response}");
        settle(&deps).await;
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Done, "{word}");
        assert_eq!((receiver.lines().len(), receiver.effects.lock().len()), (2, 1), "{word}");
    }
}

/// A target that never says anything else: people are not told that nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_never_understood_is_looked_at_by_a_person() {
    let db = crate::support::db::TestDb::sqlite().await;
    let ok = Reply::Answer(200, "OK".to_owned());
    let (stage, receiver) = (Stage::set(&db).await, Receiver::start(&vec![ok; 20]).await);
    let deps = stage.process(receiver.place("checkout"));
    let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
    settle(&deps).await;
    let (rollback, steps) = stage.load(&id).await;
    assert_eq!(rollback.state, RollbackState::Failed);
    let message = devpulse::rollback::message::message(&rollback, &steps).unwrap();
    assert!(message.summary.contains("Nobody knows whether traffic was moved"), "{}", message.summary);
    assert_eq!(receiver.effects.lock().len(), 1);
}
