//! What a receipt says of an event is what the figures do with it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::history::{Story, at, change, change_ref, deployment, fold, incident, named, question, rules_with, service};
use super::partitions::{PLACES, a_deployment, an_incident, derived};
use crate::config::model::Service;
use crate::dora::calendar::Window;
use crate::dora::count::{Question, Subject, Value, Verdict, judge};
use crate::dora::derive::{Derived, derive, without_service};
use crate::dora::partition::{Details, Partition};
use crate::dora::receipt::{Accepted, counting};
use crate::dora::select::{Arrival, Selected};
use crate::dora::split::{Elsewhere, split};
use crate::dora::{Metric, Rules};
use crate::event::{Counting, Deployment, DeploymentOutcome, EntityKey, IncidentStatus, NotCounted};
use crate::time::Timestamp;

fn receipt(story: &Story, id: &str, service: Service) -> Counting {
    let rules = rules_with(&[service]);
    let history = fold(&story.0);
    let state = history.deployments.iter().find(|deployment| deployment.key.id == id).unwrap().clone();
    told(&Accepted::Deployment(state), [derive(&history, &rules)], &rules)
}

fn told(accepted: &Accepted, rows: impl IntoIterator<Item = Derived>, rules: &Rules) -> Counting {
    let rows: BTreeMap<String, Derived> = rows.into_iter().map(|rows| (rows.service.clone(), rows)).collect();
    counting(accepted, &rows, rules).unwrap()
}

/// What the receipt of an incident says, in the world of its story.
fn of_incident(story: &Story, id: &str) -> Counting {
    let (rules, history) = (rules_with(&[service(&[])]), fold(&story.0));
    let state = history.incidents.iter().find(|incident| incident.key.id == id).unwrap().clone();
    let rows = derive(&history, &rules);
    told(&Accepted::Incident(state, BTreeSet::from([rows.service.clone()])), [rows], &rules)
}

fn why<'a>(counting: &'a Counting, metric: &str) -> &'a str {
    &counting.not_counted.iter().find(|not| not.metric == metric).unwrap().reason
}

fn of(story: &Story, id: &str) -> Counting {
    receipt(story, id, service(&[]))
}

fn lead_time(counting: &Counting) -> Option<&NotCounted> {
    counting.not_counted.iter().find(|not| not.metric == "change_lead_time")
}

/// The example of the wire contract.
#[test]
fn a_first_deployment_without_changes_says_what_is_missing() {
    let mut story = Story::default();
    story.deploy(deployment("d1", "1", "10:00"));
    let counting = of(&story, "d1");
    assert_eq!(counting.counted_in, ["deployment_frequency", "change_fail_rate", "rework_rate"]);
    assert_eq!(
        counting.not_counted,
        [NotCounted {
            metric: "change_lead_time",
            reason: "the deployment names no changes and no earlier deployment exists".to_owned(),
            fix: Some("send changes[] or change events".to_owned()),
        }]
    );
}

#[test]
fn going_back_brings_nothing_declared_or_not() {
    let mut story = Story::versions(&["1", "2", "1"]);
    story.change(change("a", "08:00", "08:30"));
    let told = of(&story, "d3");
    assert_eq!(lead_time(&told).unwrap().reason, "a rollback brings no new changes");
}

#[test]
fn named_changes_that_do_not_count_say_why() {
    let mut story = Story::default();
    let naming = |id: &str, time: &str, sha: &str, authored: &str| {
        let mut event = deployment(id, id, time);
        event.changes = vec![change_ref(sha, authored)];
        event
    };
    let mut merge = change("m", "09:00", "09:00");
    merge.merge = true;
    let mut others = change("o", "09:00", "09:00");
    others.paths = vec!["search/a".to_owned()];
    story.deploy(naming("d1", "10:00", "a", "09:00")).deploy(naming("d2", "11:00", "a", "09:00"));
    story.deploy(naming("d3", "12:00", "m", "09:00")).deploy(naming("d4", "13:00", "o", "09:00"));
    story.deploy(naming("d5", "14:00", "f", "15:00")).change(merge).change(others);
    let why = |id| lead_time(&receipt(&story, id, service(&["checkout/**"]))).map(|not| not.reason.clone());
    assert_eq!(why("d1"), None);
    assert_eq!(why("d2").unwrap(), "an earlier deployment brought the change");
    assert_eq!(why("d3").unwrap(), "a merge commit is not a change");
    assert!(why("d4").unwrap().contains("other paths"), "{:?}", why("d4"));
    assert!(why("d5").unwrap().contains("ended before it began"), "{:?}", why("d5"));
}

