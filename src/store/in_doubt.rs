//! What became of a transaction whose COMMIT was never answered.
//!
//! PostgreSQL remembers it (`pg_xact_status`). SQLite needs no asking: there a COMMIT that answers
//! with an error has committed nothing (<https://sqlite.org/lang_transaction.html>, section 3.3).

use std::time::Duration;

use diesel::OptionalExtension;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::conn::Side;
use super::{Conn, Store, StoreError};

/// How long an answer is sought before the matter is left open.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// PostgreSQL's number of a transaction that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionId(String);

#[derive(diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

/// The transaction's number; `None` where none is needed: on SQLite, or when nothing was written.
///
/// # Errors
/// The database does not answer.
pub async fn id(conn: &mut Conn) -> Result<Option<TransactionId>, StoreError> {
    let Side::Postgres(c) = conn.side() else { return Ok(None) };
    let answer: Answer =
        diesel::sql_query("SELECT pg_current_xact_id_if_assigned()::text AS value").get_result(c).await?;
    Ok(answer.value.map(TransactionId))
}

/// Whether the transaction was committed, asked over new connections until there is an answer.
///
/// # Errors
/// No answer within three seconds: it stays in doubt.
pub async fn was_committed(store: &Store, id: &TransactionId) -> Result<bool, StoreError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask(store, id).await {
            Ok(Some(committed)) => return Ok(committed),
            Ok(None) if tokio::time::Instant::now() >= deadline => return Err(StoreError::InDoubt),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Ok(None) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// `None` while the server is still at it.
async fn ask(store: &Store, id: &TransactionId) -> Result<Option<bool>, StoreError> {
    let mut conn = store.read().await?;
    let Side::Postgres(c) = conn.side() else { return Ok(Some(false)) };
    let status = status_of(c, id).await?;
    Ok(match status.as_deref() {
        Some("committed") => Some(true),
        Some("in progress") => None,
        _ => Some(false),
    })
}

async fn status_of(c: &mut AsyncPgConnection, id: &TransactionId) -> diesel::QueryResult<Option<String>> {
    let answer: Option<Answer> = diesel::sql_query("SELECT pg_xact_status($1::text::xid8) AS value")
        .bind::<Text, _>(&id.0)
        .get_result(c)
        .await
        .optional()?;
    Ok(answer.and_then(|answer| answer.value))
}
