//! The stored folds of facts: one row per deployment, change, incident and finding.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::upsert::excluded;
use serde::Serialize;

use diesel_async::RunQueryDsl;

use super::conn::{MAX_BINDS, batch, on_conn};
use super::dora::dirty::{self, Touched};
use super::dora::repositories;
use super::fact::{self, Entity};
use super::schema::{change, deployment, finding, incident, incident_reference};
use super::{Conn, StoreError, history, origin, pull_request, repetition, storable};
use crate::event::finding::fold_finding;
use crate::event::sighting::occurrences;
use crate::event::{
    Change, ChangeEvent, DeliveryEvent, Deployment, DeploymentEvent, FindingEvent, Incident, IncidentEvent, LinksEvent,
    state,
};
use crate::time::Timestamp;

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = deployment, treat_none_as_default_value = false)]
struct DeploymentRow {
    source: String,
    id: String,
    service: String,
    environment: String,
    place: String,
    version: Option<String>,
    commit_sha: Option<String>,
    outcome: String,
    kind: Option<String>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    sort_at: i64,
    state: String,
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = change, treat_none_as_default_value = false)]
struct ChangeRow {
    repository: String,
    sha: String,
    service: Option<String>,
    authored_at: Option<i64>,
    merged_at: Option<i64>,
    sort_at: i64,
    state: String,
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = incident, treat_none_as_default_value = false)]
struct IncidentRow {
    source: String,
    id: String,
    service: Option<String>,
    environment: Option<String>,
    status: String,
    started_at: i64,
    resolved_at: Option<i64>,
    state: String,
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = finding, treat_none_as_default_value = false)]
struct FindingRow {
    source: String,
    id: String,
    repository: String,
    service: Option<String>,
    kind: String,
    severity: Option<String>,
    status: String,
    rule: Option<String>,
    opened_at: i64,
    fixed_at: Option<i64>,
    url: Option<String>,
    state: String,
}

/// A folded deployment before it is stored, and its earliest fact.
type FoldedDeployment = (Deployment, Timestamp);
/// The same of a change.
type FoldedChange = (Change, Timestamp);

/// Folds all facts of each entity anew and stores the result; called in the transaction that
/// added a fact to each.
///
/// # Errors
/// The database refuses, or a stored fact cannot be read.
pub async fn refold(conn: &mut Conn, entities: &BTreeSet<Entity>) -> Result<(), StoreError> {
    let mut entities = entities.clone();
    entities.extend(pull_request::refold(conn, &entities).await?);
    entities.extend(origin::refold(conn, &entities).await?);
    let (mut incidents, mut findings) = (Vec::new(), Vec::new());
    let mut deployments: Vec<(Entity, FoldedDeployment)> = Vec::new();
    let mut changes: Vec<FoldedChange> = Vec::new();
    for (entity, facts) in fact::load(conn, &entities).await? {
        let mut facts_of = Facts::default();
        for fact in facts {
            facts_of.add(fact);
        }
        for facts in facts_of.deployments.into_values().flat_map(|facts| occurrences(facts).into_values()) {
            deployments.extend(fold_deployment(&facts).map(|folded| (entity.clone(), folded)));
            repetition::recall(conn, &entity, &facts).await?;
        }
        changes.extend(fold_change(&facts_of.changes));
        incidents.extend(incident_row(&entity, &facts_of.incidents, &facts_of.links)?);
        findings.extend(finding_row(&entity, &facts_of.findings)?);
    }
    pull_request::land(conn, changes.iter_mut().map(|(change, _)| change)).await?;
    repositories::append(conn, changes.iter().map(|(change, _)| change)).await?;
    origin::join_all(conn, deployments.iter_mut().map(|(of, (deployment, _))| (&*of, deployment))).await?;
    let deployments: Vec<DeploymentRow> =
        deployments.iter().map(|(_, folded)| deployment_row(folded)).collect::<Result<_, _>>()?;
    let changes: Vec<ChangeRow> = changes.iter().map(change_row).collect::<Result<_, StoreError>>()?;
    let mut touched = Touched::default();
    touched.services.extend(deployments.iter().map(|row| row.service.clone()));
    touched.repositories.extend(changes.iter().map(|row| row.repository.clone()));
    touched.commits.extend(changes.iter().map(|row| row.sha.clone()));
    upsert_deployments(conn, &deployments).await?;
    upsert_changes(conn, &changes).await?;
    upsert_findings(conn, &findings).await?;
    for (row, incident) in &incidents {
        touched.incidents.extend(history::incident_by_key(conn, &incident.key).await?);
        touched.incidents.push(incident.clone());
        upsert_incidents(conn, std::slice::from_ref(row)).await?;
        replace_references(conn, incident).await?;
    }
    dirty::mark(conn, touched).await?;
    Ok(())
}

