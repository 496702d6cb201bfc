//! The store itself: migrations on both back ends, transactions, the right to act.

use devpulse::store::lease;
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

    async fn a_dropped_transaction_leaves_nothing(db: TestDb) {
        let abandoned = db.store.begin().await.unwrap();
        drop(abandoned);
        let again = db.store.begin().await.unwrap();
        again.commit().await.unwrap();
    }
}
