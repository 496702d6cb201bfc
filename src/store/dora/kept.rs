//! Partitions, their details and places as they are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::Binary;
use diesel::sqlite::{Sqlite, SqliteValue};
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::dirty::CHUNK;
use crate::dora::month::Month;
use crate::dora::partition::{Details, Partition};
use crate::dora::split::Partitions;
use crate::store::conn::{batch, on_conn};
use crate::store::schema::{dora_detail, dora_partition};
use crate::store::{Conn, StoreError};

/// zstd's quick level: names shrink to a third, and an explanation reads few of them.
const COMPRESSION: i32 = 1;
/// The most that details may unfold to.
const MAX_DETAILS: usize = 1 << 30;

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = dora_partition, treat_none_as_default_value = false)]
struct NumbersRow {
    month: i32,
    service: String,
    changed: i64,
    digest: Vec<u8>,
    numbers: Vec<u8>,
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = dora_detail, treat_none_as_default_value = false)]
struct DetailsRow {
    month: i32,
    service: String,
    changed: i64,
    details: Vec<u8>,
}

/// A partition and the projection that wrote it.
pub(super) struct Kept {
    pub month: Month,
    pub service: String,
    pub changed: i64,
    pub partition: Arc<Partition>,
}

/// Encoded partitions, made outside of any transaction.
pub(super) struct Encoded(BTreeMap<Month, Bytes>);

struct Bytes {
    /// Of both.
    digest: Vec<u8>,
    numbers: Vec<u8>,
    /// Not yet compressed: most months come out as they are stored.
    details: Vec<u8>,
}

/// # Errors
/// A row does not become bytes.
pub(super) fn encode(partitions: &Partitions) -> Result<Encoded, StoreError> {
    let encoded = partitions.iter().map(|(month, (partition, details))| {
        let numbers = pack(partition)?;
        let details = serde_json::to_vec(details).map_err(|error| StoreError::encode("details", error))?;
        let digest = Sha256::new().chain_update(&numbers).chain_update(&details).finalize().to_vec();
        Ok((*month, Bytes { digest, numbers, details }))
    });
    encoded.collect::<Result<_, _>>().map(Encoded)
}

fn pack(partition: &Partition) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(partition).map_err(|error| StoreError::encode("partition", error))
}

fn squeeze(json: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(json, COMPRESSION).map_err(|error| StoreError::encode("details", error))
}

fn unsqueeze<T: DeserializeOwned>(details: &[u8]) -> Result<T, StoreError> {
    let unfolded = zstd::stream::decode_all(details).map_err(|error| StoreError::decode("details", error))?;
    if unfolded.len() > MAX_DETAILS {
        return Err(StoreError::decode("details", "they are too long"));
    }
    serde_json::from_slice(&unfolded).map_err(|error| StoreError::decode("details", error))
}

/// Stores what differs from what is stored of the service.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace(
    conn: &mut Conn,
    service: &str,
    changed: i64,
    mut encoded: Encoded,
) -> Result<(), StoreError> {
    let query = || {
        let of = dora_partition::service.eq(service);
        dora_partition::table.filter(of).select((dora_partition::month, dora_partition::digest))
    };
    let stored: Vec<(i32, Vec<u8>)> = on_conn!(conn, |c| query().load(c).await)?;
    for (month, digest) in stored {
        let month = Month::from_number(month);
        match encoded.0.get(&month) {
            Some(new) if new.digest == digest => drop(encoded.0.remove(&month)),
            Some(_) => {}
            // What left is kept as nothing, so that whoever remembers it learns of it.
            None => {
                let empty = encode(&Partitions::from([(month, (Partition::default(), Details::default()))]))?;
                encoded.0.extend(empty.0.into_iter().filter(|(_, nothing)| nothing.digest != digest));
            }
        }
    }
    let (mut numbers, mut details) = (Vec::new(), Vec::new());
    for (month, new) in encoded.0 {
        let (month, service) = (month.number(), service.to_owned());
        details.push(DetailsRow { month, service: service.clone(), changed, details: squeeze(&new.details)? });
        numbers.push(NumbersRow { month, service, changed, digest: new.digest, numbers: new.numbers });
    }
    for rows in numbers.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_partition::table)
        .values(rows)
        .on_conflict((dora_partition::month, dora_partition::service))
        .do_update()
        .set((
            dora_partition::changed.eq(excluded(dora_partition::changed)),
            dora_partition::digest.eq(excluded(dora_partition::digest)),
            dora_partition::numbers.eq(excluded(dora_partition::numbers)),
        )))?;
    }
    for rows in details.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_detail::table)
        .values(rows)
        .on_conflict((dora_detail::month, dora_detail::service))
        .do_update()
        .set((
            dora_detail::changed.eq(excluded(dora_detail::changed)),
            dora_detail::details.eq(excluded(dora_detail::details)),
        )))?;
    }
    Ok(())
}

