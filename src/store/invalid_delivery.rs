//! What webhooks sent that could not be taken in: kept as it came, so that nothing is lost without a trace.

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::schema::invalid_delivery;
use super::{Conn, StoreError};

/// How many are kept of each source.
const KEPT: i64 = 100;

#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = invalid_delivery, treat_none_as_default_value = false)]
pub struct InvalidDelivery {
    /// Of the source and the body: what comes again is kept once.
    pub digest: Vec<u8>,
    pub source: String,
    /// When it came last, in microseconds.
    pub received_at: i64,
    /// JSON pointer to what is wrong; empty for the whole.
    pub pointer: String,
    pub detail: String,
    pub body: Vec<u8>,
}

/// Keeps what one delivery of `source` brought, and of all that came from there the newest.
///
/// # Errors
/// The database refuses.
pub async fn keep(conn: &mut Conn, source: &str, some: &[InvalidDelivery]) -> Result<(), StoreError> {
    for one in some {
        on_conn!(conn, |c| diesel::insert_into(invalid_delivery::table)
            .values(one)
            .on_conflict(invalid_delivery::digest)
            .do_update()
            .set((
                invalid_delivery::received_at.eq(excluded(invalid_delivery::received_at)),
                invalid_delivery::pointer.eq(excluded(invalid_delivery::pointer)),
                invalid_delivery::detail.eq(excluded(invalid_delivery::detail)),
            ))
            .execute(c)
            .await)?;
    }
    let last_kept: Option<(i64, Vec<u8>)> = on_conn!(conn, |c| invalid_delivery::table
        .filter(invalid_delivery::source.eq(source))
        .order((invalid_delivery::received_at.desc(), invalid_delivery::digest))
        .offset(KEPT - 1)
        .select((invalid_delivery::received_at, invalid_delivery::digest))
        .first(c)
        .await
        .optional())?;
    // Parts of one delivery came at one time.
    if let Some((at, digest)) = last_kept {
        let behind = invalid_delivery::received_at
            .lt(at)
            .or(invalid_delivery::received_at.eq(at).and(invalid_delivery::digest.gt(digest)));
        let gone = || invalid_delivery::table.filter(invalid_delivery::source.eq(source)).filter(behind.clone());
        on_conn!(conn, |c| diesel::delete(gone()).execute(c).await)?;
    }
    Ok(())
}

/// Those of one source, or of all, newest first; of what follows `after`, when and which, at most `limit`.
///
/// # Errors
/// The database does not answer.
pub async fn page(
    conn: &mut Conn,
    source: Option<&str>,
    after: Option<&(i64, Vec<u8>)>,
    limit: i64,
) -> Result<Vec<InvalidDelivery>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = invalid_delivery::table.select(InvalidDelivery::as_select()).into_boxed();
        if let Some(source) = source {
            query = query.filter(invalid_delivery::source.eq(source));
        }
        if let Some((at, digest)) = after {
            let behind = invalid_delivery::received_at
                .lt(*at)
                .or(invalid_delivery::received_at.eq(*at).and(invalid_delivery::digest.gt(digest)));
            query = query.filter(behind);
        }
        query.order((invalid_delivery::received_at.desc(), invalid_delivery::digest)).limit(limit).load(c).await
    })?)
}
