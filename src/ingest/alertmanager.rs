//! Alertmanager's webhook, and Grafana's, which has the same shape: each alert that fires is an
//! incident, from `startsAt` until its resolution.
//!
//! Bodies repeat: every alert of a group is told again with each message, and the whole message at
//! every repeat interval. A fact is therefore known by (fingerprint, startsAt, status) and a resolution by
//! its `endsAt`, whatever its annotations say by then; an alert that fires again with the start it had
//! goes on (`event/alarm.rs`). <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use std::collections::BTreeMap;

use super::committer::Fact;
use super::fault::{Fault, ID, NAME, TITLE, URL};
use super::key::fact_known_by;
use super::names::ServiceNames;
use super::native::Unreadable;
use super::native::batch;
use super::source::{Reading, Refused, Skip, too_many};
use super::wire::{Entries, Field, Raw, Text, object, read};
use crate::config::EnvironmentNames;
use crate::config::model::{Alertmanager, Service};
use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
use crate::time::Timestamp;

const SOURCE: &str = "alertmanager";
/// Labels kept as attributes, of at most as many bytes.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 1_024;

object! {
    pub struct Payload<'a> {
        alerts: "alerts" Raw<'a>,
        left_out: "truncatedAlerts" u64,
    }

    pub struct Alert<'a> {
        status: "status" Text<'a>,
        labels: "labels" Entries<'a>,
        annotations: "annotations" Entries<'a>,
        starts_at: "startsAt" Text<'a>,
        ends_at: "endsAt" Text<'a>,
        generator_url: "generatorURL" Text<'a>,
        fingerprint: "fingerprint" Text<'a>,
    }
}

/// What reading depends on besides the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub received_at: Timestamp,
    pub settings: &'a Alertmanager,
    pub environments: EnvironmentNames<'a>,
    pub services: &'a [Service],
    /// As many alerts a message may have.
    pub max_items: usize,
}

/// Reads a message.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let payload: Payload<'_> = read(body)?;
    let Raw(alerts) = payload.alerts.required("/alerts", "is this a message of Alertmanager?")?;
    let alerts = batch(alerts, context.max_items).map_err(|unreadable| match unreadable {
        Unreadable::TooMany { limit } => too_many("/alerts", limit),
        _ => Fault::new("/alerts", "is not a list"),
    })?;
    if alerts.is_empty() {
        return Ok(Reading::skipped(Skip::NoChange, "there is no alert in it"));
    }
    let (mut facts, mut refused, mut skipped) = (Vec::new(), Vec::new(), Skip::NotConfigured);
    for (index, raw) in alerts.into_iter().enumerate() {
        match of_item(raw, &format!("/alerts/{index}"), context) {
            Ok(Ok(fact)) => facts.push(fact),
            Ok(Err(why)) => skipped = why,
            Err(fault) => refused.push(Refused { fault, raw: raw.as_bytes().to_vec() }),
        }
    }
    if let Some(n) = payload.left_out.optional("/truncatedAlerts")?.filter(|n| *n > 0) {
        let words = format!("{n} alerts were left out of the message: set `max_alerts` of the receiver to 0");
        refused.push(Refused { fault: Fault::new("/truncatedAlerts", words), raw: n.to_string().into_bytes() });
    }
    if facts.is_empty() && refused.is_empty() {
        let words = match skipped {
            Skip::Test => "it is what Grafana sends to try a contact point",
            _ => "no alert in it is an incident (sources.alertmanager.ignore)",
        };
        return Ok(Reading::skipped(skipped, words));
    }
    Ok(Reading::Mixed(facts, refused))
}

/// The inner error is why an alert is no incident.
fn of_item(raw: &str, at: &str, context: &Context<'_>) -> Result<Result<Fact, Skip>, Fault> {
    let alert: Alert<'_> = read(raw).map_err(|fault| Fault::new(at, fault.detail()))?;
    of_alert(&alert, at, raw, context)
}

