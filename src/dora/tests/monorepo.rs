//! Which changes of a repository belong to which of the services that are built from it.

use super::history::{Story, ask, change, change_ref, deployment, fold, question, rules_with, service};
use crate::config::model::Service;
use crate::dora::count::Reason;
use crate::dora::derive::derive;
use crate::dora::figure::Figure;
use crate::dora::row::LeadReason;
use crate::dora::select::Arrival;

const HOUR: f64 = 3_600.0;

fn left_out(figure: &Figure, reason: LeadReason) -> u64 {
    figure.excluded.get(&Reason::Lead(reason)).copied().unwrap_or(0)
}

#[test]
fn a_service_of_a_monorepo_takes_the_changes_of_its_paths() {
    let mut story = Story::default();
    let mut ours = change("a", "11:00", "11:00");
    ours.paths = vec!["services/checkout/src/main.rs".to_owned()];
    let mut others = change("b", "11:10", "11:10");
    others.paths = vec!["services/search/main.rs".to_owned()];
    let unknown = change("c", "11:20", "11:20");
    story.deploy(deployment("d1", "1", "10:00")).change(ours).change(others).change(unknown);
    story.deploy(deployment("d2", "2", "12:00"));
    let derived = derive(&fold(&story.0), &rules_with(&[service(&["services/checkout/**"])]));
    let figure = ask(&derived, &question(), &["production"], Arrival::First).change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(HOUR), 1));
    assert_eq!(left_out(&figure, LeadReason::PathsUnknown), 1);
}

/// A pipeline that builds many services of one repository names all commits to each of them.
#[test]
fn named_changes_of_other_paths_are_those_of_other_services() {
    let mut story = Story::default();
    let mut deployed = deployment("d1", "1", "12:00");
    deployed.changes = ["a", "b", "c"].map(|sha| change_ref(sha, "11:00")).to_vec();
    let mut ours = change("a", "11:00", "11:00");
    ours.paths = vec!["services/checkout/src/main.rs".to_owned()];
    let mut others = change("b", "11:00", "11:00");
    others.paths = vec!["services/search/main.rs".to_owned()];
    story.deploy(deployed).change(ours).change(others);
    let lead_time = |service| {
        let derived = derive(&fold(&story.0), &rules_with(&[service]));
        ask(&derived, &question(), &["production"], Arrival::First).change_lead_time
    };
    let figure = lead_time(service(&["services/checkout/**"]));
    // Of `c` nobody knows the paths: the deployment is believed.
    assert_eq!((figure.n, left_out(&figure, LeadReason::OtherPaths)), (2, 1));
    assert_eq!(lead_time(service(&[])).n, 3, "a service without paths takes what its deployments name");
    let elsewhere = Service { repository: Some("acme/other".to_owned()), ..service(&["services/checkout/**"]) };
    assert_eq!(lead_time(elsewhere).n, 3, "its globs say nothing about other repositories");
}
