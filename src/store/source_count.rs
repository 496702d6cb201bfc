//! What became of deliveries, by source: counts that survive a restart.

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::conn::{batch, on_conn};
use super::schema::source_count;
use super::{Conn, StoreError};

/// How often deliveries of a source came to one outcome; `reason` is empty where it has none.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = source_count, treat_none_as_default_value = false)]
pub struct SourceCount {
    pub source: String,
    pub outcome: String,
    pub reason: String,
    pub count: i64,
    /// When the last of them was received, in microseconds.
    pub last_at: i64,
}

/// Adds to the stored counts, whoever else adds to them. The rows have different names, in order:
/// two that add at once do not wait for each other in a circle.
///
/// # Errors
/// The database refuses.
pub async fn add(conn: &mut Conn, rows: &[SourceCount]) -> Result<(), StoreError> {
    batch!(conn, execute, rows => diesel::insert_into(source_count::table)
    .values(rows)
    .on_conflict((source_count::source, source_count::outcome, source_count::reason))
    .do_update()
    .set((
        source_count::count.eq(source_count::count + excluded(source_count::count)),
        source_count::last_at.eq(case_when(
            excluded(source_count::last_at).gt(source_count::last_at),
            excluded(source_count::last_at),
        )
        .otherwise(source_count::last_at)),
    )))?;
    Ok(())
}

/// Every count, by name.
///
/// # Errors
/// The database does not answer.
pub async fn all(conn: &mut Conn) -> Result<Vec<SourceCount>, StoreError> {
    Ok(on_conn!(conn, |c| source_count::table
        .order((source_count::source, source_count::outcome, source_count::reason))
        .select(SourceCount::as_select())
        .load(c)
        .await)?)
}
