//! The store itself: migrations on both back ends, transactions, the right to act.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devpulse::http::auth::Scope;
use devpulse::http::keys;
use devpulse::store::{key, lease, open};
use devpulse::time::Timestamp;

use crate::support::db::on_both;

on_both! {
    async fn one_process_at_a_time_may_act(db: TestDb) {
        let now = Timestamp::from_seconds(1);
        let first = lease::take(&db.store, &db.url, "a", now).await.unwrap().unwrap();
        assert!(lease::take(&db.store, &db.url, "b", now).await.unwrap().is_none());
        drop(first);
        let second = loop {
            if let Some(lease) = lease::take(&db.store, &db.url, "b", now).await.unwrap() {
                break lease;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(second.fencing, 2);
        let mut conn = db.store.read().await.unwrap();
        assert!(lease::is_current(&mut conn, 2).await.unwrap());
        assert!(!lease::is_current(&mut conn, 1).await.unwrap());
    }

    async fn nobody_takes_over_in_the_middle_of_a_leaders_transaction(db: TestDb) {
        let now = Timestamp::from_seconds(1);
        let old = lease::take(&db.store, &db.url, "a", now).await.unwrap().unwrap();
        // Another process; a store of its own, since the writer of SQLite is one per store.
        let other = open::open(&db.url, 2).await.unwrap();
        let mut acting = db.store.begin().await.unwrap();
        assert!(lease::holds(&mut acting, old.fencing).await.unwrap());
        let committed = Arc::new(AtomicBool::new(false));
        drop(old);
        let (url, before) = (db.url.clone(), Arc::clone(&committed));
        let next = tokio::spawn(async move {
            loop {
                match lease::take(&other, &url, "b", now).await {
                    Ok(Some(lease)) => return (lease.fencing, before.load(Ordering::SeqCst)),
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        // As long as it takes somebody who is not kept out.
        let _ = tokio::time::timeout(Duration::from_millis(300), async {
            while !next.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        committed.store(true, Ordering::SeqCst);
        acting.commit().await.unwrap();
        assert_eq!(next.await.unwrap(), (2, true), "it waited for the transaction");
    }

    async fn a_dropped_transaction_leaves_nothing_and_holds_nobody_up(db: TestDb) {
        let key = keys::create("first", &[Scope::Read], Timestamp::from_seconds(1)).unwrap().stored;
        let mut abandoned = db.store.begin().await.unwrap();
        key::insert(&mut abandoned, &key).await.unwrap();
        drop(abandoned);
        // Another process, such as a command line beside the server.
        let other = open::open(&db.url, 1).await.unwrap();
        let insert = async {
            let mut tx = other.begin().await.unwrap();
            key::insert(&mut tx, &key).await.unwrap();
            tx.commit().await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(3), insert).await.expect("the other process is locked out");
        assert_eq!(key::all(&mut db.store.read().await.unwrap()).await.unwrap(), [key]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_sqlite_are_their_owners_only() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("data/devpulse.db").display());
    let store = open::open(&url, 1).await.unwrap();
    let _lease = lease::take(&store, &url, "a", Timestamp::from_seconds(1)).await.unwrap().unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
        seen.push(entry.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["devpulse.db", "devpulse.db-shm", "devpulse.db-wal", "devpulse.lock"]);
}
