//! Deployments that name no changes, where a clone of the repository says what they brought.

use std::collections::BTreeSet;

use super::history::{Story, ask, at, change, change_ref, deployment, fold, question, rules_with_clones, service};
use crate::dora::range::{ChangesFrom, NoRange, Origins, Range, RangeCommit, RangeName};
use crate::dora::row::LeadReason;
use crate::dora::select::Arrival;
use crate::dora::{Derived, derive};
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome};

/// A deployment of this commit.
fn of_commit(id: &str, sha: &str, time: &str) -> DeploymentEvent {
    DeploymentEvent { commit: Some(sha.to_owned()), ..deployment(id, id, time) }
}

fn range(from: &str, to: &str) -> RangeName {
    RangeName { repository: "acme/checkout".to_owned(), from: from.to_owned(), to: to.to_owned() }
}

/// What a clone says about a range.
fn answered(from: &str, to: &str, shas: &[&str]) -> (RangeName, Range) {
    let commit = |sha: &&str| RangeCommit {
        sha: (*sha).to_owned(),
        authored_at: Some(at("01:00")),
        committed_at: Some(at("01:30")),
    };
    (range(from, to), Ok(shas.iter().map(commit).collect()))
}

/// What is derived of a story when clones have said this much.
fn told(story: &Story, ranges: &[(RangeName, Range)]) -> Derived {
    let mut history = fold(&story.0);
    history.ranges = ranges.iter().cloned().collect();
    derive(&history, &rules_with_clones(&[service(&[])], &["acme/checkout"]))
}

fn brought(derived: &Derived) -> Vec<(&str, &str)> {
    let id = |row: usize| derived.deployments[row].key.id.as_str();
    derived.leads.iter().map(|lead| (lead.sha.as_str(), id(lead.deployment))).collect()
}

fn sources(derived: &Derived) -> Vec<(Option<ChangesFrom>, Option<NoRange>, bool)> {
    derived.deployments.iter().map(|row| (row.changes_from, row.no_range, row.partial)).collect()
}

fn asked(derived: &Derived) -> Vec<(&str, &str)> {
    derived.ranges.iter().map(|name| (name.from.as_str(), name.to.as_str())).collect()
}

/// A commit of a branch that was merged after the second deployment: by its own date it came with
/// the second, by parents with the third.
#[test]
fn parents_say_what_dates_cannot() {
    let mut story = Story::default();
    story.deploy(of_commit("d1", "aaaaaa1", "02:00"));
    story.deploy(of_commit("d2", "aaaaaa2", "04:00"));
    story.deploy(of_commit("d3", "aaaaaa3", "06:00"));
    for (sha, time) in [("aaaaaa1", "01:00"), ("bbbbbb1", "02:30"), ("aaaaaa2", "03:00"), ("aaaaaa3", "05:00")] {
        let mut event = change(sha, time, time);
        (event.merged_at, event.committed_at) = (None, Some(at(time)));
        story.change(event);
    }
    let guessed = told(&story, &[]);
    assert_eq!(brought(&guessed), [("bbbbbb1", "d2"), ("aaaaaa2", "d2"), ("aaaaaa3", "d3")]);
    let waiting = (Some(ChangesFrom::MergeTimes), Some(NoRange::Waiting), true);
    assert_eq!(sources(&guessed), [(None, None, false), waiting, waiting]);
    assert_eq!(asked(&guessed), [("aaaaaa1", "aaaaaa2"), ("aaaaaa2", "aaaaaa3")]);
    let ranges =
        [answered("aaaaaa1", "aaaaaa2", &["aaaaaa2"]), answered("aaaaaa2", "aaaaaa3", &["aaaaaa3", "bbbbbb1"])];
    let known = told(&story, &ranges);
    assert_eq!(brought(&known), [("aaaaaa2", "d2"), ("aaaaaa3", "d3"), ("bbbbbb1", "d3")]);
    let by_range = (Some(ChangesFrom::Range), None, false);
    assert_eq!(sources(&known), [(None, None, false), by_range, by_range]);
    let lead = ask(&known, &question(), &["production"], Arrival::First).change_lead_time;
    assert_eq!(lead.more.changes_from, Some(Origins { named: 0, range: 2, merge_times: 0 }));
    assert_eq!(lead.more.partial, None);
}

