//! Delivery facts: duplicates, order, keys of requests, poisonous items.

use devpulse::config::model::Retention;
use devpulse::event::{ChangeEvent, DeploymentKind, IncidentEvent, IncidentStatus, Sighting};
use devpulse::ingest::committer::RequestKey;
use devpulse::store::retention;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::support::db::on_both;

on_both! {
    async fn a_fact_counts_once_within_and_across_groups(db: TestDb) {
        let running = Running::start(&db.store).await;
        let first = running.submit(facts(vec![succeeded("d-1"), succeeded("d-2"), succeeded("d-1")])).await;
        assert_eq!(first, taken(&[true, true, false], &[]));
        let second = running.submit(facts(vec![succeeded("d-2"), succeeded("d-3")])).await;
        assert_eq!(second, taken(&[false, true], &[]));
        let notices = running.stop_and_hear().await;
        let told = notices.iter().flat_map(|notice| &notice.facts).map(|fact| fact.key().id.as_str());
        assert_eq!(told.collect::<Vec<_>>(), ["d-1", "d-2", "d-3"]);
        assert_eq!(number(&db.store, "SELECT count(*) AS value FROM fact").await, 3);
        assert_eq!(number(&db.store, "SELECT count(*) AS value FROM deployment").await, 3);
    }

    async fn hundreds_at_once_are_each_answered_rightly(db: TestDb) {
        let running = Running::start(&db.store).await;
        // Every deployment is submitted twice, at the same time.
        let answers = join_all((0..600).map(|i| running.submit(facts(vec![succeeded(&format!("d-{}", i % 300))])))).await;
        let new = answers.iter().filter(|answer| **answer == taken(&[true], &[])).count();
        assert_eq!(new, 300);
        assert!(answers.iter().all(|answer| *answer == taken(&[true], &[]) || *answer == taken(&[false], &[])));
        running.stop().await;
        assert_eq!(number(&db.store, "SELECT count(*) AS value FROM deployment").await, 300);
    }

    async fn a_request_key_is_taken_once(db: TestDb) {
        let request = |name: &str, body: &str| Some(RequestKey { key: key(name), body_digest: key(body) });
        let with = |request| Submission { request, ..unkeyed(telemetry("a", 10, delta(1, 0, 5))) };
        let running = Running::start(&db.store).await;
        assert_eq!(running.submit(with(request("k", "body"))).await, taken(&[], &[]));
        assert_eq!(running.submit(with(request("k", "body"))).await, Committed::Repeated);
        assert_eq!(running.submit(with(request("k", "other"))).await, Committed::KeyReused);
        // At the same time, most of them in one group.
        let mut same = join_all((0..50).map(|_| running.submit(with(request("l", "body"))))).await;
        same.retain(|answer| *answer != Committed::Repeated);
        assert_eq!(same, [taken(&[], &[])]);
        running.kill().await;

        let running = Running::start(&db.store).await;
        assert_eq!(running.submit(with(request("k", "body"))).await, Committed::Repeated);
        // A repeated request claims none of its items' keys.
        let mut repeated = keyed(vec![(key("item"), telemetry("a", 10, delta(1, 0, 5)))]);
        repeated.request = request("k", "body");
        assert_eq!(running.submit(repeated.clone()).await, Committed::Repeated);
        repeated.request = None;
        assert_eq!(running.submit(repeated).await, taken(&[], &[true]));
        running.stop().await;
        assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)].requests, 3);
    }

    async fn a_poisonous_item_spoils_only_its_own_request(db: TestDb) {
        refuse(&db.store, "fact", "INSERT", "NEW.entity_id = 'poison'").await;
        let running = Running::start(&db.store).await;
        let names = (0..40).map(|i| if i == 17 { "poison".to_owned() } else { format!("d-{i}") });
        let answers = join_all(names.map(|name| running.committer.submit(facts(vec![succeeded(&name)])))).await;
        for (i, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(answer) => assert_eq!((answer, i != 17), (taken(&[true], &[]), true)),
                Err(SubmitError::Store(reason)) => assert!(i == 17 && reason.contains("poison"), "{i}: {reason}"),
                Err(error) => panic!("{i}: {error}"),
            }
        }
        running.stop().await;
        assert_eq!(number(&db.store, "SELECT count(*) AS value FROM fact").await, 39);
    }

    /// They are kept for a week, in case that something comes late.
    async fn old_repetitions_are_forgotten_and_what_followed_from_them_is_not(db: TestDb) {
        let running = Running::start(&db.store).await;
        let tell = async |revision: &str, day: i64| {
            let sighting = Some(Sighting { object: "object".to_owned(), reached: true });
            let event = deployment(revision, day * 86_400, DeploymentOutcome::Succeeded);
            let told = fact(DeliveryEvent::Deployment(DeploymentEvent { sighting, ..event }));
            let received_at = Timestamp::from_seconds(day * 86_400);
            running.submit(Submission { received_at, ..facts(vec![told]) }).await == taken(&[true], &[])
        };
        let rows = async || {
            let count = async |sql| number(&db.store, sql).await;
            [count("SELECT count(*) AS value FROM fact").await, count("SELECT count(*) AS value FROM deployment").await]
        };
        for (day, new) in [(1, true), (2, false), (4, false), (5, false), (20, false)] {
            assert_eq!(tell("1", day).await, new, "{day}");
        }
        assert!(tell("2", 3).await, "it comes late, and so the fourth day was a return");
        assert_eq!(rows().await, [6, 3]);
        let hour = Duration::from_hours(1);
        let keep = Retention { ten_seconds: hour, minutes: hour, hours: hour, messages: hour, invalid_deliveries: hour };
        let pruned = retention::prune(&db.store, &keep, hour, Timestamp::from_seconds(21 * 86_400)).await.unwrap();
        assert_eq!(pruned.repetitions, 2, "the second and the fifth day");
        assert!(!tell("1", 21).await);
        assert!(tell("3", 22).await);
        assert_eq!(rows().await, [6, 4]);
        running.stop().await;
    }

    async fn text_that_postgres_cannot_keep_is_kept_all_the_same(db: TestDb) {
        let running = Running::start(&db.store).await;
        let mut event = deployment("nul\0", 5, DeploymentOutcome::Failed);
        "a\0b".clone_into(&mut event.service);
        let submission = facts(vec![fact(DeliveryEvent::Deployment(event))]);
        assert_eq!(running.submit(submission).await, taken(&[true], &[]));
        let batches = ["a\0b", "a\u{fffd}b"].map(|service| telemetry(service, 10, delta(1, 0, 5)));
        for batch in batches {
            assert_eq!(running.submit(unkeyed(batch)).await, taken(&[], &[]));
        }
        running.stop().await;
        assert_eq!(lines(&db.store, "SELECT service AS value FROM deployment").await, ["a\u{fffd}b"]);
        assert_eq!(buckets(&db.store, 10).await[&("a\u{fffd}b".to_owned(), 10)].requests, 2);
    }

    async fn any_order_and_any_duplication_give_the_same_projections(db: TestDb) {
        let running = Running::start(&db.store).await;
        let mut runner = TestRunner::deterministic();
        let mut expected = None;
        for case in 0..12 {
            let source = format!("case-{case:02}");
            let told = story(&source);
            let twice: Vec<Fact> = told.iter().chain(&told).cloned().collect();
            let order = Just(twice).prop_shuffle().new_tree(&mut runner).unwrap().current();
            // Some in one request, some one by one, some at the same time.
            let (together, apart) = order.split_at(order.len() / 2);
            let (one_by_one, at_once) = apart.split_at(apart.len() / 2);
            running.submit(facts(together.to_vec())).await;
            for fact in one_by_one {
                running.submit(facts(vec![fact.clone()])).await;
            }
            join_all(at_once.iter().map(|fact| running.submit(facts(vec![fact.clone()])))).await;
            let states = projections(&db.store, &source).await;
            assert_eq!(expected.get_or_insert_with(|| states.clone()), &states, "case {case}");
        }
        running.stop().await;
    }

    async fn rows_carry_what_lists_filter_and_sort_by(db: TestDb) {
        let running = Running::start(&db.store).await;
        running.submit(facts(story("s"))).await;
        running.stop().await;
        let deployment = "SELECT service || ' ' || outcome || ' ' || kind || ' ' || started_at || ' ' || finished_at \
             || ' ' || sort_at AS value FROM deployment";
        assert_eq!(lines(&db.store, deployment).await, ["checkout succeeded hotfix 100000000 160000000 160000000"]);
        let change = "SELECT authored_at || ' ' || merged_at || ' ' || sort_at AS value FROM change";
        assert_eq!(lines(&db.store, change).await, ["10000000 50000000 50000000"]);
        let incident = "SELECT status || ' ' || started_at || ' ' || resolved_at AS value FROM incident";
        assert_eq!(lines(&db.store, incident).await, ["resolved 200000000 500000000"]);
    }
}

