//! The plan, from every state a crash can leave.

use proptest::prelude::*;

use super::*;
use crate::rollback::policy::tests::decision;
use crate::rollback::state::{Act, HistoryEntry, first_steps};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

fn rollback(state: RollbackState) -> Rollback {
    let decision = decision();
    Rollback {
        id: "r1".to_owned(),
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        mode: decision.mode,
        state,
        deployment: decision.from.clone().unwrap().deployment,
        decision,
        history: Vec::new(),
        fencing: 1,
        decided_at: NOW,
        updated_at: NOW,
        finished_at: None,
    }
}

fn steps(states: [StepState; 4]) -> Vec<Step> {
    let mut steps = first_steps("r1", 1, NOW);
    for (step, state) in steps.iter_mut().zip(states) {
        step.state = state;
    }
    steps
}

fn running(states: [StepState; 4], superseded: bool) -> Next {
    next(&rollback(RollbackState::Running), &steps(states), in_place(superseded), NOW)
}

fn in_place(superseded: bool) -> Option<NewerState> {
    superseded.then_some(NewerState::InPlace)
}

use StepState::{Done as D, Failed as F, Pending as P, Running as R, Unknown as U};

#[test]
fn steps_follow_each_other() {
    assert_eq!(running([P, P, P, P], false), Next::Run(StepName::Route));
    assert_eq!(running([D, P, P, P], false), Next::Run(StepName::Verify));
    assert_eq!(running([D, D, P, P], false), Next::Run(StepName::Communicate));
    assert_eq!(running([D, D, D, P], false), Next::Run(StepName::Record));
    assert_eq!(running([D, D, D, D], false), Next::Finish(RollbackState::Done));
}

#[test]
fn what_a_crash_left_behind_is_read_back_before_it_is_repeated() {
    assert_eq!(running([R, P, P, P], false), Next::MarkUnknown(StepName::Route));
    assert_eq!(running([U, P, P, P], false), Next::ReadBack);
    assert_eq!(running([D, R, P, P], false), Next::MarkUnknown(StepName::Verify));
    assert_eq!(running([D, U, P, P], false), Next::Run(StepName::Verify), "it only reads");
    assert_eq!(running([D, D, D, U], false), Next::Run(StepName::Record), "its digest makes it happen once");
}

#[test]
fn without_the_switch_nothing_is_told_or_recorded() {
    assert_eq!(running([F, P, P, P], false), Next::Finish(RollbackState::Failed));
    assert_eq!(running([D, F, P, P], false), Next::Finish(RollbackState::Failed));
    assert_eq!(running([D, D, F, P], false), Next::Run(StepName::Record), "a switch nobody heard of is still recorded");
    assert_eq!(running([D, D, F, D], false), Next::Finish(RollbackState::Failed));
}

#[test]
fn a_newer_deployment_cancels_only_while_traffic_is_untouched() {
    assert_eq!(running([P, P, P, P], true), Next::Cancel);
    assert_eq!(running([R, P, P, P], true), Next::MarkUnknown(StepName::Route));
    assert_eq!(running([U, P, P, P], true), Next::ReadBack);
    assert_eq!(running([D, P, P, P], true), Next::Run(StepName::Verify));
    let proposed = rollback(RollbackState::Proposed);
    assert_eq!(next(&proposed, &steps([P, P, P, P]), in_place(true), NOW), Next::Cancel);
}

#[test]
fn a_newer_deployment_that_may_yet_fail_gives_nothing_up() {
    let under_way = Some(NewerState::UnderWay);
    let route = |states| next(&rollback(RollbackState::Running), &steps(states), under_way, NOW);
    assert_eq!(route([P, P, P, P]), Next::Wait(NOW.plus(LOOK_AGAIN)));
    assert_eq!(route([U, P, P, P]), Next::ReadBack);
    assert_eq!(route([D, P, P, P]), Next::Run(StepName::Verify));
    let mut proposed = rollback(RollbackState::Proposed);
    let until = NOW.plus(Duration::from_mins(1));
    proposed.decision.expires_at = Some(until);
    assert_eq!(next(&proposed, &[], under_way, NOW), Next::Wait(until));
    for state in [RollbackState::Failed, RollbackState::Refused] {
        assert_eq!(next(&rollback(state), &[], under_way, NOW), Next::Attention);
    }
}

