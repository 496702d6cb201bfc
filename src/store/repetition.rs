//! Facts of sightings that say again what the one before them said.
//!
//! A source may tell every minute what it runs. Nothing follows from a repetition, unless something
//! comes late that was there before it: so it is kept for a while, and becomes a fact like any other
//! when a deployment begins with it.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::fact::{Entity, REPETITION};
use super::schema::fact;
use super::{Conn, StoreError};
use crate::event::sighting::first_told;
use crate::event::{DeliveryEvent, DeploymentEvent};
use crate::time::Timestamp;

/// Puts a fact aside that was just stored, if it repeats the one before it; answers whether it did.
///
/// # Errors
/// The database refuses, or holds what cannot be read.
pub async fn put_aside(conn: &mut Conn, event: &DeliveryEvent, digest: &[u8; 32]) -> Result<bool, StoreError> {
    let DeliveryEvent::Deployment(deployment) = event else { return Ok(false) };
    if deployment.sighting.is_none() {
        return Ok(false);
    }
    let entity = Entity::of(event);
    let mut before: Option<(i64, String)> = None;
    for kind in [entity.kind, REPETITION] {
        let query = || {
            fact::table
                .filter(fact::kind.eq(kind))
                .filter(fact::entity_source.eq(&entity.source))
                .filter(fact::entity_id.eq(&entity.id))
                .filter(fact::event_time.le(deployment.time.micros()))
                .filter(fact::digest.ne(digest.as_slice()))
                .order(fact::event_time.desc())
                .select((fact::event_time, fact::event))
        };
        let newest: Option<(i64, String)> = on_conn!(conn, |c| query().first(c).await.optional())?;
        before = before.max(newest);
    }
    // Of two at one instant nobody knows which one was first.
    let Some((_, before)) = before.filter(|(time, _)| *time < deployment.time.micros()) else { return Ok(false) };
    let before: DeliveryEvent = serde_json::from_str(&before).map_err(|source| StoreError::decode("fact", source))?;
    if !matches!(&before, DeliveryEvent::Deployment(before) if deployment.repeats(before)) {
        return Ok(false);
    }
    on_conn!(conn, |c| diesel::update(fact::table.filter(fact::digest.eq(digest.as_slice())))
        .set(fact::kind.eq(REPETITION))
        .execute(c)
        .await)?;
    Ok(true)
}

/// Makes those facts like any other with which an outcome of a deployment was told first.
///
/// # Errors
/// The database refuses.
pub(super) async fn recall(conn: &mut Conn, entity: &Entity, of_deployment: &[DeploymentEvent]) -> QueryResult<()> {
    if of_deployment.iter().all(|event| event.sighting.is_none()) {
        return Ok(());
    }
    let times: BTreeSet<i64> = first_told(of_deployment).map(Timestamp::micros).collect();
    on_conn!(conn, |c| diesel::update(
        fact::table
            .filter(fact::kind.eq(REPETITION))
            .filter(fact::entity_source.eq(&entity.source))
            .filter(fact::entity_id.eq(&entity.id))
            .filter(fact::event_time.eq_any(&times))
    )
    .set(fact::kind.eq(entity.kind))
    .execute(c)
    .await)?;
    Ok(())
}