/// Keeps what an incident calls its deployments where the derivation of a service looks for it.
async fn replace_references(conn: &mut Conn, incident: &Incident) -> QueryResult<()> {
    let (source, id) = (storable(&incident.key.source), storable(&incident.key.id));
    let stored = || {
        let of = incident_reference::source.eq(&source).and(incident_reference::id.eq(&id));
        incident_reference::table.filter(of)
    };
    on_conn!(conn, |c| diesel::delete(stored()).execute(c).await)?;
    for named in dirty::references(incident) {
        let values = (
            incident_reference::deployment.eq(storable(&named)),
            incident_reference::source.eq(&source),
            incident_reference::id.eq(&id),
        );
        on_conn!(conn, |c| diesel::insert_into(incident_reference::table).values(values).execute(c).await)?;
    }
    Ok(())
}

/// The facts of one entity, which are of its kind.
#[derive(Default)]
struct Facts {
    /// By service and place.
    deployments: BTreeMap<(String, String), Vec<DeploymentEvent>>,
    changes: Vec<ChangeEvent>,
    incidents: Vec<IncidentEvent>,
    links: Vec<LinksEvent>,
    findings: Vec<FindingEvent>,
}

impl Facts {
    fn add(&mut self, fact: DeliveryEvent) {
        match fact {
            DeliveryEvent::Deployment(event) => {
                let place = (event.service.clone(), event.place().to_owned());
                self.deployments.entry(place).or_default().push(event);
            }
            DeliveryEvent::Change(event) => self.changes.push(event),
            DeliveryEvent::Incident(event) => self.incidents.push(event),
            DeliveryEvent::Links(event) => self.links.push(event),
            DeliveryEvent::Finding(event) => self.findings.push(event),
            // Folded by `pull_request::refold` and `origin::refold`.
            DeliveryEvent::PullRequest(_) | DeliveryEvent::Push(_) | DeliveryEvent::Origin(_) => {}
            // Nobody knows what it says.
            DeliveryEvent::Unread(_) => {}
        }
    }
}

fn fold_deployment(facts: &[DeploymentEvent]) -> Option<FoldedDeployment> {
    state::fold_deployment(facts).zip(facts.iter().map(|fact| fact.time).min())
}

fn deployment_row((folded, first): &FoldedDeployment) -> Result<DeploymentRow, StoreError> {
    Ok(DeploymentRow {
        source: storable(&folded.key.source),
        id: storable(&folded.key.id),
        service: storable(&folded.service),
        environment: storable(&folded.environment),
        place: storable(folded.place()),
        version: folded.version.as_deref().map(storable),
        commit_sha: folded.commit.as_deref().map(storable),
        outcome: name(&folded.outcome)?,
        kind: folded.kind.as_ref().map(name).transpose()?,
        started_at: folded.started_at.map(Timestamp::micros),
        finished_at: folded.finished_at.map(Timestamp::micros),
        sort_at: folded.finished_at.or(folded.started_at).unwrap_or(*first).micros(),
        state: json(folded)?,
    })
}

fn fold_change(facts: &[ChangeEvent]) -> Option<FoldedChange> {
    state::fold_change(facts).zip(facts.iter().map(|fact| fact.time).min())
}

fn change_row((folded, first): &FoldedChange) -> Result<ChangeRow, StoreError> {
    let sort_at = folded.merged_at.or(folded.committed_at).or(folded.authored_at).unwrap_or(*first);
    Ok(ChangeRow {
        repository: storable(&folded.repository),
        sha: storable(&folded.sha),
        service: folded.service.as_deref().map(storable),
        authored_at: folded.authored_at.map(Timestamp::micros),
        merged_at: folded.merged_at.map(Timestamp::micros),
        sort_at: sort_at.micros(),
        state: json(folded)?,
    })
}

fn incident_row(
    entity: &Entity,
    facts: &[IncidentEvent],
    links: &[LinksEvent],
) -> Result<Option<(IncidentRow, Incident)>, StoreError> {
    let Some(folded) = state::fold_incident(facts, links) else { return Ok(None) };
    let row = IncidentRow {
        source: entity.source.clone(),
        id: entity.id.clone(),
        service: folded.service.as_deref().map(storable),
        environment: folded.environment.as_deref().map(storable),
        status: name(&folded.status)?,
        started_at: folded.started_at.micros(),
        resolved_at: folded.resolved_at.map(Timestamp::micros),
        state: json(&folded)?,
    };
    Ok(Some((row, folded)))
}

