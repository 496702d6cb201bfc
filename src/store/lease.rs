//! Who may act: one process at a time, with a number that grows at every take-over.
//!
//! The right itself is held by something that dies with the process (a lock on the data folder
//! for SQLite, a session's advisory lock for PostgreSQL), so that a restart after kill -9 need not
//! wait for an expiry. The fencing number is stored and checked by every action that matters.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::conn::{Side, on_conn};
use super::schema::lease;
use super::{Conn, Store, StoreError, open};
use crate::time::Timestamp;

/// The advisory lock's key, "devpulse" in ASCII.
const LOCK_KEY: i64 = 0x6465_7670_756c_7365;
const NAME: &str = "act";

/// The right to act. Dropping it gives the right away.
pub struct Lease {
    pub fencing: i64,
    held: Held,
}

enum Held {
    File { _lock: File },
    Session(Box<AsyncPgConnection>),
}

/// Takes the right to act, or answers `None` while another process has it.
///
/// # Errors
/// The database or the lock file cannot be reached.
pub async fn take(store: &Store, url: &str, holder: &str, now: Timestamp) -> Result<Option<Lease>, StoreError> {
    let held = match store {
        Store::Sqlite { path, .. } => {
            let lock =
                File::options().create(true).append(true).mode(open::OWNER_ONLY).open(path.with_extension("lock"))?;
            match lock.try_lock() {
                Ok(()) => Held::File { _lock: lock },
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        Store::Postgres { .. } => {
            let mut session = open::connect_postgres(url).await?;
            let locked = diesel::select(pg_try_advisory_lock(LOCK_KEY)).get_result::<bool>(&mut session).await?;
            if !locked {
                return Ok(None);
            }
            Held::Session(Box::new(session))
        }
    };
    let mut tx = store.begin().await?;
    let fencing = raise(&mut tx, holder, now).await?;
    tx.commit().await?;
    Ok(Some(Lease { fencing, held }))
}

diesel::define_sql_function! { fn pg_try_advisory_lock(key: diesel::sql_types::BigInt) -> diesel::sql_types::Bool; }

async fn raise(conn: &mut Conn, holder: &str, now: Timestamp) -> QueryResult<i64> {
    on_conn!(conn, |c| diesel::insert_into(lease::table)
        .values((
            lease::name.eq(NAME),
            lease::holder.eq(holder),
            lease::fencing.eq(1),
            lease::taken_at.eq(now.micros())
        ))
        .on_conflict(lease::name)
        .do_update()
        .set((
            lease::holder.eq(excluded(lease::holder)),
            lease::fencing.eq(lease::fencing + 1),
            lease::taken_at.eq(excluded(lease::taken_at)),
        ))
        .returning(lease::fencing)
        .get_result(c)
        .await)
}

/// Whether `fencing` is the newest number at this moment. Who acts asks [`holds`].
///
/// # Errors
/// The database does not answer.
pub async fn is_current(conn: &mut Conn, fencing: i64) -> QueryResult<bool> {
    let newest = on_conn!(conn, |c| lease::table
        .filter(lease::name.eq(NAME))
        .select(lease::fencing)
        .get_result::<i64>(c)
        .await
        .optional())?;
    Ok(newest == Some(fencing))
}

/// Whether `fencing` is the newest number and stays so until the caller's transaction ends: nobody
/// takes over before what it does is committed or undone. SQLite's writer is alone anyway.
///
/// # Errors
/// The database does not answer.
pub async fn holds(tx: &mut Conn, fencing: i64) -> QueryResult<bool> {
    let Side::Postgres(c) = tx.side() else { return is_current(tx, fencing).await };
    let row = lease::table.filter(lease::name.eq(NAME)).select(lease::fencing).for_share();
    let newest = row.get_result::<i64>(c).await.optional()?;
    Ok(newest == Some(fencing))
}

impl Lease {
    /// Whether the right is still held: PostgreSQL's lock goes when its session goes.
    pub async fn is_held(&mut self) -> bool {
        match &mut self.held {
            Held::File { .. } => true,
            Held::Session(session) => diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"))
                .get_result::<i32>(session.as_mut())
                .await
                .is_ok(),
        }
    }
}
