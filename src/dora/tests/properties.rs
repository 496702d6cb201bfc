//! Whatever the order and the repetition of events, the rows and the figures are the same; and
//! they are those of the slow reference.

use proptest::prelude::*;

use super::history::{ask, change, changes, deployment, fold, incident, named, question, rules_with, service};
use super::reference;
use crate::dora::count::Question;
use crate::dora::derive::derive;
use crate::dora::repository::Repository;
use crate::dora::select::Arrival;
use crate::dora::stats::Center;
use crate::event::{DeliveryEvent, DeploymentKind, DeploymentOutcome, EntityKey, IncidentStatus};
use crate::time::Timestamp;

/// Minutes of 2026-01-05 to 2026-01-11.
const WEEK: i64 = 7 * 24 * 60;

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_micros(super::history::at("00:00").micros() + minute * 60_000_000)
}

fn a_deployment() -> impl Strategy<Value = DeliveryEvent> {
    use DeploymentOutcome::{Cancelled, Failed, InProgress, Succeeded, Withdrawn};
    let outcome = prop_oneof![
        1 => Just(InProgress),
        10 => Just(Succeeded),
        1 => Just(Failed),
        1 => Just(Cancelled),
        1 => Just(Withdrawn),
    ];
    let kind = prop_oneof![
        6 => Just(None),
        1 => Just(Some(DeploymentKind::Planned)),
        1 => Just(Some(DeploymentKind::Rollback)),
        1 => Just(Some(DeploymentKind::Hotfix)),
    ];
    let rolls_back = prop::option::weighted(0.1, 0..10_u8);
    let changes = prop::collection::vec((0..8_u8, 0..WEEK), 0..3);
    (0..10_u8, 0..WEEK, outcome, kind, rolls_back, changes).prop_map(|(id, at, outcome, kind, rolls_back, changes)| {
        // Several deployments of each version; every other version comes with its commit.
        let version = id % 4;
        let mut event = deployment(&format!("d{id}"), &format!("v{version}"), "00:00");
        event.time = minute(at);
        event.commit = (version % 2 == 0).then(|| format!("c{version}"));
        event.outcome = outcome;
        event.kind = kind;
        event.rolls_back = rolls_back.map(|id| EntityKey { source: "test".to_owned(), id: format!("d{id}") });
        event.changes = changes
            .into_iter()
            .map(|(sha, authored)| {
                let mut change = super::history::change_ref(&format!("c{sha}"), "00:00");
                change.authored_at = Some(minute(authored));
                change
            })
            .collect();
        DeliveryEvent::Deployment(event)
    })
}

fn a_change() -> impl Strategy<Value = DeliveryEvent> {
    (0..12_u8, 0..WEEK, 0..600_i64, prop::bool::weighted(0.1)).prop_map(|(sha, authored, later, merge)| {
        let mut event = change(&format!("c{sha}"), "00:00", "00:00");
        (event.authored_at, event.merged_at) = (Some(minute(authored)), Some(minute(authored + later)));
        (event.time, event.merge) = (minute(authored + later), merge);
        DeliveryEvent::Change(event)
    })
}

fn an_incident() -> impl Strategy<Value = DeliveryEvent> {
    use IncidentStatus::{Acknowledged, Opened, Reopened, Resolved, Withdrawn};
    let status = prop_oneof![
        4 => Just(Opened), 1 => Just(Acknowledged), 4 => Just(Resolved), 1 => Just(Reopened), 1 => Just(Withdrawn)
    ];
    (0..5_u8, 0..WEEK, status, prop::collection::vec(0..12_u8, 0..2)).prop_map(|(id, at, status, deployments)| {
        let mut event = incident(&format!("i{id}"), status, "00:00");
        event.time = minute(at);
        event.deployments = deployments.into_iter().map(|id| named(&format!("d{id}"))).collect();
        DeliveryEvent::Incident(event)
    })
}

fn events() -> impl Strategy<Value = Vec<DeliveryEvent>> {
    prop::collection::vec(prop_oneof![4 => a_deployment(), 2 => a_change(), 2 => an_incident()], 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn order_and_repetition_of_events_change_nothing(
        (sorted, shuffled) in events().prop_flat_map(|events| {
            let twice: Vec<_> = events.iter().chain(&events).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        })
    ) {
        let rules = rules_with(&[service(&[])]);
        let (mut expected, mut found) = (fold(&sorted), fold(&shuffled));
        prop_assert_eq!(derive(&expected, &rules), derive(&found, &rules));
        expected.deployments.reverse();
        found.repositories = Repository::of(changes(&shuffled).iter().rev());
        found.incidents.reverse();
        let (expected, found) = (derive(&expected, &rules), derive(&found, &rules));
        let of = |derived| ask(derived, &question(), &["production"], Arrival::First);
        prop_assert_eq!(&expected, &found);
        prop_assert_eq!(of(&expected), of(&found));
    }

    #[test]
    fn the_figures_are_those_of_the_reference(events in events(), from in 0..WEEK, length in 1..WEEK) {
        let history = fold(&events);
        let derived = derive(&history, &rules_with(&[service(&[])]));
        let window = crate::dora::calendar::Window { from: minute(from), to: minute(from + length) };
        let asked = Question { window, center: Center::Mean, ..question() };
        let figures = ask(&derived, &asked, &["production"], Arrival::First);
        let expected = reference::figures(&history, window);
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-6,
            (a, b) => a == b,
        };
        prop_assert_eq!(figures.deployment_frequency.n, expected.deployments);
        prop_assert_eq!(figures.change_fail_rate.more.failed, Some(expected.failed));
        prop_assert_eq!(figures.rework_rate.more.unplanned, Some(expected.unplanned));
        prop_assert_eq!(figures.failed_deployment_recovery_time.more.open, Some(expected.open));
        prop_assert!(close(figures.failed_deployment_recovery_time.value, expected.recovery_mean));
        prop_assert!(close(figures.change_lead_time.value, expected.lead_mean),
            "{:?} {:?}", figures.change_lead_time, expected);
        prop_assert!(close(figures.mean_time_to_recovery.value, expected.incident_mean));
    }
}