#[test]
fn a_proposal_waits_and_expires() {
    let mut proposed = rollback(RollbackState::Proposed);
    let until = NOW.plus(Duration::from_mins(1));
    proposed.decision.expires_at = Some(until);
    assert_eq!(next(&proposed, &[], None, NOW), Next::Wait(until));
    assert_eq!(next(&proposed, &[], None, until), Next::Expire);
}

#[test]
fn a_failure_wants_attention_until_somebody_or_something_new_comes() {
    for state in [RollbackState::Failed, RollbackState::Refused] {
        let mut failed = rollback(state);
        assert_eq!(next(&failed, &[], None, NOW), Next::Attention);
        assert_eq!(next(&failed, &[], in_place(true), NOW), Next::Close);
        let (actor, detail) = ("k1".to_owned(), String::new());
        failed.history.push(HistoryEntry { at: NOW, actor, act: Act::Closed, detail });
        assert_eq!(next(&failed, &[], None, NOW), Next::Close);
        failed.finished_at = Some(NOW);
        assert_eq!(next(&failed, &[], in_place(true), NOW), Next::Rest);
    }
}

#[test]
fn a_step_is_not_repeated_before_its_time() {
    let mut steps = steps([U, P, P, P]);
    let due = NOW.plus(Duration::from_secs(1));
    steps[0].due_at = due;
    assert_eq!(next(&rollback(RollbackState::Running), &steps, None, NOW), Next::Wait(due));
}

#[test]
fn failures_back_off_and_come_to_an_end() {
    let failed = Ended::Failed { retry_after: None };
    let (mut now, mut attempts) = (NOW, 0);
    let state = loop {
        attempts += 1;
        let (state, due) = settle(failed, attempts, None, now);
        if state != StepState::Pending {
            break state;
        }
        assert!(due > now);
        now = due;
    };
    assert_eq!((state, attempts), (StepState::Failed, MAX_ATTEMPTS));
    assert_eq!(now.duration_since(NOW).as_millis(), 200 * (1 + 2 + 4 + 8 + 16 + 32 + 64));
}

#[test]
fn a_target_that_says_when_is_believed_within_reason() {
    let after = |seconds| settle(Ended::Failed { retry_after: Some(Duration::from_secs(seconds)) }, 1, None, NOW).1;
    assert_eq!(after(7), NOW.plus(Duration::from_secs(7)));
    assert_eq!(after(86_400), NOW.plus(LONGEST_PAUSE));
}

#[test]
fn a_working_target_is_asked_until_its_time_is_over() {
    let deadline = NOW.plus(Duration::from_secs(12));
    let (mut now, mut asked) = (NOW, 0);
    while settle(Ended::NotYet, asked + 1, Some(deadline), now).0 == StepState::Pending {
        asked += 1;
        now = settle(Ended::NotYet, asked, Some(deadline), now).1;
        assert!(now <= deadline, "the last question is asked at the deadline");
    }
    assert_eq!(now, deadline);
    assert!(asked > 5, "{asked}");
    assert_eq!(settle(Ended::Refused, 1, Some(deadline), NOW).0, StepState::Failed);
    assert_eq!(settle(Ended::Lost, 1, None, NOW).0, StepState::Unknown);
}

fn any_state() -> impl Strategy<Value = StepState> {
    prop::sample::select(StepState::ALL)
}

proptest! {
    /// Whatever is journalled, the route call is begun only from `pending`; every other doubt is
    /// read back first.
    #[test]
    fn the_call_is_never_repeated_blindly(a in any_state(), b in any_state(), c in any_state(), d in any_state(), superseded: bool) {
        let next = running([a, b, c, d], superseded);
        if next == Next::Run(StepName::Route) {
            prop_assert_eq!(a, P);
            prop_assert!(!superseded);
        }
        if next == Next::Cancel {
            prop_assert_eq!(a, P);
        }
        if next == Next::Finish(RollbackState::Done) {
            prop_assert_eq!([a, b, c, d], [D, D, D, D]);
        }
    }
}