#[test]
fn a_failed_deployment_counts_once_an_incident_names_it() {
    let mut story = Story::default();
    let mut failed = deployment("d1", "1", "10:00");
    failed.outcome = DeploymentOutcome::Failed;
    story.deploy(failed);
    let alone = of(&story, "d1");
    assert!(alone.counted_in.is_empty() && alone.not_counted.len() == 4, "{alone:?}");
    let mut trouble = incident("i", IncidentStatus::Opened, "10:05");
    trouble.deployments = vec![named("d1")];
    story.incident(trouble);
    assert_eq!(of(&story, "d1").counted_in, ["deployment_frequency", "change_fail_rate", "rework_rate"]);
}

#[test]
fn other_tiers_and_unfinished_deployments_count_in_nothing() {
    let mut story = Story::default();
    let (mut staged, mut begun) = (deployment("d1", "1", "10:00"), deployment("d2", "2", "11:00"));
    staged.environment = "staging".to_owned();
    begun.outcome = DeploymentOutcome::InProgress;
    story.deploy(staged).deploy(begun);
    for id in ["d1", "d2"] {
        let told = of(&story, id);
        assert!(told.counted_in.is_empty() && told.not_counted.len() == 4, "{told:?}");
    }
}

#[test]
fn an_open_incident_counts_as_a_failure_but_not_yet_as_a_recovery() {
    let mut story = Story::default();
    story.deploy(deployment("d1", "1", "10:00")).incident(incident("i", IncidentStatus::Opened, "10:10"));
    let told = of_incident(&story, "i");
    assert_eq!(told.counted_in, ["change_fail_rate"]);
    assert!(why(&told, "failed_deployment_recovery_time").contains("has not ended"), "{told:?}");
    assert_eq!(why(&told, "mean_time_to_recovery"), "it is not resolved");
    story.incident(incident("i", IncidentStatus::Resolved, "10:40"));
    assert_eq!(
        of_incident(&story, "i").counted_in,
        ["change_fail_rate", "failed_deployment_recovery_time", "mean_time_to_recovery"]
    );
}

#[test]
fn an_incident_without_a_deployment_says_why() {
    let mut story = Story::default();
    story.incident(incident("i", IncidentStatus::Opened, "10:10"));
    let told = of_incident(&story, "i");
    assert!(told.counted_in.is_empty());
    assert!(told.not_counted[0].reason.contains("within the attribution window"), "{told:?}");
    assert!(told.not_counted[0].fix.is_some());
    story.deploy(deployment("d1", "1", "10:00"));
    let mut naming = incident("j", IncidentStatus::Opened, "10:10");
    naming.deployments = vec![named("d9")];
    assert!(why(&of_incident(story.incident(naming), "j"), "change_fail_rate").contains("are not known"));
}

#[test]
fn an_incident_elsewhere_or_without_a_start_counts_in_nothing() {
    let mut story = Story::default();
    let mut staged = deployment("d1", "1", "10:00");
    staged.environment = "staging".to_owned();
    let mut trouble = incident("i", IncidentStatus::Resolved, "10:10");
    trouble.environment = Some("staging".to_owned());
    story.deploy(staged).incident(trouble);
    let told = of_incident(&story, "i");
    assert!(told.counted_in.is_empty(), "{told:?}");
    assert!(told.not_counted.iter().all(|not| not.reason.contains("not of tier production")), "{told:?}");
    // Of one that was only ever resolved nobody knows how long it lasted.
    story.deploy(deployment("d2", "2", "11:00")).incident(incident("j", IncidentStatus::Resolved, "11:10"));
    let told = of_incident(&story, "j");
    assert_eq!(told.counted_in, ["change_fail_rate", "failed_deployment_recovery_time"]);
    assert_eq!(why(&told, "mean_time_to_recovery"), "nobody said when it began");
}

/// Calls `each` with what a metric counts in production, of all time.
fn counted(rows: &Derived, metric: Metric, rules: &Rules, mut each: impl FnMut(&(Partition, Details), Subject, Value)) {
    let partitions = split(rows, &Elsewhere::new(), rules);
    let parts = partitions.iter().map(|(month, (partition, _))| (rows.service.as_str(), *month, partition));
    let selected = Selected::new(parts, |_, name| rules.is_production(name), None, Arrival::First);
    let all_time = Window { from: at("1970-01-01T00:00:00Z"), to: Timestamp::from_micros(i64::MAX - 1) };
    judge(metric, &selected, &Question { window: all_time, ..question() }, |row| {
        if let Verdict::Counts(value) = row.verdict {
            each(&partitions[&row.part.month], row.subject, value);
        }
    });
}

