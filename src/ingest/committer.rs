//! The door to the database for everything that is taken in.
//!
//! One task owns the write path. It drains whatever waits, commits it in one transaction with an
//! fsync (facts row by row, telemetry as one journal row), and only then answers everyone.

use tokio::sync::{mpsc, oneshot};

use crate::event::{DeliveryEvent, TelemetryBatch};
use crate::time::Timestamp;

/// 16 bytes that name something already taken in (a hash of its source and id).
pub type Key = [u8; 16];

/// One request's worth of events, taken in together or not at all.
#[derive(Debug)]
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

pub(super) type Waiting = (Submission, oneshot::Sender<Result<Committed, SubmitError>>);

/// A handle for submitting; cheap to clone.
#[derive(Clone)]
pub struct Committer {
    queue: mpsc::Sender<Waiting>,
}

impl Committer {
    /// Answers when the submission is durable, or says that nothing of it was kept.
    ///
    /// # Errors
    /// [`SubmitError`]: overloaded, or the database did not commit.
    pub async fn submit(&self, submission: Submission) -> Result<Committed, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send((submission, answer)).map_err(|_| SubmitError::Overloaded)?;
        answered.await.unwrap_or_else(|_| Err(SubmitError::Store("the committer has stopped".to_owned())))
    }
}
