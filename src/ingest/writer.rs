//! The task that owns the write path.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::committer::{CommitNotice, Committed, Pause, Settings, Submission, SubmitError, Waiting};
use super::group::{self, Written};
use super::metrics;
use super::notices::Notices;
use crate::store::in_doubt::{self, TransactionId};
use crate::store::journal::{self, Place};
use crate::store::materialise::Materialiser;
use crate::store::{Store, StoreError, Tx, lease};
use crate::time::Clock;

/// Items per commit group, about: the submission that reaches it is the group's last.
const MAX_ITEMS: usize = 50_000;
/// Bytes of facts per commit group, about.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a lost connection is replaced by another before the group is refused: after a restart
/// of the database every pooled connection is a dead one.
const RETRY_FOR: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    store: Store,
    settings: Settings,
    queue: mpsc::Receiver<Waiting>,
    pauses: mpsc::Receiver<oneshot::Sender<Pause>>,
    notices: Notices,
    materialiser: Materialiser,
    /// The sequence of the last attempt; every attempt takes a new one.
    sequence: i64,
    /// Rows journalled by this process, or left over, that are not yet buckets.
    journal_rows: usize,
    /// A transaction whose COMMIT was not answered, and what it changed if it committed. Nothing is
    /// committed after it before this is known: notices go out in commit order.
    in_doubt: Option<(TransactionId, Written)>,
}

/// Submissions that are committed together, with whom to answer.
struct Group {
    submissions: Vec<Submission>,
    answers: Vec<oneshot::Sender<Result<Committed, SubmitError>>>,
}