fn of_alert(alert: &Alert<'_>, at: &str, raw: &str, context: &Context<'_>) -> Result<Result<Fact, Skip>, Fault> {
    let labels = texts(&alert.labels);
    let name = labels.get("alertname").copied().unwrap_or_default();
    if context.settings.ignore.iter().any(|ignored| ignored == name) {
        return Ok(Err(Skip::NotConfigured));
    }
    // Nothing would ever resolve it.
    if name == "TestAlert" && labels.get("instance") == Some(&"Grafana") {
        return Ok(Err(Skip::Test));
    }
    let fix = "Alertmanager gives each alert one";
    let fingerprint = alert.fingerprint.clone().needed(format_args!("{at}/fingerprint"), ID, fix)?;
    let starts_at = format!("{at}/startsAt");
    let started = alert.starts_at.clone().moment(&starts_at)?;
    let started = started.ok_or_else(|| Fault::new(&starts_at, "is missing: since when does it fire?"))?;
    let status = alert.status.clone().needed(format_args!("{at}/status"), NAME, "firing or resolved?")?;
    let incident = Incident { alert, labels: &labels, fingerprint: &fingerprint, started, context };
    let (status, ended) = match &*status {
        "firing" => (IncidentStatus::Opened, Some(started)),
        // An open end is the year 1: then the time of receipt is as near as anybody knows.
        "resolved" => {
            let ended = alert.ends_at.clone().moment(format_args!("{at}/endsAt"))?;
            (IncidentStatus::Resolved, ended.filter(|ended| *ended >= started))
        }
        other => return Err(Fault::new(format_args!("{at}/status"), format!("is `{other}`: firing or resolved?"))),
    };
    Ok(Ok(incident.fact(status, ended, raw)))
}

struct Incident<'a> {
    alert: &'a Alert<'a>,
    labels: &'a BTreeMap<&'a str, &'a str>,
    fingerprint: &'a str,
    started: Timestamp,
    context: &'a Context<'a>,
}

impl Incident<'_> {
    fn fact(&self, status: IncidentStatus, at: Option<Timestamp>, raw: &str) -> Fact {
        let Self { alert, labels, fingerprint, started, context } = self;
        let settings = context.settings;
        let label =
            |name: &str| labels.get(name).filter(|value| NAME.check(value).is_ok()).map(|&value| value.to_owned());
        let annotations = texts(&alert.annotations);
        let title = ["summary", "message", "description"].iter().find_map(|name| annotations.get(name));
        let title = title.or_else(|| labels.get("alertname")).filter(|title| TITLE.check(title).is_ok());
        let url = match &alert.generator_url {
            Field::Given(url) if URL.check(url).is_ok() => Some(url.to_string()),
            _ => None,
        };
        let short = |(_, value): &(&&str, &&str)| value.len() <= MAX_LABEL_BYTES;
        let attributes = labels.iter().filter(short).take(MAX_LABELS);
        let key = EntityKey { source: SOURCE.to_owned(), id: format!("{fingerprint}/{started}") };
        let names = ServiceNames { mapped: &settings.services, services: context.services };
        let service = label(&settings.service_label).map(|said| names.find(&[&said]).unwrap_or(said));
        let mut event = IncidentEvent {
            service,
            environment: settings.environment.clone(),
            started_at: Some(*started),
            severity: label(&settings.severity_label),
            title: title.map(|&title| title.to_owned()),
            url,
            attributes: attributes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..IncidentEvent::new(key, at.unwrap_or(context.received_at), status)
        };
        if let Some(environment) = label(&settings.environment_label) {
            let name = context.environments.canonical(&environment).to_owned();
            event.environment = Some(environment);
            event.name_environment(name);
        }
        let status = if status == IncidentStatus::Resolved { "r" } else { "f" };
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        let parts = [SOURCE, fingerprint, &started.to_string(), status, &at];
        Fact { alarm: true, ..fact_known_by(&parts, DeliveryEvent::Incident(event), raw) }
    }
}

