//! Sends what the outbox holds: at least once, in order per group and channel.
//!
//! A message is claimed, sent and marked in three steps. A crash in between leaves a row whose
//! lease ends: it is sent again with the same key (`webhook-id`, Message-ID). Slack has no such
//! key; the one case in which it shows a message twice is a crash, or a lost answer, after Slack
//! took a group's FIRST post and before its `ts` was kept. Everything later is an edit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::alert_metrics::{self, Outcome};
use crate::notify::{Message, Notifier, Notifiers, SendError};
use crate::store::outbox::{self, Claimed, Destination, Standing};
use crate::store::{Store, StoreError};
use crate::time::{Clock, Timestamp};

/// The outbox is looked at this often even when nothing signals.
const TIMER: Duration = Duration::from_secs(5);
/// After this long nobody wants the news any more; the row stays, dead, for people to see.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);
/// What a lease allows beyond the time one attempt can take.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

pub struct Dispatcher {
    store: Store,
    clock: Clock,
    notifiers: ArcSwap<Notifiers>,
    /// Before when (in the clock's uptime) nothing may be sent to a destination: its rate, its
    /// `Retry-After`, and a rest after the database refused.
    gates: Mutex<HashMap<Destination, Duration>>,
    /// Destinations being served; each by one task, so that a slow one holds up nobody else.
    busy: Mutex<HashSet<Destination>>,
}

impl Dispatcher {
    pub fn new(store: Store, clock: Clock, notifiers: Notifiers) -> Self {
        let notifiers = ArcSwap::from_pointee(notifiers);
        Self { store, clock, notifiers, gates: Mutex::default(), busy: Mutex::default() }
    }

    /// A new configuration; messages on their way still go the old one.
    pub fn replace(&self, notifiers: Notifiers) {
        self.notifiers.store(Arc::new(notifiers));
    }

    /// Runs until `stop`; then claims nothing more and waits for what is being sent.
    pub async fn run(self: Arc<Self>, wake: Arc<Notify>, stop: impl Future<Output = ()>) {
        let mut serving = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let pause = match self.serve_all(&mut serving).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    FIRST_BACKOFF
                }
            };
            tokio::select! {
                () = &mut stop => break,
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(_) = serving.join_next() => {}
            }
        }
        while serving.join_next().await.is_some() {}
    }

    /// Starts a task per destination that has something due; answers how long to sleep.
    async fn serve_all(self: &Arc<Self>, serving: &mut JoinSet<()>) -> Result<Duration, StoreError> {
        for destination in self.due().await? {
            if let Some(guard) = Serving::begin(self, &destination) {
                serving.spawn(async move {
                    if let Err(error) = guard.dispatcher.serve(&destination).await {
                        tracing::error!(%error, receiver = destination.receiver, "a message's fate was not kept");
                    }
                });
            }
        }
        let now = self.clock.now();
        let due = outbox::next_due(&mut self.store.read().await?, now).await?;
        let due = due.map(|at| at.duration_since(now));
        let uptime = self.clock.uptime();
        let gate =
            self.gates.lock().values().filter_map(|gate| gate.checked_sub(uptime)).filter(|rest| !rest.is_zero()).min();
        let next = [due, gate].into_iter().flatten().min();
        Ok(next.unwrap_or(TIMER).clamp(Duration::from_millis(1), TIMER))
    }

    /// Sends everything that is due and allowed now, one destination after the other.
    ///
    /// # Errors
    /// The database does not answer; what was claimed becomes due again when its lease ends.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        for destination in self.due().await? {
            self.serve(&destination).await?;
        }
        Ok(())
    }

    /// As [`Dispatcher::drain`]; a destination whose messages cannot be claimed or kept rests a
    /// while: it would be due again at once.
    async fn serve(&self, destination: &Destination) -> Result<(), StoreError> {
        let drained = self.drain(destination).await;
        if drained.is_err() {
            self.rest(destination, FIRST_BACKOFF);
        }
        drained
    }

    async fn due(&self) -> Result<Vec<Destination>, StoreError> {
        let now = self.clock.now();
        let mut due = outbox::due_destinations(&mut self.store.read().await?, now).await?;
        due.retain(|destination| self.is_open(destination));
        Ok(due)
    }

    async fn drain(&self, destination: &Destination) -> Result<(), StoreError> {
        while self.is_open(destination) {
            let notifiers = self.notifiers.load_full();
            let notifier = notifiers.get(&destination.receiver, destination.channel);
            let lease = notifier.map_or(Duration::ZERO, Notifier::time_limit).saturating_add(LEASE_MARGIN);
            let mut tx = self.store.begin().await?;
            let Some(claimed) = outbox::claim(&mut tx, destination, lease, self.clock.now()).await? else {
                return tx.roll_back().await;
            };
            tx.commit().await?;
            if claimed.outcome_unknown {
                tracing::warn!(id = claimed.id, "a message may have been sent before a crash; it is sent again");
            }
            let result = match notifier {
                Some(notifier) => self.attempt(notifier, destination, &claimed).await?,
                None => Err(SendError::permanent("the receiver or its channel is not configured any more")),
            };
            self.close_gate(destination, notifier, &result);
            self.keep(destination, &claimed, result).await?;
        }
        Ok(())
    }

    /// One attempt, resumed where an earlier one stopped: what the channel already shows is not
    /// sent again.
    #[tracing::instrument(
        name = "notify", level = "debug", skip_all,
        fields(receiver = destination.receiver, channel = destination.channel.as_str(), message = claimed.id)
    )]
    async fn attempt(
        &self,
        notifier: &Notifier,
        destination: &Destination,
        claimed: &Claimed,
    ) -> Result<Result<(), SendError>, StoreError> {
        let Claimed { snapshot, event, id, .. } = claimed;
        let (group, channel) = (&snapshot.group, destination.channel);
        let message = Message { key: id, event: *event, snapshot, now: self.clock.now() };
        let mut standing = outbox::standing(&mut self.store.read().await?, &group.id, channel).await?;
        if standing.as_ref().is_none_or(|standing| standing.revision < group.revision) {
            let known = standing.as_ref().map(|standing| standing.reference.as_str());
            let reference = match notifier.deliver(message, known).await {
                Ok(reference) => reference,
                Err(error) => return Ok(Err(error)),
            };
            if let Some(reference) = reference {
                let first = standing.filter(|known| known.reference == reference).map(|known| known.first_revision);
                let first_revision = first.unwrap_or(group.revision);
                let new = Standing { reference, first_revision, revision: group.revision };
                let mut tx = self.store.begin().await?;
                outbox::put_standing(&mut tx, &group.id, channel, &new).await?;
                tx.commit().await?;
                standing = Some(new);
            } else {
                standing = None;
            }
        }
        match standing {
            Some(standing) if standing.first_revision < group.revision && notifier.follows_up(*event) => {
                Ok(notifier.follow_up(message, &standing.reference).await)
            }
            _ => Ok(Ok(())),
        }
    }

    /// Keeps what became of an attempt.
    async fn keep(
        &self,
        destination: &Destination,
        claimed: &Claimed,
        result: Result<(), SendError>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Destination { receiver, channel } = destination;
        let (id, attempt) = (&claimed.id, claimed.attempt);
        let mut tx = self.store.begin().await?;
        let outcome = match result.map_err(|error| (next_attempt(claimed, &error, now), error)) {
            Ok(()) => {
                outbox::mark_sent(&mut tx, claimed, now).await?;
                Outcome::Sent
            }
            Err((Some(due), error)) => {
                outbox::postpone(&mut tx, claimed, due, &error.to_string()).await?;
                tracing::warn!(id, receiver, %channel, attempt, %due, %error, "a message was not taken; it is tried again");
                Outcome::Failed
            }
            Err((None, error)) => {
                outbox::mark_dead(&mut tx, claimed, &error.to_string()).await?;
                tracing::error!(id, receiver, %channel, attempt, %error, "a message is given up");
                Outcome::Dead
            }
        };
        tx.commit().await?;
        alert_metrics::count(*channel, outcome);
        Ok(())
    }

    fn is_open(&self, destination: &Destination) -> bool {
        let uptime = self.clock.uptime();
        self.gates.lock().get(destination).is_none_or(|gate| *gate <= uptime)
    }

    fn rest(&self, destination: &Destination, wait: Duration) {
        let until = self.clock.uptime().saturating_add(wait);
        self.gates.lock().insert(destination.clone(), until);
    }

    fn close_gate(&self, destination: &Destination, notifier: Option<&Notifier>, result: &Result<(), SendError>) {
        let asked = match result {
            Err(SendError::Temporary { retry_after, .. }) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let wait = notifier.map_or(Duration::ZERO, Notifier::interval).max(asked);
        if !wait.is_zero() {
            self.rest(destination, wait);
        }
    }
}

