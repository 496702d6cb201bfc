//! Deleting what need not be kept: old buckets, errors, keys, messages, invalid deliveries and repetitions, in
//! bounded steps so that nobody waits long for the writer. Other facts stay.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::fact::REPETITION;
use super::schema::{bucket, error_group, fact, invalid_delivery, outbox, seen_key};
use super::telemetry::RESOLUTIONS;
use super::{Conn, Store, StoreError};
use crate::config::model::Retention;
use crate::time::Timestamp;

/// Rows per transaction, about.
const STEP: i64 = 5_000;
/// How late something may come and still show which repetitions were none.
const REPETITIONS: Duration = Duration::from_hours(7 * 24);

/// How many rows went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    pub buckets: usize,
    pub errors: usize,
    pub keys: usize,
    pub messages: usize,
    pub invalid_deliveries: usize,
    pub repetitions: usize,
}

/// Deletes what is older than it need be kept at `now`; `keys` is how long keys of requests and
/// events are remembered.
///
/// # Errors
/// The database refuses; what was deleted by then stays deleted.
pub async fn prune(store: &Store, keep: &Retention, keys: Duration, now: Timestamp) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    for (resolution, age) in RESOLUTIONS.into_iter().zip([keep.ten_seconds, keep.minutes, keep.hours]) {
        let limit = now.minus(age).seconds().saturating_sub(i64::from(resolution));
        loop {
            let mut tx = store.begin().await?;
            let (gone, more) = prune_buckets(&mut tx, resolution, limit).await?;
            tx.commit().await?;
            pruned.buckets += gone;
            if !more {
                break;
            }
        }
    }
    let mut tx = store.begin().await?;
    pruned.messages = prune_messages(&mut tx, now.minus(keep.messages)).await?;
    tx.commit().await?;
    let mut tx = store.begin().await?;
    pruned.invalid_deliveries = prune_invalid(&mut tx, now.minus(keep.invalid_deliveries)).await?;
    tx.commit().await?;
    let mut tx = store.begin().await?;
    pruned.errors = prune_errors(&mut tx, now.minus(keep.hours)).await?;
    tx.commit().await?;
    loop {
        let mut tx = store.begin().await?;
        let gone = prune_keys(&mut tx, now.minus(keys)).await?;
        tx.commit().await?;
        pruned.keys += gone;
        if gone == 0 {
            break;
        }
    }
    loop {
        let mut tx = store.begin().await?;
        let gone = prune_repetitions(&mut tx, now.minus(REPETITIONS)).await?;
        tx.commit().await?;
        pruned.repetitions += gone;
        if gone == 0 {
            break;
        }
    }
    Ok(pruned)
}

/// Buckets that begin at or before `limit` (seconds): whole starts, until [`STEP`] rows are gone.
/// Answers how many went and whether there are more.
async fn prune_buckets(conn: &mut Conn, resolution: i32, limit: i64) -> QueryResult<(usize, bool)> {
    let step_end = on_conn!(conn, |c| bucket::table
        .filter(bucket::resolution.eq(resolution).and(bucket::start.le(limit)))
        .order(bucket::start)
        .offset(STEP)
        .limit(1)
        .select(bucket::start)
        .get_result::<i64>(c)
        .await
        .optional())?;
    let end = step_end.unwrap_or(limit);
    let gone = on_conn!(conn, |c| diesel::delete(
        bucket::table.filter(bucket::resolution.eq(resolution).and(bucket::start.le(end)))
    )
    .execute(c)
    .await)?;
    Ok((gone, step_end.is_some()))
}

async fn prune_errors(conn: &mut Conn, before: Timestamp) -> QueryResult<usize> {
    on_conn!(conn, |c| diesel::delete(error_group::table.filter(error_group::last_seen.lt(before.micros())))
        .execute(c)
        .await)
}

/// Messages that need nothing more; what waits stays, however old.
async fn prune_messages(conn: &mut Conn, before: Timestamp) -> QueryResult<usize> {
    let done = ["sent", "superseded", "dead"];
    on_conn!(conn, |c| diesel::delete(outbox::table.filter(outbox::state.eq_any(done)))
        .filter(outbox::due_at.lt(before.micros()))
        .execute(c)
        .await)
}

/// Of each source there are a hundred at most.
async fn prune_invalid(conn: &mut Conn, before: Timestamp) -> QueryResult<usize> {
    let old = || invalid_delivery::table.filter(invalid_delivery::received_at.lt(before.micros()));
    on_conn!(conn, |c| diesel::delete(old()).execute(c).await)
}

async fn prune_keys(conn: &mut Conn, before: Timestamp) -> QueryResult<usize> {
    let oldest: Vec<Vec<u8>> = on_conn!(conn, |c| seen_key::table
        .filter(seen_key::seen_at.lt(before.micros()))
        .order(seen_key::seen_at)
        .limit(STEP)
        .select(seen_key::key)
        .load(c)
        .await)?;
    on_conn!(conn, |c| diesel::delete(seen_key::table.filter(seen_key::key.eq_any(oldest))).execute(c).await)
}

async fn prune_repetitions(conn: &mut Conn, before: Timestamp) -> QueryResult<usize> {
    let old = || fact::table.filter(fact::kind.eq(REPETITION)).filter(fact::received_at.lt(before.micros()));
    let some: Vec<i64> = on_conn!(conn, |c| old().limit(STEP).select(fact::id).load(c).await)?;
    // One that became a fact like any other meanwhile stays.
    let still = || fact::table.filter(fact::kind.eq(REPETITION));
    on_conn!(conn, |c| diesel::delete(still().filter(fact::id.eq_any(some))).execute(c).await)
}
