//! Reads of deployments, changes, incidents and findings: all of a service, or a page of a list.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::conn::on_conn;
use super::place::affects;
use super::schema::{change, deployment, finding, incident, series};
use super::{Conn, StoreError, storable};
use crate::dora::range::is_hash;
use crate::event::{Change, Deployment, DeploymentEvent, EntityKey, Finding, Incident};
use crate::time::Timestamp;

/// Names per statement, well below the limit of bind parameters.
const CHUNK: usize = 1_000;
/// Conditions per statement: databases nest them.
const RANGES: usize = 100;
/// Digits of a whole hash, at least.
const FULL_HASH: usize = 40;

fn decode<T: DeserializeOwned>(what: &'static str, state: &str) -> Result<T, StoreError> {
    serde_json::from_str(state).map_err(|error| StoreError::Decode { what, source: Box::new(error) })
}

pub(super) fn decode_all<T: DeserializeOwned>(what: &'static str, states: &[String]) -> Result<Vec<T>, StoreError> {
    states.iter().map(|state| decode(what, state)).collect()
}

/// Every deployment of a service.
pub async fn deployments_of(conn: &mut Conn, service: &str) -> Result<Vec<Deployment>, StoreError> {
    let query = || deployment::table.filter(deployment::service.eq(service)).select(deployment::state);
    let states = on_conn!(conn, |c| query().load::<String>(c).await)?;
    decode_all("deployment", &states)
}

/// The repositories that know one of the hashes, or one that begins so.
pub async fn repositories_of(conn: &mut Conn, shas: &[&str]) -> QueryResult<Vec<String>> {
    let mut repositories = Vec::new();
    for names in shas.chunks(CHUNK) {
        let query = || change::table.filter(change::sha.eq_any(names)).select(change::repository).distinct();
        repositories.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    let short = shas.iter().filter(|sha| is_hash(sha) && sha.len() < FULL_HASH);
    // No hash that begins so comes after as many digits of the last kind, in the order of any language.
    let ranges: Vec<(&str, String)> = short.map(|sha| (*sha, format!("{sha:f<64}"))).collect();
    for ranges in ranges.chunks(RANGES) {
        repositories.extend(on_conn!(conn, |c| {
            let mut query = change::table.select(change::repository).distinct().into_boxed();
            for (from, to) in ranges {
                query = query.or_filter(change::sha.between(from, to));
            }
            query.load::<String>(c).await
        })?);
    }
    Ok(repositories)
}

pub async fn deployment_of(conn: &mut Conn, event: &DeploymentEvent) -> Result<Option<Deployment>, StoreError> {
    let key = (storable(&event.key.source), storable(&event.key.id));
    let place = (storable(&event.service), storable(event.place()));
    let query = || deployment::table.find((&key.0, &key.1, &place.0, &place.1)).select(deployment::state);
    let state = on_conn!(conn, |c| query().get_result::<String>(c).await.optional())?;
    state.map(|state| decode("deployment", &state)).transpose()
}

pub async fn incident_by_key(conn: &mut Conn, key: &EntityKey) -> Result<Option<Incident>, StoreError> {
    let key = (storable(&key.source), storable(&key.id));
    let query = || incident::table.find((&key.0, &key.1)).select(incident::state);
    let state = on_conn!(conn, |c| query().get_result::<String>(c).await.optional())?;
    state.map(|state| decode("incident", &state)).transpose()
}

/// The incidents of this id: one, unless several sources use it.
pub async fn incidents_by_id(conn: &mut Conn, id: &str, source: Option<&str>) -> Result<Vec<Incident>, StoreError> {
    let id = storable(id);
    let states = on_conn!(conn, |c| {
        let mut query = incident::table.filter(incident::id.eq(&id)).select(incident::state).into_boxed();
        if let Some(source) = source {
            query = query.filter(incident::source.eq(source));
        }
        query.order(incident::source).limit(10).load::<String>(c).await
    })?;
    decode_all("incident", &states)
}

pub async fn change_by_name(conn: &mut Conn, repository: &str, sha: &str) -> Result<Option<Change>, StoreError> {
    let key = (storable(repository), storable(sha));
    let query = || change::table.find((&key.0, &key.1)).select(change::state);
    let state = on_conn!(conn, |c| query().get_result::<String>(c).await.optional())?;
    state.map(|state| decode("change", &state)).transpose()
}

/// When the newest deployment succeeded that a service has in one of its environments (as sources
/// name them), at or before `until`.
pub async fn newest_success(
    conn: &mut Conn,
    service: &str,
    environments: &[String],
    until: Timestamp,
) -> Result<Option<Deployment>, StoreError> {
    let mut newest: Option<Deployment> = None;
    // One after the other: the newest of several is found in no index.
    for environment in environments {
        let query = || {
            deployment::table
                .filter(deployment::service.eq(service))
                .filter(deployment::environment.eq(environment))
                .filter(deployment::outcome.eq("succeeded"))
                .filter(deployment::sort_at.le(until.micros()))
                .order((deployment::sort_at.desc(), deployment::source.desc(), deployment::id.desc()))
                .select(deployment::state)
                .limit(1)
        };
        let state = on_conn!(conn, |c| query().get_result::<String>(c).await.optional())?;
        let found = state.map(|state| decode("deployment", &state)).transpose()?;
        let rank = |of: &Deployment| (of.finished_at, of.key.clone());
        newest = newest.into_iter().chain(found).max_by_key(rank);
    }
    Ok(newest)
}

/// Every (service, environment) that incidents or telemetry name; an environment may be missing.
pub async fn other_places(conn: &mut Conn) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let incidents = || {
        let named = incident::table.filter(incident::service.is_not_null());
        named.select((incident::service.assume_not_null(), incident::environment)).distinct()
    };
    let telemetry = || series::table.select((series::service, series::environment.nullable())).distinct();
    let mut places: Vec<(String, Option<String>)> = on_conn!(conn, |c| incidents().load(c).await)?;
    places.extend(on_conn!(conn, |c| telemetry().load::<(String, Option<String>)>(c).await)?);
    Ok(places)
}

