//! Journal rows become buckets: folded, stored and deleted in one transaction.
//!
//! **Invariant:** what is folded is what the journal says, never what a process remembers. A crash
//! at any point leaves a row either in the journal or in the buckets, so recovery is this same
//! function.

use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::error_group::Errors;
use super::journal::{self, Place};
use super::lock::Lock;
use super::telemetry::{Deltas, RESOLUTIONS};
use super::{Conn, Store, StoreError, error_group, series, storable, telemetry};
use crate::event::{SeriesKey, TelemetryBatch};

/// Rows per transaction: a backlog is worked off in bounded steps.
const PAGE: i64 = 128;
/// Series whose numbers are remembered.
const REMEMBERED: usize = 100_000;

/// Folds the journal. What it remembers only saves work.
#[derive(Default)]
pub struct Materialiser {
    series: HashMap<SeriesKey, i64>,
    /// Rows that had to stay last time; each is reported once.
    set_aside: BTreeSet<Place>,
}

struct Step {
    last: Place,
    unreadable: Vec<Place>,
}

impl Materialiser {
    /// Folds every row of the journal, whichever replica wrote it, and answers how many had to stay:
    /// a row that cannot be read or stored is left in place, named in the log, and keeps no other.
    ///
    /// # Errors
    /// The database does not answer; what was not folded stays in the journal.
    pub async fn run(&mut self, store: &Store) -> Result<usize, StoreError> {
        let mut left = BTreeSet::new();
        let mut after = None;
        let mut limit = PAGE;
        loop {
            match self.step(store, after.as_ref(), limit).await {
                Ok(None) => break,
                Ok(Some(step)) => {
                    left.extend(step.unreadable);
                    after = Some(step.last);
                }
                Err(error) if error.is_unavailable() => return Err(error),
                Err(_) if limit > 1 => limit = 1,
                Err(error) => {
                    let Some(place) = next_place(store, after.as_ref()).await? else { break };
                    self.report(&place, &error);
                    left.insert(place.clone());
                    after = Some(place);
                }
            }
        }
        self.set_aside = left;
        Ok(self.set_aside.len())
    }

    /// One transaction over at most `limit` rows behind `after`; `None` when there are none.
    async fn step(&mut self, store: &Store, after: Option<&Place>, limit: i64) -> Result<Option<Step>, StoreError> {
        let mut tx = store.begin().await?;
        Lock::Materialise.take(&mut tx).await?;
        let rows = journal::page(&mut tx, after, limit).await?;
        let Some(last) = rows.last().map(journal::Row::place) else {
            tx.roll_back().await?;
            return Ok(None);
        };
        let (mut sum, mut folded, mut unreadable) = (TelemetryBatch::default(), Vec::new(), Vec::new());
        for row in &rows {
            match row.decode() {
                Ok(batch) => {
                    merge_storable(&mut sum, batch);
                    folded.push(row);
                }
                Err(error) => {
                    self.report(&row.place(), &error);
                    unreadable.push(row.place());
                }
            }
        }
        let added = self.add(&mut tx, sum).await?;
        journal::remove(&mut tx, &folded).await?;
        tx.commit().await?;
        self.remember(added);
        Ok(Some(Step { last, unreadable }))
    }

    /// Answers the numbers of series that were not remembered yet.
    async fn add(&self, conn: &mut Conn, batch: TelemetryBatch) -> Result<HashMap<SeriesKey, i64>, StoreError> {
        let in_deltas = batch.deltas.keys().map(|(series, _)| series);
        let in_errors = batch.errors.keys().map(|(series, _)| series);
        let unknown: BTreeSet<&SeriesKey> =
            in_deltas.chain(in_errors).filter(|series| !self.series.contains_key(*series)).collect();
        let added = series::ids(conn, &unknown).await?;
        let id_of = |series: &SeriesKey| self.series.get(series).or_else(|| added.get(series)).copied();
        let mut deltas = Deltas::new();
        for ((series, start), delta) in batch.deltas {
            deltas.insert((start, id_of(&series).ok_or(StoreError::Lost("series"))?), delta);
        }
        let mut errors = Errors::new();
        for ((series, fingerprint), error) in batch.errors {
            errors.insert((id_of(&series).ok_or(StoreError::Lost("series"))?, fingerprint), error);
        }
        for resolution in RESOLUTIONS {
            telemetry::add(conn, resolution, &deltas).await?;
        }
        error_group::add(conn, errors).await?;
        Ok(added)
    }

    /// Called only after the commit: before it, the numbers may still be undone.
    fn remember(&mut self, added: HashMap<SeriesKey, i64>) {
        if self.series.len() + added.len() > REMEMBERED {
            self.series.clear();
        }
        self.series.extend(added);
    }

    fn report(&self, place: &Place, error: &dyn std::error::Error) {
        if !self.set_aside.contains(place) {
            tracing::error!(%place, %error, "a journal row cannot be folded and is left in place");
        }
    }
}

async fn next_place(store: &Store, after: Option<&Place>) -> Result<Option<Place>, StoreError> {
    let mut conn = store.read().await?;
    Ok(journal::page(&mut conn, after, 1).await?.first().map(journal::Row::place))
}

/// Merges under texts that both databases take.
fn merge_storable(sum: &mut TelemetryBatch, batch: TelemetryBatch) {
    for ((series, start), delta) in batch.deltas {
        sum.deltas.entry((storable_series(&series), start)).or_default().merge(&delta);
    }
    for ((series, fingerprint), error) in batch.errors {
        match sum.errors.entry((storable_series(&series), storable(&fingerprint))) {
            Entry::Occupied(mut known) => known.get_mut().merge(&error),
            Entry::Vacant(free) => {
                free.insert(error);
            }
        }
    }
}

fn storable_series(series: &SeriesKey) -> SeriesKey {
    let tidy = |text: &Arc<str>| if text.contains('\0') { Arc::from(storable(text)) } else { Arc::clone(text) };
    SeriesKey { service: tidy(&series.service), environment: tidy(&series.environment), version: tidy(&series.version) }
}
