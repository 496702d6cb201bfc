//! The evaluator: alerts across lost commits, windows across reloads, what it streams.

use std::sync::Arc;
use std::time::Duration;

use devpulse::alert::{Change, Condition};
use devpulse::app::{App, Wake};
use devpulse::config::model::Severity::{Page, Ticket};
use devpulse::event::{SeriesKey, TelemetryBatch, TelemetryDelta};
use devpulse::ingest::budget::Budget;
use devpulse::ingest::committer::{CommitNotice, Committer, Settings, Submission};
use devpulse::rollback::executor::Executors;
use devpulse::slo::Live;
use devpulse::store::alert::{self, Routing};
use devpulse::store::dora::DoraCache;
use devpulse::store::{lease, outbox};
use devpulse::time::Clock;
use devpulse::worker::alert_book::AlertBook;
use devpulse::worker::crew::Crew;
use devpulse::worker::evaluate::Evaluator;
use devpulse::worker::tell;
use tokio::sync::{broadcast, mpsc};

use crate::support::alerting::{CLEAR, at, config, fires, look, unreachable};
use crate::support::cutting_proxy::{Cut, proxied};
use crate::support::db::{TestDb, on_both};
use crate::support::wait::until;

const SOON: Duration = Duration::from_secs(20);

/// A process that takes in and evaluates, at a time that is moved by hand.
struct Scene {
    app: Arc<App>,
    clock: Clock,
    notices: mpsc::Sender<CommitNotice>,
    _lease: lease::Lease,
    _crew: Crew,
}

impl Scene {
    async fn start(db: &TestDb, yaml: &str) -> Self {
        let (clock, config) = (Clock::manual(at(0)), config(yaml));
        let lease = lease::take(&db.store, &db.url, "test", at(0)).await.unwrap().unwrap();
        // Only a pause turns the journal into buckets.
        let materialise_every = Duration::from_hours(1);
        let settings =
            Settings { fencing: Some(lease.fencing), replica: "test".to_owned(), max_waiting: 1000, materialise_every };
        let (notices, commits) = mpsc::channel(4);
        let (committer, _) =
            Committer::start(db.store.clone(), clock.clone(), settings, notices.clone()).await.unwrap();
        let app = Arc::new(App {
            live: parking_lot::RwLock::new(Live::new(&config)),
            config: arc_swap::ArcSwap::from_pointee(config),
            store: db.store.clone(),
            clock: clock.clone(),
            committer,
            wake: Wake::default(),
            bodies: Budget::new(1 << 20),
            webhook_bodies: Budget::new(1 << 20),
            tally: devpulse::ingest::tally::Tally::default(),
            dora: Arc::new(DoraCache::new(64 << 20)),
            stream: broadcast::Sender::new(64),
        });
        let saga = Arc::new(tell::saga_deps(&app, Executors::default(), lease.fencing));
        let evaluator = Evaluator::load(Arc::clone(&app), saga).await.unwrap();
        let mut crew = Crew::default();
        crew.add("evaluator", |stop| evaluator.run(commits, stop));
        Self { app, clock, notices, _lease: lease, _crew: crew }
    }

    /// So many requests `ago` seconds ago, the bad ones among them.
    async fn requests(&self, service: &str, ago: i64, requests: u64, errors: u64) {
        let start = self.clock.now().seconds() - ago;
        let telemetry = batch(service, start - start.rem_euclid(10), requests, errors);
        let submission = Submission { received_at: self.clock.now(), telemetry, ..Submission::default() };
        self.app.committer.submit(submission).await.unwrap();
    }

    /// Requests in the last hour, as the windows have them; 0 without an objective.
    fn counted(&self, service: &str) -> u64 {
        let live = self.app.live.read();
        let mut tracked = live.of(service, "production");
        tracked.next().map_or(0, |t| t.ring.sum(Duration::from_hours(1), self.clock.now()).total)
    }

    fn reload(&self, yaml: &str) {
        self.app.config.store(Arc::new(config(yaml)));
    }

    /// Kind, state and severity of the alerts that are not over, by fingerprint.
    async fn alerts(&self) -> Vec<String> {
        let active = alert::active(&mut self.app.store.read().await.unwrap()).await.unwrap();
        let mut all: Vec<String> = active.keys().cloned().collect();
        all.sort();
        all
    }
}

fn batch(service: &str, start: i64, requests: u64, errors: u64) -> TelemetryBatch {
    let series = SeriesKey { service: service.into(), environment: "production".into(), version: "1".into() };
    let delta = TelemetryDelta { requests, errors, ..TelemetryDelta::default() };
    TelemetryBatch { deltas: [((series, start), delta)].into(), ..TelemetryBatch::default() }
}