/// What `source` tells of one deployment, one change (under two ids) and one incident.
fn story(source: &str) -> Vec<Fact> {
    let name = |id: &str| EntityKey { source: source.to_owned(), id: id.to_owned() };
    let deployment = |seconds, outcome, change: fn(&mut DeploymentEvent)| {
        let mut event = DeploymentEvent { key: name("d"), ..deployment("d", seconds, outcome) };
        change(&mut event);
        DeliveryEvent::Deployment(event)
    };
    let change = |id: &str, seconds, authored: Option<i64>, merged: Option<i64>| {
        DeliveryEvent::Change(ChangeEvent {
            key: name(id),
            time: Timestamp::from_seconds(seconds),
            repository: format!("acme/{source}"),
            sha: "8f3c".to_owned(),
            service: None,
            authored_at: authored.map(Timestamp::from_seconds),
            committed_at: None,
            merged_at: merged.map(Timestamp::from_seconds),
            pull_request: None,
            merge: false,
            paths: vec![format!("{id}.rs")],
            push: None,
            attributes: BTreeMap::new(),
        })
    };
    let incident = |seconds, status| {
        DeliveryEvent::Incident(IncidentEvent {
            service: Some("checkout".to_owned()),
            title: Some(format!("at {seconds}")),
            ..IncidentEvent::new(name("i"), Timestamp::from_seconds(seconds), status)
        })
    };
    let events = [
        deployment(100, DeploymentOutcome::InProgress, |_| {}),
        deployment(160, DeploymentOutcome::Succeeded, |event| {
            event.kind = Some(DeploymentKind::Hotfix);
        }),
        deployment(170, DeploymentOutcome::Failed, |event| event.url = Some("https://example.com".to_owned())),
        change("one", 40, Some(10), None),
        change("two", 50, None, Some(50)),
        incident(200, IncidentStatus::Opened),
        incident(300, IncidentStatus::Resolved),
        incident(400, IncidentStatus::Reopened),
        incident(500, IncidentStatus::Resolved),
    ];
    events.into_iter().map(fact).collect()
}

/// All states told of by `source`, with the source's name taken out.
async fn projections(store: &Store, source: &str) -> Vec<String> {
    let all = format!(
        "SELECT value FROM (SELECT 1 AS n, state AS value FROM deployment WHERE source = '{source}' \
         UNION ALL SELECT 2, state FROM change WHERE repository = 'acme/{source}' \
         UNION ALL SELECT 3, state FROM incident WHERE source = '{source}') AS told ORDER BY n"
    );
    let states = lines(store, &all).await;
    assert_eq!(states.len(), 3, "{states:?}");
    states.into_iter().map(|state| state.replace(source, "SOURCE")).collect()
}
