//! Data stopped: an objective that had events has none any more. Its burn alert stays as it is
//! meanwhile, since no data is neither good nor bad; this is what tells people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::burn::coarse;
use super::observation::{Condition, Content, Kind, Observation};
use crate::config::model::Severity;
use crate::slo::SloStatus;
use crate::time::Timestamp;

/// What the fingerprints of these alerts begin with; the objective's name follows.
pub const PREFIX: &str = "no_data:";

pub fn fingerprint(slo: &str) -> String {
    format!("{PREFIX}{slo}")
}

/// One look at one objective; `after`: how long it may have no events; `since`: when DevPulse began
/// to watch, before when nobody could have sent anything.
pub fn observe(status: &SloStatus, after: Option<Duration>, since: Timestamp, now: Timestamp) -> Observation {
    Observation {
        fingerprint: fingerprint(&status.name),
        kind: Kind::NoData,
        service: status.service.clone(),
        environment: status.environment.clone(),
        labels: BTreeMap::from([("slo".to_owned(), status.name.clone())]),
        condition: condition(status, after, since, now),
        pending_for: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
    }
}

fn condition(status: &SloStatus, after: Option<Duration>, since: Timestamp, now: Timestamp) -> Condition {
    let Some(after) = after else { return Condition::Clear { last_word: None } };
    // Beyond the objective's own window nothing new can be said of it.
    let window = Duration::from_secs(status.window_seconds);
    let Some(last) = status.last_event_at.filter(|last| now.duration_since(*last) < window) else {
        return Condition::Unknown;
    };
    if now.duration_since(last) < after {
        return Condition::Clear { last_word: None };
    }
    // After a start, senders have as long again.
    if now.duration_since(since) < after {
        return Condition::Unknown;
    }
    let content = Content {
        headline: format!("{} gets no data", status.name),
        summary: format!(
            "The last event of {} in {} is {} old. Until events are back nothing is known of this objective, and its \
             burn rate alert stays as it is.",
            status.service,
            status.environment,
            coarse(after),
        ),
        facts: Vec::new(),
        links: Vec::new(),
    };
    Condition::Firing { severity: Severity::Ticket, content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Indicator, Slo};
    use crate::slo::{Counts, Ring, status};

    const HOUR: Duration = Duration::from_hours(1);
    const LAST: i64 = 1_790_000_000;

    fn seen(events: bool, now: Timestamp, since: Timestamp) -> Condition {
        let slo = Slo {
            name: "a".into(),
            service: "checkout".into(),
            environment: "production".into(),
            objective: 0.99,
            window: HOUR * 24,
            indicator: Indicator::Availability,
        };
        let mut ring = Ring::default();
        if events {
            ring.add(LAST, Counts::new(0, 1));
        }
        observe(&status::status(&slo, &[], &ring, now), Some(HOUR), since, now).condition
    }

    #[test]
    fn silence_is_a_ticket_after_a_while_and_over_when_data_is_back() {
        let last = Timestamp::from_seconds(LAST);
        let after = |time: Duration| seen(true, last.plus(time), last);
        assert_eq!(after(HOUR / 2), Condition::Clear { last_word: None });
        let Condition::Firing { severity, content } = after(HOUR) else { panic!("nobody is told") };
        assert_eq!((severity, content.headline.as_str()), (Severity::Ticket, "a gets no data"));
        assert_eq!(after(HOUR * 2), Condition::Firing { severity, content }, "it does not move with time");
        assert_eq!(after(HOUR * 25), Condition::Unknown, "it neither begins nor ends");
    }

    #[test]
    fn nobody_is_told_of_what_never_was_or_could_not_be_yet() {
        let now = Timestamp::from_seconds(LAST).plus(HOUR * 3);
        assert_eq!(seen(false, now, now.minus(HOUR * 3)), Condition::Unknown);
        assert_eq!(seen(true, now, now.minus(HOUR / 2)), Condition::Unknown, "DevPulse itself was away");
    }
}
