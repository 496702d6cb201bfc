//! Opsgenie's webhook: alerts created, acknowledged, closed.
//!
//! <https://support.atlassian.com/opsgenie/docs/opsgenie-edge-connector-alert-action-data/>. An alert that
//! comes back after it was closed is another alert, with an id of its own.

use super::fault::{Fault, ID, NAME, TITLE};
use super::key::fact_known_by;
use super::lenient::fitting;
use super::names::ServiceNames;
use super::source::{Context, Reading, Skip};
use super::wire::{Entries, Field, Text, object, read};
use crate::config::model::Labelled;
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
use crate::time::Timestamp;

const SOURCE: &str = "opsgenie";
/// Details kept as attributes, of at most as many bytes.
const MAX_DETAILS: usize = 64;
const MAX_DETAIL_BYTES: usize = 1_024;

object! {
    pub struct Payload<'a> {
        action: "action" Text<'a>,
        alert: "alert" Alert<'a>,
    }

    pub struct Alert<'a> {
        id: "alertId" Text<'a>,
        message: "message" Text<'a>,
        entity: "entity" Text<'a>,
        priority: "priority" Text<'a>,
        created_at: "createdAt" u64,
        updated_at: "updatedAt" u64,
        tags: "tags" Vec<Field<Text<'a>>>,
        details: "details" Entries<'a>,
    }
}

/// Reads a delivery.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_, Labelled>) -> Result<Reading, Fault> {
    let payload: Payload<'_> = read(body)?;
    let action = payload.action.needed("/action", NAME, "what happened to the alert?")?;
    let status = match &*action {
        // Open, and nobody's: as it was when it was created.
        "Create" | "UnAcknowledge" => IncidentStatus::Opened,
        "Acknowledge" => IncidentStatus::Acknowledged,
        "Close" | "Delete" => IncidentStatus::Resolved,
        other => {
            let words = format!("{other} changes nothing about an alert's times");
            return Ok(Reading::skipped(Skip::UnusedEvent, words));
        }
    };
    let alert = payload.alert.required("/alert", "which alert is it?")?;
    let id = alert.id.clone().needed("/alert/alertId", ID, "which alert is it?")?;
    let created_at = instant("/alert/createdAt", alert.created_at.clone())?;
    let time = match &*action {
        "Create" => created_at,
        _ => instant("/alert/updatedAt", alert.updated_at.clone())?,
    };
    let event = alert.incident(&id, status, (created_at, time), context);
    let parts = [SOURCE, &id, &action, &time.to_string()];
    Ok(Reading::Facts(vec![fact_known_by(&parts, DeliveryEvent::Incident(event), body)]))
}

