//! The saga: carries every unfinished rollback on from what is journalled.
//!
//! [`advance`] takes no input but the tables, so it may run at any time, any number of times, in
//! as many tasks as like; each rollback is in one pair of hands at a time. Every effect has its
//! intent on disk first, and every write is refused once another process leads.

mod moves;
pub mod people;
mod steps;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use moves::{announce, intend};

use crate::app::StreamEvent;
use crate::ingest::committer::{Committed, Submission, SubmitError};
use crate::num::signed_float;
use crate::rollback::executor::Executors;
use crate::rollback::message::Message;
use crate::rollback::plan::{self, Next};
use crate::rollback::state::{Rollback, RollbackState, Step, StepName};
pub use crate::store::rollback::saga::SagaError;
use crate::store::{Conn, Store, StoreError, Tx, lease, rollback};
use crate::time::{Clock, Timestamp};

/// Tells people, inside the transaction given: what is to be told commits with what it tells of.
/// A message that is not `active` ends what its fingerprint began, with its content as the last word.
pub type Communicate =
    Arc<dyn for<'a> Fn(&'a mut Conn, &'a Message, Timestamp) -> BoxFuture<'a, Result<(), StoreError>> + Send + Sync>;

/// Submits a deployment fact, as [`crate::ingest::committer::Committer::submit`] does.
pub type Submit = Arc<dyn Fn(Submission) -> BoxFuture<'static, Result<Committed, SubmitError>> + Send + Sync>;

/// What the saga works with while this process leads.
pub struct Deps {
    pub store: Store,
    pub clock: Clock,
    /// The number of this process's lease.
    pub fencing: i64,
    /// Replaced when the configuration is reloaded.
    pub executors: ArcSwap<Executors>,
    pub communicate: Communicate,
    pub submit: Submit,
    pub stream: broadcast::Sender<StreamEvent>,
    /// Wakes who delivers what was told, once it is on disk.
    pub told: Arc<Notify>,
    /// Ids of the rollbacks that a task of this process is carrying on right now. A step found
    /// `running` that is not in anybody's hands was left behind by a crash.
    pub in_hand: Mutex<HashSet<String>>,
}

/// Rollbacks carried on at the same time; one that hangs does not hold up the others.
const AT_ONCE: usize = 16;

/// Moves of one rollback per pass; a rollback that goes well needs a dozen.
const MAX_MOVES: usize = 100;

/// Approvals made on another replica are seen after this at the latest.
const POLL: Duration = Duration::from_secs(1);

/// Runs until another process leads: a pass at every wake, at every due time, and each second.
/// Dropping it stops the passes under way; the next leader takes up what they left.
pub async fn run(deps: Arc<Deps>, wake: Arc<Notify>) {
    let mut passes = JoinSet::new();
    loop {
        let pass = Arc::clone(&deps);
        passes.spawn(async move { advance(&pass).await });
        let mut again = Instant::now() + POLL;
        loop {
            tokio::select! {
                () = wake.notified() => break,
                () = tokio::time::sleep_until(again) => break,
                Some(ended) = passes.join_next() => match ended {
                    Ok(Ok(Some(due))) => again = again.min(Instant::now() + due.duration_since(deps.clock.now())),
                    Ok(Ok(None)) => {}
                    Ok(Err(SagaError::Stale)) => {
                        tracing::warn!(fencing = deps.fencing, "another process leads: the rollback worker stops");
                        return;
                    }
                    Ok(Err(SagaError::Store(error))) => tracing::error!(%error, "rollbacks cannot be carried on"),
                    Err(error) => tracing::error!(%error, "a pass over the rollbacks died"),
                },
            }
        }
    }
}

/// Carries every unfinished rollback on as far as it goes; answers when the next one is due.
///
/// # Errors
/// [`SagaError::Stale`] when another process leads; [`SagaError::Store`] when the database does not
/// answer. Nothing is lost: the next pass goes on from what is journalled.
pub async fn advance(deps: &Deps) -> Result<Option<Timestamp>, SagaError> {
    let mut conn = deps.store.read().await?;
    if !lease::is_current(&mut conn, deps.fencing).await? {
        return Err(SagaError::Stale);
    }
    let ids = rollback::unfinished(&mut conn).await?;
    gauge_states(deps, &mut conn).await?;
    drop(conn);
    let mut driven = futures_util::stream::iter(ids).map(|id| drive_alone(deps, id)).buffer_unordered(AT_ONCE);
    let (mut due, mut failure) = (None::<Timestamp>, None);
    while let Some(ended) = driven.next().await {
        match ended {
            Ok(next) => due = due.into_iter().chain(next).min(),
            Err(error) => failure = Some(error),
        }
    }
    drop(driven);
    gauge_states(deps, &mut deps.store.read().await?).await?;
    failure.map_or(Ok(due), Err)
}

