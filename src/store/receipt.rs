//! The state of what an accepted delivery event told of, for its receipt.

use super::dora::{NO_SERVICE, dirty};
use super::{Conn, StoreError, history};
use crate::dora::receipt::Accepted;
use crate::event::{DeliveryEvent, IncidentEvent, LinksEvent};

/// `None` while the state of what the event told of is not stored.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub async fn accepted(conn: &mut Conn, event: &DeliveryEvent) -> Result<Option<Accepted>, StoreError> {
    Ok(match event {
        DeliveryEvent::Deployment(event) => history::deployment_of(conn, event).await?.map(Accepted::Deployment),
        DeliveryEvent::Change(event) => {
            history::change_by_name(conn, &event.repository, &event.sha).await?.map(Accepted::Change)
        }
        DeliveryEvent::Incident(IncidentEvent { key, .. }) | DeliveryEvent::Links(LinksEvent { key, .. }) => {
            match history::incident_by_key(conn, key).await? {
                Some(state) => {
                    let mut services = dirty::services_of(conn, &state, &[]).await?;
                    services.remove(NO_SERVICE);
                    Some(Accepted::Incident(state, services))
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
