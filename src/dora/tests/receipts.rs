//! What a receipt says of an event is what the figures do with it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::history::{Story, at, change, change_ref, deployment, fold, incident, named, question, rules_with, service};
use super::partitions::{PLACES, a_deployment, an_incident, derived};
use crate::config::model::Service;
use crate::dora::calendar::Window;
use crate::dora::count::{Question, Subject, Verdict, judge};
use crate::dora::derive::{Derived, derive};
use crate::dora::receipt::{Accepted, Link, counting};
use crate::dora::select::{Arrival, Selected};
use crate::dora::split::{Elsewhere, split};
use crate::dora::{Metric, Rules};
use crate::event::{Counting, Deployment, DeploymentOutcome, EntityKey, IncidentStatus, NotCounted, state};
use crate::time::Timestamp;

fn receipt(story: &Story, id: &str, service: Service) -> Counting {
    let rules = rules_with(&[service]);
    let history = fold(&story.0);
    let state = history.deployments.iter().find(|deployment| deployment.key.id == id).unwrap().clone();
    counting(&Accepted::Deployment { state, rows: &derive(&history, &rules) }, &rules)
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
    let open = incident("i", IncidentStatus::Opened, "10:00");
    let state = state::fold_incident(&[open], &[]).unwrap();
    let rules = rules_with(&[]);
    let told = counting(&Accepted::Incident { state: state.clone(), link: Link::Known }, &rules);
    assert_eq!(told.counted_in, ["change_fail_rate"]);
    let told = counting(&Accepted::Incident { state, link: Link::NoneBefore }, &rules);
    assert!(told.counted_in.is_empty());
    assert!(told.not_counted[0].fix.is_some());
}

/// The deployments that a metric counts in production, or that bring what it counts.
fn counted(rows: &Derived, metric: Metric, rules: &Rules) -> BTreeSet<(EntityKey, String)> {
    let partitions = split(rows, &Elsewhere::new(), rules);
    let parts = partitions.iter().map(|(month, (partition, _))| (rows.service.as_str(), *month, partition));
    let selected = Selected::new(parts, |_, name| rules.is_production(name), None, Arrival::First);
    let all_time = Window { from: at("1970-01-01T00:00:00Z"), to: Timestamp::from_micros(i64::MAX - 1) };
    let mut found = BTreeSet::new();
    judge(metric, &selected, &Question { window: all_time, ..question() }, |row| {
        let number = match row.subject {
            Subject::Deployment(number) => number,
            Subject::Lead(lead) => row.part.partition.leads.deployment[usize::try_from(lead).unwrap()],
            Subject::LeftOut(_) | Subject::Incident(_) => return,
        };
        if matches!(row.verdict, Verdict::Counts(_)) {
            let deployed = &partitions[&row.part.month].1.deployments[usize::try_from(number).unwrap()];
            found.insert((deployed.key.clone(), deployed.place.clone()));
        }
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
                (counted(&rows, Metric::DeploymentFrequency, &rules), counted(&rows, Metric::ChangeLeadTime, &rules));
            for row in &rows.deployments {
                let same = |state: &&Deployment| {
                    state.key == row.key && state.service == row.service && state.place() == row.place
                };
                let state = deployments.iter().rfind(same).unwrap().clone();
                let told = counting(&Accepted::Deployment { state, rows: &rows }, &rules);
                let name = (row.key.clone(), row.place.clone());
                prop_assert_eq!(told.counted_in.contains(&"deployment_frequency"), deployed.contains(&name), "{:?}", told);
                prop_assert_eq!(told.counted_in.contains(&"change_lead_time"), led.contains(&name), "{:?}", told);
                prop_assert!(told.not_counted.iter().all(|not| !told.counted_in.contains(&not.metric)));
            }
        }
    }
}
