//! From the facts of one service to what is kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::dirty::{self, Dirty};
use super::inputs::{self, Inputs};
use super::kept::{self, Encoded};
use super::neighbours;
use super::news::Projected;
use super::places::{self, Places};
use super::ranges::{self, Difference};
use super::repositories::{self, Repositories};
use super::{NO_SERVICE, blocking};
use crate::dora::repository::FORMAT;
use crate::dora::split::split;
use crate::dora::{self, Derived, History, Rules};
use crate::store::conn::on_conn;
use crate::store::lock::Lock;
use crate::store::schema::dora_state;
use crate::store::{Conn, Store, StoreError};

/// The one row of `dora_state`.
const STATE: i32 = 1;

/// The state of the projections: the digest of their rules, and how many were made.
///
/// # Errors
/// The database does not answer.
pub(super) async fn state(conn: &mut Conn) -> QueryResult<Option<(Vec<u8>, i64)>> {
    let query = || dora_state::table.find(STATE).select((dora_state::rules, dora_state::changed));
    on_conn!(conn, |c| query().get_result(c).await.optional())
}

/// Makes the rules those of the projections: under others everything is projected anew. Changes
/// are packed anew where they are kept in another form, or nothing was projected so far.
///
/// # Errors
/// The database refuses, or holds what cannot be read.
pub(super) async fn follow(store: &Store, rules: &Rules) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let digest = rules.digest().as_slice();
    let query = || dora_state::table.find(STATE).select((dora_state::rules, dora_state::changed, dora_state::format));
    let stored: Option<(Vec<u8>, i64, i32)> = on_conn!(&mut *tx, |c| query().get_result(c).await.optional())?;
    if stored.as_ref().is_some_and(|(rules, ..)| rules == digest) {
        return tx.roll_back().await;
    }
    let format = stored.as_ref().map(|(_, _, format)| *format);
    let changed = stored.map_or(0, |(_, changed, _)| changed);
    let row = (
        dora_state::id.eq(STATE),
        dora_state::rules.eq(digest),
        dora_state::changed.eq(changed),
        dora_state::format.eq(FORMAT),
    );
    let new = (dora_state::rules.eq(digest), dora_state::format.eq(FORMAT));
    let query = || diesel::insert_into(dora_state::table).values(row).on_conflict(dora_state::id).do_update().set(new);
    on_conn!(&mut *tx, |c| query().execute(c).await)?;
    Lock::Facts.take(&mut tx).await?;
    if format != Some(FORMAT) {
        repositories::pack_all(&mut tx).await?;
    }
    dirty::mark_all(&mut tx).await?;
    tx.commit().await
}

/// Counts a projection; `None` where another was made since `before`, or under other rules.
async fn next_change(conn: &mut Conn, rules: &Rules, before: i64) -> QueryResult<Option<i64>> {
    let query = || {
        let same = dora_state::rules.eq(rules.digest().as_slice()).and(dora_state::changed.eq(before));
        diesel::update(dora_state::table.find(STATE).filter(same))
            .set(dora_state::changed.eq(dora_state::changed + 1))
            .returning(dora_state::changed)
    };
    on_conn!(conn, |c| query().get_result(c).await.optional())
}

/// What one projection writes.
struct Projection {
    derived: Derived,
    encoded: Encoded,
    places: Places,
    repositories: BTreeSet<String>,
    shared: BTreeSet<String>,
    ranges: Difference,
    projected: Projected,
}

/// Projects one service, with everything that it waits for and perhaps more. One projection
/// at a time: each sees what those before it said to their neighbours.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn project(
    store: &Store,
    rules: &Arc<Rules>,
    known: &Repositories,
    dirty: &Dirty,
) -> Result<(), StoreError> {
    let before = state(&mut store.read().await?).await?;
    let Some((_, before)) = before.filter(|(digest, _)| digest == rules.digest()) else { return Err(StoreError::Busy) };
    let projection = derive(store, rules, known, &dirty.service).await?;
    known.merge(store, &projection.repositories).await?;
    let mut tx = store.begin().await?;
    let Some(changed) = next_change(&mut tx, rules, before).await? else {
        // The configuration was read anew, or another process projects: the service goes on waiting.
        return tx.roll_back().await;
    };
    let Projection { derived, encoded, places, repositories, shared, ranges, projected } = projection;
    let service = &derived.service;
    let projected = (!shared.is_empty()).then_some(projected);
    kept::replace(&mut tx, service, changed, encoded).await?;
    places::replace(&mut tx, service, changed, places).await?;
    ranges::replace(&mut tx, service, rules.scope(service), ranges).await?;
    let neighbours::Repositories { new, alone: mut others } =
        neighbours::replace_repositories(&mut tx, service, &repositories).await?;
    if new {
        // Changes that came in the meantime did not know that they concern this service.
        others.insert(service.clone());
    }
    let arrivals = neighbours::arrivals(&derived, &shared);
    others.extend(neighbours::replace_arrivals(&mut tx, service, arrivals).await?);
    if neighbours::replace_links(&mut tx, &derived).await? {
        others.insert(NO_SERVICE.to_owned());
    }
    // Facts note services in an order of their own: without the lock each could wait for the other.
    Lock::Facts.take(&mut tx).await?;
    dirty::done(&mut tx, dirty).await?;
    dirty::mark_services(&mut tx, &others).await?;
    tx.commit().await?;
    known.remember(service, projected, (before, changed));
    Ok(())
}

