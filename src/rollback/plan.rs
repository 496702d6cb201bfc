//! How a rollback goes on from what is journalled: a pure function of the rows and the time.
//!
//! **Invariant:** a step whose effect may have happened (`running` left behind, `unknown`) is
//! never repeated before the target's state was read back.

use std::time::Duration;

use super::state::{Rollback, RollbackState, Step, StepName, StepState};
use crate::event::EntityKey;
use crate::time::Timestamp;

/// How often a newer deployment that is under way is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often a step is tried before people are called: about 25 seconds for a call that fails at once.
pub const MAX_ATTEMPTS: u32 = 8;

/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pauses between questions to the target while it works.
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// A deployment in the same place, after the one to be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    pub deployment: EntityKey,
    pub state: NewerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewerState {
    /// It may yet fail: nothing is begun, and nothing is given up.
    UnderWay,
    /// It succeeded: the deployment to be undone is not what runs.
    InPlace,
}

/// What the rollback needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, ever.
    Rest,
    /// Nothing until somebody acts; look again when woken.
    Attention,
    /// Nothing before this time.
    Wait(Timestamp),
    /// Begin the step (again).
    Run(StepName),
    /// The step was begun and nothing is known of its end: say so.
    MarkUnknown(StepName),
    /// Read the target's state, to learn whether the route call took effect.
    ReadBack,
    /// Every step has ended; with [`RollbackState::Failed`] people are needed.
    Finish(RollbackState),
    /// A newer deployment succeeded and traffic was not touched.
    Cancel,
    /// Nobody approved in time.
    Expire,
    /// Nothing more to do but to say that attention is no longer needed.
    Close,
}

/// `newer`: of a newer deployment in the same place. `steps` in their order.
pub fn next(rollback: &Rollback, steps: &[Step], newer: Option<NewerState>, now: Timestamp) -> Next {
    let superseded = newer == Some(NewerState::InPlace);
    if rollback.finished_at.is_some() {
        return Next::Rest;
    }
    match rollback.state {
        RollbackState::Proposed => match rollback.decision.expires_at {
            _ if superseded => Next::Cancel,
            Some(expires) if now < expires => Next::Wait(expires),
            _ => Next::Expire,
        },
        RollbackState::Running => running(steps, newer, now),
        RollbackState::Failed | RollbackState::Refused if superseded || rollback.is_closed() => Next::Close,
        RollbackState::Failed | RollbackState::Refused => Next::Attention,
        RollbackState::Done | RollbackState::Cancelled | RollbackState::Expired | RollbackState::Shadowed => {
            Next::Close
        }
    }
}

fn running(steps: &[Step], newer: Option<NewerState>, now: Timestamp) -> Next {
    let mut failed = false;
    for step in steps {
        let route = step.step == StepName::Route;
        return match step.state {
            StepState::Done => continue,
            // Without the switch there is nothing to tell of or to record; the other steps stand alone.
            StepState::Failed if route || step.step == StepName::Verify => Next::Finish(RollbackState::Failed),
            StepState::Failed => {
                failed = true;
                continue;
            }
            StepState::Running => Next::MarkUnknown(step.step),
            StepState::Pending if route && newer == Some(NewerState::InPlace) => Next::Cancel,
            StepState::Pending if route && newer.is_some() => Next::Wait(now.plus(LOOK_AGAIN)),
            StepState::Pending | StepState::Unknown if now < step.due_at => Next::Wait(step.due_at),
            StepState::Unknown if route => Next::ReadBack,
            StepState::Pending | StepState::Unknown => Next::Run(step.step),
        };
    }
    Next::Finish(if failed { RollbackState::Failed } else { RollbackState::Done })
}

/// How a step ended, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The target works on it; ask again.
    NotYet,
    /// Nothing happened, and the same call may succeed later.
    Failed {
        retry_after: Option<Duration>,
    },
    /// The effect may have happened.
    Lost,
    /// The same call would be refused again.
    Refused,
}

/// The state of a step after its attempt number `attempt` (from 1), and when it is due again.
///
/// `give_up_at` is when a target that is still working counts as failed.
pub fn settle(ended: Ended, attempt: u32, give_up_at: Option<Timestamp>, now: Timestamp) -> (StepState, Timestamp) {
    let late = give_up_at.is_some_and(|at| now >= at);
    // A deadline replaces the limit on attempts: a target is asked as long as it may take.
    let spent = if give_up_at.is_some() { late } else { attempt >= MAX_ATTEMPTS };
    let later = now.plus(match ended {
        Ended::Failed { retry_after: Some(after) } => after.min(LONGEST_PAUSE),
        Ended::NotYet => pause(attempt).min(LONGEST_POLL),
        _ => pause(attempt),
    });
    let due = give_up_at.filter(|_| !late).map_or(later, |at| later.min(at));
    match ended {
        Ended::Done => (StepState::Done, now),
        Ended::Refused => (StepState::Failed, now),
        Ended::NotYet | Ended::Failed { .. } | Ended::Lost if spent => (StepState::Failed, now),
        Ended::NotYet | Ended::Failed { .. } => (StepState::Pending, due),
        Ended::Lost => (StepState::Unknown, due),
    }
}

fn pause(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
