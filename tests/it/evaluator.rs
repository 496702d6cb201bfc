//! The evaluator: alerts across lost commits, windows across reloads, what it streams.

use devpulse::alert::{Change, Condition};
use devpulse::config::model::Severity::Page;
use devpulse::store::alert::{self, Routing};
use devpulse::store::{lease, outbox};
use devpulse::worker::alert_book::AlertBook;

use crate::support::alerting::{CLEAR, at, fires, look, unreachable};
use crate::support::cutting_proxy::{Cut, proxied};

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
    let standing = async || alert::active_of(&mut db.store.read().await.unwrap(), "burn_rate:availability").await.unwrap();

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
