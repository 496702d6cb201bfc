//! The database: embedded SQLite or PostgreSQL behind one enum, never a trait, never a mock.
//!
//! Queries are functions over `&mut Conn` in the submodules, one per table family; what must be
//! atomic takes a [`Tx`]. Every write that must survive is committed with an fsync
//! (`synchronous=FULL`, PostgreSQL's `synchronous_commit=on`).

pub mod alert;
mod codec;
pub mod conn;
pub mod dora;
mod error_group;
pub mod fact;
pub mod history;
pub mod in_doubt;
pub mod invalid_delivery;
pub mod journal;
pub mod key;
pub mod lease;
mod lock;
pub mod materialise;
pub mod open;
mod origin;
pub mod outbox;
mod payload;
pub mod place;
pub mod projection;
mod pull_request;
pub mod quarantine;
pub mod receipt;
pub mod repetition;
pub mod retention;
pub mod rollback;
pub mod schema;
pub mod seen;
mod series;
pub mod source_count;
pub mod telemetry;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{Pool, PoolError};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};

pub use conn::Conn;
use conn::SqliteAsync;

#[derive(Clone)]
pub enum Store {
    Postgres {
        pool: Pool<AsyncPgConnection>,
        /// What drives the connections.
        runtime: Handle,
    },
    Sqlite {
        writer: Arc<Mutex<SqliteAsync>>,
        readers: Pool<SqliteAsync>,
        path: Arc<std::path::Path>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused: {0}")]
    Query(#[from] diesel::result::Error),
    #[error("no database connection: {0}")]
    Pool(#[from] PoolError),
    #[error("cannot connect to the database: {0}")]
    Connect(#[from] diesel::ConnectionError),
    #[error("database url {url}: {reason}")]
    Url { url: String, reason: String },
    #[error("migration: {0}")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("stored {what} cannot be read: {source}")]
    Decode { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{what} cannot be stored: {source}")]
    Encode { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0} was stored and cannot be found")]
    Lost(&'static str),
    #[error("the database does not say whether it committed")]
    InDoubt,
    #[error("another process leads")]
    Deposed,
    #[error("new facts come faster than they can be read")]
    Busy,
    #[error("the delivery metrics of {left} services are still being computed")]
    Behind { left: usize },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    pub(crate) fn decode(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Decode { what, source: source.into() }
    }

    pub(crate) fn encode(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Encode { what, source: source.into() }
    }

    /// Whether the database could not be reached at all, rather than refused what it was told.
    pub const fn is_unavailable(&self) -> bool {
        use diesel::result::{
            DatabaseErrorKind::{ClosedConnection, UnableToSendCommand},
            Error,
        };
        matches!(
            self,
            Self::Pool(_)
                | Self::Connect(_)
                | Self::Io(_)
                | Self::InDoubt
                | Self::Deposed
                | Self::Busy
                | Self::Behind { .. }
                | Self::Query(
                    Error::DatabaseError(ClosedConnection | UnableToSendCommand, _) | Error::BrokenTransactionManager
                )
        )
    }
}

/// Text as both databases take it: PostgreSQL keeps no U+0000.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Store {
    /// A connection for reading.
    ///
    /// # Errors
    /// No connection can be had within the pool's time limit.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Postgres { pool, .. } => Conn::Postgres(pool.get().await?),
            Self::Sqlite { readers, .. } => Conn::SqliteReader(readers.get().await?),
        })
    }

    /// A transaction that writes. Nothing of it is kept unless [`Tx::commit`] answers `Ok`.
    ///
    /// # Errors
    /// No connection can be had, or the database does not answer.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut conn = match self {
            Self::Postgres { pool, .. } => Conn::Postgres(pool.get().await?),
            Self::Sqlite { writer, .. } => {
                let mut conn = Conn::SqliteWriter(Arc::clone(writer).lock_owned().await);
                // A commit that was given up half way is still open here.
                if conn.roll_back().await.is_ok() {
                    tracing::warn!("an abandoned transaction was rolled back");
                }
                conn
            }
        };
        conn.begin().await?;
        Ok(Tx(Some(conn)))
    }

    /// Runs what reads many rows where the connections are driven: in another runtime each row would
    /// wake a thread.
    ///
    /// # Errors
    /// Those of the work, or that the process is stopping.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite { .. } => work.await,
            Self::Postgres { runtime, .. } => run_on(runtime, work).await.map_err(std::io::Error::other)?,
        }
    }

    /// How many connections are open, idle and waited for.
    pub fn pool(&self) -> deadpool::Status {
        match self {
            Self::Postgres { pool, .. } => pool.status(),
            Self::Sqlite { readers, .. } => readers.status(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgresql",
            Self::Sqlite { .. } => "sqlite",
        }
    }
}

/// Runs on another runtime; stops with whoever waits for it.
async fn run_on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let mut one = JoinSet::new();
    one.spawn_on(work, runtime);
    let ended = one.join_next().await.unwrap_or_else(|| unreachable!("it was just begun"));
    ended.map_err(|error| if error.is_panic() { std::panic::resume_unwind(error.into_panic()) } else { error })
}

/// An open transaction. Dropping it without [`Tx::commit`] undoes it at once, in the background:
/// left open it would keep its locks, and SQLite's would keep every other process waiting.
///
/// Holds its connection until it is committed, undone or dropped, each of which is its end.
pub struct Tx(Option<Conn>);

impl Tx {
    /// Commits, durably.
    ///
    /// # Errors
    /// The database did not commit, and nothing of the transaction is kept; or the connection was
    /// lost before it could answer: then [`in_doubt`] finds out.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let committed = self.deref_mut().commit().await;
        if committed.is_ok() {
            self.0 = None;
            return Ok(());
        }
        // Where the connection is lost this fails too, and the pool throws it away.
        let _ = self.roll_back().await;
        committed
    }

    /// Undoes the transaction at once.
    ///
    /// # Errors
    /// The database did not answer; the transaction is undone all the same.
    pub async fn roll_back(mut self) -> Result<(), StoreError> {
        let undone = self.deref_mut().roll_back().await;
        self.0 = None;
        undone
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let (Some(mut conn), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Err(error) = conn.roll_back().await {
                tracing::warn!(%error, "a dropped transaction was not rolled back");
            }
        });
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        match &self.0 {
            Some(conn) => conn,
            None => unreachable!("a transaction that has ended is not there any more"),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        match &mut self.0 {
            Some(conn) => conn,
            None => unreachable!("a transaction that has ended is not there any more"),
        }
    }
}