/// A row's place in a list, newest first: it stays where it is when others are added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageKey {
    pub at: i64,
    /// Source and id (with the place, for deployments), or repository and hash.
    pub name: (String, String),
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The last item's key, where more follow.
    pub next: Option<PageKey>,
}

/// What a list is narrowed to; `None` is everything.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    pub service: Option<String>,
    /// As sources name them.
    pub environments: Option<Vec<String>>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub after: Option<PageKey>,
    pub limit: usize,
}

#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    pub list: ListFilter,
    pub outcome: Option<String>,
    pub kind: Option<String>,
    pub version: Option<String>,
    pub commit: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    pub list: ListFilter,
    pub repository: Option<String>,
    pub sha: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct IncidentFilter {
    pub list: ListFilter,
    pub status: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct FindingFilter {
    pub list: ListFilter,
    pub repository: Option<String>,
    pub kind: Option<String>,
    pub severity: Option<String>,
    pub status: Option<String>,
}

type Listed = (i64, String, String, String);

fn page_of<T: DeserializeOwned>(
    what: &'static str,
    mut rows: Vec<Listed>,
    limit: usize,
) -> Result<Page<T>, StoreError> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|(at, a, b, _)| PageKey { at: *at, name: (a.clone(), b.clone()) });
    let items = rows.iter().map(|(.., state)| decode(what, state)).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// Adds to a boxed query what all lists have in common: times, the page, the order.
macro_rules! paged {
    ($query:ident, $list:expr, $at:expr, $first:expr, $second:expr) => {{
        if let Some(from) = $list.from {
            $query = $query.filter($at.ge(from.micros()));
        }
        if let Some(to) = $list.to {
            $query = $query.filter($at.lt(to.micros()));
        }
        if let Some(PageKey { at, name: (first, second) }) = &$list.after {
            let same_first = $first.eq(first).and($second.lt(second));
            // No index finds where an OR begins; the bound before it is found.
            $query = $query.filter($at.le(*at));
            $query = $query.filter($at.lt(*at).or($at.eq(*at).and($first.lt(first).or(same_first))));
        }
        let one_more = i64::try_from($list.limit.saturating_add(1)).unwrap_or(i64::MAX);
        $query.order(($at.desc(), $first.desc(), $second.desc())).limit(one_more)
    }};
}

