//! What stands around an accepted delivery event, for its receipt.

use super::{Conn, StoreError, history};
use std::collections::BTreeMap;

use crate::dora::receipt::{Accepted, Link};
use crate::dora::{Derived, Rules};
use crate::event::{DeliveryEvent, Incident, IncidentEvent, LinksEvent};

/// `rows` are those of services. `None` while the state of what the event told of is not stored, or
/// where the rows of its service are not there.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub async fn accepted<'a>(
    conn: &mut Conn,
    rules: &Rules,
    rows: &'a BTreeMap<String, Derived>,
    event: &DeliveryEvent,
) -> Result<Option<Accepted<'a>>, StoreError> {
    Ok(match event {
        DeliveryEvent::Deployment(event) => {
            let state = history::deployment_of(conn, event).await?;
            state.zip(rows.get(&event.service)).map(|(state, rows)| Accepted::Deployment { state, rows })
        }
        DeliveryEvent::Change(event) => {
            history::change_by_name(conn, &event.repository, &event.sha).await?.map(Accepted::Change)
        }
        DeliveryEvent::Incident(IncidentEvent { key, .. }) | DeliveryEvent::Links(LinksEvent { key, .. }) => {
            match history::incident_by_key(conn, key).await? {
                Some(state) => {
                    let link = link(conn, rules, &state).await?;
                    Some(Accepted::Incident { state, link })
                }
                None => None,
            }
        }
        // Nobody waits for a receipt of these: they come from a webhook.
        DeliveryEvent::PullRequest(_) | DeliveryEvent::Push(_) | DeliveryEvent::Finding(_) => None,
        // What they are good for is said of the deployments that name them.
        DeliveryEvent::Origin(_) | DeliveryEvent::Unread(_) => None,
    })
}

async fn link(conn: &mut Conn, rules: &Rules, incident: &Incident) -> Result<Link, StoreError> {
    if incident.correction.is_some() || !incident.deployments.is_empty() {
        for named in incident.named_deployments() {
            if history::knows_named(conn, incident, named).await? {
                return Ok(Link::Known);
            }
        }
        return Ok(Link::Unknown);
    }
    if incident.service.is_none() {
        return Ok(Link::NoService);
    }
    for service in incident.services() {
        if deployed_before(conn, rules, service, incident).await? {
            return Ok(Link::Known);
        }
    }
    Ok(Link::NoneBefore)
}

/// Whether the service was deployed where the incident is, and shortly before it.
async fn deployed_before(
    conn: &mut Conn,
    rules: &Rules,
    service: &str,
    incident: &Incident,
) -> Result<bool, StoreError> {
    let wanted = incident.environment.as_deref().map(|raw| rules.environment(raw).0);
    let places = history::environments_of(conn, service).await?;
    let concerned = places.into_iter().filter(|raw| match wanted {
        Some(name) => rules.environment(raw).0 == name,
        None => rules.is_production(raw),
    });
    let concerned: Vec<String> = concerned.collect();
    let newest = history::newest_success(conn, service, &concerned, incident.started_at).await?;
    let finished = newest.and_then(|newest| newest.finished_at);
    Ok(finished.is_some_and(|finished| incident.started_at.duration_since(finished) <= rules.attribution_window))
}