/// Which partitions there are that were written after a projection.
///
/// # Errors
/// The database does not answer.
pub(super) async fn written_after(conn: &mut Conn, changed: i64) -> QueryResult<Vec<(i32, String, i64)>> {
    let query = || {
        let columns = (dora_partition::month, dora_partition::service, dora_partition::changed);
        dora_partition::table.filter(dora_partition::changed.gt(changed)).select(columns)
    };
    on_conn!(conn, |c| query().load(c).await)
}

type Row = (i32, String, i64, Numbers);

/// The partitions of months: of the services, or of all.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn load(
    conn: &mut Conn,
    months: &[Month],
    services: Option<&[&str]>,
) -> Result<Vec<Kept>, StoreError> {
    let months: Vec<i32> = months.iter().map(|month| month.number()).collect();
    let query = || {
        let columns =
            (dora_partition::month, dora_partition::service, dora_partition::changed, dora_partition::numbers);
        dora_partition::table.filter(dora_partition::month.eq_any(&months)).select(columns)
    };
    let mut rows: Vec<Row> = Vec::new();
    match services {
        None => rows.extend(on_conn!(conn, |c| query().load::<Row>(c).await).map_err(unreadable)?),
        Some(services) => {
            for names in services.chunks(CHUNK) {
                let query = || query().filter(dora_partition::service.eq_any(names));
                rows.extend(on_conn!(conn, |c| query().load::<Row>(c).await).map_err(unreadable)?);
            }
        }
    }
    let kept = |(month, service, changed, numbers): Row| {
        let (month, partition) = (Month::from_number(month), Arc::new(numbers.0));
        Kept { month, service, changed, partition }
    };
    Ok(rows.into_iter().map(kept).collect())
}

fn unreadable(error: diesel::result::Error) -> StoreError {
    match error {
        diesel::result::Error::DeserializationError(source) => StoreError::decode("partition", source),
        other => other.into(),
    }
}

/// Unpacked right where the database's answer lies: to copy it first takes longer.
#[derive(Debug, FromSqlRow)]
struct Numbers(Partition);

impl FromSql<Binary, Pg> for Numbers {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(postcard::from_bytes(value.as_bytes())?))
    }
}

impl FromSql<Binary, Sqlite> for Numbers {
    fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(postcard::from_bytes(value.read_blob())?))
    }
}

/// The details of a partition, and the projection that wrote them.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn details(
    conn: &mut Conn,
    service: &str,
    month: Month,
) -> Result<Option<(i64, Details)>, StoreError> {
    let query =
        || dora_detail::table.find((month.number(), service)).select((dora_detail::changed, dora_detail::details));
    let row: Option<(i64, Vec<u8>)> = on_conn!(conn, |c| query().get_result(c).await.optional())?;
    row.map(|(changed, details)| Ok((changed, unsqueeze(&details)?))).transpose()
}