/// Why a group was not committed.
enum Failure {
    /// The database could not be reached, or does not say whether it committed.
    Unavailable(StoreError),
    /// The database refused something in it.
    Refused(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl Writer {
    /// Materialises what an earlier process left in the journal.
    pub async fn recover(
        store: Store,
        clock: &Clock,
        settings: Settings,
        (queue, pauses): (mpsc::Receiver<Waiting>, mpsc::Receiver<oneshot::Sender<Pause>>),
        notices: mpsc::Sender<CommitNotice>,
    ) -> Result<Self, StoreError> {
        let mut materialiser = Materialiser::default();
        let journal_rows = materialiser.run(&store).await?;
        let mut conn = store.read().await?;
        let last = journal::last_sequence(&mut conn, &settings.replica).await?;
        // Sequences grow across restarts though the journal forgets them: a clock in microseconds
        // is ahead of what one process can commit.
        let sequence = clock.now().micros().max(last.unwrap_or(0));
        let notices = Notices::new(notices);
        Ok(Self { store, settings, queue, pauses, notices, materialiser, sequence, journal_rows, in_doubt: None })
    }

    pub async fn run(mut self, stop: Arc<Notify>) {
        let every = self.settings.materialise_every;
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        while open {
            tokio::select! {
                biased;
                () = stop.notified() => open = false,
                _ = tick.tick() => drop(self.materialise().await),
                Some(asked) = self.pauses.recv() => self.pause(asked).await,
                () = self.notices.catch_up() => {}
                first = self.queue.recv() => match first {
                    Some(first) => self.commit(first).await,
                    None => open = false,
                },
            }
        }
        self.queue.close();
        while let Some(first) = self.queue.recv().await {
            self.commit(first).await;
        }
        self.materialise().await;
    }

    /// Stands still until whoever asked has read the buckets. Drops the question when they cannot
    /// be complete.
    async fn pause(&mut self, asked: oneshot::Sender<Pause>) {
        if !self.materialise().await {
            return;
        }
        let (pause, ended) = Pause::begin(self.notices.take_held());
        match asked.send(pause) {
            // Ends by being dropped.
            Ok(()) => drop(ended.await),
            // Nobody waits any more: what was held back is told as ever.
            Err(pause) => self.notices.push(pause.held.unwrap_or_default()),
        }
    }

    /// Commits `first` and whatever waits behind it.
    async fn commit(&mut self, first: Waiting) {
        let mut todo = vec![self.drain(first)];
        metrics::waiting(self.queue.len());
        while let Some(group) = todo.pop() {
            match self.attempt(&group.submissions).await {
                Ok(written) => self.publish(group, written),
                Err(Failure::Refused(error)) if group.submissions.len() > 1 => {
                    tracing::warn!(%error, requests = group.submissions.len(), "a commit group is split");
                    let (front, back) = group.halves();
                    todo.extend([back, front]);
                }
                Err(Failure::Refused(error)) => group.refuse(&error),
                Err(Failure::Unavailable(error)) => {
                    group.refuse(&error);
                    todo.drain(..).for_each(|group| group.refuse(&error));
                }
            }
        }
    }

    fn drain(&mut self, first: Waiting) -> Group {
        let mut group = Group { submissions: Vec::new(), answers: Vec::new() };
        let (mut items, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some((submission, answer)) = next {
            items += submission.facts.len() + submission.keyed.len() + submission.telemetry.deltas.len() + 1;
            bytes += submission.facts.iter().map(|fact| fact.raw.len()).sum::<usize>();
            group.submissions.push(submission);
            group.answers.push(answer);
            next = if items < MAX_ITEMS && bytes < MAX_BYTES { self.queue.try_recv().ok() } else { None };
        }
        group
    }

    async fn attempt(&mut self, group: &[Submission]) -> Result<Written, Failure> {
        self.settle().await?;
        let started = Instant::now();
        loop {
            match self.transact(group).await {
                Err(Failure::Unavailable(error)) if self.in_doubt.is_none() && started.elapsed() < RETRY_FOR => {
                    tracing::debug!(%error, "the database is tried again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                done => return done.inspect(|_| metrics::committed(group.len(), started.elapsed())),
            }
        }
    }

    async fn transact(&mut self, group: &[Submission]) -> Result<Written, Failure> {
        self.sequence = self.sequence.saturating_add(1);
        let place = Place { replica: self.settings.replica.clone(), sequence: self.sequence };
        // Nothing of the group is in it yet, so whatever is wrong is not the group's fault.
        let mut tx = self.store.begin().await.map_err(Failure::Unavailable)?;
        let (written, id) = match fill(&mut tx, group, &place, self.settings.fencing).await {
            Ok(filled) => filled,
            // A connection that cannot even undo is gone, whatever it called its error.
            Err(error) => {
                return Err(match tx.roll_back().await {
                    Err(lost) if lost.is_unavailable() => Failure::Unavailable(error),
                    _ => error.into(),
                });
            }
        };
        let Err(error) = tx.commit().await else { return Ok(written) };
        let Some(id) = id else { return Err(error.into()) };
        tracing::warn!(%error, "a commit was not answered");
        match in_doubt::was_committed(&self.store, &id).await {
            Ok(true) => Ok(written),
            Ok(false) => Err(error.into()),
            Err(silence) => {
                self.in_doubt = Some((id, written));
                Err(Failure::Unavailable(silence))
            }
        }
    }

    /// Finds out what became of the transaction that was left in doubt.
    async fn settle(&mut self) -> Result<(), Failure> {
        let Some((id, _)) = &self.in_doubt else { return Ok(()) };
        let committed = in_doubt::was_committed(&self.store, id).await.map_err(Failure::Unavailable)?;
        if let Some((_, written)) = self.in_doubt.take()
            && committed
        {
            self.note(written.journalled, written.notice);
        }
        Ok(())
    }

    fn publish(&mut self, group: Group, written: Written) {
        for (answer, committed) in group.answers.into_iter().zip(written.answers) {
            // Whoever went away meanwhile does not hear it; it is committed all the same.
            let _ = answer.send(Ok(committed));
        }
        self.note(written.journalled, written.notice);
    }

    fn note(&mut self, journalled: bool, notice: CommitNotice) {
        self.journal_rows += usize::from(journalled);
        metrics::journal_rows(self.journal_rows);
        self.notices.push(notice);
    }

    /// Whether everything that can be read is in the buckets now.
    async fn materialise(&mut self) -> bool {
        if self.settle().await.is_err() {
            return false;
        }
        if self.journal_rows == 0 {
            return true;
        }
        let started = Instant::now();
        let done = match self.materialiser.run(&self.store).await {
            Ok(left) => {
                self.journal_rows = left;
                metrics::materialised(started.elapsed());
                true
            }
            Err(error) => {
                tracing::error!(%error, "journal rows could not be turned into buckets; they are kept");
                metrics::materialise_failed();
                false
            }
        };
        metrics::journal_rows(self.journal_rows);
        done
    }
}

/// Writes the group and learns the transaction's number.
async fn fill(
    tx: &mut Tx,
    group: &[Submission],
    place: &Place,
    fencing: Option<i64>,
) -> Result<(Written, Option<TransactionId>), StoreError> {
    if let Some(fencing) = fencing
        && !lease::holds(tx, fencing).await?
    {
        return Err(StoreError::Deposed);
    }
    let written = group::write(tx, group, place).await?;
    Ok((written, in_doubt::id(tx).await?))
}

impl Group {
    /// Two groups, in order.
    fn halves(mut self) -> (Self, Self) {
        let middle = self.submissions.len() / 2;
        let back = Self { submissions: self.submissions.split_off(middle), answers: self.answers.split_off(middle) };
        (self, back)
    }

    fn refuse(self, error: &StoreError) {
        tracing::error!(%error, requests = self.answers.len(), "requests were not committed");
        metrics::commit_failed();
        let refused = match error {
            StoreError::InDoubt => SubmitError::InDoubt,
            error => SubmitError::Store(error.to_string()),
        };
        for answer in self.answers {
            let _ = answer.send(Err(refused.clone()));
        }
    }
}