/// Deployments, newest first.
pub async fn list_deployments(conn: &mut Conn, filter: &DeploymentFilter) -> Result<Page<Deployment>, StoreError> {
    let list = &filter.list;
    let rows = on_conn!(conn, |c| {
        // One id may be deployed to several places.
        let id = || deployment::id.concat(" ").concat(deployment::service).concat(" ").concat(deployment::place);
        let columns = (deployment::sort_at, deployment::source, id(), deployment::state);
        let mut query = deployment::table.select(columns).into_boxed();
        if let Some(service) = &list.service {
            query = query.filter(deployment::service.eq(service));
        }
        if let Some(environments) = &list.environments {
            query = query.filter(deployment::environment.eq_any(environments));
        }
        if let Some(outcome) = &filter.outcome {
            query = query.filter(deployment::outcome.eq(outcome));
        }
        if let Some(kind) = &filter.kind {
            query = query.filter(deployment::kind.eq(kind));
        }
        if let Some(version) = &filter.version {
            query = query.filter(deployment::version.eq(version));
        }
        if let Some(commit) = &filter.commit {
            query = query.filter(deployment::commit_sha.eq(commit));
        }
        let query = paged!(query, list, deployment::sort_at, deployment::source, id());
        query.load::<Listed>(c).await
    })?;
    page_of("deployment", rows, list.limit)
}

/// Changes, newest first.
pub async fn list_changes(conn: &mut Conn, filter: &ChangeFilter) -> Result<Page<Change>, StoreError> {
    let list = &filter.list;
    let rows = on_conn!(conn, |c| {
        let columns = (change::sort_at, change::repository, change::sha, change::state);
        let mut query = change::table.select(columns).into_boxed();
        if let Some(service) = &list.service {
            query = query.filter(change::service.eq(service));
        }
        if let Some(repository) = &filter.repository {
            query = query.filter(change::repository.eq(repository));
        }
        if let Some(sha) = &filter.sha {
            query = query.filter(change::sha.eq(sha));
        }
        let query = paged!(query, list, change::sort_at, change::repository, change::sha);
        query.load::<Listed>(c).await
    })?;
    page_of("change", rows, list.limit)
}

/// Incidents, newest first by their start.
pub async fn list_incidents(conn: &mut Conn, filter: &IncidentFilter) -> Result<Page<Incident>, StoreError> {
    let list = &filter.list;
    let rows = on_conn!(conn, |c| {
        let columns = (incident::started_at, incident::source, incident::id, incident::state);
        let mut query = incident::table.select(columns).into_boxed();
        if let Some(service) = &list.service {
            query = query.filter(affects!(service));
        }
        if let Some(environments) = &list.environments {
            query = query.filter(incident::environment.eq_any(environments));
        }
        if let Some(status) = &filter.status {
            query = query.filter(incident::status.eq(status));
        }
        let query = paged!(query, list, incident::started_at, incident::source, incident::id);
        query.load::<Listed>(c).await
    })?;
    page_of("incident", rows, list.limit)
}

/// Findings, newest first.
pub async fn list_findings(conn: &mut Conn, filter: &FindingFilter) -> Result<Page<Finding>, StoreError> {
    let list = &filter.list;
    let rows = on_conn!(conn, |c| {
        let columns = (finding::opened_at, finding::source, finding::id, finding::state);
        let mut query = finding::table.select(columns).into_boxed();
        if let Some(service) = &list.service {
            query = query.filter(finding::service.eq(service));
        }
        if let Some(repository) = &filter.repository {
            query = query.filter(finding::repository.eq(repository));
        }
        if let Some(kind) = &filter.kind {
            query = query.filter(finding::kind.eq(kind));
        }
        if let Some(severity) = &filter.severity {
            query = query.filter(finding::severity.eq(severity));
        }
        if let Some(status) = &filter.status {
            query = query.filter(finding::status.eq(status));
        }
        let query = paged!(query, list, finding::opened_at, finding::source, finding::id);
        query.load::<Listed>(c).await
    })?;
    page_of("finding", rows, list.limit)
}