#[test]
fn no_change_need_be_known_but_what_is_known_goes_first() {
    let mut story = Story::default();
    story.deploy(of_commit("d1", "aaaaaa1", "02:00")).deploy(of_commit("d2", "aaaaaa2", "04:00"));
    let ranges = [answered("aaaaaa1", "aaaaaa2", &["aaaaaa2", "aaaaaa3"])];
    let derived = told(&story, &ranges);
    assert_eq!(derived.leads.iter().map(|lead| lead.authored_at).collect::<Vec<_>>(), [Some(at("01:00")); 2]);
    // A rebased commit keeps the time of the original, which pull requests know.
    story.change(change("aaaaaa3", "00:10", "01:00"));
    let derived = told(&story, &ranges);
    assert_eq!(derived.leads[1].authored_at, Some(at("00:10")));
    assert_eq!(derived.leads[1].committed_at, Some(at("01:30")), "of the two times only one was told");
}

#[test]
fn going_back_brings_nothing_and_going_on_again_only_what_is_new() {
    let mut story = Story::default();
    story.deploy(of_commit("1", "aaaaaa1", "01:00")).deploy(of_commit("2", "aaaaaa2", "02:00"));
    let mut back = of_commit("back", "aaaaaa1", "03:00");
    back.version = Some("1".to_owned());
    story.deploy(back).deploy(of_commit("3", "aaaaaa3", "04:00"));
    let ranges =
        [answered("aaaaaa1", "aaaaaa2", &["aaaaaa2"]), answered("aaaaaa1", "aaaaaa3", &["aaaaaa3", "aaaaaa2"])];
    let derived = told(&story, &ranges);
    assert_eq!(asked(&derived), [("aaaaaa1", "aaaaaa2"), ("aaaaaa1", "aaaaaa3")]);
    assert_eq!(brought(&derived), [("aaaaaa2", "2"), ("aaaaaa3", "3")]);
    assert_eq!(derived.deployments[2].kind, DeploymentKind::Rollback);
    assert_eq!(sources(&derived)[2], (None, None, false));
}

/// A correction, or a deployment that comes late, changes who came before.
#[test]
fn whoever_came_before_is_what_is_asked_from() {
    let mut story = Story::default();
    story.deploy(of_commit("d1", "aaaaaa1", "01:00")).deploy(of_commit("d3", "aaaaaa3", "05:00"));
    let whole = answered("aaaaaa1", "aaaaaa3", &["aaaaaa3", "aaaaaa2"]);
    assert_eq!(brought(&told(&story, std::slice::from_ref(&whole))), [("aaaaaa3", "d3"), ("aaaaaa2", "d3")]);
    story.deploy(of_commit("d2", "aaaaaa2", "03:00"));
    let halves = [answered("aaaaaa1", "aaaaaa2", &["aaaaaa2"]), answered("aaaaaa2", "aaaaaa3", &["aaaaaa3"])];
    let late = told(&story, &halves);
    assert_eq!(brought(&late), [("aaaaaa2", "d2"), ("aaaaaa3", "d3")]);
    assert_eq!(asked(&late), [("aaaaaa1", "aaaaaa2"), ("aaaaaa2", "aaaaaa3")]);
    // It was another commit, says its source later; and d4 succeeded only when it was tried again.
    story.deploy(of_commit("d2", "aaaaaa9", "03:30"));
    let mut fourth = of_commit("d4", "aaaaaa4", "04:00");
    fourth.outcome = DeploymentOutcome::Failed;
    story.deploy(fourth);
    assert_eq!(asked(&told(&story, &[])), [("aaaaaa1", "aaaaaa9"), ("aaaaaa9", "aaaaaa3")]);
    story.deploy(of_commit("d4", "aaaaaa4", "04:30"));
    let again = told(&story, &halves);
    assert_eq!(asked(&again), [("aaaaaa1", "aaaaaa9"), ("aaaaaa4", "aaaaaa3"), ("aaaaaa9", "aaaaaa4")]);
    assert!(again.leads.is_empty(), "what was found for others is of no use");
}

