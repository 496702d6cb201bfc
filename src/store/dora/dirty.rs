//! Which services have facts that are not projected yet.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::NO_SERVICE;
use crate::dora::range::SHORT_HASH;
use crate::event::{DeploymentRef, Incident};
use crate::store::conn::{batch, on_conn};
use crate::store::schema::{deployment, dora_dirty, dora_partition, dora_repository, incident, incident_reference};
use crate::store::{Conn, storable};

/// Names per statement, well below the limit of bind parameters.
pub(super) const CHUNK: usize = 1_000;
/// The longest beginning of a hash that deployments may be known by instead of all of it.
const LONGEST_SHORT_HASH: usize = 12;

#[derive(Debug, Clone, Insertable, Queryable)]
#[diesel(table_name = dora_dirty, treat_none_as_default_value = false)]
pub(super) struct Dirty {
    pub service: String,
    /// Grows with everything that concerns it: who projects it knows what came after.
    pub generation: i64,
    /// Nothing but changes of a repository that it is built from; they need not be its own.
    pub only_changes: bool,
}

/// What facts told of.
#[derive(Debug, Default)]
pub struct Touched {
    pub services: BTreeSet<String>,
    pub repositories: BTreeSet<String>,
    /// Hashes of changes.
    pub commits: BTreeSet<String>,
    /// As they were and as they are.
    pub incidents: Vec<Incident>,
}

/// Notes what must be projected anew, in the transaction of the facts that it follows from.
///
/// # Errors
/// The database refuses.
pub async fn mark(conn: &mut Conn, touched: Touched) -> QueryResult<()> {
    let Touched { mut services, repositories, commits, incidents } = touched;
    let built_from: BTreeSet<String> = built_from(conn, &repositories).await?.into_iter().collect();
    services.extend(of_commits(conn, &commits).await?);
    for incident in &incidents {
        services.extend(services_of(conn, incident, &[]).await?);
    }
    note(conn, &built_from, true).await?;
    mark_services(conn, &services).await
}

/// The services whose rows an incident may concern, or would if it named more deployments.
///
/// # Errors
/// The database does not answer.
pub async fn services_of(
    conn: &mut Conn,
    incident: &Incident,
    more: &[DeploymentRef],
) -> QueryResult<BTreeSet<String>> {
    let mut services: BTreeSet<String> = incident.services().map(storable).collect();
    if services.is_empty() {
        services.insert(NO_SERVICE.to_owned());
    }
    for named in incident.named_deployments().iter().chain(more) {
        services.extend(of_named(conn, named).await?);
    }
    Ok(services)
}

/// Notes that services must be projected anew.
pub(super) async fn mark_services(conn: &mut Conn, services: &BTreeSet<String>) -> QueryResult<()> {
    note(conn, services, false).await
}

async fn note(conn: &mut Conn, services: &BTreeSet<String>, only_changes: bool) -> QueryResult<()> {
    if services.is_empty() {
        return Ok(());
    }
    let rows: Vec<Dirty> =
        services.iter().map(|service| Dirty { service: service.clone(), generation: 1, only_changes }).collect();
    for rows in rows.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_dirty::table)
        .values(rows)
        .on_conflict(dora_dirty::service)
        .do_update()
        .set((
            dora_dirty::generation.eq(dora_dirty::generation + 1),
            dora_dirty::only_changes.eq(dora_dirty::only_changes.and(excluded(dora_dirty::only_changes))),
        )))?;
    }
    Ok(())
}

/// Notes that every service must be projected anew.
pub(super) async fn mark_all(conn: &mut Conn) -> QueryResult<()> {
    let mut services = BTreeSet::from([NO_SERVICE.to_owned()]);
    let deployed = || deployment::table.select(deployment::service).distinct();
    let troubled = || {
        let named = incident::table.filter(incident::service.is_not_null());
        named.select(incident::service.assume_not_null()).distinct()
    };
    let also_troubled = || {
        let of_services = incident_reference::deployment.like(format!("{}%", reference::SERVICE));
        incident_reference::table.filter(of_services).select(incident_reference::deployment).distinct()
    };
    let projected = || dora_partition::table.select(dora_partition::service).distinct();
    services.extend(on_conn!(conn, |c| deployed().load::<String>(c).await)?);
    services.extend(on_conn!(conn, |c| troubled().load::<String>(c).await)?);
    let named = on_conn!(conn, |c| also_troubled().load::<String>(c).await)?;
    services.extend(named.iter().filter_map(|named| named.strip_prefix(reference::SERVICE)).map(str::to_owned));
    services.extend(on_conn!(conn, |c| projected().load::<String>(c).await)?);
    mark_services(conn, &services).await
}

