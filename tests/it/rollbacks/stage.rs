//! What the tests of rollbacks stand on: a leader on a fresh database, a target whose effects are
//! counted, and what was told kept in a table of the same database, so that only what was committed
//! counts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use devpulse::app::StreamEvent;
use devpulse::config::model::{Indicator, Mode};
use devpulse::event::EntityKey;
use devpulse::ingest::committer::{CommitNotice, Committer, Settings, SubmitError};
use devpulse::rollback::executor::{Accepted, Call, Executor, ExecutorError, Executors, Observed, Route};
use devpulse::rollback::policy::{Action, Decision, Finding, IndicatorEvidence, Reason, Release};
use devpulse::rollback::state::{Rollback, Step};
use devpulse::slo::Counts;
use devpulse::store::{Conn, Store, StoreError, lease, rollback};
use devpulse::time::{Clock, Timestamp};
use devpulse::worker::saga::{self, Communicate, Deps, SagaError, Submit};
use diesel::sql_types::{BigInt, Text};
use diesel_async::SimpleAsyncConnection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::db::TestDb;

macro_rules! rows {
    ($conn:expr, $query:expr) => {
        match $conn {
            Conn::Postgres(c) => diesel_async::RunQueryDsl::load(diesel::sql_query($query), &mut **c).await.unwrap(),
            Conn::SqliteReader(c) => {
                diesel_async::RunQueryDsl::load(diesel::sql_query($query), &mut **c).await.unwrap()
            }
            Conn::SqliteWriter(c) => {
                diesel_async::RunQueryDsl::load(diesel::sql_query($query), &mut **c).await.unwrap()
            }
        }
    };
}

pub const ENVIRONMENT: &str = "production";

/// The database, with the lease held.
pub struct Stage {
    pub store: Store,
    pub lease: lease::Lease,
    committer: Committer,
    _notices: mpsc::Receiver<CommitNotice>,
    pub faults: Arc<Faults>,
}

/// How often telling and recording still fail.
#[derive(Default)]
pub struct Faults {
    pub telling: AtomicUsize,
    pub recording: AtomicUsize,
}

