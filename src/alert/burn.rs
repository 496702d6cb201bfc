//! What an objective's burn rates say to the alert machinery: one incident per objective, which
//! escalates from ticket to page, and resolves when every pair of windows is calm again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Alert;
use super::observation::{Condition, Content, Fact, Kind, Observation};
use crate::config::model::Alerts;
use crate::slo::{Judgement, SloStatus, Verdict};
use crate::time::{self, Timestamp};

/// The deployment that went out last, as a hint for people; it accuses nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDeployment {
    pub version: String,
    pub finished_at: Timestamp,
}

/// What the fingerprints of these alerts begin with; the objective's name follows.
pub const PREFIX: &str = "burn_rate:";

pub fn fingerprint(slo: &str) -> String {
    format!("{PREFIX}{slo}")
}

/// What ends the alert of an objective that is not configured any more.
pub fn withdrawn(alert: &Alert) -> Observation {
    Observation {
        fingerprint: alert.fingerprint.clone(),
        kind: alert.kind,
        service: alert.service.clone(),
        environment: alert.environment.clone(),
        labels: alert.labels.clone(),
        condition: Condition::Clear { last_word: None },
        pending_for: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
    }
}

/// One look at one objective.
///
/// Without events in a short window nothing can be said: an active alert freezes rather than
/// resolve.
pub fn observe(status: &SloStatus, last: Option<&LastDeployment>, waits: &Alerts, now: Timestamp) -> Observation {
    Observation {
        fingerprint: fingerprint(&status.name),
        kind: Kind::BurnRate,
        service: status.service.clone(),
        environment: status.environment.clone(),
        labels: BTreeMap::from([("slo".to_owned(), status.name.clone())]),
        condition: condition(status, last, now),
        pending_for: waits.pending_for,
        keep_firing_for: waits.keep_firing_for,
    }
}

fn condition(status: &SloStatus, last: Option<&LastDeployment>, now: Timestamp) -> Condition {
    let burning = |judged: &&Judgement| matches!(judged.verdict, Verdict::Burning | Verdict::BurningOnLowTraffic);
    let worst = status.alerts.iter().filter(burning).max_by_key(|judged| judged.severity);
    match worst {
        Some(judged) => Condition::Firing { severity: judged.severity, content: content(status, judged, last, now) },
        None if status.alerts.iter().any(|judged| judged.verdict == Verdict::NoData) => Condition::Unknown,
        None => Condition::Clear { last_word: None },
    }
}

fn content(status: &SloStatus, judged: &Judgement, last: Option<&LastDeployment>, now: Timestamp) -> Content {
    let mut facts: Vec<Fact> = status
        .burn_rates
        .iter()
        .filter_map(|rate| {
            let burn = rate.burn_rate?;
            let window = time::short(Duration::from_secs(rate.window_seconds));
            Some(fact(&format!("burn over {window}"), format!("{burn:.1}× ({} of {} bad)", rate.bad, rate.total)))
        })
        .collect();
    if let Some(left) = status.error_budget_remaining {
        facts.push(fact("error budget", budget(left)));
    }
    if let Some(seconds) = status.time_to_exhaustion_seconds {
        facts.push(fact("budget exhausted", exhaustion(seconds)));
    }
    if let Some(last) = last {
        let ago = now.duration_since(last.finished_at);
        facts.push(fact("last deployment", format!("{}, {} ago", last.version, coarse(ago))));
    }
    Content {
        headline: format!("{} burns its error budget too fast", status.name),
        summary: summary(status, judged),
        facts,
        links: Vec::new(),
    }
}

fn summary(status: &SloStatus, judged: &Judgement) -> String {
    let window = time::short(Duration::from_secs(judged.long_window));
    let burn = judged.long_burn.unwrap_or_default();
    let mut text = format!(
        "{} in {} burned its error budget {burn:.1} times faster than sustainable over the last {window} (limit {:.1}, objective {} %).",
        status.service,
        status.environment,
        judged.threshold,
        trimmed(status.objective * 100.0),
    );
    if judged.verdict == Verdict::BurningOnLowTraffic {
        text.push_str(" There are too few requests to be certain: a ticket instead of a page.");
    }
    text
}

