//! Partitions answer what the rows they were made of would answer, whatever the window.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::history::{at, needed, question, rules_with};
use crate::config::model::Service;
use crate::dora::calendar::Window;
use crate::dora::count::{Question, Reason};
use crate::dora::derive::{Derived, History, derive};
use crate::dora::figure::{Figures, Standards, figures};
use crate::dora::row::{DeploymentRow, LeadReason};
use crate::dora::select::{Arrival, Selected};
use crate::dora::split::{self, Elsewhere, Partitions, split};
use crate::dora::stats::Center;
use crate::event::{
    ChangeRef, Correction, Deployment, DeploymentKind, DeploymentOutcome, DeploymentRef, EntityKey, Incident,
    IncidentStatus, Provenance,
};
use crate::time::Timestamp;

pub const SERVICES: [&str; 2] = ["checkout", "search"];
pub const PLACES: [&str; 3] = ["production", "production-us", "staging"];
/// A third of a year.
pub const HOURS: i64 = 120 * 24;

pub fn hour(hour: i64) -> Timestamp {
    Timestamp::from_micros(at("00:00").micros() + hour * 3_600_000_000)
}

fn key(id: u8) -> EntityKey {
    EntityKey { source: "test".to_owned(), id: format!("d{id}") }
}

pub fn a_deployment() -> impl Strategy<Value = Deployment> {
    use DeploymentOutcome::{Cancelled, Failed, InProgress, Succeeded};
    let outcome = prop_oneof![1 => Just(InProgress), 8 => Just(Succeeded), 1 => Just(Failed), 1 => Just(Cancelled)];
    let kind = prop_oneof![6 => Just(None), 1 => Just(Some(DeploymentKind::Rollback)), 1 => Just(Some(DeploymentKind::Hotfix))];
    let changes = prop::collection::vec((0..30_u8, -50..HOURS), 0..4);
    (0..200_u8, 0..2_usize, 0..3_usize, 0..HOURS, outcome, kind, changes).prop_map(
        |(id, service, place, finished, outcome, kind, changes)| Deployment {
            key: key(id),
            service: SERVICES[service].to_owned(),
            environment: PLACES[place].to_owned(),
            place: None,
            version: Some(format!("v{}", id % 9)),
            commit: None,
            repository: None,
            outcome,
            kind,
            started_at: Some(hour(finished)),
            finished_at: (outcome != InProgress).then(|| hour(finished)),
            url: None,
            schema: None,
            changes: changes
                .into_iter()
                .map(|(sha, authored)| ChangeRef {
                    repository: "acme/shop".to_owned(),
                    sha: format!("c{sha}"),
                    // One change has one time, whoever names it; some lie in the future.
                    authored_at: Some(hour(i64::from(sha) * 70 + authored % 3)),
                    committed_at: None,
                })
                .collect(),
            rolls_back: None,
            provenance: Provenance::default(),
            attributes: BTreeMap::new(),
        },
    )
}

