//! The door to the database for everything that is taken in.
//!
//! One task owns the write path (`writer.rs`). It drains whatever waits, commits it in one
//! transaction with an fsync (facts row by row, telemetry as one journal row), and only then
//! answers everyone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::writer::Writer;
use crate::event::{DeliveryEvent, TelemetryBatch};
use crate::store::{Store, StoreError};
use crate::time::{Clock, Timestamp};

/// 16 bytes that name something already taken in (a hash of its source and id).
pub type Key = [u8; 16];

/// One request's worth of events, taken in together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    pub received_at: Timestamp,
    /// The key of the whole request (`Idempotency-Key`, a webhook's delivery id) and the digest of
    /// its body. Seen before: nothing of the submission is taken in again.
    pub request: Option<RequestKey>,
    pub facts: Vec<Fact>,
    /// Telemetry of items that carry no id of their own, already added up.
    pub telemetry: TelemetryBatch,
    /// Telemetry items with an id: taken in unless their key was seen before.
    pub keyed: Vec<(Key, TelemetryBatch)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    pub key: Key,
    pub body_digest: Key,
}

/// A delivery event and the bytes it came in.
#[derive(Debug, Clone)]
pub struct Fact {
    pub event: DeliveryEvent,
    /// SHA-256 of what makes the event this event: a retry has the same digest.
    pub digest: [u8; 32],
    pub raw: Vec<u8>,
    /// It is a notice of an alarm, whose source repeats itself without saying when.
    pub alarm: bool,
}

/// What became of a submission, once it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// `facts[i]` and `keyed[i]` say whether item i was new (false: duplicate).
    Taken { facts: Vec<bool>, keyed: Vec<bool> },
    /// The request's key was seen before, with the same body.
    Repeated,
    /// The request's key was seen before, with another body.
    KeyReused,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// As many requests wait as may wait.
    #[error("too many requests wait for the database")]
    Overloaded,
    /// Nothing was kept; the same request may be sent again.
    #[error("the database did not commit: {0}")]
    Store(String),
    /// Nobody knows: the database went away while it committed.
    #[error("the database does not say whether it committed")]
    InDoubt,
}

/// What a commit group changed; handed to the evaluator, in commit order, after the commit.
#[derive(Debug, Default)]
pub struct CommitNotice {
    pub telemetry: TelemetryBatch,
    /// New facts of this group.
    pub facts: Vec<DeliveryEvent>,
    /// When the first submission of the group was received.
    pub received_at: Option<Timestamp>,
}

impl CommitNotice {
    pub(super) fn is_empty(&self) -> bool {
        self.telemetry.is_empty() && self.facts.is_empty()
    }

    /// Adds what a later group changed.
    pub(super) fn append(&mut self, mut later: Self) {
        self.telemetry.merge(&later.telemetry);
        self.facts.append(&mut later.facts);
        self.received_at = self.received_at.or(later.received_at);
    }
}

/// The write path stands still while this exists: everything committed is in the buckets, and is in
/// the notices received before or in `held`. For reading buckets without losing or doubling anything.
#[derive(Debug)]
pub struct Pause {
    /// What the evaluator, being behind, was not told of yet.
    pub held: Option<CommitNotice>,
    _end: oneshot::Sender<()>,
}

impl Pause {
    /// The receiver hears when the pause is over.
    pub(super) fn begin(held: Option<CommitNotice>) -> (Self, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        (Self { held, _end: end }, ended)
    }
}

pub(super) type Waiting = (Submission, oneshot::Sender<Result<Committed, SubmitError>>);

/// How the write path behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of this process's lease: once another leads, nothing more is committed. `None`
    /// where there is no lease to lose.
    pub fencing: Option<i64>,
    /// Names this process's rows in the journal.
    pub replica: String,
    /// Requests that may wait for a commit before others are told to come back later.
    pub max_waiting: usize,
    /// How often journalled telemetry becomes buckets.
    pub materialise_every: Duration,
}

/// A handle for submitting; cheap to clone.
#[derive(Clone)]
pub struct Committer {
    queue: mpsc::Sender<Waiting>,
    pauses: mpsc::Sender<oneshot::Sender<Pause>>,
    stop: Arc<Notify>,
}

impl Committer {
    /// Recovers what an earlier process left in the journal, then starts taking in. The task ends
    /// after [`Committer::stop`].
    ///
    /// `notices` may be slow: while it is full, what happens is added up into one later notice.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn start(
        store: Store,
        clock: Clock,
        settings: Settings,
        notices: mpsc::Sender<CommitNotice>,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (queue, waiting) = mpsc::channel(settings.max_waiting.max(1));
        let stop = Arc::new(Notify::new());
        let (pauses, asked) = mpsc::channel(1);
        let writer = Writer::recover(store, &clock, settings, (waiting, asked), notices).await?;
        let task = tokio::spawn(writer.run(Arc::clone(&stop)));
        Ok((Self { queue, pauses, stop }, task))
    }

    /// Answers when the submission is durable, or says that nothing of it was kept.
    ///
    /// # Errors
    /// [`SubmitError`]: overloaded, or the database did not commit.
    pub async fn submit(&self, submission: Submission) -> Result<Committed, SubmitError> {
        let stopped = || SubmitError::Store("DevPulse is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.queue.try_send((submission, answer)).map_err(|refused| match refused {
            TrySendError::Full(_) => SubmitError::Overloaded,
            TrySendError::Closed(_) => stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Turns everything committed into buckets and takes in nothing more until the answer is
    /// dropped; what comes meanwhile waits. Not for who might itself wait for a commit.
    ///
    /// # Errors
    /// [`SubmitError`]: not everything became buckets, or DevPulse is stopping.
    pub async fn pause(&self) -> Result<Pause, SubmitError> {
        let refused = || SubmitError::Store("the journal was not turned into buckets".to_owned());
        let (answer, answered) = oneshot::channel();
        self.pauses.send(answer).await.map_err(|_| refused())?;
        answered.await.map_err(|_| refused())
    }

    /// Refuses what comes from now on, commits and materialises what waits, and ends the task.
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}
