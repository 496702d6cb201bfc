//! Keys of what was already taken in: a claim succeeds once, whoever asks, on whichever replica.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::Conn;
use super::conn::{Side, on_conn};
use super::schema::seen_key;
use crate::time::Timestamp;

/// Keys per statement.
const CHUNK: usize = 10_000;

#[derive(Debug, Clone)]
pub struct NewKey {
    pub key: [u8; 16],
    /// Of requests: tells a repetition from another request under the same key.
    pub body_digest: Option<[u8; 16]>,
    pub seen_at: Timestamp,
}

/// Writes down the keys that are not yet there; answers for each whether it was new. Of equal
/// keys the first is new.
///
/// # Errors
/// The database refuses.
pub async fn claim(conn: &mut Conn, keys: &[NewKey]) -> QueryResult<Vec<bool>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    match conn.side() {
        Side::Postgres(c) => claim_at_once(c, keys).await,
        Side::Sqlite(c) => {
            let keys = keys.to_vec();
            c.spawn_blocking(move |c| keys.iter().map(|key| claim_one(c, key)).collect()).await
        }
    }
}

/// SQLite: a prepared statement per key is faster than any statement over many.
fn claim_one(c: &mut SqliteConnection, new: &NewKey) -> QueryResult<bool> {
    let values = (
        seen_key::key.eq(new.key.as_slice()),
        seen_key::body_digest.eq(new.body_digest.as_ref().map(<[u8; 16]>::as_slice)),
        seen_key::seen_at.eq(new.seen_at.micros()),
    );
    let statement = diesel::insert_into(seen_key::table).values(values).on_conflict_do_nothing();
    Ok(diesel::RunQueryDsl::execute(statement, c)? == 1)
}

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
}

/// PostgreSQL: one statement over arrays. A key that another replica has claimed but not yet
/// committed is waited for; everybody claims in the same order, so nobody waits in a circle.
async fn claim_at_once(c: &mut AsyncPgConnection, keys: &[NewKey]) -> QueryResult<Vec<bool>> {
    let first_of_each: BTreeMap<[u8; 16], &NewKey> = keys.iter().rev().map(|new| (new.key, new)).collect();
    let sorted: Vec<&NewKey> = first_of_each.into_values().collect();
    let mut claimed = BTreeSet::new();
    for chunk in sorted.chunks(CHUNK) {
        let names: Vec<&[u8]> = chunk.iter().map(|new| new.key.as_slice()).collect();
        let digests: Vec<Option<&[u8]>> =
            chunk.iter().map(|new| new.body_digest.as_ref().map(<[u8; 16]>::as_slice)).collect();
        let times: Vec<i64> = chunk.iter().map(|new| new.seen_at.micros()).collect();
        let rows: Vec<Claimed> = diesel::sql_query(
            "INSERT INTO seen_key (key, body_digest, seen_at) SELECT * FROM unnest($1, $2, $3) \
             ON CONFLICT DO NOTHING RETURNING key",
        )
        .bind::<Array<Binary>, _>(names)
        .bind::<Array<Nullable<Binary>>, _>(digests)
        .bind::<Array<BigInt>, _>(times)
        .load(c)
        .await?;
        claimed.extend(rows.into_iter().map(|row| row.key));
    }
    Ok(keys.iter().map(|new| claimed.remove(new.key.as_slice())).collect())
}

/// The body digests under which requests with these keys were taken in.
///
/// # Errors
/// The database does not answer.
pub async fn body_digests(conn: &mut Conn, keys: &[[u8; 16]]) -> QueryResult<BTreeMap<Vec<u8>, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(CHUNK) {
        let names: Vec<&[u8]> = chunk.iter().map(<[u8; 16]>::as_slice).collect();
        let rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = on_conn!(conn, |c| seen_key::table
            .filter(seen_key::key.eq_any(&names))
            .select((seen_key::key, seen_key::body_digest))
            .load(c)
            .await)?;
        found.extend(rows);
    }
    Ok(found)
}
