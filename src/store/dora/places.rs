//! Where services have deployments or incidents.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::dirty::CHUNK;
use crate::dora::Derived;
use crate::event::{Deployment, DeploymentOutcome};
use crate::store::conn::{batch, on_conn};
use crate::store::schema::dora_place;
use crate::store::{Conn, StoreError, storable};
use crate::time::Timestamp;

/// A service in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// `None` where it has incidents alone.
    pub first_deployment_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
}

/// By service and the environment's name in the events.
pub type Places = BTreeMap<(String, String), Place>;

#[derive(Debug, Clone, PartialEq, Eq, Insertable, Queryable)]
#[diesel(table_name = dora_place, treat_none_as_default_value = false)]
struct Row {
    service: String,
    environment: String,
    changed: i64,
    first_deployment_at: Option<i64>,
    last_success_at: Option<i64>,
}

/// The places of one service.
pub(super) fn of(deployments: &[Deployment], derived: &Derived) -> Places {
    let mut places = Places::new();
    for deployment in deployments {
        let place = places.entry((derived.service.clone(), storable(&deployment.environment))).or_default();
        let at = deployment.finished_at.or(deployment.started_at);
        let at = at.filter(|_| deployment.outcome != DeploymentOutcome::Withdrawn);
        place.first_deployment_at = at.into_iter().chain(place.first_deployment_at).min();
        let success = deployment.finished_at.filter(|_| deployment.outcome == DeploymentOutcome::Succeeded);
        place.last_success_at = success.max(place.last_success_at);
    }
    for incident in &derived.incidents {
        places.entry((derived.service.clone(), storable(&incident.environment))).or_default();
    }
    places
}

/// Stores what differs from what is stored of the service.
///
/// # Errors
/// The database refuses.
pub(super) async fn replace(
    conn: &mut Conn,
    service: &str,
    changed: i64,
    mut places: Places,
) -> Result<(), StoreError> {
    let query = || dora_place::table.filter(dora_place::service.eq(service));
    let stored: Vec<Row> = on_conn!(conn, |c| query().load(c).await)?;
    for row in stored {
        // A place stays known when nothing is left there, as its service does.
        let key = (row.service.clone(), row.environment.clone());
        let new = places.entry(key.clone()).or_default();
        if *new == row.place() {
            places.remove(&key);
        }
    }
    let rows: Vec<Row> = places
        .iter()
        .map(|((service, environment), place)| Row {
            service: service.clone(),
            environment: environment.clone(),
            changed,
            first_deployment_at: place.first_deployment_at.map(Timestamp::micros),
            last_success_at: place.last_success_at.map(Timestamp::micros),
        })
        .collect();
    for rows in rows.chunks(CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_place::table)
        .values(rows)
        .on_conflict((dora_place::service, dora_place::environment))
        .do_update()
        .set((
            dora_place::changed.eq(excluded(dora_place::changed)),
            dora_place::first_deployment_at.eq(excluded(dora_place::first_deployment_at)),
            dora_place::last_success_at.eq(excluded(dora_place::last_success_at)),
        )))?;
    }
    Ok(())
}

/// Adds the places that were written after a projection.
///
/// # Errors
/// The database does not answer.
pub(super) async fn refresh(conn: &mut Conn, changed: i64, places: &mut Places) -> Result<(), StoreError> {
    let query = || dora_place::table.filter(dora_place::changed.gt(changed));
    let rows: Vec<Row> = on_conn!(conn, |c| query().load(c).await)?;
    for row in rows {
        let place = row.place();
        places.insert((row.service, row.environment), place);
    }
    Ok(())
}

impl Row {
    fn place(&self) -> Place {
        Place {
            first_deployment_at: self.first_deployment_at.map(Timestamp::from_micros),
            last_success_at: self.last_success_at.map(Timestamp::from_micros),
        }
    }
}
