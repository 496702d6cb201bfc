//! PagerDuty's webhooks, version 3: incidents triggered, acknowledged, reopened, resolved.
//!
//! <https://developer.pagerduty.com/docs/webhooks/v3-overview/>. Everything else is skipped with a 2xx.

use super::fault::{Fault, ID, NAME, TITLE, URL};
use super::key::fact_known_by;
use super::names::ServiceNames;
use super::source::{Reading, Skip};
use super::wire::{Field, Raw, Text, object, read};
use crate::config::model::{PagerDuty, Service};
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};

const SOURCE: &str = "pagerduty";

object! {
    pub struct Payload<'a> {
        event: "event" Event<'a>,
    }

    pub struct Event<'a> {
        id: "id" Text<'a>,
        event_type: "event_type" Text<'a>,
        occurred_at: "occurred_at" Text<'a>,
        data: "data" Raw<'a>,
    }

    pub struct Incident<'a> {
        id: "id" Text<'a>,
        title: "title" Text<'a>,
        html_url: "html_url" Text<'a>,
        created_at: "created_at" Text<'a>,
        status: "status" Text<'a>,
        urgency: "urgency" Text<'a>,
        service: "service" Reference<'a>,
        priority: "priority" Reference<'a>,
    }

    pub struct Reference<'a> {
        id: "id" Text<'a>,
        summary: "summary" Text<'a>,
    }
}

/// What reading depends on besides the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub settings: &'a PagerDuty,
    pub services: &'a [Service],
}

/// Reads a delivery.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let payload: Payload<'_> = read(body)?;
    let event = payload.event.required("/event", "is this a webhook of version 3?")?;
    let kind = event.event_type.needed("/event/event_type", NAME, "what happened?")?;
    let status = match &*kind {
        // Nobody is at it any more: it is as it was when it was triggered.
        "incident.triggered" | "incident.unacknowledged" => Some(IncidentStatus::Opened),
        "incident.acknowledged" => Some(IncidentStatus::Acknowledged),
        "incident.reopened" => Some(IncidentStatus::Reopened),
        "incident.resolved" => Some(IncidentStatus::Resolved),
        // It is what it was, of another service or severity.
        "incident.service_updated" | "incident.priority_updated" => None,
        other => {
            let words = format!("{other} changes nothing about an incident's times");
            let why = if other == "pagey.ping" { Skip::Test } else { Skip::UnusedEvent };
            return Ok(Reading::skipped(why, words));
        }
    };
    let at = "/event/occurred_at";
    let time = event.occurred_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when did it happen?"))?;
    let event_id = event.id.needed("/event/id", ID, "PagerDuty gives each event one")?;
    let Raw(data) = event.data.required("/event/data", "which incident is it?")?;
    let data: Incident<'_> = read(data).map_err(|fault| Fault::new("/event/data", fault.detail()))?;
    let status = match status {
        Some(status) => status,
        None => current(&data)?,
    };
    let id = data.id.clone().needed("/event/data/id", ID, "which incident is it?")?.into_owned();
    let text = |field: &Field<Text<'_>>, fits: bool| match field {
        Field::Given(text) if fits => Some(text.clone().into_owned()),
        _ => None,
    };
    let fits =
        |field: &Field<Text<'_>>, check: &dyn Fn(&str) -> bool| matches!(field, Field::Given(text) if check(text));
    let (title, url) = (&data.title, &data.html_url);
    let key = EntityKey { source: SOURCE.to_owned(), id };
    let incident = IncidentEvent {
        service: service(&data, context),
        environment: context.settings.environment.clone(),
        started_at: data.created_at.clone().moment("/event/data/created_at")?,
        severity: severity(&data),
        title: text(title, fits(title, &|text| TITLE.check(text).is_ok())),
        url: text(url, fits(url, &|text| URL.check(text).is_ok())),
        ..IncidentEvent::new(key, time, status)
    };
    Ok(Reading::Facts(vec![fact_known_by(&[SOURCE, &event_id], DeliveryEvent::Incident(incident), body)]))
}

/// As the incident stands.
fn current(data: &Incident<'_>) -> Result<IncidentStatus, Fault> {
    let at = "/event/data/status";
    match &*data.status.clone().needed(at, NAME, "how does the incident stand?")? {
        "triggered" => Ok(IncidentStatus::Opened),
        "acknowledged" => Ok(IncidentStatus::Acknowledged),
        "resolved" => Ok(IncidentStatus::Resolved),
        other => Err(Fault::new(at, format!("is `{other}`: triggered, acknowledged or resolved?"))),
    }
}

fn service(data: &Incident<'_>, context: &Context<'_>) -> Option<String> {
    let Field::Given(reference) = &data.service else { return None };
    let names = [&reference.id, &reference.summary].into_iter().filter_map(|field| match field {
        Field::Given(name) => Some(&**name),
        _ => None,
    });
    let known = ServiceNames { mapped: &context.settings.services, services: context.services };
    known.of(&names.collect::<Vec<_>>())
}

