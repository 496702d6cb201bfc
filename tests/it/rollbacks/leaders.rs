//! Two leaders: the one with the older number can write nothing and begin nothing.

use std::sync::Arc;
use std::time::Duration;

use devpulse::rollback::policy::Action;
use devpulse::rollback::state::RollbackState;
use devpulse::worker::saga::{self, SagaError};

use super::stage::{Answer, Stage, Target, decision, is_stale, settle, take, targeting};
use crate::support::db::on_both;

on_both! {
    async fn a_former_leader_is_refused(db: TestDb) {
        let (mut stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let old = stage.process(targeting(&target));
        let id = stage.decide(&old, &decision("checkout", Action::Rollback)).await;
        stage.lease = {
            drop(stage.lease);
            take(&db.store, &db.url).await
        };
        assert!(is_stale(&old).await);
        assert_eq!(target.moved(), 0);
        let mut tx = stage.store.begin().await.unwrap();
        let refused = saga::intend(&mut tx, &old, &decision("other", Action::Rollback)).await;
        assert!(matches!(refused, Err(SagaError::Stale)));
        drop(tx);
        settle(&stage.process(targeting(&target))).await;
        assert_eq!((stage.load(&id).await.0.state, target.moved()), (RollbackState::Done, 1));
    }

    async fn a_leader_that_lost_its_place_during_the_call_writes_nothing(db: TestDb) {
        let (mut stage, target) = (Stage::set(&db).await, Target::answering(&[Answer::HangAfter]));
        let old = Arc::new(stage.process(targeting(&target)));
        let id = stage.decide(&old, &decision("checkout", Action::Rollback)).await;
        let hanging = tokio::spawn({ let old = Arc::clone(&old); async move { saga::advance(&old).await } });
        tokio::time::timeout(Duration::from_secs(10), async {
            while target.moved() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }).await.unwrap();
        stage.lease = {
            drop(stage.lease);
            take(&db.store, &db.url).await
        };
        settle(&stage.process(targeting(&target))).await;
        let (rollback, steps) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Done, 1));
        assert!(steps.iter().all(|step| step.fencing == stage.lease.fencing), "{steps:?}");
        hanging.abort();
        assert!(is_stale(&old).await);
        assert_eq!(stage.load(&id).await.0, rollback, "the former leader changed nothing");
    }

    async fn a_deployment_is_decided_once_and_a_place_rolls_back_one_at_a_time(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let first = decision("checkout", Action::Rollback);
        stage.decide(&deps, &first).await;
        assert_eq!(stage.try_decide(&deps, &first).await, None, "decided before");
        let mut second = first.clone();
        "d-99".clone_into(&mut second.from.as_mut().unwrap().deployment.id);
        assert_eq!(stage.try_decide(&deps, &second).await, None, "one runs there");
        settle(&deps).await;
        assert!(stage.try_decide(&deps, &second).await.is_some());
        let hold = decision("checkout", Action::Hold);
        assert_eq!(stage.try_decide(&deps, &hold).await, None);
    }

    async fn a_shadow_is_finished_and_silent_and_a_refusal_calls_a_person(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let shadow = stage.decide(&deps, &decision("checkout", Action::Shadow)).await;
        let refused = stage.decide(&deps, &decision("cart", Action::Page)).await;
        settle(&deps).await;
        let (rollback, steps) = stage.load(&shadow).await;
        assert!(rollback.state == RollbackState::Shadowed && rollback.finished_at.is_some() && steps.is_empty());
        assert!(stage.told(&shadow).await.is_empty());
        assert_eq!(stage.told(&refused).await, ["cart in production: 1.4.2 is worse, not rolled back"]);
        assert_eq!((stage.load(&refused).await.0.finished_at, target.moved()), (None, 0));
    }
}
