//! Approving, withdrawing, running out of time, being overtaken.

use std::time::Duration;

use devpulse::rollback::policy::Action;
use devpulse::rollback::state::{Act, RollbackState};
use devpulse::store::quarantine::{self, Quarantined};
use devpulse::store::rollback::{self, Filter};
use devpulse::time::Clock;
use devpulse::worker::saga;
use devpulse::worker::saga::people::{self, ActError};

use super::stage::{Answer, ENVIRONMENT, Stage, Target, decision, die_while_hanging, micros, settle, targeting};
use crate::support::db::on_both;

#[track_caller]
fn is_conflict(result: Result<(), ActError>, word: &str) {
    match result {
        Err(ActError::Conflict(why)) => assert!(why.contains(word), "{why}"),
        other => panic!("not a conflict: {other:?}"),
    }
}

/// Passes until nothing runs any more; what is proposed waits on.
async fn settle_all(deps: &saga::Deps) {
    crate::support::wait::until("the rollback to end", Duration::from_secs(20), async || {
        saga::advance(deps).await.unwrap();
        let counts = rollback::counts(&mut deps.store.read().await.unwrap()).await.unwrap();
        counts.iter().all(|(_, _, state, _)| state != "running").then_some(())
    })
    .await;
}

on_both! {
    async fn an_approval_starts_the_rollback_and_is_recorded(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Propose)).await;
        assert!(devpulse::worker::saga::advance(&deps).await.unwrap().is_some(), "due when it expires");
        assert_eq!(target.moved(), 0);
        let now = Clock::system().now();
        people::approve(&stage.store, &[], &id, "dp_anna", now).await.unwrap();
        is_conflict(people::approve(&stage.store, &[], &id, "dp_ben", now).await, "running");
        settle(&deps).await;
        let (rollback, _) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Done, 1));
        assert_eq!((rollback.history[0].act, rollback.history[0].actor.as_str()), (Act::Approved, "dp_anna"));
        assert_eq!(stage.recorded(&id).await[0]["attributes"]["approved_by"], "dp_anna");
        assert_eq!(stage.told(&id).await[0], "Approve the rollback of checkout in production: 1.4.2 → 1.4.1?");
        is_conflict(people::cancel(&stage.store, &id, "dp_ben", now).await, "done");
        assert!(matches!(people::approve(&stage.store, &[], "nope", "x", now).await, Err(ActError::NotFound)));
    }

    async fn two_approvals_at_once_start_one_rollback(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Propose)).await;
        let now = Clock::system().now();
        let both = futures_util::future::join_all((0..8).map(|n| {
            let (store, id) = (stage.store.clone(), id.clone());
            tokio::spawn(async move { people::approve(&store, &[], &id, &format!("k{n}"), now).await.is_ok() })
        })).await;
        assert_eq!(both.into_iter().filter(|approved| *approved.as_ref().unwrap()).count(), 1);
        assert_eq!(stage.load(&id).await.0.history.len(), 1);
    }

    async fn an_approval_is_refused_when_the_world_has_moved_on(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let now = Clock::system().now();
        let id = stage.decide(&deps, &decision("checkout", Action::Propose)).await;
        is_conflict(people::approve(&stage.store, &[], &id, "k", now.plus(Duration::from_secs(61))).await, "until");
        let mut tx = stage.store.begin().await.unwrap();
        let held = Quarantined {
            service: "checkout".to_owned(), environment: ENVIRONMENT.to_owned(), version: "1.4.1".to_owned(),
            reason: "bad".to_owned(), since: now, lifted_at: None, lifted_by: None,
        };
        quarantine::put(&mut tx, &held).await.unwrap();
        tx.commit().await.unwrap();
        is_conflict(people::approve(&stage.store, &[], &id, "k", now).await, "quarantine");
        let mut tx = stage.store.begin().await.unwrap();
        let place = ("checkout", ENVIRONMENT);
        assert!(quarantine::lift(&mut tx, place, "1.4.1", "dp_anna", now).await.unwrap());
        assert!(!quarantine::lift(&mut tx, place, "1.4.1", "dp_ben", now).await.unwrap(), "once");
        tx.commit().await.unwrap();
        let mut conn = stage.store.read().await.unwrap();
        let all = quarantine::list(&mut conn, true, 10).await.unwrap();
        assert_eq!(all[0].lifted_by.as_deref(), Some("dp_anna"));
        assert!(quarantine::list(&mut conn, false, 10).await.unwrap().is_empty());
        drop(conn);
        stage.deploy("checkout", "checkout-d-41", "succeeded", micros(10)).await;
        stage.deploy("checkout", "checkout-d-40", "succeeded", micros(5)).await;
        stage.deploy("checkout", "checkout-d-42", "failed", micros(20)).await;
        stage.deploy("checkout", "checkout-d-43", "in_progress", micros(30)).await;
        is_conflict(people::approve(&stage.store, &[], &id, "k", now).await, "checkout-d-43, is under way");
        saga::advance(&deps).await.unwrap();
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Proposed, "it may yet fail");
        stage.end("checkout-d-43", "succeeded").await;
        is_conflict(people::approve(&stage.store, &[], &id, "k", now).await, "checkout-d-43, is in place");
        settle(&deps).await;
        let (rollback, _) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Cancelled, 0));
        assert_eq!(stage.told(&id).await[1], "(Rollback of checkout in production cancelled)");
    }

    async fn nobody_approves_in_time(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let mut proposal = decision("checkout", Action::Propose);
        proposal.expires_at = Some(proposal.decided_at.plus(Duration::from_millis(50)));
        let id = stage.decide(&deps, &proposal).await;
        settle(&deps).await;
        let (rollback, _) = stage.load(&id).await;
        assert_eq!((rollback.state, target.moved()), (RollbackState::Expired, 0));
        assert!(rollback.finished_at.is_some());
    }

    async fn a_newer_deployment_cancels_only_what_has_not_begun(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        stage.deploy("checkout", "checkout-d-41", "succeeded", micros(10)).await;
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        stage.deploy("checkout", "checkout-d-42", "in_progress", micros(20)).await;
        saga::advance(&deps).await.unwrap();
        assert_eq!((stage.load(&id).await.0.state, target.moved()), (RollbackState::Running, 0), "it may yet fail");
        stage.end("checkout-d-42", "succeeded").await;
        settle(&deps).await;
        assert_eq!((stage.load(&id).await.0.state, target.moved()), (RollbackState::Cancelled, 0));
        // Another one, whose call was made when the newer deployment came: it goes on to its end.
        let stuck = Target::answering(&[Answer::HangAfter]);
        let deps = stage.process(targeting(&stuck));
        let mut later = decision("checkout", Action::Rollback);
        "checkout-d-42".clone_into(&mut later.from.as_mut().unwrap().deployment.id);
        let id = stage.decide(&deps, &later).await;
        die_while_hanging(deps, &stuck).await;
        stage.deploy("checkout", "checkout-d-43", "in_progress", micros(30)).await;
        settle(&stage.process(targeting(&stuck))).await;
        assert_eq!((stage.load(&id).await.0.state, stuck.moved()), (RollbackState::Done, 1));
    }

    async fn a_newer_deployment_that_fails_changes_nothing(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        stage.deploy("checkout", "checkout-d-41", "succeeded", micros(10)).await;
        let refused = stage.decide(&deps, &decision("checkout", Action::Page)).await;
        let mut other = decision("checkout", Action::Propose);
        "checkout-d-40".clone_into(&mut other.from.as_mut().unwrap().deployment.id);
        stage.deploy("checkout", "checkout-d-40", "succeeded", micros(5)).await;
        // What is proposed is to undo d-40, whose successor d-41 failed after all.
        stage.end("checkout-d-41", "failed").await;
        let proposed = stage.decide(&deps, &other).await;
        stage.deploy("checkout", "checkout-d-42", "in_progress", micros(20)).await;
        saga::advance(&deps).await.unwrap();
        stage.end("checkout-d-42", "failed").await;
        saga::advance(&deps).await.unwrap();
        assert_eq!(stage.load(&refused).await.0.finished_at, None, "a person is still wanted");
        people::approve(&stage.store, &[], &proposed, "dp_anna", Clock::system().now()).await.unwrap();
        settle(&deps).await;
        assert_eq!((stage.load(&proposed).await.0.state, target.moved()), (RollbackState::Done, 1));
    }

    /// Two proposals: the first is approved long after it was made, the second soon after that.
    async fn an_approval_counts_from_when_traffic_moved(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let now = Clock::system().now();
        let policies = crate::support::alerting::config(
            "services: [{name: checkout}]
slos: [{name: a, service: checkout, environment: production, objective: 0.99, indicator: {availability: {}}}]
rollback:
  policies:
    - {service: checkout, environment: production, mode: approve, cooldown: 30m, max_rollbacks: 2, max_rollbacks_window: 1d,
       executor: {webhook: {url: 'http://127.0.0.1:9/', secret: x}}}",
        )
        .rollback
        .policies;
        let propose = async |name: &str, minutes_ago: u64| {
            let mut proposal = decision("checkout", Action::Propose);
            name.clone_into(&mut proposal.from.as_mut().unwrap().deployment.id);
            proposal.decided_at = now.minus(Duration::from_mins(minutes_ago));
            proposal.expires_at = Some(now.plus(Duration::from_hours(48)));
            stage.decide(&deps, &proposal).await
        };
        let first = propose("d-1", 60 * 48).await;
        people::approve(&stage.store, &policies, &first, "k", now).await.unwrap();
        settle_all(&deps).await;
        assert_eq!(stage.load(&first).await.0.state, RollbackState::Done);
        let second = propose("d-2", 0).await;
        is_conflict(people::approve(&stage.store, &policies, &second, "k", now).await, "cooling down until");
        let later = now.plus(Duration::from_hours(1));
        people::approve(&stage.store, &policies, &second, "k", later).await.unwrap();
        settle_all(&deps).await;
        let third = propose("d-3", 0).await;
        let later = later.plus(Duration::from_hours(1));
        is_conflict(people::approve(&stage.store, &policies, &third, "k", later).await, "2 rollbacks within");
    }

    async fn withdrawing_is_possible_until_traffic_moves(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let now = Clock::system().now();
        let id = stage.decide(&deps, &decision("checkout", Action::Rollback)).await;
        people::cancel(&stage.store, &id, "dp_anna", now).await.unwrap();
        settle(&deps).await;
        assert_eq!((stage.load(&id).await.0.state, target.moved()), (RollbackState::Cancelled, 0));
        assert_eq!(stage.told(&id).await.len(), 2);
        let stuck = Target::answering(&[Answer::HangAfter]);
        let deps = stage.process(targeting(&stuck));
        let mut later = decision("checkout", Action::Rollback);
        "d-50".clone_into(&mut later.from.as_mut().unwrap().deployment.id);
        let id = stage.decide(&deps, &later).await;
        die_while_hanging(deps, &stuck).await;
        is_conflict(people::cancel(&stage.store, &id, "dp_anna", now).await, "being moved");
        assert_eq!(stage.load(&id).await.0.state, RollbackState::Running, "the refused act left nothing");
    }

    async fn a_refusal_is_closed_by_a_person(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let id = stage.decide(&deps, &decision("checkout", Action::Page)).await;
        let now = Clock::system().now();
        people::cancel(&stage.store, &id, "dp_anna", now).await.unwrap();
        is_conflict(people::cancel(&stage.store, &id, "dp_anna", now).await, "refused");
        settle(&deps).await;
        let (rollback, _) = stage.load(&id).await;
        assert!(rollback.state == RollbackState::Refused && rollback.finished_at.is_some());
        assert_eq!(stage.told(&id).await.len(), 2);
    }

    async fn lists_are_filtered_and_paged_without_gaps(db: TestDb) {
        let (stage, target) = (Stage::set(&db).await, Target::answering(&[]));
        let deps = stage.process(targeting(&target));
        let mut wanted = Vec::new();
        for n in 0..7 {
            let service = if n % 2 == 0 { "even" } else { "odd" };
            let mut shadow = decision(service, Action::Shadow);
            shadow.from.as_mut().unwrap().deployment.id = format!("d-{n}");
            // Equal times: the id settles the order.
            shadow.decided_at = devpulse::time::Timestamp::from_seconds(n / 3);
            let id = stage.decide(&deps, &shadow).await;
            if service == "even" {
                wanted.push((shadow.decided_at, id));
            }
        }
        wanted.sort_by(|a, b| b.cmp(a));
        let filter = Filter {
            service: Some("even".to_owned()), environment: Some(ENVIRONMENT.to_owned()),
            state: Some(RollbackState::Shadowed),
        };
        let mut conn = stage.store.read().await.unwrap();
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let page = rollback::page(&mut conn, &filter, after.as_ref(), 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.decided_at, last.id.clone()));
            got.extend(page.into_iter().map(|found| (found.decided_at, found.id)));
        }
        assert_eq!(got, wanted);
        let none = Filter { state: Some(RollbackState::Done), ..filter };
        assert!(rollback::page(&mut conn, &none, None, 10).await.unwrap().is_empty());
    }
}
