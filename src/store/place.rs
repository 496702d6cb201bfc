//! What a rollback decision needs to know of one place, in few queries.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::schema::{alert, deployment, incident};
use super::{Conn, StoreError};
use crate::event::{Deployment, Incident};
use crate::time::Timestamp;

/// Whether an incident names the service first, or among what else it affects.
macro_rules! affects {
    ($service:expr) => {{
        use $crate::store::dora::dirty::reference;
        use $crate::store::schema::{incident, incident_reference};
        let same = incident_reference::source.eq(incident::source).and(incident_reference::id.eq(incident::id));
        let named = incident_reference::deployment.eq($crate::store::storable(&reference::service($service)));
        let also = incident_reference::table.filter(same).filter(named);
        incident::service.eq($service).or(diesel::dsl::exists(also))
    }};
}
pub(super) use affects;

/// The newest deployments of a place, newest first, whatever became of them.
///
/// # Errors
/// The database does not answer, or a row cannot be read.
pub async fn deployments(conn: &mut Conn, place: (&str, &str), limit: i64) -> Result<Vec<Deployment>, StoreError> {
    let rows: Vec<String> = on_conn!(conn, |c| deployment::table
        .filter(deployment::service.eq(place.0))
        .filter(deployment::environment.eq(place.1))
        .order((deployment::sort_at.desc(), deployment::source.desc(), deployment::id.desc()))
        .limit(limit)
        .select(deployment::state)
        .load(c)
        .await)?;
    rows.iter().map(|row| decode("deployment", row)).collect()
}

/// The incidents of a service that were open at any time since `since`; those that name no
/// environment are everywhere.
///
/// # Errors
/// The database does not answer, or a row cannot be read.
pub async fn incidents(conn: &mut Conn, place: (&str, &str), since: Timestamp) -> Result<Vec<Incident>, StoreError> {
    let rows: Vec<String> = on_conn!(conn, |c| incident::table
        .filter(affects!(place.0))
        .filter(incident::environment.eq(place.1).or(incident::environment.is_null()))
        .filter(incident::status.ne("withdrawn"))
        .filter(incident::resolved_at.is_null().or(incident::resolved_at.ge(since.micros())))
        .select(incident::state)
        .load(c)
        .await)?;
    rows.iter().map(|row| decode("incident", row)).collect()
}

/// Fingerprint, start and end of the place's alerts of one kind that were active at any time since
/// `since`.
///
/// # Errors
/// The database does not answer.
pub async fn alerts(
    conn: &mut Conn,
    place: (&str, &str),
    kind: &str,
    since: Timestamp,
) -> Result<Vec<(String, Timestamp, Option<Timestamp>)>, StoreError> {
    let rows: Vec<(String, i64, Option<i64>)> = on_conn!(conn, |c| alert::table
        .filter(alert::service.eq(place.0))
        .filter(alert::environment.eq(place.1))
        .filter(alert::kind.eq(kind))
        .filter(alert::resolved_at.is_null().or(alert::resolved_at.ge(since.micros())))
        .select((alert::fingerprint, alert::started_at, alert::resolved_at))
        .load(c)
        .await)?;
    let times = |(fingerprint, start, end): (String, i64, Option<i64>)| {
        (fingerprint, Timestamp::from_micros(start), end.map(Timestamp::from_micros))
    };
    Ok(rows.into_iter().map(times).collect())
}

fn decode<T: serde::de::DeserializeOwned>(what: &'static str, row: &str) -> Result<T, StoreError> {
    serde_json::from_str(row).map_err(|error| StoreError::Decode { what, source: error.into() })
}
