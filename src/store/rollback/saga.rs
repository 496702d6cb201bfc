//! The writes of the saga. Each is refused when it comes from a leader that is no longer one:
//! the lease is asked in the same transaction, and no row that a newer leader has touched changes.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::{change_state, text};
use crate::rollback::state::{HistoryEntry, Rollback, RollbackState, Step, StepName, StepState};
use crate::store::conn::on_conn;
use crate::store::schema::{rollback, rollback_step};
use crate::store::{Conn, StoreError, lease};
use crate::time::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    /// Another process leads now, or somebody changed the rollback meanwhile: look again.
    #[error("the rollback is no longer in this process's hands")]
    Stale,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for SagaError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Makes the rollback's row this leader's and locks it until the transaction ends: what is read
/// afterwards in the transaction stays as it is.
///
/// # Errors
/// [`SagaError::Stale`] when `fencing` is not the newest, or the rollback is not in state `expected`.
pub async fn claim(
    conn: &mut Conn,
    id: &str,
    expected: RollbackState,
    fencing: i64,
    now: Timestamp,
) -> Result<(), SagaError> {
    if !lease::holds(conn, fencing).await? {
        return Err(SagaError::Stale);
    }
    let claimed = on_conn!(conn, |c| diesel::update(rollback::table.find(id))
        .filter(rollback::state.eq(expected.as_str()))
        .filter(rollback::finished_at.is_null())
        .filter(rollback::fencing.le(fencing))
        .set((rollback::fencing.eq(fencing), rollback::updated_at.eq(now.micros())))
        .execute(c)
        .await)?;
    if claimed == 1 { Ok(()) } else { Err(SagaError::Stale) }
}

/// Writes the intent to run a step: `running`, one more attempt, and what will be sent. `known` is
/// the step as it was read; when it has moved on since, nothing is written.
///
/// # Errors
/// [`SagaError::Stale`] when the step is no longer as it was.
pub async fn begin(
    conn: &mut Conn,
    id: &str,
    known: &Step,
    request: Option<&Value>,
    fencing: i64,
    now: Timestamp,
) -> Result<(), SagaError> {
    let request = request.map(|request| text("step", request)).transpose()?;
    let attempt = i32::try_from(known.attempt).unwrap_or(i32::MAX);
    let begun = on_conn!(conn, |c| diesel::update(rollback_step::table.find((id, known.step.as_str())))
        .filter(rollback_step::state.eq(known.state.as_str()))
        .filter(rollback_step::attempt.eq(attempt))
        .filter(rollback_step::fencing.le(fencing))
        .set((
            rollback_step::state.eq(StepState::Running.as_str()),
            rollback_step::attempt.eq(attempt.saturating_add(1)),
            rollback_step::fencing.eq(fencing),
            rollback_step::started_at.eq(known.started_at.unwrap_or(now).micros()),
            rollback_step::request.eq(request),
        ))
        .execute(c)
        .await)?;
    if begun == 1 { Ok(()) } else { Err(SagaError::Stale) }
}

/// How a step stands after an attempt.
#[derive(Debug, Clone)]
pub struct Settled {
    pub step: StepName,
    pub state: StepState,
    pub due_at: Timestamp,
    pub attempt: u32,
    /// `None` leaves the journalled answer as it is.
    pub response: Option<Value>,
}

/// Writes how a step stands, out of one of the states `from`.
///
/// # Errors
/// [`SagaError::Stale`] when the step is in none of them, or a newer leader's.
pub async fn settle(
    conn: &mut Conn,
    id: &str,
    from: &[StepState],
    settled: &Settled,
    fencing: i64,
    now: Timestamp,
) -> Result<(), SagaError> {
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let ended = matches!(settled.state, StepState::Done | StepState::Failed);
    let response = settled.response.as_ref().map(|response| text("step", response)).transpose()?;
    let target = (id, settled.step.as_str());
    let changed = on_conn!(conn, |c| diesel::update(rollback_step::table.find(target))
        .filter(rollback_step::state.eq_any(from))
        .filter(rollback_step::fencing.le(fencing))
        .set((
            rollback_step::state.eq(settled.state.as_str()),
            rollback_step::fencing.eq(fencing),
            rollback_step::attempt.eq(i32::try_from(settled.attempt).unwrap_or(i32::MAX)),
            rollback_step::due_at.eq(settled.due_at.micros()),
            rollback_step::finished_at.eq(ended.then(|| now.micros())),
            // diesel leaves a column alone where the value is `None`.
            response.map(|response| rollback_step::response.eq(response)),
        ))
        .execute(c)
        .await)?;
    if changed == 1 { Ok(()) } else { Err(SagaError::Stale) }
}

/// Moves a claimed rollback on, with an entry in its history.
///
/// # Errors
/// [`SagaError::Stale`] when it is not in state `from` any more.
pub async fn move_on(
    conn: &mut Conn,
    known: &Rollback,
    to: RollbackState,
    entry: HistoryEntry,
) -> Result<(), SagaError> {
    if change_state(conn, known, &[known.state], to, entry).await? { Ok(()) } else { Err(SagaError::Stale) }
}

/// The saga has nothing left to do or to tell.
///
/// # Errors
/// [`SagaError::Stale`] when that was written before.
pub async fn finish(conn: &mut Conn, id: &str, state: RollbackState, now: Timestamp) -> Result<(), SagaError> {
    let finished = on_conn!(conn, |c| diesel::update(rollback::table.find(id))
        .filter(rollback::finished_at.is_null())
        .set((
            rollback::state.eq(state.as_str()),
            rollback::finished_at.eq(now.micros()),
            rollback::updated_at.eq(now.micros())
        ))
        .execute(c)
        .await)?;
    if finished == 1 { Ok(()) } else { Err(SagaError::Stale) }
}
