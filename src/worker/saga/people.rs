//! What people do to rollbacks. They only write what they want; the saga, woken afterwards, acts
//! on it on whichever replica leads.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::config::model::Policy;
use crate::rollback::plan::{Newer, NewerState};
use crate::rollback::state::{Act, HistoryEntry, Rollback, RollbackState, Step, StepName, StepState};
use crate::rollback::{explain, policy};
use crate::store::{Store, StoreError, quarantine, rollback};
use crate::time::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("there is no such rollback")]
    NotFound,
    /// What the person saw is no longer so.
    #[error("{0}")]
    Conflict(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Approves a proposed rollback. Everything that made it right is asked again.
///
/// # Errors
/// [`ActError::Conflict`] when it is not proposed any more, its time is over, a newer deployment
/// has begun, its target is quarantined by now, another rollback runs in the place, or there were
/// so many of late that its policy wants a rest.
pub async fn approve(
    store: &Store,
    policies: &[Policy],
    id: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), ActError> {
    let mut tx = store.begin().await?;
    let (known, _) = rollback::load(&mut tx, id).await?.ok_or(ActError::NotFound)?;
    if known.state != RollbackState::Proposed || known.finished_at.is_some() {
        return Err(is_already(&known));
    }
    if let Some(expired) = known.decision.expires_at.filter(|at| now >= *at) {
        return Err(ActError::Conflict(format!(
            "it could be approved until {expired}; now roll back by hand, or deploy"
        )));
    }
    if let Some(newer) = rollback::newer_deployment(&mut tx, &known).await? {
        return Err(overtaken(&newer));
    }
    let held = quarantine::versions(&mut tx, (&known.service, &known.environment)).await?;
    if let Some(to) = known.decision.to.as_ref().filter(|to| held.contains(&to.version)) {
        return Err(ActError::Conflict(format!("{} is in quarantine by now", to.version)));
    }
    let place = |policy: &&Policy| policy.service == known.service && policy.environment == known.environment;
    if let Some(policy) = policies.iter().find(place) {
        let since = now.minus(policy.max_rollbacks_window.max(policy.cooldown));
        let past = rollback::past(&mut tx, (&known.service, &known.environment), &known.deployment, since).await?;
        if let Some(reason) = policy::rate(&past, policy, now) {
            return Err(ActError::Conflict(explain::reason(&reason)));
        }
    }
    let entry = HistoryEntry { at: now, actor: actor.to_owned(), act: Act::Approved, detail: String::new() };
    match rollback::change_state(&mut tx, &known, &[RollbackState::Proposed], RollbackState::Running, entry).await {
        Ok(true) => Ok(tx.commit().await?),
        Ok(false) => Err(ActError::Conflict("it is not proposed any more; look again".to_owned())),
        Err(StoreError::Query(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) => {
            Err(ActError::Conflict("another rollback runs for this service and environment".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Withdraws a rollback that has not touched traffic, or closes one that needed a person.
///
/// # Errors
/// [`ActError::Conflict`] when traffic is being moved or was, or it is over.
pub async fn cancel(store: &Store, id: &str, actor: &str, now: Timestamp) -> Result<(), ActError> {
    let mut tx = store.begin().await?;
    let (known, _) = rollback::load(&mut tx, id).await?.ok_or(ActError::NotFound)?;
    let (to, act, detail) = match known.state {
        _ if known.finished_at.is_some() || known.is_closed() => return Err(is_already(&known)),
        RollbackState::Proposed | RollbackState::Running => (RollbackState::Cancelled, Act::Cancelled, "Withdrawn"),
        RollbackState::Failed | RollbackState::Refused => (known.state, Act::Closed, "Closed"),
        _ => return Err(is_already(&known)),
    };
    let entry = HistoryEntry { at: now, actor: actor.to_owned(), act, detail: detail.to_owned() };
    if !rollback::change_state(&mut tx, &known, &[known.state], to, entry).await? {
        return Err(ActError::Conflict("it has changed meanwhile; look again".to_owned()));
    }
    // The row is locked now: no step can begin, and this is how the first one stands.
    let steps = rollback::load(&mut tx, id).await?.map(|(_, steps)| steps).unwrap_or_default();
    if to == RollbackState::Cancelled && steps.iter().any(may_have_moved_traffic) {
        return Err(ActError::Conflict("traffic is being moved already".to_owned()));
    }
    Ok(tx.commit().await?)
}

fn overtaken(newer: &Newer) -> ActError {
    let id = &newer.deployment.id;
    ActError::Conflict(match newer.state {
        NewerState::InPlace => format!("a newer deployment, {id}, is in place"),
        NewerState::UnderWay => format!("a newer deployment, {id}, is under way; if it fails, approve again"),
    })
}

fn may_have_moved_traffic(step: &Step) -> bool {
    step.step == StepName::Route && step.state != StepState::Pending
}

/// Why nothing can be done any more, and what can be done instead.
fn is_already(known: &Rollback) -> ActError {
    let what_now = match known.state {
        _ if known.is_closed() => "a person closed it, nothing is left to do",
        RollbackState::Shadowed => {
            "the policy is in shadow mode, nothing was touched and there is nothing to do; \
             set its mode to approve or automatic for the next one to act"
        }
        RollbackState::Proposed => "it is being changed; look again",
        RollbackState::Running => "traffic is being moved; `devpulse rollback show ID` says how far it is",
        RollbackState::Done => "traffic has been moved; deploy a version to move it again",
        RollbackState::Failed => "a person has to finish it by hand, then cancel closes it",
        RollbackState::Refused => "a guardrail forbade it; a person has to decide, then cancel closes it",
        RollbackState::Cancelled | RollbackState::Expired => "it will not be carried out; roll back by hand, or deploy",
    };
    ActError::Conflict(format!("this rollback is {}: {what_now}", known.state.as_str()))
}
