//! What clones of repositories say about the ranges of commits that derivations ask for.
//!
//! A projection notes what its service needs and lacks; a worker asks the clones, writes down what
//! they say and has the service projected again. All of it can be asked for again at any time.

use std::collections::BTreeSet;

use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::dirty::{self, CHUNK};
use crate::dora::range::{NoRange, Range, RangeCommit, RangeName, Ranges};
use crate::store::conn::{batch, on_conn};
use crate::store::lock::Lock;
use crate::store::schema::{commit_range, dora_state};
use crate::store::{Conn, Store, StoreError};
use crate::time::Timestamp;

const FOUND: &str = "found";
/// What stands in the table for what is not found.
const STATES: [(&str, NoRange); 5] = [
    ("waiting", NoRange::Waiting),
    ("unknown_commit", NoRange::UnknownCommit),
    ("too_long", NoRange::TooLong),
    ("shallow", NoRange::Shallow),
    ("unreachable", NoRange::Unreachable),
];

#[derive(Debug, Clone, Insertable, Queryable)]
#[diesel(table_name = commit_range, treat_none_as_default_value = false)]
struct Row {
    service: String,
    repository: String,
    from_sha: String,
    to_sha: String,
    scope: Vec<u8>,
    state: String,
    commits: Option<Vec<u8>>,
    tries: i32,
    due_at: Option<i64>,
}

/// What is stored for one service.
pub(super) struct Stored {
    pub ranges: Ranges,
    /// Found for other paths than the service owns now.
    pub stale: Vec<RangeName>,
}

/// What a derivation needs other than what is stored.
pub(super) struct Difference {
    gone: Vec<RangeName>,
    new: Vec<RangeName>,
}

/// A range that some clone is to be asked for.
#[derive(Debug, Clone)]
pub struct Due {
    pub service: String,
    pub name: RangeName,
    /// See [`Rules::scope`](crate::dora::Rules::scope).
    pub scope: Vec<u8>,
    /// How often it was asked for in vain.
    pub tries: i32,
    state: NoRange,
}

fn state_name(state: NoRange) -> &'static str {
    STATES.iter().find(|(_, known)| *known == state).map_or("waiting", |(name, _)| name)
}

fn no_range(name: &str) -> NoRange {
    STATES.iter().find(|(known, _)| *known == name).map_or(NoRange::Waiting, |(_, state)| *state)
}

/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn of_service(conn: &mut Conn, service: &str, scope: &[u8]) -> Result<Stored, StoreError> {
    let query = || commit_range::table.filter(commit_range::service.eq(service));
    let rows: Vec<Row> = on_conn!(conn, |c| query().load(c).await)?;
    let mut stored = Stored { ranges: Ranges::new(), stale: Vec::new() };
    for row in rows {
        let name = RangeName { repository: row.repository, from: row.from_sha, to: row.to_sha };
        if row.scope != scope {
            stored.stale.push(name);
            continue;
        }
        let range = match row.commits.filter(|_| row.state == FOUND) {
            Some(bytes) => Ok(unpack(&bytes)?),
            None => Err(no_range(&row.state)),
        };
        stored.ranges.insert(name, range);
    }
    Ok(stored)
}

fn pack(commits: &[RangeCommit]) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(commits).map_err(|error| StoreError::encode("commit range", error))
}

fn unpack(bytes: &[u8]) -> Result<Vec<RangeCommit>, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::decode("commit range", error))
}

impl Difference {
    pub fn of(stored: Ranges, stale: Vec<RangeName>, wanted: &BTreeSet<RangeName>) -> Self {
        let new = wanted.iter().filter(|name| !stored.contains_key(name)).cloned().collect();
        let unused = stored.into_keys().filter(|name| !wanted.contains(name));
        let mut gone: Vec<RangeName> = stale.into_iter().chain(unused).collect();
        // Rows are touched in the same order by all, so that nobody waits for each other.
        gone.sort_unstable();
        Self { gone, new }
    }
}

