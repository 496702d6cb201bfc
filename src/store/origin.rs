//! Stored origins of artifacts and chains, and how they reach the deployments that name them.
//!
//! Whichever side a new fact is about, the deployments concerned are folded again in the same
//! transaction: an origin finds them by the names they were stored under, a deployment looks up the
//! origins it names.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::conn::{MAX_BINDS, batch, on_conn};
use super::fact::{self, Entity};
use super::schema::{origin, origin_reference};
use super::{Conn, StoreError, storable};
use crate::event::origin::{Origin, Origins, fold_origin, join};
use crate::event::{DeliveryEvent, Deployment};

/// Names per statement, well below the limit of bind parameters.
const CHUNK: usize = 1_000;

#[derive(Debug, Clone, Insertable, Queryable)]
#[diesel(table_name = origin, treat_none_as_default_value = false)]
struct OriginRow {
    name: String,
    commit_sha: Option<String>,
    repository: Option<String>,
    chain: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Insertable)]
#[diesel(table_name = origin_reference, treat_none_as_default_value = false)]
struct Reference {
    name: String,
    source: String,
    id: String,
}

/// Folds the origins among the entities; answers the deployments that may follow.
///
/// # Errors
/// The database refuses, or holds what cannot be read.
pub(super) async fn refold(conn: &mut Conn, entities: &BTreeSet<Entity>) -> Result<BTreeSet<Entity>, StoreError> {
    let told = entities.iter().filter(|entity| entity.kind == "origin").cloned().collect();
    let mut rows: Vec<OriginRow> = Vec::new();
    for facts in fact::load(conn, &told).await?.into_values() {
        let facts = facts.into_iter().filter_map(|fact| match fact {
            DeliveryEvent::Origin(event) => Some(event),
            _ => None,
        });
        rows.extend(fold_origin(&facts.collect::<Vec<_>>()).as_ref().map(row));
    }
    for rows in rows.chunks(MAX_BINDS / 4) {
        batch!(conn, execute, rows => diesel::insert_into(origin::table)
        .values(rows)
        .on_conflict(origin::name)
        .do_update()
        .set((
            origin::commit_sha.eq(excluded(origin::commit_sha)),
            origin::repository.eq(excluded(origin::repository)),
            origin::chain.eq(excluded(origin::chain)),
        )))?;
    }
    let mut names: BTreeSet<String> = rows.into_iter().map(|row| row.name).collect();
    names.extend(made_in(conn, &names).await?);
    named_by(conn, &names).await
}

fn row(origin: &Origin) -> OriginRow {
    OriginRow {
        name: storable(&origin.of),
        commit_sha: origin.commit.as_deref().map(storable),
        repository: origin.repository.as_deref().map(storable),
        chain: origin.chain.as_deref().map(storable),
    }
}

/// The artifacts that came about in the chains among the names.
async fn made_in(conn: &mut Conn, names: &BTreeSet<String>) -> QueryResult<Vec<String>> {
    let mut artifacts = Vec::new();
    let names: Vec<&String> = names.iter().collect();
    for names in names.chunks(CHUNK) {
        let query = || origin::table.filter(origin::chain.eq_any(names)).select(origin::name);
        artifacts.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    Ok(artifacts)
}

async fn named_by(conn: &mut Conn, names: &BTreeSet<String>) -> Result<BTreeSet<Entity>, StoreError> {
    let mut deployments = BTreeSet::new();
    let names: Vec<&String> = names.iter().collect();
    for names in names.chunks(CHUNK) {
        let query = || {
            let of = origin_reference::name.eq_any(names);
            origin_reference::table.filter(of).select((origin_reference::source, origin_reference::id))
        };
        let found = on_conn!(conn, |c| query().load::<(String, String)>(c).await)?;
        deployments.extend(found.into_iter().map(|(source, id)| Entity::deployment(&source, &id)));
    }
    Ok(deployments)
}

/// Gives deployments, as they were folded, the commits of the origins that they name, and stores
/// under which names to look for them when these become known.
///
/// # Errors
/// The database refuses.
pub(super) async fn join_all<'d>(
    conn: &mut Conn,
    deployments: impl Iterator<Item = (&'d Entity, &'d mut Deployment)>,
) -> Result<(), StoreError> {
    let unnamed: Vec<_> = deployments.filter(|(_, deployment)| deployment.commit.is_none()).collect();
    let references: BTreeSet<Reference> =
        unnamed.iter().flat_map(|(of, deployment)| references(of, deployment)).collect();
    if references.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<String> = references.iter().map(|reference| reference.name.clone()).collect();
    let references: Vec<Reference> = references.into_iter().collect();
    for rows in references.chunks(MAX_BINDS / 3) {
        batch!(conn, execute, rows => diesel::insert_into(origin_reference::table)
            .values(rows)
            .on_conflict_do_nothing())?;
    }
    let mut known = load(conn, &names).await?;
    let chains: BTreeSet<String> = known.values().filter_map(|origin| origin.chain.clone()).collect();
    known.extend(load(conn, &chains.difference(&names).cloned().collect()).await?);
    for (_, deployment) in unnamed {
        join(deployment, &known);
    }
    Ok(())
}

/// By the entity whose facts a deployment is folded from.
fn references(of: &Entity, deployment: &Deployment) -> impl Iterator<Item = Reference> {
    let names = [&deployment.provenance.artifact, &deployment.provenance.chain].into_iter().flatten();
    names.map(|name| Reference { name: storable(name), source: of.source.clone(), id: of.id.clone() })
}

async fn load(conn: &mut Conn, names: &BTreeSet<String>) -> Result<Origins, StoreError> {
    let mut origins = Origins::new();
    let names: Vec<&String> = names.iter().collect();
    for names in names.chunks(CHUNK) {
        let query = || origin::table.filter(origin::name.eq_any(names));
        for row in on_conn!(conn, |c| query().load::<OriginRow>(c).await)? {
            let OriginRow { name, commit_sha, repository, chain } = row;
            origins.insert(name.clone(), Origin { of: name, commit: commit_sha, repository, chain });
        }
    }
    Ok(origins)
}
