//! Delivery facts, one by one: what was told is never changed and never deleted.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::{MAX_BINDS, batch, on_conn};
use super::lock::Lock;
use super::schema::fact;
use super::{Conn, StoreError, storable};
use crate::event::{DeliveryEvent, DeploymentEvent, EntityKey, Sighting};
use crate::time::Timestamp;

/// The kind of facts that say what a [`Sighting`] before them said.
pub const REPETITION: &str = "repetition";

/// What a fact is about. What is sighted again and again goes by its object. Changes are the same
/// change whichever source tells of them, so they go by (repository, sha); pull requests and pushes
/// by their names in the repository, artifacts by theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity {
    pub kind: &'static str,
    pub source: String,
    pub id: String,
}

impl Entity {
    pub fn incident(key: &EntityKey) -> Self {
        Self { kind: "incident", source: storable(&key.source), id: storable(&key.id) }
    }

    pub fn deployment(source: &str, id: &str) -> Self {
        Self { kind: "deployment", source: storable(source), id: storable(id) }
    }

    pub fn change(repository: &str, sha: &str) -> Self {
        Self { kind: "change", source: storable(repository), id: storable(sha) }
    }

    pub fn pull_request(repository: &str, number: impl std::fmt::Display) -> Self {
        Self { kind: "pull_request", source: storable(repository), id: number.to_string() }
    }

    pub fn origin(of: &str) -> Self {
        Self { kind: "origin", source: String::new(), id: storable(of) }
    }

    pub fn of(event: &DeliveryEvent) -> Self {
        match event {
            DeliveryEvent::Change(event) => Self::change(&event.repository, &event.sha),
            DeliveryEvent::PullRequest(event) => Self::pull_request(&event.repository, event.number),
            DeliveryEvent::Push(event) => {
                let id = format!("{}@{}", event.push.branch, event.push.head);
                Self { kind: "push", source: storable(&event.repository), id: storable(&id) }
            }
            // What is said about an incident's links is part of the incident.
            DeliveryEvent::Links(event) => Self::incident(&event.key),
            // An artifact is the same one whoever tells of it.
            DeliveryEvent::Origin(event) => Self::origin(&event.of),
            DeliveryEvent::Deployment(DeploymentEvent { key, sighting: Some(Sighting { object, .. }), .. }) => {
                Self { kind: event.kind(), source: storable(&key.source), id: storable(object) }
            }
            DeliveryEvent::Deployment(_)
            | DeliveryEvent::Incident(_)
            | DeliveryEvent::Finding(_)
            | DeliveryEvent::Unread(_) => {
                let key = event.key();
                Self { kind: event.kind(), source: storable(&key.source), id: storable(&key.id) }
            }
        }
    }
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = fact, treat_none_as_default_value = false)]
pub struct NewFact {
    digest: Vec<u8>,
    kind: &'static str,
    entity_source: String,
    entity_id: String,
    event_time: i64,
    received_at: i64,
    event: String,
    raw: Vec<u8>,
}

const COLUMNS: usize = 8;

impl NewFact {
    /// # Errors
    /// The event does not become JSON.
    pub fn new(
        event: &DeliveryEvent,
        digest: &[u8; 32],
        raw: &[u8],
        received_at: Timestamp,
    ) -> Result<Self, StoreError> {
        let entity = Entity::of(event);
        Ok(Self {
            digest: digest.to_vec(),
            kind: entity.kind,
            entity_source: entity.source,
            entity_id: entity.id,
            event_time: event.time().micros(),
            received_at: received_at.micros(),
            event: serde_json::to_string(event).map_err(|source| StoreError::encode("event", source))?,
            raw: raw.to_vec(),
        })
    }
}

/// Adds the facts whose digest is not yet there; answers for each whether it was new. Of equal
/// facts the first is new. Holds the right to fold until the transaction ends.
///
/// # Errors
/// The database refuses.
pub async fn insert(conn: &mut Conn, facts: &[NewFact]) -> QueryResult<Vec<bool>> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    Lock::Facts.take(conn).await?;
    let mut inserted = BTreeSet::new();
    for rows in facts.chunks(MAX_BINDS / COLUMNS) {
        let digests: Vec<Vec<u8>> = batch!(conn, get_results, rows => diesel::insert_into(fact::table)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(fact::digest))?;
        inserted.extend(digests);
    }
    Ok(facts.iter().map(|fact| inserted.remove(&fact.digest)).collect())
}

/// Takes back what was inferred, and that nobody told; answers whether it was there.
///
/// # Errors
/// The database refuses.
pub async fn take_back(conn: &mut Conn, digest: &[u8; 32]) -> QueryResult<bool> {
    let it = || fact::table.filter(fact::digest.eq(digest.as_slice()));
    Ok(on_conn!(conn, |c| diesel::delete(it()).execute(c).await)? > 0)
}

/// All facts of each of the entities, repetitions included.
///
/// # Errors
/// The database does not answer, or a stored event cannot be read.
pub async fn load(
    conn: &mut Conn,
    entities: &BTreeSet<Entity>,
) -> Result<BTreeMap<Entity, Vec<DeliveryEvent>>, StoreError> {
    let mut found: BTreeMap<Entity, Vec<DeliveryEvent>> = BTreeMap::new();
    let sorted: Vec<&Entity> = entities.iter().collect();
    for same_source in sorted.chunk_by(|a, b| (a.kind, &a.source) == (b.kind, &b.source)) {
        for some in same_source.chunks(MAX_BINDS / 4) {
            let Some(first) = some.first() else { continue };
            let ids: Vec<&str> = some.iter().map(|entity| entity.id.as_str()).collect();
            let kinds = if first.kind == "deployment" { vec![first.kind, REPETITION] } else { vec![first.kind] };
            let rows: Vec<(String, String)> = on_conn!(conn, |c| fact::table
                .filter(fact::kind.eq_any(kinds))
                .filter(fact::entity_source.eq(&first.source))
                .filter(fact::entity_id.eq_any(ids))
                .select((fact::entity_id, fact::event))
                .load(c)
                .await)?;
            for (id, event) in rows {
                let event = serde_json::from_str(&event).map_err(|source| StoreError::decode("fact", source))?;
                let entity = Entity { kind: first.kind, source: first.source.clone(), id };
                found.entry(entity).or_default().push(event);
            }
        }
    }
    Ok(found)
}

/// All facts of one entity, in the order in which they came.
///
/// # Errors
/// The database does not answer, or a stored event cannot be read.
pub async fn in_order_of_arrival(conn: &mut Conn, entity: &Entity) -> Result<Vec<DeliveryEvent>, StoreError> {
    let query = || {
        fact::table
            .filter(fact::kind.eq(entity.kind))
            .filter(fact::entity_source.eq(&entity.source))
            .filter(fact::entity_id.eq(&entity.id))
            .order(fact::id)
            .select(fact::event)
    };
    let events: Vec<String> = on_conn!(conn, |c| query().load(c).await)?;
    let read = |event: &String| serde_json::from_str(event).map_err(|source| StoreError::decode("fact", source));
    events.iter().map(read).collect()
}
