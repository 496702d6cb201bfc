//! Crashes at every point, every step failing in turn, everything run twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devpulse::rollback::executor::Executor;
use devpulse::rollback::policy::Action;
use devpulse::rollback::state::RollbackState;
use devpulse::store::quarantine;
use devpulse::worker::saga;

use super::stage::{Answer, ENVIRONMENT, Stage, Target, decision, die_after, executors, is_stale, settle, targeting};
use crate::support::db::on_both;

const ROLLING: &str = "Rolling back checkout in production: 1.4.2 → 1.4.1";
const ROLLED: &str = "(Rolled back checkout in production: 1.4.2 → 1.4.1)";

on_both! {
    async fn a_rollback_runs_once_however_often_it_is_advanced(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        let passes = (0..4).map(|_| saga::advance(&deps));
        for ended in futures_util::future::join_all(passes).await {
            ended.unwrap();
        }
        for _ in 0..3 {
            settle(&stage.process(targeting(&target))).await;
        }
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Done, 1));
        assert!(rollback.finished_at.is_some() && steps.iter().all(|step| step.attempt == 1), "{steps:?}");
        assert_eq!(stage.told(&id).await, [ROLLING, ROLLED]);
        let recorded = stage.recorded(&id).await;
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0]["kind"], "rollback");
        assert_eq!(recorded[0]["version"], "1.4.1");
        assert_eq!(recorded[0]["outcome"], "succeeded");
        assert_eq!(recorded[0]["rolls_back"], serde_json::json!({"source": "ci", "id": "checkout-d-41"}));
        assert_eq!(recorded[0]["started_at"], rollback.decided_at.to_string());
        assert_eq!(recorded[0]["time"], steps[1].finished_at.unwrap().to_string());
        let mut conn = stage.store.read().await.unwrap();
        let held = quarantine::versions(&mut conn, ("checkout", ENVIRONMENT)).await.unwrap();
        assert!(held.contains("1.4.2") && held.len() == 1, "{held:?}");
    }

    /// The process dies at every point at which it can be interrupted, one after the other; a new
    /// one takes up what it left.
    async fn a_crash_at_any_point_repeats_no_effect(db: TestDb) {
        let stage = Stage::set(&db).await;
        let (mut lives, mut interrupted) = (0, std::collections::BTreeSet::new());
        // It dies, among other places, with each effect under way. Where a poll ends is up to the
        // machine, so that one sweep may miss one of them.
        let effects = ["running pending pending pending", "done running pending pending", "done done done running"];
        for _ in 0..10 {
            for polls in 1.. {
                lives += 1;
                let service = format!("s{lives}");
                let target = Target::answering(&[]);
                let place = || executors(&service, Arc::clone(&target) as Arc<dyn Executor>, Duration::from_secs(5));
                let deps = stage.process(place());
                let id = stage.decide(&deps, &decision(&service, Action::Rollback)).await;
                let whole = die_after(polls, saga::advance(&deps)).await;
                drop(deps);
                interrupted.insert(stage.steps(&id).await);
                settle(&stage.process(place())).await;
                let (rollback, steps) = stage.load(&id).await;
                assert_eq!(rollback.state, RollbackState::Done, "after {polls} polls: {steps:?}");
                assert_eq!(target.moved(), 1, "after {polls} polls: {steps:?}");
                assert_eq!(stage.recorded(&id).await.len(), 1, "after {polls} polls");
                assert_eq!(stage.told(&id).await.len(), 2, "after {polls} polls");
                if whole.is_some() {
                    break;
                }
            }
            if effects.iter().all(|state| interrupted.contains(*state)) {
                return;
            }
        }
        panic!("not every one of {effects:?} was met: {interrupted:?}");
    }

    async fn a_lost_answer_is_read_back_and_not_repeated(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[Answer::LostAfter]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Done, 1));
        assert_eq!(steps[0].response.as_ref().unwrap()["read_back"], "switched");
    }

    async fn a_call_that_did_not_arrive_is_repeated(db: TestDb) {
        let script = [Answer::Away, Answer::LostBefore, Answer::Away];
        let (stage, target) = (Stage::set(&db).await, Target::answering(&script));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved(), steps[0].attempt), (RollbackState::Done, 1, 4));
    }

    async fn a_refused_call_calls_a_person_at_once(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[Answer::Refuse]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        let (rollback, _) = stage.load(&id).await;
        assert_eq!((rollback.state, rollback.finished_at), (RollbackState::Failed, None));
        assert_eq!(stage.steps(&id).await, "failed pending pending pending");
        let needs = "Rollback of checkout in production needs a person: 1.4.2 → 1.4.1";
        assert_eq!(stage.told(&id).await, [ROLLING, needs]);
        assert!(stage.recorded(&id).await.is_empty());
        // A newer deployment ends the alarm.
        stage.deploy("checkout", "checkout-d-41", "succeeded", 1).await;
        stage.deploy("checkout", "checkout-d-42", "succeeded", 2).await;
        settle(&deps).await;
        assert_eq!(stage.told(&id).await[2], format!("({needs})"));
        assert!(stage.load(&id).await.0.finished_at.is_some());
    }

    async fn a_target_that_never_confirms_calls_a_person(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        target.stubborn.store(true, Ordering::SeqCst);
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&deps).await;
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Failed);
        assert_eq!(stage.steps(&id).await, "done failed pending pending");
        assert_eq!(target.moved(), 1);
        assert!(target.asked.load(Ordering::SeqCst) > 2, "it was asked until its time was over");
    }

    async fn telling_and_recording_are_retried(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        stage.faults.telling.store(2, Ordering::SeqCst);
        stage.faults.recording.store(2, Ordering::SeqCst);
        settle(&deps).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Done, 1));
        assert_eq!((steps[2].attempt, steps[3].attempt), (3, 3));
        assert_eq!(stage.told(&id).await, [ROLLING, ROLLED], "what failed left nothing behind");
        assert_eq!(stage.recorded(&id).await.len(), 1);
    }

    async fn a_hanging_target_holds_up_nobody_else(db: TestDb) {
        let stage = Stage::set(&db).await;
        let (stuck, other) = (Target::answering(&[Answer::HangAfter]), Target::answering(&[]));
        let mut both = executors("stuck", Arc::clone(&stuck) as Arc<dyn Executor>, Duration::from_secs(5));
        both.insert("other", ENVIRONMENT, devpulse::rollback::executor::Route {
            executor: Arc::clone(&other) as Arc<dyn Executor>,
            verify_timeout: Duration::from_secs(5),
        });
        let deps = Arc::new(stage.process(both));
        let wake = Arc::new(tokio::sync::Notify::new());
        let worker = tokio::spawn(saga::run(Arc::clone(&deps), Arc::clone(&wake)));
        let hanging = stage.decide(&deps, &decision("stuck", Action::Rollback)).await;
        wake.notify_one();
        tokio::time::timeout(Duration::from_secs(10), async {
            while stuck.moved() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }).await.unwrap();
        let id = stage.decide(&deps, &decision("other", Action::Rollback)).await;
        wake.notify_one();
        tokio::time::timeout(Duration::from_secs(10), async {
            while stage.load(&id).await.0.state != RollbackState::Done {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }).await.unwrap();
        assert_eq!(stage.steps(&hanging).await, "running pending pending pending");
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        // The process is gone: the next one reads back what the hanging call did.
        let (place, next) = (executors("stuck", Arc::clone(&stuck) as Arc<dyn Executor>, Duration::from_secs(5)), &stage);
        let deps = next.process(place);
        settle(&deps).await;
        assert_eq!((stage.load(&hanging).await.0.state, stuck.moved()), (RollbackState::Done, 1));
        assert!(!is_stale(&deps).await);
    }

    async fn without_its_executor_a_rollback_calls_a_person(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        settle(&stage.process(devpulse::rollback::executor::Executors::default())).await;
        assert_eq!((stage.load(&id).await.0.state, target.moved()), (RollbackState::Failed, 0));
    }
}