#[test]
fn what_no_clone_knows_stays_on_merge_times_and_says_why() {
    let mut story = Story::default();
    let mut without = of_commit("d2", "aaaaaa2", "02:00");
    without.commit = None;
    let mut elsewhere = of_commit("d5", "aaaaaa5", "05:00");
    elsewhere.repository = Some("acme/other".to_owned());
    story.deploy(of_commit("d1", "aaaaaa1", "01:00")).deploy(without).deploy(of_commit("d3", "aaaaaa3", "03:00"));
    story.deploy(of_commit("d4", "main", "04:00")).deploy(elsewhere).deploy(of_commit("d6", "aaaaaa6", "06:00"));
    story.deploy(of_commit("d7", "aaaaaa7", "07:00")).deploy(of_commit("d8", "aaaaaa7", "08:00"));
    story.change(change("aaaaaa7", "01:00", "01:30"));
    let derived = told(&story, &[(range("aaaaaa6", "aaaaaa7"), Err(NoRange::UnknownCommit))]);
    let whys: Vec<_> = derived.deployments.iter().map(|row| row.no_range).collect();
    let (no_commit, unknown) = (Some(NoRange::NoCommit), Some(NoRange::UnknownCommit));
    assert_eq!(whys, [None, no_commit, no_commit, unknown, None, no_commit, unknown, None]);
    assert_eq!(asked(&derived), [("aaaaaa6", "aaaaaa7")], "names of branches are never asked for");
    let partial: Vec<_> = derived.deployments.iter().map(|row| row.partial).collect();
    assert_eq!(partial, [false, true, true, true, true, true, true, false]);
    let last = derived.leads_out.iter().find(|out| out.deployment == 7).unwrap();
    assert_eq!((last.reason, derived.deployments[7].changes_from), (LeadReason::NothingNew, Some(ChangesFrom::Range)));
}

#[test]
fn a_service_without_paths_leaves_what_is_said_to_be_of_another() {
    let mut story = Story::default();
    let mut others = change("bbbbbb1", "01:00", "01:00");
    others.service = Some("search".to_owned());
    story.change(others);
    story.deploy(of_commit("d1", "aaaaaa1", "02:00")).deploy(of_commit("d2", "aaaaaa2", "04:00"));
    let ranges = [answered("aaaaaa1", "aaaaaa2", &["aaaaaa2", "bbbbbb1"])];
    assert_eq!(brought(&told(&story, &ranges)), [("aaaaaa2", "d2")]);
    // Where it owns paths, the range has only what touches them.
    let mut history = fold(&story.0);
    history.ranges = ranges.into();
    let rules = rules_with_clones(&[service(&["services/**"])], &["acme/checkout"]);
    assert_eq!(brought(&derive(&history, &rules)), [("aaaaaa2", "d2"), ("bbbbbb1", "d2")]);
}

#[test]
fn deployments_that_name_their_changes_ask_for_nothing() {
    let mut story = Story::default();
    let mut second = of_commit("d2", "aaaaaa2", "02:00");
    second.changes = vec![change_ref("aaaaaa2", "01:30")];
    story.deploy(of_commit("d1", "aaaaaa1", "01:00")).deploy(second);
    let derived = told(&story, &[]);
    assert_eq!((derived.ranges.len(), sources(&derived)[1]), (0, (Some(ChangesFrom::Named), None, false)));
    // Nor do those of a repository that has no clone.
    let mut story = Story(vec![DeliveryEvent::Deployment(of_commit("d1", "aaaaaa1", "01:00"))]);
    story.deploy(of_commit("d2", "aaaaaa2", "02:00"));
    assert_eq!((story.derived().ranges, story.derived().deployments[1].no_range), (BTreeSet::new(), None));
}