/// Those that are texts; labels and annotations are nothing else.
fn texts<'a>(entries: &'a Field<Entries<'_>>) -> BTreeMap<&'a str, &'a str> {
    let Field::Given(Entries(entries)) = entries else { return BTreeMap::new() };
    let texts = entries.iter().filter_map(|(name, value)| match value {
        Field::Given(value) => Some((&**name, &**value)),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Prometheus' documentation, shortened to what matters here.
    const FIRING: &str = r#"{"version":"4","groupKey":"{}:{alertname=\"HighErrors\"}","truncatedAlerts":0,"status":"firing",
        "receiver":"devpulse","groupLabels":{"alertname":"HighErrors"},"commonLabels":{},"commonAnnotations":{},
        "externalURL":"http://am:9093","alerts":[
        {"status":"firing","labels":{"alertname":"HighErrors","service":"checkout","environment":"prod","severity":"critical"},
         "annotations":{"summary":"5 % of requests fail"},"startsAt":"2026-01-05T10:00:00.5Z","endsAt":"0001-01-01T00:00:00Z",
         "generatorURL":"http://prom:9090/graph","fingerprint":"a1b2c3"},
        {"status":"resolved","labels":{"alertname":"Slow"},"annotations":{},"startsAt":"2026-01-05T09:00:00Z",
         "endsAt":"2026-01-05T09:30:00Z","generatorURL":"","fingerprint":"d4e5f6"},
        {"status":"firing","labels":{"alertname":"Watchdog"},"annotations":{},"startsAt":"2026-01-01T00:00:00Z",
         "endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"77"}]}"#;

    fn sorted(body: &str) -> Result<(Vec<Fact>, Vec<Refused>), Fault> {
        let environments = [crate::config::model::Environment {
            name: "production".to_owned(),
            tier: crate::config::model::Tier::Production,
            matches: vec!["prod".to_owned()],
        }];
        let settings = Alertmanager::default();
        let context = Context {
            received_at: Timestamp::parse("2026-01-05T12:00:00Z").unwrap(),
            settings: &settings,
            environments: EnvironmentNames::new(&environments),
            services: &[],
            max_items: 4,
        };
        match parse(body, &context)? {
            Reading::Mixed(facts, refused) => Ok((facts, refused)),
            other => panic!("{other:?}"),
        }
    }

    fn facts(body: &str) -> Vec<Fact> {
        sorted(body).unwrap().0
    }

    fn incident(fact: &Fact) -> &IncidentEvent {
        let DeliveryEvent::Incident(incident) = &fact.event else { panic!("{fact:?}") };
        incident
    }

    #[test]
    fn firing_is_open_and_resolved_has_both_ends() {
        let facts = facts(FIRING);
        assert_eq!(facts.len(), 2, "the watchdog is no incident");
        let open = incident(&facts[0]);
        assert_eq!((open.service.as_deref(), open.environment.as_deref()), (Some("checkout"), Some("production")));
        assert_eq!((open.severity.as_deref(), open.title.as_deref()), (Some("critical"), Some("5 % of requests fail")));
        assert_eq!(open.time, Timestamp::parse("2026-01-05T10:00:00.5Z").unwrap());
        let ended = incident(&facts[1]);
        assert_eq!(ended.status, IncidentStatus::Resolved);
        assert_eq!(ended.time.micros_since(ended.started_at.unwrap()), 1_800_000_000);
        assert_eq!(ended.title.as_deref(), Some("Slow"));
    }

    #[test]
    fn a_repetition_is_the_same_whatever_its_annotations_say_by_then() {
        let digests = |body: &str| facts(body).iter().map(|fact| fact.digest).collect::<Vec<_>>();
        assert_eq!(digests(FIRING), digests(&FIRING.replace("5 %", "7 %")));
        assert_ne!(digests(FIRING), digests(&FIRING.replace("10:00:00.5Z", "11:00:00Z")), "it fires once more");
        let resolved_again = FIRING.replace("09:30:00Z", "09:40:00Z");
        assert_ne!(digests(FIRING), digests(&resolved_again), "it fired in between");
        let endless = FIRING.replace("2026-01-05T09:30:00Z", "0001-01-01T00:00:00Z");
        assert_eq!(digests(&endless), digests(&endless.replace("Slow", "Slower")));
    }

    #[test]
    fn one_bad_alert_spoils_no_other() {
        let (facts, refused) = sorted(&FIRING.replace(r#""fingerprint":"d4e5f6""#, r#""x":1"#)).unwrap();
        assert_eq!((facts.len(), refused.len()), (1, 1));
        let raw = String::from_utf8(refused[0].raw.clone()).unwrap();
        assert!(raw.contains("Slow") && !raw.contains("HighErrors"), "{raw}");
    }

    #[test]
    fn what_says_nothing_says_why() {
        let settings = Alertmanager::default();
        let environments = EnvironmentNames::new(&[]);
        let context = Context {
            received_at: Timestamp::from_seconds(0),
            settings: &settings,
            environments,
            services: &[],
            max_items: 4,
        };
        let skipped = |body: &str| match parse(body, &context) {
            Ok(Reading::Skipped(why, words)) => (why, words),
            other => panic!("{other:?}"),
        };
        assert_eq!(skipped(r#"{"alerts":[]}"#), (Skip::NoChange, "there is no alert in it".to_owned()));
        let watchdog = r#"{"alerts":[{"status":"firing","labels":{"alertname":"Watchdog"}}]}"#;
        assert_eq!(skipped(watchdog).0, Skip::NotConfigured);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to, pointer) in [
            (r#""fingerprint":"d4e5f6""#, r#""x":1"#, "/alerts/1/fingerprint"),
            (r#""status":"resolved""#, r#""status":"gone""#, "/alerts/1/status"),
            (r#""startsAt":"2026-01-05T09:00:00Z""#, r#""startsAt":"soon""#, "/alerts/1/startsAt"),
            (r#"{"status":"resolved","#, r#"null,{"status":"resolved","#, "/alerts/1"),
        ] {
            let (_, refused) = sorted(&FIRING.replace(from, to)).unwrap();
            assert_eq!(refused[0].fault.pointer(), pointer);
        }
        assert_eq!(sorted(&FIRING.replace(r#""alerts""#, r#""alarms""#)).unwrap_err().pointer(), "/alerts");
    }
}
