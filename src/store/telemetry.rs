//! Telemetry at rest: buckets of 10 seconds, a minute and an hour, each the exact sum of the finer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::codec::{decode_histogram, encode_histogram};
use super::conn::{MAX_BINDS, batch, on_conn};
use super::schema::bucket;
use super::{Conn, StoreError, series};
use crate::event::{SeriesKey, TelemetryDelta};

/// In seconds.
pub const RESOLUTIONS: [i32; 3] = [10, 60, 3600];

/// Values of an `IN` list per statement.
const LIST: usize = 10_000;
const COLUMNS: usize = 7;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = bucket, treat_none_as_default_value = false)]
struct Row {
    series_id: i64,
    resolution: i32,
    start: i64,
    requests: i64,
    errors: i64,
    duration_sum_us: i64,
    durations: Vec<u8>,
}

impl Row {
    fn new(resolution: i32, (start, series_id): (i64, i64), delta: &TelemetryDelta) -> Self {
        Self {
            series_id,
            resolution,
            start,
            requests: stored(delta.requests),
            errors: stored(delta.errors),
            duration_sum_us: stored(delta.duration_sum_us),
            durations: encode_histogram(&delta.durations),
        }
    }

    fn delta(&self) -> Result<TelemetryDelta, StoreError> {
        Ok(TelemetryDelta {
            requests: count(self.requests),
            errors: count(self.errors),
            duration_sum_us: count(self.duration_sum_us),
            durations: decode_histogram(&self.durations).map_err(|source| StoreError::decode("bucket", source))?,
        })
    }
}

/// Counts beyond 2^63 are kept as 2^63 - 1.
pub(super) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// By (start in seconds, number of the series).
pub(super) type Deltas = BTreeMap<(i64, i64), TelemetryDelta>;

/// Adds to the stored buckets of one resolution; `deltas` are of that resolution or finer.
pub(super) async fn add(conn: &mut Conn, resolution: i32, deltas: &Deltas) -> Result<(), StoreError> {
    let mut sums = Deltas::new();
    for ((start, series), delta) in deltas {
        let start = start - start.rem_euclid(i64::from(resolution));
        sums.entry((start, *series)).or_default().merge(delta);
    }
    for row in stored_under(conn, resolution, &sums).await? {
        if let Some(sum) = sums.get_mut(&(row.start, row.series_id)) {
            sum.merge(&row.delta()?);
        }
    }
    let rows: Vec<Row> = sums.iter().map(|(key, sum)| Row::new(resolution, *key, sum)).collect();
    Ok(upsert(conn, &rows).await?)
}

/// The stored rows under these keys: a query per start or per series, whichever are fewer.
async fn stored_under(conn: &mut Conn, resolution: i32, keys: &Deltas) -> QueryResult<Vec<Row>> {
    let (mut by_start, mut by_series) = (BTreeMap::<i64, Vec<i64>>::new(), BTreeMap::<i64, Vec<i64>>::new());
    for &(start, series) in keys.keys() {
        by_start.entry(start).or_default().push(series);
        by_series.entry(series).or_default().push(start);
    }
    let mut rows = Vec::new();
    if by_start.len() <= by_series.len() {
        for (start, list) in by_start {
            for some in list.chunks(LIST) {
                rows.append(&mut on_conn!(conn, |c| bucket::table
                    .filter(bucket::resolution.eq(resolution).and(bucket::start.eq(start)))
                    .filter(bucket::series_id.eq_any(some))
                    .select(Row::as_select())
                    .load(c)
                    .await)?);
            }
        }
    } else {
        for (series, list) in by_series {
            for some in list.chunks(LIST) {
                rows.append(&mut on_conn!(conn, |c| bucket::table
                    .filter(bucket::resolution.eq(resolution).and(bucket::series_id.eq(series)))
                    .filter(bucket::start.eq_any(some))
                    .select(Row::as_select())
                    .load(c)
                    .await)?);
            }
        }
    }
    Ok(rows)
}

async fn upsert(conn: &mut Conn, all: &[Row]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / COLUMNS) {
        batch!(conn, execute, rows => diesel::insert_into(bucket::table)
        .values(rows)
        .on_conflict((bucket::resolution, bucket::start, bucket::series_id))
        .do_update()
        .set((
            bucket::requests.eq(excluded(bucket::requests)),
            bucket::errors.eq(excluded(bucket::errors)),
            bucket::duration_sum_us.eq(excluded(bucket::duration_sum_us)),
            bucket::durations.eq(excluded(bucket::durations)),
        )))?;
    }
    Ok(())
}

/// One series in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub series: SeriesKey,
    /// Seconds since the epoch.
    pub start: i64,
    pub delta: TelemetryDelta,
}

/// All buckets of a resolution (seconds) that begin within `starts` (seconds since the epoch), by
/// start. Telemetry that is still in the journal is not in them.
///
/// # Errors
/// The database does not answer, or a stored bucket cannot be read.
pub async fn load_buckets(
    conn: &mut Conn,
    resolution: i32,
    starts: RangeInclusive<i64>,
) -> Result<Vec<Bucket>, StoreError> {
    let names = series::all(conn).await?;
    let rows: Vec<Row> = on_conn!(conn, |c| bucket::table
        .filter(bucket::resolution.eq(resolution))
        .filter(bucket::start.between(*starts.start(), *starts.end()))
        .order((bucket::start, bucket::series_id))
        .select(Row::as_select())
        .load(c)
        .await)?;
    let mut buckets = Vec::with_capacity(rows.len());
    for row in rows {
        // A series that came after the names were read is in the next load.
        let Some(series) = names.get(&row.series_id) else { continue };
        buckets.push(Bucket { series: series.clone(), start: row.start, delta: row.delta()? });
    }
    Ok(buckets)
}