/// Sets how many rollbacks stand where, in every place: a state that is left becomes 0.
async fn gauge_states(deps: &Deps, conn: &mut Conn) -> Result<(), SagaError> {
    let counts = rollback::counts(conn).await?;
    let counted = counts.iter().map(|(service, environment, ..)| (service.clone(), environment.clone()));
    let places: HashSet<(String, String)> = deps.executors.load().places().cloned().chain(counted).collect();
    for (service, environment) in places {
        for state in RollbackState::ALL.iter().map(|state| state.as_str()) {
            let found = counts.iter().find(|(s, e, counted, _)| *s == service && *e == environment && counted == state);
            let labels =
                [("service", service.clone()), ("environment", environment.clone()), ("state", state.to_owned())];
            metrics::gauge!("devpulse_rollbacks", &labels).set(signed_float(found.map_or(0, |(.., count)| *count)));
        }
    }
    Ok(())
}

/// Takes the rollback in hand, unless another task has it, and gives it back however this ends.
async fn drive_alone(deps: &Deps, id: String) -> Result<Option<Timestamp>, SagaError> {
    struct InHand<'a>(&'a Deps, &'a str);
    impl Drop for InHand<'_> {
        fn drop(&mut self) {
            self.0.in_hand.lock().remove(self.1);
        }
    }
    if !deps.in_hand.lock().insert(id.clone()) {
        return Ok(None);
    }
    let _in_hand = InHand(deps, &id);
    drive(deps, &id).await
}

#[tracing::instrument(level = "debug", skip_all, fields(rollback = id))]
async fn drive(deps: &Deps, id: &str) -> Result<Option<Timestamp>, SagaError> {
    for _ in 0..MAX_MOVES {
        let mut conn = deps.store.read().await?;
        let Some((rollback, steps)) = rollback::load(&mut conn, id).await? else { return Ok(None) };
        let newer = rollback::newer_deployment(&mut conn, &rollback).await?;
        drop(conn);
        let saga = Saga { deps, rollback: &rollback, steps: &steps };
        let state = newer.as_ref().map(|newer| newer.state);
        let moved = match plan::next(&rollback, &steps, state, deps.clock.now()) {
            Next::Rest | Next::Attention => return Ok(None),
            Next::Wait(until) => return Ok(Some(until)),
            Next::MarkUnknown(step) => saga.mark_unknown(step).await,
            Next::ReadBack => saga.read_back(newer.is_some()).await,
            Next::Run(StepName::Route) => saga.route().await,
            Next::Run(StepName::Verify) => saga.verify().await,
            Next::Run(StepName::Communicate) => saga.communicate().await,
            Next::Run(StepName::Record) => saga.record().await,
            Next::Finish(state) => saga.finish(state).await,
            Next::Cancel => saga.cancel(newer.as_ref()).await,
            Next::Expire => saga.expire().await,
            Next::Close => saga.close().await,
        };
        match moved {
            Ok(()) => deps.told.notify_one(),
            // Somebody cancelled or approved meanwhile: look again, if this process still leads.
            Err(SagaError::Stale) => {
                if !lease::is_current(&mut deps.store.read().await?, deps.fencing).await? {
                    return Err(SagaError::Stale);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(deps.clock.now().plus(POLL)))
}

/// One rollback as it was read, in this process's hands.
struct Saga<'a> {
    deps: &'a Deps,
    rollback: &'a Rollback,
    steps: &'a [Step],
}

impl Saga<'_> {
    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// A transaction in which the rollback is this leader's and in the state it was read in.
    async fn claimed(&self) -> Result<Tx, SagaError> {
        let mut tx = self.deps.store.begin().await?;
        let Rollback { id, state, .. } = self.rollback;
        rollback::saga::claim(&mut tx, id, *state, self.deps.fencing, self.now()).await?;
        Ok(tx)
    }

    fn step(&self, name: StepName) -> Result<&Step, SagaError> {
        let missing = || StoreError::Decode { what: "step", source: format!("{} is missing", name.as_str()).into() };
        Ok(self.steps.iter().find(|step| step.step == name).ok_or_else(missing)?)
    }
}

/// Says what the metrics of rollbacks mean.
pub fn describe() {
    use metrics::Unit;
    metrics::describe_counter!("devpulse_rollbacks_total", "Rollbacks by policy mode and outcome.");
    metrics::describe_gauge!("devpulse_rollbacks", "Rollbacks by the state they are in.");
    metrics::describe_histogram!(
        "devpulse_rollback_decision_seconds",
        Unit::Seconds,
        "From the arrival of the deciding event to the executor's call, of automatic rollbacks."
    );
}
