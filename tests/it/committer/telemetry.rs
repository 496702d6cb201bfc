//! Telemetry: keys, the journal, recovery, the three levels, retention.

use devpulse::config::model::Retention;
use devpulse::event::ErrorDelta;
use devpulse::store::materialise::Materialiser;
use devpulse::store::retention;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::support::db::on_both;

on_both! {
    async fn an_event_with_an_id_counts_once_across_groups_and_restarts(db: TestDb) {
        let item = |name: &str| (key(name), telemetry("a", 10, delta(1, 0, 5)));
        let running = Running::start(&db.store).await;
        assert_eq!(running.submit(keyed(vec![item("x"), item("y"), item("x")])).await, taken(&[], &[true, true, false]));
        assert_eq!(running.submit(keyed(vec![item("y"), item("z")])).await, taken(&[], &[false, true]));
        running.kill().await;
        let running = Running::start(&db.store).await;
        assert_eq!(running.submit(keyed(vec![item("x"), item("new")])).await, taken(&[], &[false, true]));
        running.stop().await;
        let running = Running::start(&db.store).await;
        assert_eq!(running.submit(keyed(vec![item("z"), item("new")])).await, taken(&[], &[false, false]));
        running.stop().await;
        assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)], delta(4, 0, 5));
    }

    async fn hundreds_at_once_are_summed_exactly(db: TestDb) {
        let running = Running::with(&db.store, Duration::from_millis(20), 1000).await;
        let submissions = (0..800_u64).map(|i| {
            let batch = telemetry(&format!("s-{}", i % 7), 10, delta(i, i % 3, 1_000 * i));
            // Every second has an id, and each of those comes twice.
            if i % 2 == 0 { unkeyed(batch) } else { keyed(vec![(key(&(i / 4).to_string()), batch)]) }
        });
        let submissions: Vec<Submission> = submissions.collect();
        let answers = join_all(submissions.iter().map(|submission| running.submit(submission.clone()))).await;
        let mut expected = TelemetryBatch::default();
        for (submission, answer) in submissions.iter().zip(answers) {
            let Committed::Taken { keyed, .. } = answer else { panic!("{answer:?}") };
            expected.merge(&submission.telemetry);
            submission.keyed.iter().zip(keyed).filter(|(_, new)| *new).for_each(|((_, batch), _)| expected.merge(batch));
        }
        let mut noticed = TelemetryBatch::default();
        running.stop_and_hear().await.iter().for_each(|notice| noticed.merge(&notice.telemetry));
        assert_eq!(noticed, expected);
        assert_eq!(journal_rows(&db.store).await, 0);
        let found = buckets(&db.store, 10).await;
        let expected: BTreeMap<_, _> =
            expected.deltas.into_iter().map(|((series, start), delta)| ((series.service.to_string(), start), delta)).collect();
        assert_eq!(found, expected);
    }

    async fn each_level_is_the_exact_sum_of_the_finer(db: TestDb) {
        let delta = (1_u64..1000, 0_u64..5, 0_u64..10_000_000).prop_map(|(n, errors, micros)| delta(n, errors, micros));
        let item = ("[abc]", -400_i64..800).prop_map(|(service, at)| (series(&service), at * 10));
        let batches = prop::collection::vec(prop::collection::btree_map(item, delta, 1..30), 12);
        let batches = batches.new_tree(&mut TestRunner::deterministic()).unwrap().current();
        let mut expected: BTreeMap<i32, BTreeMap<(String, i64), TelemetryDelta>> = BTreeMap::new();
        // Every batch is a commit group of its own, every third restart a materialisation of its own.
        for some in batches.chunks(3) {
            let running = Running::start(&db.store).await;
            for deltas in some {
                for ((series, start), delta) in deltas {
                    for resolution in stored::RESOLUTIONS {
                        let coarse = start - start.rem_euclid(i64::from(resolution));
                        let level = expected.entry(resolution).or_default();
                        level.entry((series.service.to_string(), coarse)).or_default().merge(delta);
                    }
                }
                running.submit(unkeyed(TelemetryBatch { deltas: deltas.clone(), ..TelemetryBatch::default() })).await;
            }
            running.stop().await;
        }
        for resolution in stored::RESOLUTIONS {
            assert_eq!(buckets(&db.store, resolution).await, expected[&resolution], "{resolution} s");
        }
    }

    async fn what_a_killed_process_left_in_the_journal_is_recovered(db: TestDb) {
        let running = Running::start(&db.store).await;
        for _ in 0..3 {
            running.submit(unkeyed(telemetry("a", 10, delta(2, 1, 700)))).await;
        }
        running.kill().await;
        assert_eq!(journal_rows(&db.store).await, 3);
        assert_eq!(buckets(&db.store, 10).await, BTreeMap::new());
        let running = Running::start(&db.store).await;
        assert_eq!(journal_rows(&db.store).await, 0);
        assert_eq!(buckets(&db.store, 10).await[&("a".to_owned(), 10)], delta(6, 3, 700));
        running.stop().await;
        assert_eq!(buckets(&db.store, 3600).await[&("a".to_owned(), 0)], delta(6, 3, 700));
    }

    async fn a_materialisation_that_breaks_off_leaves_everything_in_the_journal(db: TestDb) {
        let running = Running::start(&db.store).await;
        running.submit(unkeyed(telemetry("a", 10, delta(2, 1, 700)))).await;
        running.submit(unkeyed(telemetry("b", 10, delta(3, 0, 700)))).await;
        running.kill().await;
        // The last statement before the commit is refused: all before it must be undone.
        refuse(&db.store, "journal", "DELETE", "OLD.replica = 'test'").await;
        assert_eq!(Materialiser::default().run(&db.store).await.unwrap(), 2);
        assert_eq!(journal_rows(&db.store).await, 2);
        assert_eq!(buckets(&db.store, 10).await, BTreeMap::new());
        refuse_no_more(&db.store, "journal").await;
        assert_eq!(Materialiser::default().run(&db.store).await.unwrap(), 0);
        assert_eq!(Materialiser::default().run(&db.store).await.unwrap(), 0);
        let found = buckets(&db.store, 60).await;
        assert_eq!(found[&("a".to_owned(), 0)], delta(2, 1, 700));
        assert_eq!(found[&("b".to_owned(), 0)], delta(3, 0, 700));
    }

    async fn replicas_fold_the_same_journal_exactly_once(db: TestDb) {
        let running = Running::start(&db.store).await;
        for i in 0..40 {
            running.submit(unkeyed(telemetry("a", 10 * (i % 3), delta(1, 0, 5)))).await;
        }
        running.kill().await;
        let fold = || async { Materialiser::default().run(&db.store).await.unwrap() };
        assert_eq!(join_all((0..3).map(|_| fold())).await, [0, 0, 0]);
        let total: u64 = buckets(&db.store, 10).await.values().map(|delta| delta.requests).sum();
        assert_eq!(total, 40);
    }

    async fn a_corrupt_journal_row_stays_and_keeps_no_other(db: TestDb) {
        let running = Running::start(&db.store).await;
        for service in ["a", "b", "c"] {
            running.submit(unkeyed(telemetry(service, 10, delta(1, 0, 5)))).await;
        }
        running.kill().await;
        let corrupt = match db.store {
            Store::Sqlite { .. } => "x'01ff'",
            Store::Postgres { .. } => "'\\x01ff'",
        };
        let second = "(SELECT sequence FROM journal ORDER BY sequence LIMIT 1 OFFSET 1)";
        execute(&db.store, &format!("UPDATE journal SET payload = {corrupt} WHERE sequence = {second}")).await;
        let running = Running::start(&db.store).await;
        running.submit(unkeyed(telemetry("d", 10, delta(1, 0, 5)))).await;
        running.stop().await;
        assert_eq!(journal_rows(&db.store).await, 1);
        let services: Vec<String> = buckets(&db.store, 10).await.into_keys().map(|(service, _)| service).collect();
        assert_eq!(services, ["a", "c", "d"]);
    }

    async fn a_row_the_database_refuses_keeps_no_other(db: TestDb) {
        let running = Running::start(&db.store).await;
        for service in ["a", "poison", "c"] {
            running.submit(unkeyed(telemetry(service, 10, delta(1, 0, 5)))).await;
        }
        refuse(&db.store, "series", "INSERT", "NEW.service = 'poison'").await;
        running.stop().await;
        assert_eq!(journal_rows(&db.store).await, 1);
        refuse_no_more(&db.store, "series").await;
        Running::start(&db.store).await.stop().await;
        let services: Vec<String> = buckets(&db.store, 10).await.into_keys().map(|(service, _)| service).collect();
        assert_eq!(services, ["a", "c", "poison"]);
    }

    async fn errors_are_grouped_by_fingerprint(db: TestDb) {
        let error = |seconds, message: &str| ErrorDelta {
            level: "error".to_owned(),
            message: message.to_owned(),
            count: 2,
            first_seen: Timestamp::from_seconds(seconds),
            last_seen: Timestamp::from_seconds(seconds),
        };
        let running = Running::start(&db.store).await;
        for (seconds, message) in [(20, "middle"), (30, "last"), (10, "first")] {
            let errors = [((series("a"), "f".to_owned()), error(seconds, message))].into();
            running.submit(unkeyed(TelemetryBatch { errors, ..TelemetryBatch::default() })).await;
        }
        running.stop().await;
        let all = "SELECT fingerprint || ' ' || message || ' ' || count || ' ' || first_seen || ' ' || last_seen AS value \
             FROM error_group";
        assert_eq!(lines(&db.store, all).await, ["f last 6 10000000 30000000"]);
    }

    async fn what_is_old_is_deleted_level_by_level(db: TestDb) {
        let running = Running::start(&db.store).await;
        for service in 0..3 {
            for start in (0..7200).step_by(10) {
                running.submit(unkeyed(telemetry(&service.to_string(), start, delta(1, 0, 5)))).await;
            }
        }
        running.submit(keyed(vec![(key("old"), telemetry("0", 0, delta(1, 0, 5)))])).await;
        running.stop().await;
        let hour = Duration::from_hours(1);
        let keep = Retention { ten_seconds: hour, minutes: 2 * hour, hours: 3 * hour, messages: hour, invalid_deliveries: hour };
        let now = Timestamp::from_seconds(2 * 3600);
        let pruned = retention::prune(&db.store, &keep, hour, now).await.unwrap();
        assert_eq!((pruned.buckets, pruned.keys), (3 * 360, 1));
        let starts = |level: BTreeMap<(String, i64), TelemetryDelta>| level.into_keys().map(|(_, start)| start).min();
        assert_eq!(starts(buckets(&db.store, 10).await), Some(3600));
        assert_eq!(starts(buckets(&db.store, 60).await), Some(0));
        let pruned = retention::prune(&db.store, &keep, hour, now.plus(100 * hour)).await.unwrap();
        assert_eq!(pruned.buckets, 3 * (360 + 120 + 2));
        assert_eq!(buckets(&db.store, 3600).await, BTreeMap::new());
    }
}
