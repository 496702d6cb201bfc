//! What became of deliveries, by source: counted in memory, written down about once a second.
//!
//! Nobody waits for it: whoever sends a thousand wrong signatures a second costs the database one
//! small transaction a second. A kill loses the last second of it, never an event.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::metrics::{Outcome, count_delivery};
use super::source::Skip;
use crate::store::source_count::{self, SourceCount};
use crate::store::{Store, StoreError, in_doubt};
use crate::time::Timestamp;

/// The source of what comes through `POST /api/v1/events`, whatever `source` it names.
pub const NATIVE: &str = "native";

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    Accepted,
    /// Accepted, and the source did not tell everything.
    Partial,
    Duplicate,
    Skipped(Skip),
    Invalid,
    /// Its signature, its key, or what else proves whose it is, was missing or wrong.
    Unsigned,
    /// Refused before it was read.
    TooLarge,
}

impl Became {
    /// Of an event; `skip` says why it was skipped.
    pub fn of(outcome: Outcome, skip: Option<Skip>) -> Self {
        match outcome {
            Outcome::Accepted => Self::Accepted,
            Outcome::Duplicate => Self::Duplicate,
            Outcome::Invalid => Self::Invalid,
            Outcome::Skipped => Self::Skipped(skip.unwrap_or(Skip::UnusedEvent)),
        }
    }

    /// As in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial => "partial",
            Self::Duplicate => "duplicate",
            Self::Skipped(_) => "skipped",
            Self::Invalid => "invalid",
            Self::Unsigned => "unsigned",
            Self::TooLarge => "too_large",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Skipped(skip) => skip.name(),
            _ => "",
        }
    }
}

/// How often, and when last.
type Counts = BTreeMap<(&'static str, Became), (u64, Timestamp)>;

/// Counts that are not written down yet.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// Counts one delivery of a webhook, here and on `/metrics`.
    pub fn delivery(&self, source: &'static str, became: Became, at: Timestamp) {
        self.deliveries(source, became, 1, at);
    }

    /// Counts deliveries, or parts of one.
    pub fn deliveries(&self, source: &'static str, became: Became, times: usize, at: Timestamp) {
        if times == 0 {
            return;
        }
        let shown = if became == Became::Partial { Became::Accepted } else { became };
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        count_delivery(source, shown.name(), times);
        self.add(source, became, times, at);
    }

    pub fn add(&self, source: &'static str, became: Became, times: u64, at: Timestamp) {
        let mut counts = self.0.lock();
        let (count, last) = counts.entry((source, became)).or_insert((0, at));
        *count = count.saturating_add(times);
        *last = at.max(*last);
    }

    /// Writes down what was counted since the last time.
    ///
    /// # Errors
    /// The database does not answer: the counts are kept for the next time.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let counts = std::mem::take(&mut *self.0.lock());
        if counts.is_empty() {
            return Ok(());
        }
        let written = write(store, &counts).await;
        if written.is_err() {
            for ((source, became), (times, at)) in counts {
                self.add(source, became, times, at);
            }
        }
        written
    }
}

async fn write(store: &Store, counts: &Counts) -> Result<(), StoreError> {
    let row = |(&(source, became), &(count, at)): (&(&'static str, Became), &(u64, Timestamp))| SourceCount {
        source: source.to_owned(),
        outcome: became.name().to_owned(),
        reason: became.reason().to_owned(),
        count: i64::try_from(count).unwrap_or(i64::MAX),
        last_at: at.micros(),
    };
    let rows: Vec<SourceCount> = counts.iter().map(row).collect();
    let mut tx = store.begin().await?;
    source_count::add(&mut tx, &rows).await?;
    let id = in_doubt::id(&mut tx).await?;
    let Err(error) = tx.commit().await else { return Ok(()) };
    match id {
        Some(id) if in_doubt::was_committed(store, &id).await? => Ok(()),
        _ => Err(error),
    }
}