fn severity(data: &Incident<'_>) -> Option<String> {
    let priority = match &data.priority {
        Field::Given(Reference { summary: Field::Given(summary), .. }) => Some(summary),
        _ => None,
    };
    let urgency = match &data.urgency {
        Field::Given(urgency) => Some(urgency),
        _ => None,
    };
    priority.or(urgency).filter(|text| NAME.check(text).is_ok()).map(|text| text.clone().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// The example of PagerDuty's documentation of version 3, as an incident triggered.
    const TRIGGERED: &str = r#"{"event":{"id":"5ac64822-4adc-4fda-ade0-410becf0de4f","event_type":"incident.triggered",
        "resource_type":"incident","occurred_at":"2020-10-02T18:45:22.169Z","agent":{"id":"PLH1HKV","type":"user_reference"},
        "client":{"name":"PagerDuty"},"data":{"id":"PGR0VU2","type":"incident","html_url":"https://acme.pagerduty.com/incidents/PGR0VU2",
        "number":2,"status":"triggered","incident_key":"d3640fbd41094207a1c11e58e46b1662","created_at":"2020-04-09T15:16:27Z",
        "title":"A little bump in the road","service":{"id":"PF9KMXH","summary":"API Service","type":"service_reference"},
        "assignees":[],"priority":{"id":"PSO75BM","summary":"P1","type":"priority_reference"},"urgency":"high","resolve_reason":null}}}"#;

    fn reading(body: &str, mapped: &[(&str, &str)]) -> Result<Reading, Fault> {
        let services = mapped.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let settings = PagerDuty { secret: "s".into(), services, environment: Some("production".to_owned()) };
        let known = |name: &str| Service { name: name.to_owned(), team: None, repository: None, paths: Vec::new() };
        let known = [known("api-service")];
        parse(body, &Context { settings: &settings, services: &known })
    }

    fn incident(body: &str, mapped: &[(&str, &str)]) -> IncidentEvent {
        let Ok(Reading::Facts(facts)) = reading(body, mapped) else { panic!() };
        let DeliveryEvent::Incident(incident) = facts[0].event.clone() else { panic!() };
        incident
    }

    #[test]
    fn the_documented_example_is_an_incident() {
        let found = incident(TRIGGERED, &[]);
        assert_eq!((found.key.id.as_str(), found.status), ("PGR0VU2", IncidentStatus::Opened));
        assert_eq!(found.service.as_deref(), Some("api-service"));
        assert_eq!(
            (found.severity.as_deref(), found.title.as_deref()),
            (Some("P1"), Some("A little bump in the road"))
        );
        assert_eq!(found.started_at, Timestamp::parse("2020-04-09T15:16:27Z").ok());
        for mapped in [("PF9KMXH", "checkout"), ("API Service", "checkout")] {
            assert_eq!(incident(TRIGGERED, &[mapped]).service.as_deref(), Some("checkout"));
        }
    }

    #[test]
    fn statuses_follow_the_kind_and_the_rest_is_skipped() {
        for (kind, status) in [
            ("acknowledged", IncidentStatus::Acknowledged),
            ("reopened", IncidentStatus::Reopened),
            ("resolved", IncidentStatus::Resolved),
            ("unacknowledged", IncidentStatus::Opened),
            ("service_updated", IncidentStatus::Opened),
            ("priority_updated", IncidentStatus::Opened),
        ] {
            assert_eq!(
                incident(&TRIGGERED.replace("incident.triggered", &format!("incident.{kind}")), &[]).status,
                status
            );
        }
        for kind in ["incident.annotated", "pagey.ping", "service.created"] {
            let skipped = reading(&TRIGGERED.replace("incident.triggered", kind), &[]);
            assert!(matches!(skipped, Ok(Reading::Skipped(..))), "{kind}");
        }
    }

    /// It stands as the snapshot says, whatever is updated.
    #[test]
    fn an_incident_that_moves_to_another_service_keeps_its_status() {
        let moved = TRIGGERED.replace("incident.triggered", "incident.service_updated");
        let moved = moved.replace("PF9KMXH", "PX").replace("API Service", "search");
        for (status, expected) in [
            ("acknowledged", IncidentStatus::Acknowledged),
            ("resolved", IncidentStatus::Resolved),
            ("triggered", IncidentStatus::Opened),
        ] {
            let body = moved.replace(r#""status":"triggered""#, &format!(r#""status":"{status}""#));
            let found = incident(&body, &[]);
            assert_eq!((found.service.as_deref(), found.status), (Some("search"), expected));
        }
        let unknown = moved.replace(r#""status":"triggered""#, r#""status":"gone""#);
        assert_eq!(reading(&unknown, &[]).unwrap_err().pointer(), "/event/data/status");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (name, pointer) in [
            (r#""id":"PGR0VU2""#, "/event/data/id"),
            (r#""occurred_at""#, "/event/occurred_at"),
            (r#""event_type""#, "/event/event_type"),
            (r#""event":"#, "/event"),
        ] {
            let renamed = name.replacen('"', "\"x_", 1);
            assert_eq!(reading(&TRIGGERED.replace(name, &renamed), &[]).unwrap_err().pointer(), pointer);
        }
    }
}
