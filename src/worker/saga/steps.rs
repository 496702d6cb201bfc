//! The four steps: what each does, and what is written before and after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Saga, SagaError};
use crate::config::model::Mode;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, EntityKey, TelemetryBatch};
use crate::ingest::committer::{Committed, Fact, Submission};
use crate::rollback::executor::{Call, ExecutorError, Observed, Route};
use crate::rollback::message;
use crate::rollback::plan::{self, Ended};
use crate::rollback::state::{Act, Step, StepName, StepState, UNKNOWN};
use crate::store::quarantine::{self, Quarantined};
use crate::store::rollback::saga::Settled;
use crate::store::rollback::{SOURCE, saga};
use crate::time::Timestamp;

impl Saga<'_> {
    pub async fn mark_unknown(&self, name: StepName) -> Result<(), SagaError> {
        let step = self.step(name)?;
        let lost = Settled {
            step: name,
            state: StepState::Unknown,
            due_at: self.now(),
            attempt: step.attempt,
            response: Some(json!({"error": "the process stopped before the end of the step was known"})),
        };
        tracing::warn!(rollback = self.rollback.id, step = name.as_str(), "a step was left behind; its end is unknown");
        self.settle(&[StepState::Running], lost).await
    }

    /// Moves traffic.
    pub async fn route(&self) -> Result<(), SagaError> {
        let step = self.step(StepName::Route)?;
        let (route, call) = match self.target(step) {
            Ok(target) => target,
            Err(reason) => return self.fail_at_once(step, reason).await,
        };
        let attempt = self.begin(step, Some(&route.executor.describe(&call))).await?;
        if attempt == 1 && self.rollback.mode == Mode::Automatic {
            let latency = self.rollback.decision.latency_seconds(self.now());
            metrics::histogram!("devpulse_rollback_decision_seconds").record(latency);
        }
        let (ended, response) = match route.executor.roll_back(&call).await {
            Ok(accepted) => (Ended::Done, json!({"answer": accepted.response, "poll_url": accepted.poll_url})),
            Err(error) => failed(&error),
        };
        self.settle(&[StepState::Running], self.settled(step.step, ended, attempt, None, response)).await
    }

    /// Learns whether a route call whose end is unknown took effect, before it may be repeated.
    pub async fn read_back(&self, overtaken: bool) -> Result<(), SagaError> {
        let step = self.step(StepName::Route)?;
        let (route, call) = match self.target(step) {
            Ok(target) => target,
            Err(reason) => return self.fail_at_once(step, reason).await,
        };
        let (ended, response) = match route.executor.read_back(&call, None).await {
            Ok(Observed::Switched | Observed::Working) => (Ended::Done, json!({"read_back": "switched"})),
            Ok(Observed::NotSwitched) => {
                let again = Ended::Failed { retry_after: Some(Duration::ZERO) };
                (again, json!({"error": "read back: the switch did not happen"}))
            }
            Ok(Observed::Failed(reason)) => failed(&ExecutorError::Refused(reason)),
            // Repeating the call could undo the newer deployment: a person has to look.
            Ok(Observed::Unreadable) if overtaken => {
                unknown_for_good("nobody knows whether the call took effect, and a newer deployment has begun")
            }
            Ok(Observed::Unreadable) if step.attempt >= plan::MAX_ATTEMPTS => unknown_for_good(&format!(
                "the target never gave an answer that could be understood; {}",
                last_error(step).unwrap_or("nothing arrived")
            )),
            // The same key again: a target that has seen it answers for the first call.
            Ok(Observed::Unreadable) => return self.route().await,
            Err(error) => failed(&ExecutorError::Lost(format!("the target's state cannot be read: {error}"))),
        };
        // Counted as an attempt, so that a target that cannot be read comes to an end.
        let attempt = step.attempt.saturating_add(u32::from(matches!(ended, Ended::Lost)));
        self.settle(&[StepState::Unknown], self.settled(step.step, ended, attempt, None, response)).await
    }

    /// Waits for the target to say that it is done.
    pub async fn verify(&self) -> Result<(), SagaError> {
        let step = self.step(StepName::Verify)?;
        let routed = self.step(StepName::Route)?;
        let (route, call) = match self.target(routed) {
            Ok(target) => target,
            Err(reason) => return self.fail_at_once(step, reason).await,
        };
        let attempt = self.begin(step, None).await?;
        let give_up_at = step.started_at.unwrap_or_else(|| self.now()).plus(route.verify_timeout);
        let poll_url = routed.response.as_ref().and_then(|response| response.get("poll_url")?.as_str());
        let not_yet = |what: &str| {
            let error = format!("{what} after {} seconds", route.verify_timeout.as_secs());
            (Ended::NotYet, json!({"error": error}))
        };
        let (ended, response) = match route.executor.read_back(&call, poll_url).await {
            Ok(Observed::Switched) => (Ended::Done, json!({"read_back": "switched"})),
            // It answered `done` to the call, and that is all it can say.
            Ok(Observed::Unreadable) => (Ended::Done, json!({"read_back": "the answer to the call stands"})),
            Ok(Observed::NotSwitched) => not_yet("the target did not serve the version"),
            Ok(Observed::Working) => not_yet("the target was not done"),
            Ok(Observed::Failed(reason)) => failed(&ExecutorError::Refused(reason)),
            // A question without an answer may be asked again, whatever went wrong.
            Err(error) => failed(&ExecutorError::NotDone { reason: error.to_string(), retry_after: None }),
        };
        let settled = self.settled(step.step, ended, attempt, Some(give_up_at), response);
        self.settle(&[StepState::Running], settled).await
    }

    /// Tells people that traffic was moved. One transaction: told and written, or neither.
    pub async fn communicate(&self) -> Result<(), SagaError> {
        let step = self.step(StepName::Communicate)?;
        let mut tx = self.claimed().await?;
        let now = self.now();
        let attempt = step.attempt.saturating_add(1);
        saga::begin(&mut tx, &self.rollback.id, step, None, self.deps.fencing, now).await?;
        let told = match message::switched(self.rollback, self.steps) {
            Some(message) => (self.deps.communicate)(&mut tx, &message, now).await,
            None => Ok(()),
        };
        if let Err(error) = told {
            // Nothing of this transaction is kept.
            tx.roll_back().await.ok();
            let (ended, response) = failed(&ExecutorError::NotDone { reason: error.to_string(), retry_after: None });
            let settled = self.settled(step.step, ended, attempt, None, response);
            return self.settle(&[step.state], settled).await;
        }
        let settled = self.settled(step.step, Ended::Done, attempt, None, json!({"told": true}));
        saga::settle(&mut tx, &self.rollback.id, &[StepState::Running], &settled, self.deps.fencing, now).await?;
        Ok(tx.commit().await?)
    }

    /// Makes the rollback a deployment and puts the bad version in quarantine.
    pub async fn record(&self) -> Result<(), SagaError> {
        let step = self.step(StepName::Record)?;
        let event = match self.deployment() {
            Ok(event) => event,
            Err(reason) => return self.fail_at_once(step, reason).await,
        };
        let raw = serde_json::to_vec(&event).unwrap_or_default();
        let digest = Sha256::digest(format!("{SOURCE}\n{}", self.rollback.id)).into();
        let submission = Submission {
            received_at: self.now(),
            request: None,
            facts: vec![Fact { event, digest, raw, alarm: false }],
            telemetry: TelemetryBatch::default(),
            keyed: Vec::new(),
        };
        let attempt = self.begin(step, None).await?;
        let (ended, response) = match (self.deps.submit)(submission).await {
            Ok(Committed::Taken { facts, .. }) => (Ended::Done, json!({"new": facts.first()})),
            Ok(Committed::Repeated | Committed::KeyReused) => (Ended::Done, json!({"new": false})),
            Err(error) => failed(&ExecutorError::NotDone { reason: error.to_string(), retry_after: None }),
        };
        let settled = self.settled(step.step, ended, attempt, None, response);
        let mut tx = self.claimed().await?;
        if ended == Ended::Done {
            quarantine::put(&mut tx, &self.bad_version()).await?;
        }
        let id = &self.rollback.id;
        saga::settle(&mut tx, id, &[StepState::Running], &settled, self.deps.fencing, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// The rollback as a deployment: the same at every attempt.
    fn deployment(&self) -> Result<DeliveryEvent, String> {
        let to = self.rollback.decision.to.as_ref().ok_or("the rollback has no target")?;
        let verified = self.steps.iter().find(|step| step.step == StepName::Verify);
        let finished = verified.and_then(|step| step.finished_at).ok_or("the switch was never confirmed")?;
        let mut attributes = BTreeMap::from([("mode".to_owned(), self.rollback.decision.mode.as_str().to_owned())]);
        if let Some(entry) = self.rollback.history.iter().find(|entry| entry.act == Act::Approved) {
            attributes.insert("approved_by".to_owned(), entry.actor.clone());
        }
        Ok(DeliveryEvent::Deployment(DeploymentEvent {
            key: EntityKey { source: SOURCE.to_owned(), id: self.rollback.id.clone() },
            time: finished,
            service: self.rollback.service.clone(),
            environment: self.rollback.environment.clone(),
            place: self.rollback.decision.from.as_ref().and_then(|from| from.place.clone()),
            version: Some(to.version.clone()),
            commit: to.commit.clone(),
            outcome: DeploymentOutcome::Succeeded,
            started_at: Some(self.rollback.decided_at),
            kind: Some(DeploymentKind::Rollback),
            url: None,
            schema: None,
            repository: to.repository.clone(),
            changes: Vec::new(),
            rolls_back: Some(self.rollback.deployment.clone()),
            sighting: None,
            artifact: None,
            chain: None,
            attributes,
        }))
    }

    fn bad_version(&self) -> Quarantined {
        Quarantined {
            service: self.rollback.service.clone(),
            environment: self.rollback.environment.clone(),
            version: self.rollback.decision.from.as_ref().map_or_else(String::new, |from| from.version.clone()),
            reason: format!("rolled back ({}): {}", self.rollback.id, self.rollback.decision.summary),
            since: self.now(),
            lifted_at: None,
            lifted_by: None,
        }
    }

    /// The executor and its call, or why there is none.
    fn target(&self, route: &Step) -> Result<(Route, Call), String> {
        let rollback = self.rollback;
        let executors = Arc::clone(&self.deps.executors.load());
        let executor = executors.get(&rollback.service, &rollback.environment);
        let executor = executor.ok_or("no executor is configured for this service and environment any more")?;
        let decision = &rollback.decision;
        let (Some(from), Some(to)) = (&decision.from, &decision.to) else {
            return Err("the rollback has no target".to_owned());
        };
        let call = Call {
            rollback_id: rollback.id.clone(),
            idempotency_key: route.idempotency_key.clone(),
            service: rollback.service.clone(),
            environment: rollback.environment.clone(),
            from: from.clone(),
            to: to.clone(),
            summary: decision.summary.clone(),
            evidence: json!({"alpha": decision.alpha, "indicators": decision.indicators}),
        };
        Ok((executor.clone(), call))
    }

    /// Writes the intent; answers with the number of the attempt that may now be made.
    async fn begin(&self, step: &Step, request: Option<&Value>) -> Result<u32, SagaError> {
        let mut tx = self.claimed().await?;
        saga::begin(&mut tx, &self.rollback.id, step, request, self.deps.fencing, self.now()).await?;
        tx.commit().await?;
        Ok(step.attempt.saturating_add(1))
    }

    async fn settle(&self, from: &[StepState], settled: Settled) -> Result<(), SagaError> {
        let mut tx = self.claimed().await?;
        saga::settle(&mut tx, &self.rollback.id, from, &settled, self.deps.fencing, self.now()).await?;
        Ok(tx.commit().await?)
    }

    async fn fail_at_once(&self, step: &Step, reason: String) -> Result<(), SagaError> {
        let (ended, response) = failed(&ExecutorError::Refused(reason));
        self.settle(&[step.state], self.settled(step.step, ended, step.attempt, None, response)).await
    }

    fn settled(
        &self,
        step: StepName,
        ended: Ended,
        attempt: u32,
        give_up_at: Option<Timestamp>,
        response: Value,
    ) -> Settled {
        let (state, due_at) = plan::settle(ended, attempt, give_up_at, self.now());
        if state == StepState::Failed || matches!(ended, Ended::Failed { .. } | Ended::Lost) {
            let id = &self.rollback.id;
            tracing::warn!(rollback = id, step = step.as_str(), attempt, state = state.as_str(), %response, "a step did not succeed");
        }
        Settled { step, state, due_at, attempt, response: Some(response) }
    }
}

/// How an executor's error ends an attempt, and what is journalled of it.
fn failed(error: &ExecutorError) -> (Ended, Value) {
    let response = json!({"error": error.to_string()});
    match error {
        ExecutorError::NotDone { retry_after, .. } => (Ended::Failed { retry_after: *retry_after }, response),
        ExecutorError::Lost(_) => (Ended::Lost, json!({"error": error.to_string(), "effect": UNKNOWN})),
        ExecutorError::Refused(_) => (Ended::Refused, response),
    }
}

/// The step is over, and whether it had an effect is for a person to find out.
fn unknown_for_good(reason: &str) -> (Ended, Value) {
    (Ended::Refused, json!({"error": reason, "effect": UNKNOWN}))
}

fn last_error(step: &Step) -> Option<&str> {
    step.response.as_ref()?.get("error")?.as_str()
}