fn finding_row(entity: &Entity, facts: &[FindingEvent]) -> Result<Option<FindingRow>, StoreError> {
    let Some(folded) = fold_finding(facts) else { return Ok(None) };
    Ok(Some(FindingRow {
        source: entity.source.clone(),
        id: entity.id.clone(),
        repository: storable(&folded.repository),
        service: folded.service.as_deref().map(storable),
        kind: name(&folded.kind)?,
        severity: folded.severity.as_ref().map(name).transpose()?,
        status: name(&folded.status)?,
        rule: folded.rule.as_deref().map(storable),
        opened_at: folded.opened_at.micros(),
        fixed_at: folded.fixed_at.map(Timestamp::micros),
        url: folded.url.as_deref().map(storable),
        state: json(&folded)?,
    }))
}

fn json(state: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(state).map_err(|source| StoreError::encode("state", source))
}

/// The name of a variant, as it stands in JSON.
fn name(variant: &impl Serialize) -> Result<String, StoreError> {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        Ok(other) => Ok(other.to_string()),
        Err(source) => Err(StoreError::encode("state", source)),
    }
}

async fn upsert_deployments(conn: &mut Conn, all: &[DeploymentRow]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / 13) {
        batch!(conn, execute, rows => diesel::insert_into(deployment::table)
        .values(rows)
        .on_conflict((deployment::source, deployment::id, deployment::service, deployment::place))
        .do_update()
        .set((
            deployment::environment.eq(excluded(deployment::environment)),
            deployment::version.eq(excluded(deployment::version)),
            deployment::commit_sha.eq(excluded(deployment::commit_sha)),
            deployment::outcome.eq(excluded(deployment::outcome)),
            deployment::kind.eq(excluded(deployment::kind)),
            deployment::started_at.eq(excluded(deployment::started_at)),
            deployment::finished_at.eq(excluded(deployment::finished_at)),
            deployment::sort_at.eq(excluded(deployment::sort_at)),
            deployment::state.eq(excluded(deployment::state)),
        )))?;
    }
    Ok(())
}

async fn upsert_changes(conn: &mut Conn, all: &[ChangeRow]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / 7) {
        batch!(conn, execute, rows => diesel::insert_into(change::table)
        .values(rows)
        .on_conflict((change::repository, change::sha))
        .do_update()
        .set((
            change::service.eq(excluded(change::service)),
            change::authored_at.eq(excluded(change::authored_at)),
            change::merged_at.eq(excluded(change::merged_at)),
            change::sort_at.eq(excluded(change::sort_at)),
            change::state.eq(excluded(change::state)),
        )))?;
    }
    Ok(())
}

async fn upsert_incidents(conn: &mut Conn, all: &[IncidentRow]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / 8) {
        batch!(conn, execute, rows => diesel::insert_into(incident::table)
        .values(rows)
        .on_conflict((incident::source, incident::id))
        .do_update()
        .set((
            incident::service.eq(excluded(incident::service)),
            incident::environment.eq(excluded(incident::environment)),
            incident::status.eq(excluded(incident::status)),
            incident::started_at.eq(excluded(incident::started_at)),
            incident::resolved_at.eq(excluded(incident::resolved_at)),
            incident::state.eq(excluded(incident::state)),
        )))?;
    }
    Ok(())
}

async fn upsert_findings(conn: &mut Conn, all: &[FindingRow]) -> QueryResult<()> {
    for rows in all.chunks(MAX_BINDS / 12) {
        batch!(conn, execute, rows => diesel::insert_into(finding::table)
        .values(rows)
        .on_conflict((finding::source, finding::id))
        .do_update()
        .set((
            finding::service.eq(excluded(finding::service)),
            finding::severity.eq(excluded(finding::severity)),
            finding::status.eq(excluded(finding::status)),
            finding::rule.eq(excluded(finding::rule)),
            finding::opened_at.eq(excluded(finding::opened_at)),
            finding::fixed_at.eq(excluded(finding::fixed_at)),
            finding::url.eq(excluded(finding::url)),
            finding::state.eq(excluded(finding::state)),
        )))?;
    }
    Ok(())
}
