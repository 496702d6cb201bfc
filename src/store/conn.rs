//! A connection to either back end, and the macros that let one query body serve both.

use diesel::sqlite::SqliteConnection;
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use tokio::sync::OwnedMutexGuard;

use super::StoreError;

pub type SqliteAsync = SyncConnectionWrapper<SqliteConnection>;

/// A connection taken from the store; it goes back when dropped.
pub enum Conn {
    Postgres(Object<AsyncPgConnection>),
    SqliteReader(Object<SqliteAsync>),
    /// SQLite has one writer; whoever holds it has the database's write side to itself.
    SqliteWriter(OwnedMutexGuard<SqliteAsync>),
}

/// Runs one diesel-async query body on whichever back end `$conn` (a `&mut Conn`) is:
/// `on_conn!(conn, |c| fact::table.count().get_result::<i64>(c).await)`.
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Postgres(object) => {
                let $c: &mut diesel_async::AsyncPgConnection = &mut **object;
                $body
            }
            $crate::store::Conn::SqliteReader(object) => {
                let $c: &mut $crate::store::conn::SqliteAsync = &mut **object;
                $body
            }
            $crate::store::Conn::SqliteWriter(guard) => {
                let $c: &mut $crate::store::conn::SqliteAsync = &mut **guard;
                $body
            }
        }
    };
}

/// Runs a statement over many rows, which diesel cannot send through the asynchronous SQLite
/// wrapper: there the rows are copied and the same statement runs synchronously.
/// `batch!(conn, execute, rows => insert_into(t).values(rows).on_conflict_do_nothing())` where
/// `rows: &[Row]` and `Row: Clone + Send + 'static`. Keep rows × columns below 32,766 binds
/// ([`MAX_BINDS`]).
macro_rules! batch {
    ($conn:expr, $run:ident, $rows:ident => $statement:expr) => {
        match $conn {
            $crate::store::Conn::Postgres(object) => {
                let c: &mut diesel_async::AsyncPgConnection = &mut **object;
                diesel_async::RunQueryDsl::$run($statement, c).await
            }
            $crate::store::Conn::SqliteReader(object) => {
                let owned = $rows.to_vec();
                let c: &mut $crate::store::conn::SqliteAsync = &mut **object;
                c.spawn_blocking(move |c| {
                    let $rows = owned.as_slice();
                    diesel::RunQueryDsl::$run($statement, c)
                })
                .await
            }
            $crate::store::Conn::SqliteWriter(guard) => {
                let owned = $rows.to_vec();
                let c: &mut $crate::store::conn::SqliteAsync = &mut **guard;
                c.spawn_blocking(move |c| {
                    let $rows = owned.as_slice();
                    diesel::RunQueryDsl::$run($statement, c)
                })
                .await
            }
        }
    };
}
pub(crate) use {batch, on_conn};

/// The most bind parameters one statement may have (SQLite's limit; PostgreSQL's is twice that).
pub const MAX_BINDS: usize = 32_766;

/// Which back end it is, for the few statements that are written for each on purpose.
pub(super) enum Side<'a> {
    Postgres(&'a mut AsyncPgConnection),
    Sqlite(&'a mut SqliteAsync),
}

impl Conn {
    pub(super) fn side(&mut self) -> Side<'_> {
        match self {
            Self::Postgres(c) => Side::Postgres(c),
            Self::SqliteReader(c) => Side::Sqlite(c),
            Self::SqliteWriter(c) => Side::Sqlite(c),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::begin_transaction(&mut **c).await?,
            Self::SqliteReader(c) => c.batch_execute("BEGIN").await?,
            Self::SqliteWriter(c) => c.batch_execute("BEGIN IMMEDIATE").await?,
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::commit_transaction(&mut **c).await?,
            Self::SqliteReader(c) => c.batch_execute("COMMIT").await?,
            Self::SqliteWriter(c) => c.batch_execute("COMMIT").await?,
        }
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(c) => {
                type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
                Manager::rollback_transaction(&mut **c).await?;
            }
            Self::SqliteReader(c) => c.batch_execute("ROLLBACK").await?,
            Self::SqliteWriter(c) => c.batch_execute("ROLLBACK").await?,
        }
        Ok(())
    }
}