/// Lets those wait no longer whose rows would come out as they are.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn pass_over(
    store: &Store,
    rules: &Rules,
    known: &Repositories,
    waiting: &mut Vec<Dirty>,
) -> Result<(), StoreError> {
    let services: Vec<&str> = waiting.iter().filter(|dirty| dirty.only_changes).map(|d| d.service.as_str()).collect();
    if services.is_empty() {
        return Ok(());
    }
    let mut conn = store.read().await?;
    let Some((_, changed)) = state(&mut conn).await? else { return Ok(()) };
    let alone = known.left_alone(&mut conn, rules, &services, changed).await?;
    let alone: BTreeSet<String> = alone.into_iter().map(str::to_owned).collect();
    drop(conn);
    if alone.is_empty() {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    // Facts note services in an order of their own: without the lock each could wait for the other.
    Lock::Facts.take(&mut tx).await?;
    for dirty in waiting.iter().filter(|dirty| alone.contains(&dirty.service)) {
        dirty::passed_over(&mut tx, dirty).await?;
    }
    tx.commit().await?;
    waiting.retain(|dirty| !alone.contains(&dirty.service));
    Ok(())
}

async fn derive(
    store: &Store,
    rules: &Arc<Rules>,
    known: &Repositories,
    service: &str,
) -> Result<Projection, StoreError> {
    let mut conn = store.read().await?;
    let Inputs { history, repositories: pieces, stale } = load(&mut conn, rules, known, service).await?;
    let repositories: BTreeSet<String> = pieces.keys().cloned().collect();
    let projected = Projected::of(rules, &history, pieces);
    let shared = neighbours::shared(&mut conn, service, &repositories).await?;
    let (deployments, ranges, derived) = {
        let rules = Arc::clone(rules);
        blocking(move || {
            let derived = derived(&history, &rules);
            let ranges = Difference::of(history.ranges, stale, &derived.ranges);
            (history.deployments, ranges, derived)
        })
        .await?
    };
    let elsewhere = neighbours::elsewhere(&mut conn, &derived, &shared).await?;
    drop(conn);
    let rules = Arc::clone(rules);
    blocking(move || {
        let encoded = kept::encode(&split(&derived, &elsewhere, &rules))?;
        let places = places::of(&deployments, &derived);
        Ok(Projection { derived, encoded, places, repositories, shared, ranges, projected })
    })
    .await?
}

async fn load(conn: &mut Conn, rules: &Rules, known: &Repositories, service: &str) -> Result<Inputs, StoreError> {
    if service != NO_SERVICE {
        return inputs::of_service(conn, rules, known, service).await;
    }
    let incidents = inputs::of_no_service(conn).await?;
    let history = History { service: NO_SERVICE.to_owned(), incidents, ..History::default() };
    Ok(Inputs { history, repositories: BTreeMap::new(), stale: Vec::new() })
}

fn derived(history: &History, rules: &Rules) -> Derived {
    if history.service != NO_SERVICE {
        return dora::derive(history, rules);
    }
    let incidents = history.incidents.iter().map(|incident| dora::derive::without_service(incident, rules));
    Derived { service: NO_SERVICE.to_owned(), incidents: incidents.collect(), ..Derived::default() }
}

/// The rows of one service as of now, whether they are projected or not.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn rows_of(
    store: &Store,
    rules: &Arc<Rules>,
    known: &Repositories,
    service: &str,
) -> Result<Derived, StoreError> {
    let history = load(&mut store.read().await?, rules, known, service).await?.history;
    let rules = Arc::clone(rules);
    blocking(move || derived(&history, &rules)).await
}
