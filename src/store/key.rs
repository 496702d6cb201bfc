//! API keys: what is kept of them, never the secret itself.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::schema::api_key;
use super::{Conn, StoreError};

/// A key as stored. `scopes` is a space separated list.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_key, treat_none_as_default_value = false)]
pub struct StoredKey {
    pub id: String,
    pub name: String,
    pub scopes: String,
    /// SHA-256 of the secret.
    pub secret_hash: Vec<u8>,
    /// Microseconds, as [`crate::time::Timestamp`] has them.
    pub created_at: i64,
    pub revoked_at: Option<i64>,
}

/// Keeps a new key.
///
/// # Errors
/// The database does not answer.
pub async fn insert(conn: &mut Conn, key: &StoredKey) -> Result<(), StoreError> {
    on_conn!(conn, |c| diesel::insert_into(api_key::table).values(key.clone()).execute(c).await)?;
    Ok(())
}

/// Every key there ever was, revoked ones included, oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn all(conn: &mut Conn) -> Result<Vec<StoredKey>, StoreError> {
    Ok(on_conn!(conn, |c| api_key::table
        .select(StoredKey::as_select())
        .order((api_key::created_at, api_key::id))
        .load(c)
        .await)?)
}

/// Revokes a key; false when no unrevoked key has the id.
///
/// # Errors
/// The database does not answer.
pub async fn revoke(conn: &mut Conn, id: &str, now: i64) -> Result<bool, StoreError> {
    let changed = on_conn!(conn, |c| diesel::update(api_key::table)
        .filter(api_key::id.eq(id))
        .filter(api_key::revoked_at.is_null())
        .set(api_key::revoked_at.eq(now))
        .execute(c)
        .await)?;
    Ok(changed > 0)
}
