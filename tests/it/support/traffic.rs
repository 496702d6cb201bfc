//! Real requests through the proxy at a set rate, each reported to DevPulse with the version that
//! answered it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::devpulse::DevPulse;
use super::http::{Client, client};

/// How often what was observed is reported.
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub struct Traffic {
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the users of the service saw.
#[derive(Default)]
pub struct Counts {
    failed: AtomicU64,
    /// Requests in a row, up to now, that succeeded.
    succeeded_in_a_row: AtomicU64,
}

impl Traffic {
    pub fn start(devpulse: &DevPulse, url: &str, service: &str, per_second: u32) -> Self {
        let counts: Arc<Counts> = Arc::default();
        let (seen, reports) = mpsc::unbounded_channel();
        let users = tokio::spawn(users(url.to_owned(), service.to_owned(), per_second, Arc::clone(&counts), seen));
        let reporter = tokio::spawn(report(devpulse.url("/api/v1/events"), reports));
        Self { counts, tasks: vec![users, reporter] }
    }

    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::SeqCst)
    }

    pub fn succeeded_in_a_row(&self) -> u64 {
        self.counts.succeeded_in_a_row.load(Ordering::SeqCst)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn users(url: String, service: String, per_second: u32, counts: Arc<Counts>, seen: mpsc::UnboundedSender<Value>) {
    let client = client();
    let mut tick = interval(Duration::from_secs(1) / per_second);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tokio::spawn(one_user(client.clone(), url.clone(), service.clone(), Arc::clone(&counts), seen.clone()));
    }
}

async fn one_user(
    client: Client,
    url: String,
    service: String,
    counts: Arc<Counts>,
    seen: mpsc::UnboundedSender<Value>,
) {
    let (began, time) = (Instant::now(), chrono::Utc::now());
    let answer = client.get(url).send().await.expect("the proxy answers every request");
    let status = answer.status().as_u16();
    let version = answer.headers().get("x-version").map_or("", |v| v.to_str().unwrap());
    if status < 500 {
        counts.succeeded_in_a_row.fetch_add(1, Ordering::SeqCst);
    } else {
        counts.failed.fetch_add(1, Ordering::SeqCst);
        counts.succeeded_in_a_row.store(0, Ordering::SeqCst);
    }
    let duration_ms = began.elapsed().as_secs_f64() * 1e3;
    let _ = seen.send(json!({
        "type": "request", "time": time.to_rfc3339(), "service": service, "environment": "production",
        "version": version, "route": "/pay", "status": status, "duration_ms": duration_ms,
    }));
}

async fn report(url: String, mut seen: mpsc::UnboundedReceiver<Value>) {
    let client = client();
    let mut tick = interval(REPORT_EVERY);
    loop {
        tick.tick().await;
        let mut batch = Vec::new();
        while let Ok(event) = seen.try_recv() {
            batch.push(event);
        }
        if batch.is_empty() {
            continue;
        }
        let answer = client.post(&url).json(&batch).send().await.expect("DevPulse takes the report");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}
