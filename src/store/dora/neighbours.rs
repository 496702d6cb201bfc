//! What the projections of services tell each other: repositories they share, changes that arrived
//! in several of them, and incidents that belong to whoever claims them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};

use super::NO_SERVICE;
use super::dirty::CHUNK;
use crate::dora::Derived;
use crate::dora::split::{Arrival, Elsewhere};
use crate::event::EntityKey;
use crate::store::conn::{batch, on_conn};
use crate::store::schema::{dora_arrival, dora_link, dora_repository};
use crate::store::{Conn, StoreError, storable};
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Insertable, Queryable)]
#[diesel(table_name = dora_arrival, treat_none_as_default_value = false)]
pub(super) struct ArrivalRow {
    change: Vec<u8>,
    service: String,
    place: String,
    environment: String,
    at: i64,
    source: String,
    id: String,
}

/// Arrivals by what makes them one.
type Arrivals = BTreeMap<(Vec<u8>, String), ArrivalRow>;

/// Names a change in few bytes.
fn name(repository: &str, sha: &str) -> Vec<u8> {
    let digest = Sha256::new().chain_update(repository).chain_update("\0").chain_update(sha).finalize();
    digest.iter().take(16).copied().collect()
}

/// Those of the repositories that other services are built from, too.
pub(super) async fn shared(
    conn: &mut Conn,
    service: &str,
    repositories: &BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut shared = BTreeSet::new();
    let names: Vec<&String> = repositories.iter().collect();
    for names in names.chunks(CHUNK) {
        let query = || {
            dora_repository::table
                .filter(dora_repository::repository.eq_any(names))
                .filter(dora_repository::service.ne(service))
                .select(dora_repository::repository)
                .distinct()
        };
        shared.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    Ok(shared)
}

/// What the service brought of the shared repositories.
pub(super) fn arrivals(derived: &Derived, shared: &BTreeSet<String>) -> Arrivals {
    let mut arrivals = Arrivals::new();
    for lead in derived.leads.iter().filter(|lead| shared.contains(&lead.repository)) {
        let Some(row) = derived.deployments.get(lead.deployment) else { continue };
        let Some(at) = row.finished_at else { continue };
        let change = name(&lead.repository, &lead.sha);
        let arrival = ArrivalRow {
            change: change.clone(),
            service: derived.service.clone(),
            place: storable(&row.place),
            environment: storable(&row.environment),
            at: at.micros(),
            source: storable(&row.key.source),
            id: storable(&row.key.id),
        };
        arrivals.insert((change, arrival.place.clone()), arrival);
    }
    arrivals
}

/// Where the changes that the service brought of the shared repositories arrived in others.
pub(super) async fn elsewhere(
    conn: &mut Conn,
    derived: &Derived,
    shared: &BTreeSet<String>,
) -> Result<Elsewhere, StoreError> {
    let leads = derived.leads.iter().filter(|lead| shared.contains(&lead.repository));
    let names: HashMap<Vec<u8>, (String, String)> =
        leads.map(|lead| (name(&lead.repository, &lead.sha), (lead.repository.clone(), lead.sha.clone()))).collect();
    let mut found = Elsewhere::new();
    let keys: Vec<&Vec<u8>> = names.keys().collect();
    for keys in keys.chunks(CHUNK) {
        let query = || {
            let others = dora_arrival::service.ne(&derived.service);
            dora_arrival::table.filter(dora_arrival::change.eq_any(keys)).filter(others)
        };
        let rows: Vec<ArrivalRow> = on_conn!(conn, |c| query().load(c).await)?;
        for row in rows {
            let Some(change) = names.get(&row.change) else { continue };
            found.entry(change.clone()).or_default().push(Arrival {
                service: row.service,
                environment: row.environment,
                at: Timestamp::from_micros(row.at),
                deployment: EntityKey { source: row.source, id: row.id },
                place: row.place,
            });
        }
    }
    Ok(found)
}

/// Stores the arrivals of a service; answers the other services that must look again, because
/// changes that they brought arrived here at other times than was known.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace_arrivals(
    conn: &mut Conn,
    service: &str,
    mut arrivals: Arrivals,
) -> Result<BTreeSet<String>, StoreError> {
    let query = || dora_arrival::table.filter(dora_arrival::service.eq(service));
    let stored: Vec<ArrivalRow> = on_conn!(conn, |c| query().load(c).await)?;
    let mut gone = Vec::new();
    for row in stored {
        let key = (row.change.clone(), row.place.clone());
        if arrivals.get(&key) == Some(&row) {
            arrivals.remove(&key);
        } else {
            gone.push(row);
        }
    }
    let moved: BTreeSet<&Vec<u8>> = gone.iter().chain(arrivals.values()).map(|row| &row.change).collect();
    let moved: Vec<&Vec<u8>> = moved.into_iter().collect();
    let mut others = BTreeSet::new();
    for changes in moved.chunks(CHUNK) {
        let query = || {
            dora_arrival::table
                .filter(dora_arrival::change.eq_any(changes))
                .filter(dora_arrival::service.ne(service))
                .select(dora_arrival::service)
                .distinct()
        };
        others.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    for of_place in by_place(&gone).values() {
        for rows in of_place.chunks(CHUNK) {
            let Some(place) = rows.first().map(|row| &row.place) else { continue };
            let changes: Vec<&Vec<u8>> = rows.iter().map(|row| &row.change).collect();
            let query = || {
                let here = dora_arrival::service.eq(service).and(dora_arrival::place.eq(place));
                diesel::delete(dora_arrival::table.filter(here).filter(dora_arrival::change.eq_any(&changes)))
            };
            on_conn!(conn, |c| query().execute(c).await)?;
        }
    }
    let new: Vec<ArrivalRow> = arrivals.into_values().collect();
    for rows in new.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_arrival::table).values(rows))?;
    }
    Ok(others)
}