/// When to try again; `None`: never.
fn next_attempt(claimed: &Claimed, error: &SendError, now: Timestamp) -> Option<Timestamp> {
    let SendError::Temporary { retry_after, .. } = error else { return None };
    if now.duration_since(claimed.created_at) >= GIVE_UP_AFTER {
        return None;
    }
    Some(now.plus(backoff(&claimed.id, claimed.attempt).max(retry_after.unwrap_or_default())))
}

/// 1 s, 2 s, 4 s … 5 min, each between half and the whole of it: by the row's own digest, so that
/// rows which failed together do not come back together.
fn backoff(id: &str, attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 20)).unwrap_or(0);
    let whole = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    let digest = Sha256::digest(format!("{id}:{attempt}"));
    let share = f64::from(digest.first().copied().unwrap_or(0)) / 255.0;
    whole.mul_f64(0.5 + share / 2.0)
}

/// Keeps a destination to one task at a time, however that task ends.
struct Serving {
    dispatcher: Arc<Dispatcher>,
    destination: Destination,
}

impl Serving {
    fn begin(dispatcher: &Arc<Dispatcher>, destination: &Destination) -> Option<Self> {
        let free = dispatcher.busy.lock().insert(destination.clone());
        free.then(|| Self { dispatcher: Arc::clone(dispatcher), destination: destination.clone() })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.dispatcher.busy.lock().remove(&self.destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_five_minutes_and_spreads() {
        for attempt in 1..40 {
            let whole = Duration::from_secs(1 << (attempt - 1).min(9)).min(LONGEST_BACKOFF);
            let waits: Vec<Duration> = (0..50).map(|row| backoff(&row.to_string(), attempt)).collect();
            assert!(waits.iter().all(|wait| *wait >= whole / 2 && *wait <= whole), "attempt {attempt}: {waits:?}");
            assert!(waits.iter().collect::<HashSet<_>>().len() > 20, "attempt {attempt} does not spread");
        }
    }
}
