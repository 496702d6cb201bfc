//! A database that goes away, fills up, or does not answer: clear answers, nothing lost, nothing
//! counted twice, and work goes on when it is back.

use devpulse::store::open;
use diesel_async::SimpleAsyncConnection;
use futures_util::future::join_all;

use super::*;
use crate::support::db::{TestDb, on_both};

on_both! {
    async fn who_waits_too_long_in_line_is_told_to_come_back(db: TestDb) {
        let running = Running::with(&db.store, NEVER, 4).await;
        // The first is inside its transaction and cannot go on; others wait behind it.
        let mut blocker = db.store.begin().await.unwrap();
        if let Conn::Postgres(c) = &mut *blocker {
            c.batch_execute("LOCK TABLE journal").await.unwrap();
        }
        let committer = running.committer.clone();
        let submit = || committer.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5))));
        let first = submit();
        tokio::pin!(first);
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut first).await.is_err());
        let waiting = join_all((0..6).map(|_| submit()));
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
        blocker.commit().await.unwrap();
        first.await.unwrap();
        let answers = waiting.await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(SubmitError::Overloaded))).count(), 2);
        running.stop().await;
        assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)].requests, 5);
    }

    async fn what_waits_is_committed_before_the_end(db: TestDb) {
        let running = Running::start(&db.store).await;
        let late = running.committer.clone();
        let waiting = (0..100).map(|_| late.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5)))));
        let (answers, ()) = tokio::join!(join_all(waiting), running.stop());
        let kept = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(kept, 100);
        let refused = late.submit(facts(vec![])).await;
        assert!(matches!(refused, Err(SubmitError::Store(_))), "{refused:?}");
        assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)].requests, 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_answer_and_passes() {
    let db = TestDb::sqlite().await;
    let running = Running::with(&db.store, Duration::from_millis(20), 100).await;
    running.submit(facts(vec![succeeded("before")])).await;
    let pages = number(&db.store, "SELECT page_count AS value FROM pragma_page_count").await;
    pragma(&db.store, &format!("PRAGMA max_page_count = {}", pages + 4)).await;
    let big = |id: &str| {
        let mut big = succeeded(id);
        big.raw = vec![b'x'; 100_000];
        facts(vec![big])
    };
    let answers = join_all(["a", "b", "c"].map(|id| running.committer.submit(big(id)))).await;
    for answer in answers {
        assert!(matches!(&answer, Err(SubmitError::Store(reason)) if reason.contains("full")), "{answer:?}");
    }
    running.submit(facts(vec![succeeded("small")])).await;
    pragma(&db.store, "PRAGMA max_page_count = 1000000").await;
    assert_eq!(running.submit(big("a")).await, taken(&[true], &[]));
    assert_eq!(running.stop_and_hear().await.len(), 3);
    assert_eq!(number(&db.store, "SELECT count(*) AS value FROM fact").await, 3);
}

/// On the writer itself: the limit belongs to a connection.
async fn pragma(store: &Store, sql: &str) {
    let Store::Sqlite { writer, .. } = store else { unreachable!("only SQLite has pragmas") };
    writer.lock().await.batch_execute(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_postgres_is_an_answer_and_passes() {
    let db = TestDb::postgres().await;
    let admin = Admin::of(&db);
    let running = Running::with(&db.store, Duration::from_millis(20), 100).await;
    running.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5)))).await;
    admin.close().await;
    let refused = running.committer.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5)))).await;
    assert!(matches!(refused, Err(SubmitError::Store(_))), "{refused:?}");
    admin.open().await;
    assert_eq!(running.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5)))).await, taken(&[], &[]));
    running.stop().await;
    assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)].requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_are_replaced_without_anybody_noticing() {
    let db = TestDb::postgres().await;
    let admin = Admin::of(&db);
    let running = Running::start(&db.store).await;
    for i in 0..20 {
        assert_eq!(running.submit(facts(vec![succeeded(&i.to_string())])).await, taken(&[true], &[]));
        admin.cut().await;
    }
    running.stop().await;
    let fresh = open::open(&db.url, 1).await.unwrap();
    assert_eq!(number(&fresh, "SELECT count(*) AS value FROM deployment").await, 20);
}

/// Somebody who closes, opens and cuts off the test's database, from the server's other one.
struct Admin {
    url: String,
    database: String,
}

impl Admin {
    fn of(db: &TestDb) -> Self {
        let mut url = url::Url::parse(&db.url).unwrap();
        let database = url.path().trim_start_matches('/').to_owned();
        url.set_path("postgres");
        Self { url: url.into(), database }
    }

    async fn run(&self, sql: &str) {
        use diesel_async::{AsyncConnection, AsyncPgConnection};
        AsyncPgConnection::establish(&self.url).await.unwrap().batch_execute(sql).await.unwrap();
    }

    async fn cut(&self) {
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.database);
        self.run(&cut).await;
    }

    async fn close(&self) {
        self.run(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.database)).await;
        self.cut().await;
    }

    async fn open(&self) {
        self.run(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.database)).await;
    }
}
