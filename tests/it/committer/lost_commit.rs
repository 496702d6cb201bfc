//! The connection is lost while PostgreSQL commits: whether it did is found out, and nothing is
//! lost or counted twice. A proxy between DevPulse and the server cuts at the right moment.

use std::sync::atomic::Ordering;
use std::time::Duration;

use devpulse::ingest::committer::{Submission, SubmitError};

use super::{Running, buckets, delta, facts, journal_rows, succeeded, taken, telemetry, unkeyed};
use crate::support::cutting_proxy::{Cut, proxied};

fn both(name: &str) -> Submission {
    Submission { facts: vec![succeeded(name)], ..unkeyed(telemetry("a", 10, delta(1, 0, 5))) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_lost_before_or_after_the_server_did_it_counts_once() {
    let (_db, proxy, store) = proxied().await;
    let running = Running::start(&store).await;
    for (name, cut) in [("a", Cut::After), ("b", Cut::Before), ("c", Cut::After)] {
        *proxy.next.lock() = Some(cut);
        assert_eq!(running.submit(both(name)).await, taken(&[true], &[]), "{name}");
        assert!(proxy.next.lock().is_none(), "the cut took place");
        assert_eq!(running.submit(facts(vec![succeeded(name)])).await, taken(&[false], &[]));
    }
    let notices = running.stop_and_hear().await;
    assert_eq!(notices.len(), 3);
    assert_eq!(buckets(&store, 10).await[&("a".to_owned(), 10)].requests, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stays_in_doubt_is_settled_when_the_server_is_back() {
    let (_db, proxy, store) = proxied().await;
    let running = Running::start(&store).await;
    proxy.stay_away.store(true, Ordering::SeqCst);
    for (name, cut, kept) in [("a", Cut::After, true), ("b", Cut::Before, false)] {
        *proxy.next.lock() = Some(cut);
        let answer = running.committer.submit(both(name)).await;
        assert!(matches!(answer, Err(SubmitError::Store(_))), "{answer:?}");
        proxy.away.store(false, Ordering::SeqCst);
        // The client sends it again: what was kept is a duplicate.
        assert_eq!(running.submit(facts(vec![succeeded(name)])).await, taken(&[!kept], &[]), "{name}");
    }
    let notices = running.stop_and_hear().await;
    let told = notices.iter().flat_map(|notice| &notice.facts).map(|fact| fact.key().id.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(notices.iter().map(|notice| notice.telemetry.deltas.len()).sum::<usize>(), 1);
    assert_eq!(buckets(&store, 10).await[&("a".to_owned(), 10)].requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_materialisation_that_is_lost_counts_once() {
    let (_db, proxy, store) = proxied().await;
    let running = Running::with(&store, Duration::from_millis(50), 100).await;
    for (requests, cut) in [(1, Cut::After), (2, Cut::Before), (3, Cut::After)] {
        running.submit(unkeyed(telemetry("a", 10, delta(1, 0, 5)))).await;
        *proxy.next.lock() = Some(cut);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while proxy.next.lock().is_some() || journal_rows(&store).await > 0 {
            assert!(tokio::time::Instant::now() < deadline, "not materialised");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(buckets(&store, 10).await[&("a".to_owned(), 10)].requests, requests);
    }
    running.stop().await;
}
