//! The durable write path: what is acknowledged is there exactly once, on both back ends.

mod dead_database;
mod facts;
mod lost_commit;
mod telemetry;

use std::collections::BTreeMap;
use std::time::Duration;

use devpulse::event::{
    DeliveryEvent, DeploymentEvent, DeploymentOutcome, EntityKey, Histogram, SeriesKey, TelemetryBatch, TelemetryDelta,
};
use devpulse::ingest::committer::{CommitNotice, Committed, Committer, Fact, Key, Settings, Submission, SubmitError};
use devpulse::store::{Conn, Store, telemetry as stored};
use devpulse::time::{Clock, Timestamp};
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::db::{execute, refuse, refuse_no_more};

/// Longer than any test: only a stop or a restart materialises.
const NEVER: Duration = Duration::from_hours(1);

struct Running {
    committer: Committer,
    task: JoinHandle<()>,
    notices: mpsc::Receiver<CommitNotice>,
}

impl Running {
    async fn start(store: &Store) -> Self {
        Self::with(store, NEVER, 1000).await
    }

    async fn with(store: &Store, materialise_every: Duration, max_waiting: usize) -> Self {
        let (sender, notices) = mpsc::channel(10_000);
        let settings = Settings { fencing: None, replica: "test".to_owned(), max_waiting, materialise_every };
        let (committer, task) = Committer::start(store.clone(), Clock::system(), settings, sender).await.unwrap();
        Self { committer, task, notices }
    }

    async fn submit(&self, submission: Submission) -> Committed {
        self.committer.submit(submission).await.unwrap()
    }

    async fn stop(self) {
        self.stop_and_hear().await;
    }

    /// Answers with everything that was told of, to the end.
    async fn stop_and_hear(mut self) -> Vec<CommitNotice> {
        self.committer.stop();
        self.task.await.unwrap();
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }

    /// As if the process were killed: nothing more is written.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn taken(facts: &[bool], keyed: &[bool]) -> Committed {
    Committed::Taken { facts: facts.to_vec(), keyed: keyed.to_vec() }
}

fn deployment(id: &str, seconds: i64, outcome: DeploymentOutcome) -> DeploymentEvent {
    DeploymentEvent {
        key: EntityKey { source: "ci".to_owned(), id: id.to_owned() },
        time: Timestamp::from_seconds(seconds),
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        place: None,
        version: Some("1.4.2".to_owned()),
        commit: None,
        outcome,
        started_at: None,
        kind: None,
        url: None,
        schema: None,
        repository: None,
        changes: Vec::new(),
        rolls_back: None,
        sighting: None,
        artifact: None,
        chain: None,
        attributes: BTreeMap::new(),
    }
}

fn fact(event: DeliveryEvent) -> Fact {
    let raw = serde_json::to_vec(&event).unwrap();
    Fact { digest: Sha256::digest(&raw).into(), raw, event, alarm: false }
}

fn succeeded(id: &str) -> Fact {
    fact(DeliveryEvent::Deployment(deployment(id, 100, DeploymentOutcome::Succeeded)))
}

fn facts(facts: Vec<Fact>) -> Submission {
    Submission { received_at: Timestamp::from_seconds(1_000), facts, ..Submission::default() }
}

fn key(name: &str) -> Key {
    Sha256::digest(name)[..16].try_into().unwrap()
}

fn series(service: &str) -> SeriesKey {
    SeriesKey { service: service.into(), environment: "production".into(), version: "1".into() }
}

fn delta(requests: u64, errors: u64, micros: u64) -> TelemetryDelta {
    let mut durations = Histogram::default();
    durations.record(micros, requests);
    TelemetryDelta { requests, errors, duration_sum_us: requests * micros, durations }
}

fn telemetry(service: &str, start: i64, delta: TelemetryDelta) -> TelemetryBatch {
    TelemetryBatch { deltas: [((series(service), start), delta)].into(), ..TelemetryBatch::default() }
}

fn unkeyed(batch: TelemetryBatch) -> Submission {
    Submission { received_at: Timestamp::from_seconds(1_000), telemetry: batch, ..Submission::default() }
}

fn keyed(items: Vec<(Key, TelemetryBatch)>) -> Submission {
    Submission { received_at: Timestamp::from_seconds(1_000), keyed: items, ..Submission::default() }
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    value: String,
}

/// The one number that `SELECT … AS value` gives.
async fn number(store: &Store, sql: &str) -> i64 {
    let query = diesel::sql_query(sql);
    let number: Number = match store.read().await.unwrap() {
        Conn::Postgres(mut c) => query.get_result(&mut *c).await.unwrap(),
        Conn::SqliteReader(mut c) => query.get_result(&mut *c).await.unwrap(),
        Conn::SqliteWriter(_) => unreachable!("reading uses a reader"),
    };
    number.value
}

/// The texts that `SELECT … AS value` gives.
async fn lines(store: &Store, sql: &str) -> Vec<String> {
    let query = diesel::sql_query(sql);
    let lines: Vec<Line> = match store.read().await.unwrap() {
        Conn::Postgres(mut c) => query.load(&mut *c).await.unwrap(),
        Conn::SqliteReader(mut c) => query.load(&mut *c).await.unwrap(),
        Conn::SqliteWriter(_) => unreachable!("reading uses a reader"),
    };
    lines.into_iter().map(|line| line.value).collect()
}

async fn journal_rows(store: &Store) -> i64 {
    number(store, "SELECT count(*) AS value FROM journal").await
}

/// The buckets of a resolution by (service, start).
async fn buckets(store: &Store, resolution: i32) -> BTreeMap<(String, i64), TelemetryDelta> {
    let mut conn = store.read().await.unwrap();
    let buckets = stored::load_buckets(&mut conn, resolution, i64::MIN..=i64::MAX).await.unwrap();
    assert!(buckets.is_sorted_by_key(|bucket| bucket.start));
    buckets.into_iter().map(|bucket| ((bucket.series.service.to_string(), bucket.start), bucket.delta)).collect()
}