/// The deployments that a metric counts, or that bring what it counts.
fn deployments_counted(rows: &Derived, metric: Metric, rules: &Rules) -> BTreeSet<(EntityKey, String)> {
    let mut found = BTreeSet::new();
    counted(rows, metric, rules, |(partition, details), subject, _| {
        let number = match subject {
            Subject::Deployment(number) => number,
            Subject::Lead(lead) => partition.leads.deployment[usize::try_from(lead).unwrap()],
            Subject::LeftOut(_) | Subject::Incident(_) => return,
        };
        let deployed = &details.deployments[usize::try_from(number).unwrap()];
        found.insert((deployed.key.clone(), deployed.place.clone()));
    });
    found
}

/// The incidents that a metric counts, or the failures of deployments that it counts.
fn incidents_counted(rows: &Derived, metric: Metric, rules: &Rules) -> BTreeSet<EntityKey> {
    let mut found = BTreeSet::new();
    counted(rows, metric, rules, |(_, details), subject, value| match subject {
        Subject::Incident(number) => {
            found.insert(details.incidents[usize::try_from(number).unwrap()].key.clone());
        }
        Subject::Deployment(number) if value != Value::Is(false) => {
            let deployed = &details.deployments[usize::try_from(number).unwrap()];
            found.extend(deployed.because.iter().filter_map(|because| because.incident.clone()));
        }
        _ => {}
    });
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn receipts_say_what_the_figures_do(
        deployments in prop::collection::vec(a_deployment(), 1..40),
        incidents in prop::collection::vec(an_incident(), 0..10),
    ) {
        let rules = rules_with(&[]);
        assert_eq!(PLACES.iter().filter(|place| rules.is_production(place)).count(), 2);
        for rows in derived(&deployments, &incidents) {
            let (deployed, led) =
                (deployments_counted(&rows, Metric::DeploymentFrequency, &rules), deployments_counted(&rows, Metric::ChangeLeadTime, &rules));
            for row in &rows.deployments {
                let same = |state: &&Deployment| {
                    state.key == row.key && state.service == row.service && state.place() == row.place
                };
                let state = deployments.iter().rfind(same).unwrap().clone();
                let told = told(&Accepted::Deployment(state), [rows.clone()], &rules);
                let name = (row.key.clone(), row.place.clone());
                prop_assert_eq!(told.counted_in.contains(&"deployment_frequency"), deployed.contains(&name), "{:?}", told);
                prop_assert_eq!(told.counted_in.contains(&"change_lead_time"), led.contains(&name), "{:?}", told);
                prop_assert!(told.not_counted.iter().all(|not| !told.counted_in.contains(&not.metric)));
            }
        }
    }

    #[test]
    fn receipts_of_incidents_say_what_the_figures_do(
        deployments in prop::collection::vec(a_deployment(), 1..40),
        incidents in prop::collection::vec(an_incident(), 1..20),
    ) {
        let rules = rules_with(&[]);
        let of_services = derived(&deployments, &incidents);
        let services: BTreeSet<String> = of_services.iter().map(|rows| rows.service.clone()).collect();
        // As one key names one incident, the last word on it counts.
        let incidents: BTreeMap<_, _> = incidents.into_iter().map(|incident| (incident.key.clone(), incident)).collect();
        for (key, incident) in incidents {
            let of_none = Derived { incidents: vec![without_service(&incident, &rules)], ..Derived::default() };
            let told = told(&Accepted::Incident(incident, services.clone()), of_services.clone(), &rules);
            for metric in [Metric::ChangeFailRate, Metric::FailedDeploymentRecoveryTime, Metric::MeanTimeToRecovery] {
                let homeless = of_services.iter().all(|rows| rows.incidents.iter().all(|row| row.key != key));
                let counted = of_services.iter().chain(homeless.then_some(&of_none)).any(|rows| {
                    incidents_counted(rows, metric, &rules).contains(&key)
                });
                prop_assert_eq!(told.counted_in.contains(&metric.name()), counted, "{:?} {:?} {:?}", key, metric, told);
                prop_assert_eq!(told.not_counted.iter().any(|not| not.metric == metric.name()), !counted);
            }
        }
    }
}
