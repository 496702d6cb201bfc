//! Versions that must not be gone back to, until somebody says otherwise.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use serde::Serialize;
use utoipa::ToSchema;

use super::conn::on_conn;
use super::schema::quarantine;
use super::{Conn, StoreError};
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quarantined {
    pub service: String,
    pub environment: String,
    pub version: String,
    pub reason: String,
    pub since: Timestamp,
    /// When and by whom it was lifted; absent while it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
}

type Row = (String, String, String, String, i64, Option<i64>, Option<String>);

/// Puts a version into quarantine; one that was lifted is put back, one that holds stays as it is.
///
/// # Errors
/// The database does not answer.
pub async fn put(conn: &mut Conn, entry: &Quarantined) -> Result<(), StoreError> {
    on_conn!(conn, |c| diesel::insert_into(quarantine::table)
        .values((
            quarantine::service.eq(&entry.service),
            quarantine::environment.eq(&entry.environment),
            quarantine::version.eq(&entry.version),
            quarantine::reason.eq(&entry.reason),
            quarantine::since.eq(entry.since.micros()),
        ))
        .on_conflict((quarantine::service, quarantine::environment, quarantine::version))
        .do_update()
        .set((
            quarantine::reason.eq(excluded(quarantine::reason)),
            quarantine::since.eq(excluded(quarantine::since)),
            quarantine::lifted_at.eq(None::<i64>),
            quarantine::lifted_by.eq(None::<String>),
        ))
        .execute(c)
        .await)?;
    Ok(())
}

/// Lifts a quarantine; false when none holds.
///
/// # Errors
/// The database does not answer.
pub async fn lift(
    conn: &mut Conn,
    place: (&str, &str),
    version: &str,
    by: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let lifted = on_conn!(conn, |c| diesel::update(quarantine::table.find((place.0, place.1, version)))
        .filter(quarantine::lifted_at.is_null())
        .set((quarantine::lifted_at.eq(now.micros()), quarantine::lifted_by.eq(by)))
        .execute(c)
        .await)?;
    Ok(lifted == 1)
}

/// The versions that are in quarantine in a place.
///
/// # Errors
/// The database does not answer.
pub async fn versions(conn: &mut Conn, place: (&str, &str)) -> Result<BTreeSet<String>, StoreError> {
    let versions: Vec<String> = on_conn!(conn, |c| quarantine::table
        .filter(quarantine::service.eq(place.0))
        .filter(quarantine::environment.eq(place.1))
        .filter(quarantine::lifted_at.is_null())
        .select(quarantine::version)
        .load(c)
        .await)?;
    Ok(versions.into_iter().collect())
}

/// Everything in quarantine, newest first; with `lifted` also what no longer is.
///
/// # Errors
/// The database does not answer.
pub async fn list(conn: &mut Conn, lifted: bool, limit: i64) -> Result<Vec<Quarantined>, StoreError> {
    let rows: Vec<Row> = on_conn!(conn, |c| {
        let mut query = quarantine::table.into_boxed();
        if !lifted {
            query = query.filter(quarantine::lifted_at.is_null());
        }
        query.order((quarantine::since.desc(), quarantine::version)).limit(limit).load(c).await
    })?;
    let read = |(service, environment, version, reason, since, lifted_at, lifted_by): Row| Quarantined {
        service,
        environment,
        version,
        reason,
        since: Timestamp::from_micros(since),
        lifted_at: lifted_at.map(Timestamp::from_micros),
        lifted_by,
    };
    Ok(rows.into_iter().map(read).collect())
}
