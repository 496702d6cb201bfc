//! Errors at rest: one row per series and fingerprint.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::conn::{MAX_BINDS, batch, on_conn};
use super::schema::error_group;
use super::telemetry::{count, stored};
use super::{Conn, storable};
use crate::event::ErrorDelta;
use crate::time::Timestamp;

/// Fingerprints per statement.
const LIST: usize = 10_000;
const COLUMNS: usize = 7;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = error_group, treat_none_as_default_value = false)]
struct Row {
    series_id: i64,
    fingerprint: String,
    level: String,
    message: String,
    count: i64,
    first_seen: i64,
    last_seen: i64,
}

impl Row {
    fn new((series_id, fingerprint): &(i64, String), delta: &ErrorDelta) -> Self {
        Self {
            series_id: *series_id,
            fingerprint: fingerprint.clone(),
            level: storable(&delta.level),
            message: storable(&delta.message),
            count: stored(delta.count),
            first_seen: delta.first_seen.micros(),
            last_seen: delta.last_seen.micros(),
        }
    }

    fn delta(&self) -> ErrorDelta {
        ErrorDelta {
            level: self.level.clone(),
            message: self.message.clone(),
            count: count(self.count),
            first_seen: Timestamp::from_micros(self.first_seen),
            last_seen: Timestamp::from_micros(self.last_seen),
        }
    }
}

/// By (number of the series, fingerprint).
pub(super) type Errors = BTreeMap<(i64, String), ErrorDelta>;

/// Adds to the stored errors.
pub(super) async fn add(conn: &mut Conn, mut errors: Errors) -> QueryResult<()> {
    let keys: Vec<(i64, String)> = errors.keys().cloned().collect();
    for of_one in keys.chunk_by(|a, b| a.0 == b.0) {
        for some in of_one.chunks(LIST) {
            let Some((series, _)) = some.first() else { continue };
            let fingerprints: Vec<&str> = some.iter().map(|(_, fingerprint)| fingerprint.as_str()).collect();
            let known: Vec<Row> = on_conn!(conn, |c| error_group::table
                .filter(error_group::series_id.eq(series))
                .filter(error_group::fingerprint.eq_any(fingerprints))
                .select(Row::as_select())
                .load(c)
                .await)?;
            for row in known {
                if let Some(sum) = errors.get_mut(&(row.series_id, row.fingerprint.clone())) {
                    sum.merge(&row.delta());
                }
            }
        }
    }
    let rows: Vec<Row> = errors.iter().map(|(key, delta)| Row::new(key, delta)).collect();
    upsert(conn, &rows).await
}

async fn upsert(conn: &mut Conn, all: &[Row]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / COLUMNS) {
        batch!(conn, execute, rows => diesel::insert_into(error_group::table)
        .values(rows)
        .on_conflict((error_group::series_id, error_group::fingerprint))
        .do_update()
        .set((
            error_group::level.eq(excluded(error_group::level)),
            error_group::message.eq(excluded(error_group::message)),
            error_group::count.eq(excluded(error_group::count)),
            error_group::first_seen.eq(excluded(error_group::first_seen)),
            error_group::last_seen.eq(excluded(error_group::last_seen)),
        )))?;
    }
    Ok(())
}
