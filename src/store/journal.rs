//! The journal: telemetry of commit groups, opaque until it is materialised.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::codec::Malformed;
use super::conn::on_conn;
use super::schema::journal;
use super::{Conn, StoreError, payload};
use crate::event::TelemetryBatch;

/// Names a row: `sequence` grows with every commit group of a replica, restarts included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("row {sequence} of replica {replica:?}")]
pub struct Place {
    pub replica: String,
    pub sequence: i64,
}

/// A row that cannot be read, by name.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {source}")]
pub struct Unreadable {
    pub place: Place,
    pub source: Malformed,
}

#[derive(Queryable)]
pub(super) struct Row {
    replica: String,
    sequence: i64,
    payload: Vec<u8>,
}

impl Row {
    pub fn place(&self) -> Place {
        Place { replica: self.replica.clone(), sequence: self.sequence }
    }

    /// # Errors
    /// [`Unreadable`]: the row is not what was written, or was written by a later version.
    pub fn decode(&self) -> Result<TelemetryBatch, Unreadable> {
        payload::decode(&self.payload).map_err(|source| Unreadable { place: self.place(), source })
    }
}

/// Adds the telemetry of one commit group.
///
/// # Errors
/// The database refuses, or the place is taken.
pub async fn append(conn: &mut Conn, place: &Place, batch: &TelemetryBatch) -> Result<(), StoreError> {
    let payload = payload::encode(batch);
    on_conn!(conn, |c| diesel::insert_into(journal::table)
        .values((
            journal::replica.eq(&place.replica),
            journal::sequence.eq(place.sequence),
            journal::payload.eq(&payload)
        ))
        .execute(c)
        .await)?;
    Ok(())
}

/// The newest sequence of a replica that is still in the journal.
///
/// # Errors
/// The database does not answer.
pub async fn last_sequence(conn: &mut Conn, replica: &str) -> QueryResult<Option<i64>> {
    on_conn!(conn, |c| journal::table
        .filter(journal::replica.eq(replica))
        .select(diesel::dsl::max(journal::sequence))
        .get_result(c)
        .await)
}

/// At most `limit` rows behind `after`, by place.
pub(super) async fn page(conn: &mut Conn, after: Option<&Place>, limit: i64) -> QueryResult<Vec<Row>> {
    let (replica, sequence) = after.map_or(("", i64::MIN), |place| (place.replica.as_str(), place.sequence));
    // No index finds where an OR begins; the bound before it is found.
    on_conn!(conn, |c| journal::table
        .filter(journal::replica.ge(replica))
        .filter(journal::replica.gt(replica).or(journal::replica.eq(replica).and(journal::sequence.gt(sequence))))
        .order((journal::replica, journal::sequence))
        .limit(limit)
        .load(c)
        .await)
}

/// Removes rows that have been folded.
pub(super) async fn remove(conn: &mut Conn, rows: &[&Row]) -> QueryResult<()> {
    for of_one in rows.chunk_by(|a, b| a.replica == b.replica) {
        let Some(first) = of_one.first() else { continue };
        let sequences: Vec<i64> = of_one.iter().map(|row| row.sequence).collect();
        on_conn!(conn, |c| diesel::delete(
            journal::table.filter(journal::replica.eq(&first.replica)).filter(journal::sequence.eq_any(&sequences))
        )
        .execute(c)
        .await)?;
    }
    Ok(())
}