/// What is left of an error budget, 1 being all of it; below 0 it is overspent.
pub fn budget(left: f64) -> String {
    match left {
        _ if left >= 0.0 => format!("{:.1} % left", left * 100.0),
        _ if left > -1.0 => format!("overspent by {:.1} %", -left * 100.0),
        _ if left > -9.95 => format!("overspent {:.1} times over", -left),
        _ => format!("overspent {:.0} times over", -left),
    }
}

fn fact(label: &str, value: String) -> Fact {
    Fact { label: label.to_owned(), value }
}

fn exhaustion(seconds: f64) -> String {
    if seconds <= 0.0 {
        return "already".to_owned();
    }
    format!("in {} at this rate", coarse(Duration::from_secs_f64(seconds)))
}

/// A duration with its two largest units: `3 h 20 min`.
pub(super) fn coarse(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0 => format!("{} s", duration.as_secs()),
        1..60 => format!("{minutes} min"),
        60..1_440 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1_440, minutes % 1_440 / 60),
    }
}

/// 99.9, not 99.90000000000001.
fn trimmed(percent: f64) -> String {
    let text = format!("{percent:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Severity;
    use crate::slo::status::{BurnRate, IndicatorStatus};

    fn judged(severity: Severity, verdict: Verdict) -> Judgement {
        Judgement {
            long_window: 3_600,
            short_window: 300,
            threshold: 14.4,
            long_burn: Some(20.0),
            measured_share: 1.0,
            short_burn: Some(30.0),
            severity,
            verdict,
        }
    }

    fn status(alerts: Vec<Judgement>) -> SloStatus {
        SloStatus {
            name: "checkout-availability".into(),
            service: "checkout".into(),
            environment: "production".into(),
            objective: 0.999,
            window_seconds: 2_592_000,
            indicator: IndicatorStatus::Availability,
            bad: 20,
            total: 1_000,
            error_ratio: Some(0.02),
            error_budget_remaining: Some(0.64),
            time_to_exhaustion_seconds: Some(12_000.0),
            burn_rates: vec![BurnRate {
                window_seconds: 3_600,
                burn_rate: Some(20.0),
                measured_share: 1.0,
                bad: 20,
                total: 1_000,
            }],
            alerts,
            reason: None,
            last_event_at: None,
        }
    }

    fn seen(alerts: Vec<Judgement>) -> Condition {
        observe(&status(alerts), None, &Alerts::default(), Timestamp::from_seconds(0)).condition
    }

    #[test]
    fn the_most_severe_burning_pair_decides() {
        let condition =
            seen(vec![judged(Severity::Ticket, Verdict::Burning), judged(Severity::Page, Verdict::Burning)]);
        let Condition::Firing { severity, content } = condition else { panic!("{condition:?}") };
        assert_eq!(severity, Severity::Page);
        assert_eq!(
            content.summary,
            "checkout in production burned its error budget 20.0 times faster than sustainable over the last 1h (limit 14.4, objective 99.9 %)."
        );
        let facts: Vec<String> = content.facts.iter().map(|fact| format!("{}: {}", fact.label, fact.value)).collect();
        assert_eq!(
            facts,
            [
                "burn over 1h: 20.0× (20 of 1000 bad)",
                "error budget: 64.0 % left",
                "budget exhausted: in 3 h 20 min at this rate"
            ]
        );
    }

    #[test]
    fn an_overspent_budget_is_not_a_negative_percentage() {
        let said = [0.64, 0.0, -0.4, -2.31, -223.31].map(budget);
        assert_eq!(
            said,
            [
                "64.0 % left",
                "0.0 % left",
                "overspent by 40.0 %",
                "overspent 2.3 times over",
                "overspent 223 times over"
            ]
        );
    }

    #[test]
    fn it_waits_as_configured() {
        let (minute, now) = (Duration::from_mins(1), Timestamp::from_seconds(0));
        let waits = Alerts { pending_for: minute, keep_firing_for: minute * 2, no_data_after: None };
        let seen = observe(&status(Vec::new()), None, &waits, now);
        assert_eq!((seen.pending_for, seen.keep_firing_for), (minute, minute * 2));
    }

    #[test]
    fn no_data_freezes_and_calm_resolves() {
        let calm = judged(Severity::Page, Verdict::Calm);
        assert_eq!(seen(vec![calm.clone(), judged(Severity::Page, Verdict::NoData)]), Condition::Unknown);
        assert_eq!(seen(vec![calm]), Condition::Clear { last_word: None });
    }
}
