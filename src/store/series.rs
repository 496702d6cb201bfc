//! Whose telemetry it is: (service, environment, version) ↔ a number. Series are never deleted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::Conn;
use super::conn::{MAX_BINDS, batch, on_conn};
use super::schema::series;
use crate::event::SeriesKey;

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = series, treat_none_as_default_value = false)]
struct NewSeries {
    service: String,
    environment: String,
    version: String,
}

#[derive(Queryable)]
struct Row {
    id: i64,
    service: String,
    environment: String,
    version: String,
}

impl Row {
    fn key(self) -> SeriesKey {
        SeriesKey {
            service: Arc::from(self.service),
            environment: Arc::from(self.environment),
            version: Arc::from(self.version),
        }
    }
}

/// The numbers of these series; those not yet there are added.
pub(super) async fn ids(conn: &mut Conn, keys: &BTreeSet<&SeriesKey>) -> QueryResult<HashMap<SeriesKey, i64>> {
    let wanted: Vec<NewSeries> = keys.iter().map(|key| new_series(key)).collect();
    let mut found = HashMap::new();
    for rows in wanted.chunks(MAX_BINDS / 3) {
        let rows: Vec<Row> = batch!(conn, get_results, rows => diesel::insert_into(series::table)
            .values(rows)
            .on_conflict((series::service, series::environment, series::version))
            .do_update()
            .set(series::service.eq(excluded(series::service)))
            .returning(series::all_columns))?;
        found.extend(rows.into_iter().map(|row| (row.id, row.key())).map(|(id, key)| (key, id)));
    }
    Ok(found)
}

fn new_series(key: &SeriesKey) -> NewSeries {
    NewSeries {
        service: key.service.to_string(),
        environment: key.environment.to_string(),
        version: key.version.to_string(),
    }
}

/// Every series, by number.
pub(super) async fn all(conn: &mut Conn) -> QueryResult<HashMap<i64, SeriesKey>> {
    let rows: Vec<Row> = on_conn!(conn, |c| series::table.load(c).await)?;
    Ok(rows.into_iter().map(|row| (row.id, row.key())).collect())
}