/// Opsgenie counts `createdAt` in milliseconds and `updatedAt` in nanoseconds since 1970; how large the
/// number is tells them apart.
fn instant(at: &str, field: Field<u64>) -> Result<Timestamp, Fault> {
    let since = field.required(at, "when did it happen?")?;
    let micros = match since {
        0..100_000_000_000 => None,
        100_000_000_000..100_000_000_000_000 => since.checked_mul(1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(since),
        _ => Some(since / 1_000),
    };
    let micros = micros.and_then(|micros| i64::try_from(micros).ok());
    micros.map(Timestamp::from_micros).ok_or_else(|| Fault::new(at, "must be milliseconds or nanoseconds since 1970"))
}

impl Alert<'_> {
    fn incident(
        &self,
        id: &str,
        status: IncidentStatus,
        (created_at, time): (Timestamp, Timestamp),
        context: &Context<'_, Labelled>,
    ) -> IncidentEvent {
        let settings = context.settings;
        let short = |(_, value): &(&str, &str)| value.len() <= MAX_DETAIL_BYTES;
        let details = self.details().filter(short).take(MAX_DETAILS);
        let key = EntityKey { source: SOURCE.to_owned(), id: id.to_owned() };
        let mut event = IncidentEvent {
            service: self.service(context),
            environment: settings.environment.clone(),
            started_at: Some(created_at),
            severity: fitting(&self.priority, NAME),
            title: fitting(&self.message, TITLE),
            attributes: details.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..IncidentEvent::new(key, time, status)
        };
        if let Some(environment) = self.label(&settings.environment_label) {
            event.environment = Some(environment.to_owned());
            event.name_environment(context.environments.canonical(environment).to_owned());
        }
        event
    }

    /// As a detail or a tag says. An entity or another tag may be anything: it counts where it is known.
    fn service(&self, context: &Context<'_, Labelled>) -> Option<String> {
        let said = self.label(&context.settings.service_label);
        let known = ServiceNames { mapped: &context.settings.services, services: context.services };
        let names: Vec<&str> = said.into_iter().chain(given(&self.entity)).chain(self.tags()).collect();
        known.find(&names).or_else(|| said.map(str::to_owned))
    }

    /// The value of a detail, or of a tag such as `service:checkout`.
    fn label(&self, name: &str) -> Option<&str> {
        let detail = self.details().find(|detail| detail.0 == name).map(|detail| detail.1);
        let tag = || self.tags().find_map(|tag| tag.strip_prefix(name)?.strip_prefix([':', '=']).map(str::trim));
        detail.or_else(tag).filter(|value| NAME.check(value).is_ok())
    }

    fn details(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = match &self.details {
            Field::Given(Entries(entries)) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter_map(|(name, value)| Some((&**name, given(value)?)))
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = match &self.tags {
            Field::Given(tags) => tags.as_slice(),
            _ => &[],
        };
        tags.iter().filter_map(given)
    }
}

fn given<'a>(field: &'a Field<Text<'_>>) -> Option<&'a str> {
    match field {
        Field::Given(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::EnvironmentNames;
    use crate::config::model::{Environment, Service, Tier};

    /// The example of Opsgenie's documentation of alert action data, with the details and the priority
    /// that webhooks add.
    const CREATED: &str = r#"{"source":{"name":"web","type":"API"},"alert":{"updatedAt":1420452193166002000,
        "tags":["tag1","service:Checkout"],"teams":["team1","team2"],"recipients":["recipient1","recipient2"],
        "message":" test alert","username":"fili@ifountain.com","alertId":"052652ac-5d1c-464a-812a-7dd18bbfba8c",
        "source":"fili@ifountain.com","alias":"aliastest","tinyId":"23","createdAt":1420452191104,
        "userId":"daed1180-0ce8-438b-8f8e-57e1a5920a2d","entity":"db-1","priority":"P2","details":{"environment":"prod"}},
        "action":"Create","integrationId":"37c8f316-17c6-49d7-899b-9c7e540c048d","integrationName":"Integration1"}"#;

    fn reading(body: &str) -> Result<Reading, Fault> {
        let settings = Labelled {
            secret: "s".into(),
            service_label: "service".to_owned(),
            environment_label: "environment".to_owned(),
            services: BTreeMap::from([("db-7".to_owned(), "search".to_owned())]),
            environment: Some("staging".to_owned()),
        };
        let services = [Service { name: "checkout".to_owned(), team: None, repository: None, paths: Vec::new() }];
        let environments =
            [Environment { name: "production".to_owned(), tier: Tier::Production, matches: vec!["prod".to_owned()] }];
        let environments = EnvironmentNames::new(&environments);
        let received_at = Timestamp::from_seconds(1_767_609_000);
        parse(body, &Context { received_at, settings: &settings, services: &services, environments, max_items: 100 })
    }

    fn incident(body: &str) -> IncidentEvent {
        let Ok(Reading::Facts(facts)) = reading(body) else { panic!("{body}") };
        let DeliveryEvent::Incident(incident) = facts[0].event.clone() else { panic!("{body}") };
        incident
    }

    #[test]
    fn the_documented_example_is_an_incident() {
        let found = incident(CREATED);
        assert_eq!(
            (found.key.id.as_str(), found.status),
            ("052652ac-5d1c-464a-812a-7dd18bbfba8c", IncidentStatus::Opened)
        );
        assert_eq!((found.service.as_deref(), found.environment.as_deref()), (Some("checkout"), Some("production")));
        assert_eq!(found.time, Timestamp::parse("2015-01-05T10:03:11.104Z").unwrap(), "milliseconds");
        assert_eq!((found.severity.as_deref(), found.title.as_deref()), (Some("P2"), Some(" test alert")));
        assert_eq!(found.attributes["environment"], "prod");
    }

    #[test]
    fn each_action_has_its_time() {
        let changed = Timestamp::parse("2015-01-05T10:03:13.166002Z").unwrap();
        for (action, status) in [
            ("Acknowledge", IncidentStatus::Acknowledged),
            ("UnAcknowledge", IncidentStatus::Opened),
            ("Close", IncidentStatus::Resolved),
            ("Delete", IncidentStatus::Resolved),
        ] {
            let found = incident(&CREATED.replace("\"Create\"", &format!("\"{action}\"")));
            assert_eq!((found.status, found.time), (status, changed), "{action}: nanoseconds");
            assert_eq!(found.started_at, Timestamp::parse("2015-01-05T10:03:11.104Z").ok());
        }
        for action in ["AddNote", "AssignOwnership", "Escalate", "a custom action"] {
            let skipped = reading(&CREATED.replace("\"Create\"", &format!("\"{action}\"")));
            assert!(matches!(skipped, Ok(Reading::Skipped(Skip::UnusedEvent, _))), "{action}");
        }
    }

    #[test]
    fn services_are_those_that_are_named_or_known() {
        for (from, to, service) in [
            ("service:Checkout", "service=other", Some("other")),
            ("service:Checkout", "checkout", Some("checkout")),
            ("service:Checkout", "tag2", None),
            ("\"db-1\"", "\"db-7\"", Some("search")),
        ] {
            assert_eq!(incident(&CREATED.replace(from, to)).service.as_deref(), service, "{to}");
        }
        assert_eq!(
            incident(&CREATED.replace(r#"{"environment":"prod"}"#, "{}")).environment.as_deref(),
            Some("staging")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to, pointer) in [
            (r#""alertId""#, r#""x""#, "/alert/alertId"),
            (r#""action""#, r#""x""#, "/action"),
            (r#""createdAt":1420452191104"#, r#""createdAt":1420452191"#, "/alert/createdAt"),
            (r#""createdAt":1420452191104"#, r#""createdAt":"now""#, "/alert/createdAt"),
            (r#""alert""#, r#""alarm""#, "/alert"),
        ] {
            assert_eq!(reading(&CREATED.replace(from, to)).unwrap_err().pointer(), pointer);
        }
        let closed = CREATED.replace("\"Create\"", "\"Close\"").replace("updatedAt", "x");
        assert_eq!(reading(&closed).unwrap_err().pointer(), "/alert/updatedAt");
    }
}