impl Faults {
    fn strike(counter: &AtomicUsize) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl Stage {
    pub async fn set(db: &TestDb) -> Self {
        let lease = take(&db.store, &db.url).await;
        let mut tx = db.store.begin().await.unwrap();
        let table = "CREATE TABLE told (rollback TEXT NOT NULL, headline TEXT NOT NULL, active BIGINT NOT NULL)";
        run(&mut tx, table).await.unwrap();
        tx.commit().await.unwrap();
        let (sender, notices) = mpsc::channel(16);
        let settings = Settings {
            fencing: None,
            replica: "test".to_owned(),
            max_waiting: 100,
            materialise_every: Duration::from_hours(1),
        };
        let (committer, _) = Committer::start(db.store.clone(), Clock::system(), settings, sender).await.unwrap();
        Self { store: db.store.clone(), lease, committer, _notices: notices, faults: Arc::default() }
    }

    /// A process that leads, with nothing in memory: after a crash, make another one.
    pub fn process(&self, executors: Executors) -> Deps {
        Deps {
            store: self.store.clone(),
            clock: Clock::system(),
            fencing: self.lease.fencing,
            executors: ArcSwap::from_pointee(executors),
            communicate: telling(&self.faults),
            submit: recording(&self.committer, &self.faults),
            told: Arc::default(),
            stream: tokio::sync::broadcast::channel::<StreamEvent>(64).0,
            in_hand: Mutex::new(HashSet::new()),
        }
    }

    /// Commits the decision; answers with the rollback's id.
    pub async fn decide(&self, deps: &Deps, decision: &Decision) -> String {
        self.try_decide(deps, decision).await.expect("a rollback was written")
    }

    pub async fn try_decide(&self, deps: &Deps, decision: &Decision) -> Option<String> {
        let mut tx = self.store.begin().await.unwrap();
        let new = saga::intend(&mut tx, deps, decision).await.unwrap();
        tx.commit().await.unwrap();
        new.map(|new| new.id)
    }

    pub async fn load(&self, id: &str) -> (Rollback, Vec<Step>) {
        rollback::load(&mut self.store.read().await.unwrap(), id).await.unwrap().unwrap()
    }

    /// The states of the four steps, such as `done running pending pending`.
    pub async fn steps(&self, id: &str) -> String {
        let (_, steps) = self.load(id).await;
        steps.iter().map(|step| step.state.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Headlines told about a rollback, the ended ones in brackets.
    pub async fn told(&self, id: &str) -> Vec<String> {
        #[derive(diesel::QueryableByName)]
        struct Told {
            #[diesel(sql_type = Text)]
            headline: String,
            #[diesel(sql_type = BigInt)]
            active: i64,
        }
        let query = format!("SELECT headline, active FROM told WHERE rollback = '{id}'");
        let mut conn = self.store.read().await.unwrap();
        let rows: Vec<Told> = rows!(&mut conn, query);
        rows.into_iter().map(|t| if t.active == 1 { t.headline } else { format!("({})", t.headline) }).collect()
    }

    /// The deployments recorded for a rollback.
    pub async fn recorded(&self, id: &str) -> Vec<Value> {
        #[derive(diesel::QueryableByName)]
        struct Recorded {
            #[diesel(sql_type = Text)]
            event: String,
        }
        let query = format!("SELECT event FROM fact WHERE entity_source = 'devpulse/rollback' AND entity_id = '{id}'");
        let mut conn = self.store.read().await.unwrap();
        let rows: Vec<Recorded> = rows!(&mut conn, query);
        rows.into_iter().map(|row| serde_json::from_str(&row.event).unwrap()).collect()
    }

    /// Another deployment appears in the place, `seconds` after the one to be undone.
    pub async fn deploy(&self, service: &str, id: &str, outcome: &str, at: i64) {
        let mut tx = self.store.begin().await.unwrap();
        let row = format!(
            "INSERT INTO deployment (source, id, service, environment, place, outcome, sort_at, state)
             VALUES ('ci', '{id}', '{service}', '{ENVIRONMENT}', '{ENVIRONMENT}', '{outcome}', {at}, '{{}}')"
        );
        run(&mut tx, &row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// That deployment ends.
    pub async fn end(&self, id: &str, outcome: &str) {
        let mut tx = self.store.begin().await.unwrap();
        run(&mut tx, &format!("UPDATE deployment SET outcome = '{outcome}' WHERE id = '{id}'")).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub async fn take(store: &Store, url: &str) -> lease::Lease {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(lease) = lease::take(store, url, "test", Clock::system().now()).await.unwrap() {
            return lease;
        }
        assert!(tokio::time::Instant::now() < deadline, "the lease was never free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn run(conn: &mut Conn, sql: &str) -> diesel::QueryResult<()> {
    match conn {
        Conn::Postgres(c) => c.batch_execute(sql).await,
        Conn::SqliteReader(c) => c.batch_execute(sql).await,
        Conn::SqliteWriter(c) => c.batch_execute(sql).await,
    }
}

fn telling(faults: &Arc<Faults>) -> Communicate {
    let faults = Arc::clone(faults);
    Arc::new(move |conn, message, _| {
        let faults = Arc::clone(&faults);
        async move {
            let sql = format!(
                "INSERT INTO told VALUES ('{}', '{}', {})",
                message.rollback_id,
                message.headline,
                i32::from(message.active)
            );
            run(conn, &sql).await?;
            if Faults::strike(&faults.telling) {
                return Err(StoreError::Io(std::io::Error::other("nobody listens")));
            }
            Ok(())
        }
        .boxed()
    })
}

fn recording(committer: &Committer, faults: &Arc<Faults>) -> Submit {
    let (committer, faults) = (committer.clone(), Arc::clone(faults));
    Arc::new(move |submission| {
        let (committer, faults) = (committer.clone(), Arc::clone(&faults));
        async move {
            linger().await;
            if Faults::strike(&faults.recording) {
                return Err(SubmitError::Overloaded);
            }
            committer.submit(submission).await
        }
        .boxed()
    })
}

/// Passes until every rollback is finished or waits for somebody, as the worker makes them.
pub async fn settle(deps: &Deps) {
    tokio::time::timeout(Duration::from_mins(1), async {
        while let Some(due) = saga::advance(deps).await.unwrap() {
            tokio::time::sleep(due.duration_since(deps.clock.now())).await;
        }
    })
    .await
    .expect("the rollback comes to an end");
}

pub async fn is_stale(deps: &Deps) -> bool {
    matches!(saga::advance(deps).await, Err(SagaError::Stale))
}

pub fn decision(service: &str, action: Action) -> Decision {
    let release = |version: &str, id: &str| Release {
        version: version.to_owned(),
        commit: Some("8f3c".to_owned()),
        repository: None,
        place: None,
        deployment: EntityKey { source: "ci".to_owned(), id: format!("{service}-{id}") },
    };
    let now = Clock::system().now();
    let mode = match action {
        Action::Propose => Mode::Approve,
        Action::Shadow => Mode::Shadow,
        _ => Mode::Automatic,
    };
    Decision {
        action,
        reason: if action == Action::Page { Reason::NoTarget } else { Reason::Regression },
        summary: "20 % of 410 requests on 1.4.2 failed, 0.3 % before it; chance of a false alarm below 1 in 41,000"
            .to_owned(),
        service: service.to_owned(),
        environment: ENVIRONMENT.to_owned(),
        mode,
        from: Some(release("1.4.2", "d-41")),
        to: (action != Action::Page).then(|| release("1.4.1", "d-40")),
        rejected_targets: vec![],
        alpha: 1e-4,
        indicators: vec![evidence(Indicator::Availability)],
        observed_at: now,
        decided_at: now,
        expires_at: (action == Action::Propose).then(|| now.plus(Duration::from_mins(1))),
    }
}

fn evidence(_: Indicator) -> IndicatorEvidence {
    IndicatorEvidence {
        slo: "checkout-availability".to_owned(),
        objective: 0.999,
        threshold_ms: None,
        since: Counts { bad: 82, total: 410 },
        baseline: Counts { bad: 30, total: 10_000 },
        baseline_bound: Some(0.0055),
        log10_m: Some(4.61),
        log10_threshold: 4.0,
        burn: Some(200.0),
        budget_consumed: 0.01,
        finding: Finding::Regression,
    }
}

/// A target that can be read back and that counts what is done to it.
#[derive(Default)]
pub struct Target {
    /// How often traffic was moved.
    pub moved: AtomicUsize,
    pub asked: AtomicUsize,
    pub script: Mutex<Vec<Answer>>,
    /// When set, the target never confirms.
    pub stubborn: std::sync::atomic::AtomicBool,
}

/// How the target answers the next calls, first to last; then it does what it is asked.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Nothing happens.
    Away,
    /// Traffic is moved, the answer gets lost.
    LostAfter,
    /// The call gets lost.
    LostBefore,
    Refuse,
    /// Traffic is moved, no answer ever comes.
    HangAfter,
}

impl Executor for Target {
    fn describe(&self, call: &Call) -> Value {
        json!({"to": call.to.version})
    }

    fn roll_back<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Accepted, ExecutorError>> {
        async {
            linger().await;
            let answer = {
                let mut script = self.script.lock();
                if script.is_empty() { None } else { Some(script.remove(0)) }
            };
            let lost = || Err(ExecutorError::Lost("no answer in time".to_owned()));
            match answer {
                Some(Answer::Away) => {
                    return Err(ExecutorError::NotDone { reason: "no connection".to_owned(), retry_after: None });
                }
                Some(Answer::Refuse) => return Err(ExecutorError::Refused("no such service".to_owned())),
                Some(Answer::LostBefore) => return lost(),
                _ => {}
            }
            self.moved.fetch_add(1, Ordering::SeqCst);
            match answer {
                Some(Answer::LostAfter) => return lost(),
                Some(Answer::HangAfter) => std::future::pending::<()>().await,
                _ => linger().await,
            }
            Ok(Accepted { poll_url: None, response: json!("ok") })
        }
        .boxed()
    }

    fn read_back<'a>(&'a self, _: &'a Call, _: Option<&'a str>) -> BoxFuture<'a, Result<Observed, ExecutorError>> {
        async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            linger().await;
            let switched = self.moved.load(Ordering::SeqCst) > 0 && !self.stubborn.load(Ordering::SeqCst);
            Ok(if switched { Observed::Switched } else { Observed::NotSwitched })
        }
        .boxed()
    }
}

impl Target {
    pub fn answering(script: &[Answer]) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.to_vec()), ..Self::default() })
    }

    pub fn moved(&self) -> usize {
        self.moved.load(Ordering::SeqCst)
    }
}

pub fn executors(service: &str, executor: Arc<dyn Executor>, verify_timeout: Duration) -> Executors {
    let mut executors = Executors::default();
    executors.insert(service, ENVIRONMENT, Route { executor, verify_timeout });
    executors
}

pub fn targeting(target: &Arc<Target>) -> Executors {
    executors("checkout", Arc::clone(target) as Arc<dyn Executor>, Duration::from_millis(600))
}

/// Runs a pass until the target's answer hangs, and then kills the process.
pub async fn die_while_hanging(deps: Deps, target: &Target) {
    let moved = async {
        while target.moved() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = saga::advance(&deps) => panic!("it did not hang: {ended:?}"),
        () = moved => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("the call was never made"),
    }
}

/// Several points at which the process can die.
async fn linger() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// Polls a future at most `polls` times, then drops it: the process dies there.
pub async fn die_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.poll_unpin(context).map(Some)
    })
    .await
}

/// Microseconds, for rows of deployments.
pub fn micros(seconds: i64) -> i64 {
    Timestamp::from_seconds(seconds).micros()
}