fn by_place(rows: &[ArrivalRow]) -> BTreeMap<&str, Vec<&ArrivalRow>> {
    let mut places: BTreeMap<&str, Vec<&ArrivalRow>> = BTreeMap::new();
    for row in rows {
        places.entry(&row.place).or_default().push(row);
    }
    places
}

/// What is new about where a service's changes may come from.
pub(super) struct Repositories {
    /// At least one was not known before.
    pub new: bool,
    /// Services that were alone there until now, and must say what arrived in them.
    pub alone: BTreeSet<String>,
}

/// Stores where a service's changes may come from.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace_repositories(
    conn: &mut Conn,
    service: &str,
    repositories: &BTreeSet<String>,
) -> Result<Repositories, StoreError> {
    let query =
        || dora_repository::table.filter(dora_repository::service.eq(service)).select(dora_repository::repository);
    let stored: Vec<String> = on_conn!(conn, |c| query().load(c).await)?;
    let stored: BTreeSet<String> = stored.into_iter().collect();
    let gone: Vec<&String> = stored.difference(repositories).collect();
    for names in gone.chunks(CHUNK) {
        let query = || {
            let of = dora_repository::service.eq(service).and(dora_repository::repository.eq_any(names));
            diesel::delete(dora_repository::table.filter(of))
        };
        on_conn!(conn, |c| query().execute(c).await)?;
    }
    let new: Vec<&String> = repositories.difference(&stored).collect();
    let (any, mut alone) = (!new.is_empty(), BTreeSet::new());
    for repository in new {
        let query = || {
            let of = dora_repository::repository.eq(repository);
            dora_repository::table.filter(of).select(dora_repository::service).limit(2)
        };
        let there: Vec<String> = on_conn!(conn, |c| query().load(c).await)?;
        if let [only] = there.as_slice() {
            alone.insert(only.clone());
        }
        let values = (dora_repository::repository.eq(repository), dora_repository::service.eq(service));
        on_conn!(conn, |c| diesel::insert_into(dora_repository::table).values(values).execute(c).await)?;
    }
    Ok(Repositories { new: any, alone })
}

/// Stores which incidents of no service are linked to deployments of this one; answers whether
/// that is new.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace_links(conn: &mut Conn, derived: &Derived) -> Result<bool, StoreError> {
    let service = &derived.service;
    let free = derived.incidents.iter().filter(|incident| incident.service.is_none() && service != NO_SERVICE);
    let linked: BTreeSet<(String, String)> =
        free.map(|incident| (storable(&incident.key.source), storable(&incident.key.id))).collect();
    let query = || dora_link::table.filter(dora_link::service.eq(service)).select((dora_link::source, dora_link::id));
    let stored: Vec<(String, String)> = on_conn!(conn, |c| query().load(c).await)?;
    let stored: BTreeSet<(String, String)> = stored.into_iter().collect();
    for (source, id) in stored.difference(&linked) {
        let query = || diesel::delete(dora_link::table.find((source, id, service)));
        on_conn!(conn, |c| query().execute(c).await)?;
    }
    for (source, id) in linked.difference(&stored) {
        let values = (dora_link::source.eq(source), dora_link::id.eq(id), dora_link::service.eq(service));
        on_conn!(conn, |c| diesel::insert_into(dora_link::table).values(values).execute(c).await)?;
    }
    Ok(stored != linked)
}