pub fn an_incident() -> impl Strategy<Value = Incident> {
    let service = prop_oneof![2 => Just(Some(0_usize)), 2 => Just(Some(1)), 1 => Just(None)];
    let named = prop::collection::vec(0..200_u8, 0..3);
    let (start_unknown, withdrawn) = (prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let lasts = (0..HOURS, prop::option::weighted(0.7, 0..HOURS));
    (0..100_u8, service, lasts, named, start_unknown, withdrawn).prop_map(
        |(id, service, (started, resolved), named, start_unknown, withdrawn)| Incident {
            key: EntityKey { source: "pager".to_owned(), id: format!("i{id}") },
            // Some affect both.
            other_services: service
                .filter(|_| id % 4 == 0)
                .map(|one| SERVICES[1 - one].to_owned())
                .into_iter()
                .collect(),
            service: service.map(|service| SERVICES[service].to_owned()),
            environment: None,
            place: None,
            status: match resolved {
                _ if withdrawn => IncidentStatus::Withdrawn,
                Some(_) => IncidentStatus::Resolved,
                None => IncidentStatus::Opened,
            },
            severity: None,
            title: None,
            url: None,
            started_at: hour(started),
            start_unknown,
            detected_at: None,
            acknowledged_at: None,
            resolved_at: resolved.map(hour),
            deployments: Vec::new(),
            correction: (!named.is_empty()).then(|| Correction {
                deployments: named
                    .into_iter()
                    .map(|id| DeploymentRef { id: Some(format!("d{id}")), ..DeploymentRef::default() })
                    .map(|named| DeploymentRef { source: Some("test".to_owned()), ..named })
                    .collect(),
                at: hour(0),
                actor: "anna".to_owned(),
                reason: None,
            }),
            attributes: BTreeMap::new(),
        },
    )
}

/// The histories of both services, and what is derived of them.
pub fn derived(deployments: &[Deployment], incidents: &[Incident]) -> Vec<Derived> {
    let service = |name: &&str| Service {
        name: (*name).to_owned(),
        team: None,
        repository: Some("acme/shop".to_owned()),
        paths: Vec::new(),
    };
    let rules = rules_with(&SERVICES.iter().map(service).collect::<Vec<_>>());
    let of = |name: &&str| {
        let once: BTreeMap<_, _> =
            deployments.iter().map(|d| ((&d.key, &d.service, d.place().to_owned()), d)).collect();
        let incidents: BTreeMap<_, _> = incidents.iter().map(|incident| (&incident.key, incident)).collect();
        let history = History {
            service: (*name).to_owned(),
            deployments: once.into_values().filter(|d| d.service == **name).cloned().collect(),
            repositories: Vec::new(),
            incidents: incidents.into_values().cloned().collect(),
            ..History::default()
        };
        derive(&history, &rules)
    };
    SERVICES.iter().map(of).collect()
}

/// Where the changes of a service arrived in the others.
fn elsewhere(service: &str, all: &[Derived]) -> Elsewhere {
    let mut elsewhere = Elsewhere::new();
    for other in all.iter().filter(|other| other.service != service) {
        for lead in &other.leads {
            let row = &other.deployments[lead.deployment];
            let arrival = split::Arrival {
                service: row.service.clone(),
                environment: row.environment.clone(),
                at: row.finished_at.unwrap(),
                deployment: row.key.clone(),
                place: row.place.clone(),
            };
            elsewhere.entry((lead.repository.clone(), lead.sha.clone())).or_default().push(arrival);
        }
    }
    elsewhere
}

pub fn partitions(all: &[Derived]) -> Vec<(&str, Partitions)> {
    let rules = rules_with(&[]);
    all.iter().map(|one| (one.service.as_str(), split(one, &elsewhere(&one.service, all), &rules))).collect()
}

/// What the rows say, all of them looked at for every number.
#[derive(Debug, Default, PartialEq)]
struct Plain {
    reached: u64,
    failed: u64,
    unplanned: u64,
    recoveries: Vec<i64>,
    open_failures: u64,
    leads: Vec<i64>,
    negative: u64,
    elsewhere: u64,
    incidents: Vec<i64>,
    open_incidents: u64,
    withdrawn: u64,
}

#[expect(clippy::too_many_lines, reason = "every number once")]
fn plain(all: &[Derived], wanted: impl Fn(&str, &str) -> bool, window: Window, arrival: Arrival) -> Plain {
    let mut plain = Plain::default();
    let rows: Vec<&DeploymentRow> = all.iter().flat_map(|one| &one.deployments).collect();
    for row in rows.iter().filter(|row| wanted(&row.service, &row.environment)) {
        if row.reached() && window.contains(row.at().unwrap()) {
            plain.reached += 1;
            plain.failed += u64::from(row.failed());
            plain.unplanned += u64::from(row.unplanned());
        }
        if row.failed() && row.reached() {
            let began = row.at().unwrap();
            match row.restored.as_ref().map(|end| end.at) {
                Some(end) if window.contains(end) => {
                    plain.recoveries.extend(Some(end.micros_since(began)).filter(|lasted| *lasted >= 0));
                }
                Some(end) if end < window.from => {}
                _ => plain.open_failures += u64::from(began < window.to),
            }
        }
    }
    let mut arrivals: BTreeMap<(&str, &str), Vec<_>> = BTreeMap::new();
    for one in all {
        for lead in &one.leads {
            let row = &one.deployments[lead.deployment];
            if wanted(&row.service, &row.environment) {
                let rank = (row.finished_at.unwrap(), &row.key, &row.service, &row.place);
                arrivals.entry((&lead.repository, &lead.sha)).or_default().push((rank, lead.authored_at.unwrap()));
            }
        }
    }
    for arrivals in arrivals.values_mut() {
        arrivals.sort_unstable();
        if arrival == Arrival::Last {
            arrivals.reverse();
        }
        for (place, ((at, ..), authored)) in
            arrivals.iter().enumerate().filter(|(_, ((at, ..), _))| window.contains(*at))
        {
            match at.micros_since(*authored) {
                _ if place > 0 => plain.elsewhere += 1,
                lead if lead < 0 => plain.negative += 1,
                lead => plain.leads.push(lead),
            }
        }
    }
    let mut seen = BTreeSet::new();
    for incident in all.iter().flat_map(|one| &one.incidents) {
        let here = |one: &Derived| {
            one.incidents.iter().any(|other| other.key == incident.key && wanted(&one.service, &other.environment))
        };
        let affected = |one: &Derived| {
            incident
                .service
                .as_ref()
                .is_none_or(|first| *first == one.service || incident.other_services.contains(&one.service))
        };
        let ours = all.iter().any(|one| affected(one) && here(one));
        if !ours || !seen.insert(&incident.key) {
            continue;
        }
        match incident.resolved_at {
            _ if incident.status == IncidentStatus::Withdrawn => {
                plain.withdrawn += u64::from(window.contains(incident.started_at));
            }
            Some(end) if window.contains(end) && incident.start_unknown => {}
            Some(end) if window.contains(end) => {
                plain.incidents.extend(Some(end.micros_since(incident.started_at)).filter(|lasted| *lasted >= 0));
            }
            Some(end) if end < window.from => {}
            _ => plain.open_incidents += u64::from(incident.started_at < window.to),
        }
    }
    for values in [&mut plain.recoveries, &mut plain.leads, &mut plain.incidents] {
        values.sort_unstable();
    }
    plain
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "small numbers")]
fn mean(micros: &[i64]) -> Option<f64> {
    (!micros.is_empty()).then(|| micros.iter().map(|m| *m as f64).sum::<f64>() / micros.len() as f64 / 1e6)
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-6,
        (a, b) => a == b,
    }
}

