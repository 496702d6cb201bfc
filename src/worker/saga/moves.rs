//! The beginning of a rollback, and its ends. What is told commits with what it tells of.

use serde_json::json;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Communicate, Deps, Saga, SagaError};
use crate::app::StreamEvent;
use crate::rollback::message::{self, Message};
use crate::rollback::plan::Newer;
use crate::rollback::policy::Decision;
use crate::rollback::state::{Act, HistoryEntry, Rollback, RollbackState, first_steps};
use crate::store::rollback::saga;
use crate::store::{Conn, lease, rollback};

/// The actor of what DevPulse does by itself.
const DEVPULSE: &str = "devpulse";

/// Journals a decision inside the caller's transaction, with its steps and with what people are
/// told. `None` when nothing was written: the decision was to hold, this deployment was decided
/// before, or a rollback runs in the place. After the commit: [`announce`], and wake the saga.
///
/// # Errors
/// [`SagaError::Stale`] when another process leads; the database does not answer.
pub async fn intend(conn: &mut Conn, deps: &Deps, decision: &Decision) -> Result<Option<Rollback>, SagaError> {
    let Some(state) = decision.first_state() else { return Ok(None) };
    let Some(from) = &decision.from else { return Ok(None) };
    if !lease::holds(conn, deps.fencing).await? {
        return Err(SagaError::Stale);
    }
    let now = decision.decided_at;
    let new = Rollback {
        id: Uuid::now_v7().to_string(),
        service: decision.service.clone(),
        environment: decision.environment.clone(),
        mode: decision.mode,
        state,
        deployment: from.deployment.clone(),
        decision: decision.clone(),
        history: Vec::new(),
        fencing: deps.fencing,
        decided_at: now,
        updated_at: now,
        finished_at: (state == RollbackState::Shadowed).then_some(now),
    };
    let steps = match state {
        RollbackState::Running | RollbackState::Proposed => first_steps(&new.id, deps.fencing, now),
        _ => Vec::new(),
    };
    if !rollback::insert(conn, &new, &steps).await? {
        return Ok(None);
    }
    tell(conn, &deps.communicate, message::message(&new, &steps), now).await?;
    Ok(Some(new))
}

/// Counts and streams a rollback's new state, once that is on disk.
pub fn announce(stream: &broadcast::Sender<StreamEvent>, rollback: &Rollback) {
    let Rollback { id, service, environment, mode, state, decision, .. } = rollback;
    tracing::info!(rollback = id, service, environment, state = state.as_str(), "{}", decision.summary);
    if !matches!(state, RollbackState::Running | RollbackState::Proposed) {
        metrics::counter!(
            "devpulse_rollbacks_total",
            "service" => service.clone(),
            "environment" => environment.clone(),
            "mode" => mode.as_str(),
            "outcome" => state.as_str(),
        )
        .increment(1);
    }
    let data = json!({"id": id, "service": service, "environment": environment, "state": state.as_str(),
        "mode": mode.as_str(), "deployment": rollback.deployment, "summary": decision.summary});
    // Fails only when nobody listens.
    let _ = stream.send(StreamEvent { kind: "rollback", data });
}

async fn tell(
    conn: &mut Conn,
    communicate: &Communicate,
    message: Option<Message>,
    now: crate::time::Timestamp,
) -> Result<(), SagaError> {
    if let Some(message) = message {
        communicate(conn, &message, now).await?;
    }
    Ok(())
}

impl Saga<'_> {
    /// Every step has ended. What failed is told in the transaction that says so.
    pub async fn finish(&self, state: RollbackState) -> Result<(), SagaError> {
        let mut tx = self.claimed().await?;
        let now = self.now();
        let mut ended = Rollback { state, ..self.rollback.clone() };
        if state == RollbackState::Failed {
            let open = self.steps.iter().find(|step| step.state == crate::rollback::state::StepState::Failed);
            let detail = open.map_or_else(String::new, |step| format!("the step {} failed", step.step.as_str()));
            let entry = HistoryEntry { at: now, actor: DEVPULSE.to_owned(), act: Act::Failed, detail };
            ended.history.push(entry.clone());
            saga::move_on(&mut tx, self.rollback, state, entry).await?;
            tell(&mut tx, &self.deps.communicate, message::message(&ended, self.steps), now).await?;
        } else {
            saga::finish(&mut tx, &self.rollback.id, state, now).await?;
        }
        tx.commit().await?;
        announce(&self.deps.stream, &ended);
        Ok(())
    }

    /// A newer deployment succeeded before traffic was touched.
    pub async fn cancel(&self, newer: Option<&Newer>) -> Result<(), SagaError> {
        let newer = newer.map_or("another", |newer| newer.deployment.id.as_str());
        let detail = format!("A newer deployment, {newer}, is in place.");
        self.end(RollbackState::Cancelled, Act::Cancelled, detail).await
    }

    pub async fn expire(&self) -> Result<(), SagaError> {
        self.end(RollbackState::Expired, Act::Expired, "Nobody approved it in time.".to_owned()).await
    }

    async fn end(&self, state: RollbackState, act: Act, detail: String) -> Result<(), SagaError> {
        let mut tx = self.claimed().await?;
        let now = self.now();
        let entry = HistoryEntry { at: now, actor: DEVPULSE.to_owned(), act, detail };
        let mut ended = Rollback { state, ..self.rollback.clone() };
        ended.history.push(entry.clone());
        saga::move_on(&mut tx, self.rollback, state, entry).await?;
        tell(&mut tx, &self.deps.communicate, message::message(&ended, self.steps), now).await?;
        saga::finish(&mut tx, &self.rollback.id, state, now).await?;
        tx.commit().await?;
        announce(&self.deps.stream, &ended);
        Ok(())
    }

    /// A person, or a newer deployment, made it need nobody any more: says so, and is finished.
    pub async fn close(&self) -> Result<(), SagaError> {
        let mut tx = self.claimed().await?;
        let now = self.now();
        tell(&mut tx, &self.deps.communicate, message::closed(self.rollback, self.steps), now).await?;
        saga::finish(&mut tx, &self.rollback.id, self.rollback.state, now).await?;
        tx.commit().await?;
        if self.rollback.state == RollbackState::Cancelled {
            announce(&self.deps.stream, self.rollback);
        }
        Ok(())
    }
}