/// Stores what a derivation needs; called in the transaction of its projection.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace(
    conn: &mut Conn,
    service: &str,
    scope: &[u8],
    Difference { gone, new }: Difference,
) -> Result<(), StoreError> {
    for name in &gone {
        let key = (service, &name.repository, &name.from, &name.to);
        on_conn!(conn, |c| diesel::delete(commit_range::table.find(key)).execute(c).await)?;
    }
    let row = |name: RangeName| Row {
        service: service.to_owned(),
        repository: name.repository,
        from_sha: name.from,
        to_sha: name.to,
        scope: scope.to_vec(),
        state: state_name(NoRange::Waiting).to_owned(),
        commits: None,
        tries: 0,
        due_at: Some(0),
    };
    let rows: Vec<Row> = new.into_iter().map(row).collect();
    for rows in rows.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(commit_range::table).values(rows))?;
    }
    Ok(())
}

/// The ranges that are to be asked for by now, those that wait longest first.
///
/// # Errors
/// The database does not answer.
pub async fn due(conn: &mut Conn, now: Timestamp, most: i64) -> Result<Vec<Due>, StoreError> {
    let query = || {
        let due = commit_range::table.filter(commit_range::due_at.le(now.micros()));
        due.order((commit_range::due_at, commit_range::repository, commit_range::to_sha)).limit(most)
    };
    let rows: Vec<Row> = on_conn!(conn, |c| query().load(c).await)?;
    let due = rows.into_iter().map(|row| Due {
        service: row.service,
        name: RangeName { repository: row.repository, from: row.from_sha, to: row.to_sha },
        scope: row.scope,
        tries: row.tries,
        state: no_range(&row.state),
    });
    Ok(due.collect())
}

/// Makes everything due that is not found: clones may be others, or elsewhere.
///
/// # Errors
/// The database refuses.
pub async fn ask_again(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    hold(&mut tx).await?;
    let query = || {
        let missing = commit_range::table.filter(commit_range::due_at.is_not_null());
        diesel::update(missing).set((commit_range::due_at.eq(0), commit_range::tries.eq(0)))
    };
    on_conn!(&mut *tx, |c| query().execute(c).await)?;
    tx.commit().await
}

/// Writes down what clones said, in order of services and names, and has the services projected
/// again that it is news for. What is not found is due again at the given time.
///
/// # Errors
/// The database refuses.
pub async fn answer(store: &Store, answers: &[(Due, Range, Option<Timestamp>)]) -> Result<(), StoreError> {
    let is_news = |(due, range, _): &&(Due, Range, Option<Timestamp>)| range.as_ref().err() != Some(&due.state);
    let mut tx = store.begin().await?;
    if answers.iter().any(|answer| is_news(&answer)) {
        hold(&mut tx).await?;
        Lock::Facts.take(&mut tx).await?;
    }
    let mut services = BTreeSet::new();
    for answer in answers {
        let (due, range, again_at) = answer;
        let (state, commits) = match range {
            Ok(commits) => (FOUND, Some(pack(commits)?)),
            Err(why) => (state_name(*why), None),
        };
        let again_at = again_at.filter(|_| range.is_err()).map(Timestamp::micros);
        let query = || {
            let key = (&due.service, &due.name.repository, &due.name.from, &due.name.to);
            diesel::update(commit_range::table.find(key).filter(commit_range::scope.eq(&due.scope))).set((
                commit_range::state.eq(state),
                commit_range::commits.eq(&commits),
                commit_range::tries.eq(due.tries.saturating_add(1)),
                commit_range::due_at.eq(again_at),
            ))
        };
        let still_wanted = on_conn!(&mut *tx, |c| query().execute(c).await)? > 0;
        if still_wanted && is_news(&answer) {
            services.insert(due.service.clone());
        }
    }
    dirty::mark_services(&mut tx, &services).await?;
    tx.commit().await
}

/// Waits for the projection that is being written, and has the next one wait: both touch ranges
/// before they note services.
async fn hold(conn: &mut Conn) -> QueryResult<()> {
    let query = || diesel::update(dora_state::table).set(dora_state::changed.eq(dora_state::changed));
    on_conn!(conn, |c| query().execute(c).await)?;
    Ok(())
}

/// How many ranges are in each state that is not `found`.
///
/// # Errors
/// The database does not answer.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(&'static str, i64)>, StoreError> {
    let query = || {
        let missing = commit_range::table.filter(commit_range::due_at.is_not_null());
        missing.group_by(commit_range::state).select((commit_range::state, count_star()))
    };
    let found: Vec<(String, i64)> = on_conn!(conn, |c| query().load(c).await)?;
    let count = |name: &str| found.iter().find(|(state, _)| state == name).map_or(0, |(_, count)| *count);
    Ok(STATES.iter().map(|(name, _)| (*name, count(name))).collect())
}