fn answered(all: &[Derived], wanted: impl Fn(&str, &str) -> bool, window: Window, arrival: Arrival) -> Figures {
    let partitions = partitions(all);
    let read =
        partitions.iter().flat_map(|(service, of)| needed(of, window).map(|(month, part)| (*service, month, part)));
    let asked = Question { window, center: Center::Mean, ..question() };
    figures(&Selected::new(read, wanted, None, arrival), &asked, Standards::default())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn partitions_answer_as_their_rows_do(
        deployments in prop::collection::vec(a_deployment(), 0..40),
        incidents in prop::collection::vec(an_incident(), 0..10),
        from in -200..HOURS,
        length in 1..HOURS,
        services in prop::sample::subsequence(&SERVICES[..], 1..=2),
        environments in prop_oneof![Just(&PLACES[..2]), Just(&PLACES[..1]), Just(&PLACES[2..])],
        arrival in prop_oneof![Just(Arrival::First), Just(Arrival::Last)],
    ) {
        let all = derived(&deployments, &incidents);
        let wanted = |service: &str, environment: &str| services.contains(&service) && environments.contains(&environment);
        let window = Window { from: hour(from), to: hour(from + length) };
        let plain = plain(&all, wanted, window, arrival);
        let found = answered(&all, wanted, window, arrival);
        prop_assert_eq!(found.deployment_frequency.n, plain.reached);
        prop_assert_eq!(found.change_fail_rate.more.failed, Some(plain.failed));
        prop_assert_eq!(found.rework_rate.more.unplanned, Some(plain.unplanned));
        let recovery = &found.failed_deployment_recovery_time;
        prop_assert!(close(recovery.value, mean(&plain.recoveries)), "{recovery:?} {plain:?}");
        prop_assert_eq!(recovery.more.open, Some(plain.open_failures));
        let lead = &found.change_lead_time;
        prop_assert!(close(lead.value, mean(&plain.leads)), "{lead:?} {plain:?}");
        let left_out = |reason| lead.excluded.get(&reason).copied().unwrap_or_default();
        prop_assert_eq!(left_out(Reason::Negative), plain.negative);
        let named_again: u64 = all.iter().flat_map(|one| one.leads_out.iter().map(move |out| (one, out))).map(|(one, out)| {
            let row = &one.deployments[out.deployment];
            let here = wanted(&row.service, &row.environment) && window.contains(row.finished_at.unwrap());
            u64::from(here && out.reason == LeadReason::DeployedBefore)
        }).sum();
        let rival = if arrival == Arrival::First { LeadReason::DeployedBefore } else { LeadReason::DeployedLater };
        let expected = plain.elsewhere + if arrival == Arrival::First { named_again } else { 0 };
        prop_assert_eq!(left_out(Reason::Lead(rival)), expected);
        let repaired = &found.mean_time_to_recovery;
        prop_assert!(close(repaired.value, mean(&plain.incidents)), "{repaired:?} {plain:?}");
        prop_assert_eq!(repaired.more.open, Some(plain.open_incidents));
        prop_assert_eq!(repaired.excluded.get(&Reason::Withdrawn).copied().unwrap_or_default(), plain.withdrawn);
    }
}
