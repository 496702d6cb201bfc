//! All that the rows of one service are derived from.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::dirty::{CHUNK, reference};
use super::ranges::{self, Stored};
use super::repositories::Repositories;
use crate::dora::range::RangeName;
use crate::dora::{History, Rules};
use crate::event::{Deployment, EntityKey, Incident};
use crate::store::conn::on_conn;
use crate::store::schema::{dora_link, incident, incident_reference};
use crate::store::{Conn, StoreError, history, storable};

pub(super) struct Inputs {
    pub history: History,
    /// Where its changes may come from, each with the last piece that was read of it.
    pub repositories: BTreeMap<String, i64>,
    /// Ranges that it asked for under other paths.
    pub stale: Vec<RangeName>,
}

/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn of_service(
    conn: &mut Conn,
    rules: &Rules,
    known: &Repositories,
    service: &str,
) -> Result<Inputs, StoreError> {
    let deployments = history::deployments_of(conn, service).await?;
    let mut repositories: BTreeSet<String> = rules.repository(service).map(str::to_owned).into_iter().collect();
    let mut commits = HashSet::new();
    for deployment in &deployments {
        repositories.extend(deployment.changes.iter().map(|change| change.repository.clone()));
        match rules.repository_of(deployment) {
            Some(repository) => drop(repositories.insert(repository.to_owned())),
            None => commits.extend(deployment.commit.as_deref()),
        }
    }
    let commits: Vec<&str> = commits.into_iter().collect();
    repositories.extend(history::repositories_of(conn, &commits).await?);
    let names: BTreeSet<String> = repositories.iter().map(|name| storable(name)).collect();
    let read = known.read(conn, &names).await?;
    let pieces = read.iter().map(|reading| reading.last);
    let pieces = names.into_iter().zip(pieces).collect();
    let repositories = read.into_iter().map(|reading| reading.repository).collect();
    let incidents = incidents_of(conn, service, &deployments).await?;
    let Stored { ranges, stale } = ranges::of_service(conn, service, rules.scope(service)).await?;
    let history = History { service: service.to_owned(), deployments, repositories, incidents, ranges };
    Ok(Inputs { history, repositories: pieces, stale })
}

/// Those of the service, and those that name one of its deployments.
async fn incidents_of(conn: &mut Conn, service: &str, deployments: &[Deployment]) -> Result<Vec<Incident>, StoreError> {
    let own = || incident::table.filter(incident::service.eq(service)).select(incident::state);
    let mut states = on_conn!(conn, |c| own().load::<String>(c).await)?;
    let ids = deployments.iter().map(|deployment| reference::id(&deployment.key.id));
    let commits = deployments.iter().filter_map(|deployment| deployment.commit.as_deref()).map(reference::commit);
    let names = ids.chain(commits).chain([reference::service(service)]);
    let named: BTreeSet<String> = names.map(|name| storable(&name)).collect();
    let named: Vec<&String> = named.iter().collect();
    for names in named.chunks(CHUNK) {
        let query = || {
            let same = incident::source.eq(incident_reference::source).and(incident::id.eq(incident_reference::id));
            incident_reference::table
                .inner_join(incident::table.on(same))
                .filter(incident_reference::deployment.eq_any(names))
                .select(incident::state)
        };
        states.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    let incidents: Vec<Incident> = history::decode_all("incident", &states)?;
    let once: BTreeMap<EntityKey, Incident> = incidents.into_iter().map(|i| (i.key.clone(), i)).collect();
    Ok(once.into_values().collect())
}

/// Incidents that name neither a service nor a deployment that is known.
pub(super) async fn of_no_service(conn: &mut Conn) -> Result<Vec<Incident>, StoreError> {
    let query = || {
        let same = dora_link::source.eq(incident::source).and(dora_link::id.eq(incident::id));
        let linked = diesel::dsl::exists(dora_link::table.filter(same));
        incident::table.filter(incident::service.is_null()).filter(diesel::dsl::not(linked)).select(incident::state)
    };
    let states = on_conn!(conn, |c| query().load::<String>(c).await)?;
    history::decode_all("incident", &states)
}