/// Objectives over checkout and, with a window, over search, with burn windows that need no hour;
/// more keys.
fn objectives(search: Option<&str>, more: &str) -> String {
    let slo = |service: &str, window: &str| {
        format!(
            "  - {{name: {service}, service: {service}, environment: production, objective: 0.99, window: {window}, indicator: {{availability: {{}}}}}}\n"
        )
    };
    let search = search.map(|window| slo("search", window)).unwrap_or_default();
    let checkout = slo("checkout", "30d");
    format!(
        "services: [{{name: checkout}}, {{name: search}}]\nslos:\n{checkout}{search}burn_alerts: [{{long: 2m, short: 10s, budget_share: 0.0001, severity: page}}]\n{more}"
    )
}

on_both! {
    async fn a_reload_neither_loses_nor_doubles_what_is_in_the_windows(db: TestDb) {
        let scene = Arc::new(Scene::start(&db, &objectives(None, "")).await);
        scene.requests("checkout", 20, 10, 0).await;
        scene.requests("search", 20, 7, 0).await;
        until("the first to be counted", SOON, async || (scene.counted("checkout") == 10).then_some(())).await;
        scene.reload(&objectives(Some("30d"), ""));
        until("search to be read", SOON, async || (scene.counted("search") == 7).then_some(())).await;
        assert_eq!(scene.counted("checkout"), 10, "journalled, not yet in a bucket");

        // Under traffic, again and again.
        let busy = Arc::clone(&scene);
        let traffic = tokio::spawn(async move {
            for _ in 0..300 {
                busy.requests("checkout", 10, 1, 0).await;
                busy.requests("search", 10, 1, 0).await;
            }
        });
        let mut reloads = 0;
        while !traffic.is_finished() || reloads < 2 {
            let window = if reloads % 2 == 0 { "7d" } else { "30d" };
            scene.reload(&objectives(Some(window), ""));
            let seconds = if reloads % 2 == 0 { 604_800 } else { 2_592_000 };
            until("the reload", SOON, async || {
                let live = scene.app.live.read();
                live.of("search", "production").any(|t| t.slo.window.as_secs() == seconds).then_some(())
            })
            .await;
            reloads += 1;
        }
        traffic.await.unwrap();
        until("everything to be counted once", SOON, async || {
            let counted = (scene.counted("checkout"), scene.counted("search"));
            assert!(counted.0 <= 310 && counted.1 <= 307, "counted twice: {counted:?}");
            (counted == (310, 307)).then_some(())
        })
        .await;
    }

    async fn traffic_without_end_does_not_keep_the_timer_waiting(db: TestDb) {
        let scene = Scene::start(&db, &objectives(None, "")).await;
        let start = scene.clock.now().seconds();
        let feeders: Vec<_> = (0..4)
            .map(|_| {
                let notices = scene.notices.clone();
                tokio::spawn(async move {
                    let telemetry = || batch("checkout", start, 1, 0);
                    let notice = || CommitNotice { telemetry: telemetry(), ..CommitNotice::default() };
                    while notices.send(notice()).await.is_ok() {}
                })
            })
            .collect();
        until("traffic to flow", SOON, async || (scene.counted("checkout") > 1_000).then_some(())).await;
        // Taken over by the timer only.
        scene.reload("");
        until("the timer's work", SOON, async || scene.app.live.read().all().is_empty().then_some(())).await;
        feeders.iter().for_each(tokio::task::JoinHandle::abort);
    }

    async fn a_clock_that_was_ahead_for_a_while_leaves_the_windows_whole(db: TestDb) {
        let scene = Scene::start(&db, &objectives(None, "")).await;
        scene.requests("checkout", 20, 10, 0).await;
        until("the first to be counted", SOON, async || (scene.counted("checkout") == 10).then_some(())).await;
        let right = scene.clock.now();
        scene.clock.advance(Duration::from_hours(10));
        until("it to be judged then", SOON, async || (scene.alerts().await == ["no_data:checkout"]).then_some(())).await;
        scene.requests("checkout", 0, 5, 0).await;
        until("the wrong hour to be counted", SOON, async || (scene.counted("checkout") == 5).then_some(())).await;
        scene.clock.set(right);
        until("the present to be back", SOON, async || (scene.counted("checkout") == 10).then_some(())).await;
        scene.requests("checkout", 0, 3, 0).await;
        until("it to go on", SOON, async || (scene.counted("checkout") == 13).then_some(())).await;
    }

    async fn data_that_stops_is_a_ticket_and_keeps_the_burn_alert(db: TestDb) {
        let scene = Scene::start(&db, &objectives(Some("30d"), "alerts: {keep_firing_for: 0s}")).await;
        scene.requests("checkout", 0, 1_000, 900).await;
        until("the burn alert", SOON, async || (scene.alerts().await == ["burn_rate:checkout"]).then_some(())).await;
        scene.clock.advance(Duration::from_mins(61));
        until("the ticket", SOON, async || {
            (scene.alerts().await == ["burn_rate:checkout", "no_data:checkout"]).then_some(())
        })
        .await;
        let ticket = alert::active_of(&mut db.store.read().await.unwrap(), "no_data:checkout").await.unwrap().unwrap();
        assert_eq!((ticket.kind.as_str(), ticket.severity), ("no_data", Ticket));
        scene.requests("checkout", 0, 1_000_000, 0).await;
        until("both to be over", SOON, async || scene.alerts().await.is_empty().then_some(())).await;
    }

    async fn an_alert_is_kept_for_a_while_after_it_is_calm(db: TestDb) {
        let scene = Scene::start(&db, &objectives(None, "alerts: {keep_firing_for: 2m}")).await;
        scene.requests("checkout", 0, 1_000, 900).await;
        until("the burn alert", SOON, async || (scene.alerts().await == ["burn_rate:checkout"]).then_some(())).await;
        scene.requests("checkout", 0, 1_000_000, 0).await;
        until("it to be clear", SOON, async || {
            let active = alert::active_of(&mut db.store.read().await.unwrap(), "burn_rate:checkout").await.unwrap();
            active.expect("it is kept").waiting_since
        })
        .await;
        scene.clock.advance(Duration::from_secs(121));
        scene.requests("checkout", 0, 1_000, 0).await;
        until("it to be over", SOON, async || scene.alerts().await.is_empty().then_some(())).await;
    }

    async fn listeners_hear_where_objectives_stand_when_that_changes(db: TestDb) {
        let scene = Scene::start(&db, &objectives(None, "")).await;
        let mut stream = scene.app.stream.subscribe();
        let mut heard = async || loop {
            let event = tokio::time::timeout(SOON, stream.recv()).await.expect("it is told").unwrap();
            if event.kind == "slo" {
                break event.data;
            }
        };
        assert_eq!(heard().await["total"], 0, "at first, where it stands");
        scene.requests("checkout", 0, 1_000, 900).await;
        let burning = heard().await;
        assert_eq!((&burning["name"], &burning["alerts"][0]["verdict"]), (&"checkout".into(), &"burning".into()));
        // The verdict stays, the budget moves: told when its time has come.
        scene.requests("checkout", 0, 1_000, 900).await;
        until("it to be counted", SOON, async || (scene.counted("checkout") == 2_000).then_some(())).await;
        scene.requests("checkout", 0, 1_000, 1_000).await;
        until("it to be counted", SOON, async || (scene.counted("checkout") == 3_000).then_some(())).await;
        scene.clock.advance(Duration::from_secs(6));
        assert_eq!(heard().await["total"], 3_000, "once for both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_neither_sticks_nor_comes_back() {
    let (db, proxy, store) = proxied().await;
    let lease = lease::take(&db.store, &db.url, "a", at(0)).await.unwrap().unwrap();
    let config = unreachable("[service]");
    let mut book = AlertBook::load(store, lease.fencing).await.unwrap();
    let mut see = async |condition: Condition, second| {
        let seen = look("checkout", "availability", condition);
        book.observe(&seen, Routing::of(&config), at(second)).await.map(|changed| changed.map(|(change, _)| change))
    };
    let standing =
        async || alert::active_of(&mut db.store.read().await.unwrap(), "burn_rate:availability").await.unwrap();

    // It fired, and nobody was told so.
    *proxy.next.lock() = Some(Cut::After);
    see(fires(Page, "Budget burns"), 0).await.unwrap_err();
    let first = standing().await.expect("the server has committed it");
    assert_eq!(see(fires(Page, "Budget burns"), 1).await.unwrap(), None, "it fires already");
    assert_eq!(outbox::depth(&mut db.store.read().await.unwrap()).await.unwrap().waiting, 3, "told once");

    // It is over, and nobody was told so; then it burns again.
    *proxy.next.lock() = Some(Cut::After);
    see(CLEAR, 2).await.unwrap_err();
    assert_eq!(standing().await, None);
    assert_eq!(see(fires(Page, "Budget burns"), 3).await.unwrap(), Some(Change::Fired));
    assert_ne!(standing().await.unwrap().id, first.id, "another incident");

    // It never was committed.
    *proxy.next.lock() = Some(Cut::Before);
    see(CLEAR, 4).await.unwrap_err();
    assert_eq!(see(CLEAR, 5).await.unwrap(), Some(Change::Resolved));
    assert_eq!(standing().await, None);
}