/// Those of the wanted services that must be projected, those of no service first.
pub(super) async fn waiting(conn: &mut Conn, wanted: &super::Wanted) -> QueryResult<Vec<Dirty>> {
    let all = || dora_dirty::table.order(dora_dirty::service);
    let super::Wanted::These(names) = wanted else { return on_conn!(conn, |c| all().load(c).await) };
    let mut found = Vec::new();
    let names: Vec<&String> = names.iter().collect();
    for names in names.chunks(CHUNK) {
        let query = || all().filter(dora_dirty::service.eq_any(names));
        found.extend(on_conn!(conn, |c| query().load::<Dirty>(c).await)?);
    }
    Ok(found)
}

/// What the service waits for by now: somebody else may have been faster.
pub(super) async fn still_waits(conn: &mut Conn, service: &str) -> QueryResult<Option<Dirty>> {
    let query = || dora_dirty::table.find(service);
    on_conn!(conn, |c| query().get_result(c).await.optional())
}

/// The service was projected with everything that it waited for; what came after stays.
pub(super) async fn done(conn: &mut Conn, dirty: &Dirty) -> QueryResult<()> {
    let query = || {
        let of = dora_dirty::service.eq(&dirty.service).and(dora_dirty::generation.eq(dirty.generation));
        diesel::delete(dora_dirty::table.filter(of))
    };
    on_conn!(conn, |c| query().execute(c).await)?;
    Ok(())
}

/// The service waited for nothing but changes that are not its own.
pub(super) async fn passed_over(conn: &mut Conn, dirty: &Dirty) -> QueryResult<()> {
    let query = || {
        let of = dora_dirty::service.eq(&dirty.service).and(dora_dirty::generation.eq(dirty.generation));
        diesel::delete(dora_dirty::table.filter(of).filter(dora_dirty::only_changes))
    };
    on_conn!(conn, |c| query().execute(c).await)?;
    Ok(())
}

async fn built_from(conn: &mut Conn, repositories: &BTreeSet<String>) -> QueryResult<Vec<String>> {
    let mut services = Vec::new();
    let repositories: Vec<&String> = repositories.iter().collect();
    for names in repositories.chunks(CHUNK) {
        let query = || {
            let of = dora_repository::repository.eq_any(names);
            dora_repository::table.filter(of).select(dora_repository::service).distinct()
        };
        services.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    Ok(services)
}

async fn of_commits<'c>(conn: &mut Conn, commits: &'c BTreeSet<String>) -> QueryResult<Vec<String>> {
    let mut services = Vec::new();
    // As deployments may abbreviate them.
    let lengths = |commit: &str| (SHORT_HASH..=LONGEST_SHORT_HASH.min(commit.len())).chain([commit.len()]);
    let names = |commit: &'c String| lengths(commit).filter_map(|length| commit.get(..length));
    let names: BTreeSet<&str> = commits.iter().flat_map(names).collect();
    let names: Vec<&str> = names.into_iter().collect();
    for names in names.chunks(CHUNK) {
        let query =
            || deployment::table.filter(deployment::commit_sha.eq_any(names)).select(deployment::service).distinct();
        services.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
    }
    Ok(services)
}

/// The services of deployments that an incident names by id or by commit; a version is one of its
/// own service.
async fn of_named(conn: &mut Conn, named: &DeploymentRef) -> QueryResult<Vec<String>> {
    let query = || deployment::table.select(deployment::service).distinct();
    match (&named.id, &named.commit) {
        (Some(id), _) => on_conn!(conn, |c| query().filter(deployment::id.eq(id)).load(c).await),
        (None, Some(commit)) if commit.len() < SHORT_HASH => {
            on_conn!(conn, |c| query().filter(deployment::commit_sha.eq(commit)).load(c).await)
        }
        (None, Some(commit)) => {
            let end = format!("{commit}\u{10ffff}");
            let query = || query().filter(deployment::commit_sha.ge(commit)).filter(deployment::commit_sha.lt(&end));
            on_conn!(conn, |c| query().load(c).await)
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// The names by which `incident_reference` finds the incidents of deployments and of services.
pub(in crate::store) mod reference {
    /// Before the name of a service.
    pub const SERVICE: &str = "service ";

    use super::{DeploymentRef, SHORT_HASH};

    pub fn id(id: &str) -> String {
        format!("id {id}")
    }

    /// Hashes are shortened differently; all that long begin alike.
    pub fn commit(commit: &str) -> String {
        let short: String = commit.chars().take(SHORT_HASH).collect();
        format!("commit {short}")
    }

    /// Of a service that an incident affects beside its first.
    pub fn service(service: &str) -> String {
        format!("{SERVICE}{service}")
    }

    /// `None` for a version, which only the incident's own service can tell.
    pub fn of(named: &DeploymentRef) -> Option<String> {
        match (&named.id, &named.commit) {
            (Some(named), _) => Some(id(named)),
            (None, Some(named)) => Some(commit(named)),
            (None, None) => None,
        }
    }
}

/// What an incident calls its deployments, and what else it affects.
pub fn references(incident: &Incident) -> BTreeSet<String> {
    let named = incident.named_deployments().iter().filter_map(reference::of);
    named.chain(incident.other_services.iter().map(|service| reference::service(service))).collect()
}
