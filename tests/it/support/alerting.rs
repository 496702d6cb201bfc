//! Alerts for the tests: a configuration with receivers, observations, and one step of their life.

use std::collections::BTreeMap;
use std::time::Duration;

use devpulse::alert::{Alert, Condition, Content, Fact, Kind, Observation, Transition};
use devpulse::config::model::{Config, Severity};
use devpulse::store::alert::{self, Routing};
use devpulse::store::{Store, StoreError};
use devpulse::time::Timestamp;

/// A configuration whose text is `yaml`.
pub fn config(yaml: &str) -> Config {
    devpulse::config::parse("test", yaml, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")).config
}

/// All three channels, none of which can be reached; `group_by` as YAML.
pub fn unreachable(group_by: &str) -> Config {
    config(&format!(
        "receivers:
  - name: oncall
    slack: {{token: xoxb-1, channel: '#oncall', api_url: 'http://127.0.0.1:9/api/'}}
    email: {{to: [oncall@example.com]}}
    webhook: {{url: 'http://127.0.0.1:9/', secret: topsecret}}
smtp: {{url: 'smtp://127.0.0.1:9', from: devpulse@example.com}}
route: {{receiver: oncall, group_by: {group_by}}}"
    ))
}

/// The start of every story.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_600_000 + seconds)
}

pub fn fires(severity: Severity, headline: &str) -> Condition {
    let facts = vec![Fact { label: "burn over 1h".to_owned(), value: "20.1×".to_owned() }];
    let summary = "2.1 % of 4,310 requests failed.".to_owned();
    Condition::Firing { severity, content: Content { headline: headline.to_owned(), summary, facts, links: vec![] } }
}

pub const CLEAR: Condition = Condition::Clear { last_word: None };

/// One look at the objective `slo` of a service.
pub fn look(service: &str, slo: &str, condition: Condition) -> Observation {
    Observation {
        fingerprint: format!("burn_rate:{slo}"),
        kind: Kind::BurnRate,
        service: service.to_owned(),
        environment: "production".to_owned(),
        labels: BTreeMap::from([("slo".to_owned(), slo.to_owned())]),
        condition,
        pending_for: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
    }
}

/// Observes in a transaction of its own.
pub async fn observe(
    store: &Store,
    config: &Config,
    seen: &Observation,
    now: Timestamp,
) -> Result<Transition, StoreError> {
    let mut tx = store.begin().await?;
    let transition = alert::observe(&mut tx, seen, Routing::of(config), now).await?;
    tx.commit().await?;
    Ok(transition)
}

/// The alert that an observation changed.
#[track_caller]
pub fn changed(transition: Transition) -> Alert {
    match transition {
        Transition::Changed(_, alert) => *alert,
        Transition::Unchanged(why) => panic!("nothing changed: {why:?}"),
    }
}
