//! The worked examples of the literature and the cases that the definitions decide.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::history::{Story, ask, at, change, change_ref, deployment, incident, key, named, question};
use crate::dora::calendar::{Calendar, Window};
use crate::dora::count::{LeadFrom, Question, Reason};
use crate::dora::figure::{Figure, NoValue};
use crate::dora::row::{LeadReason, LinkKind};
use crate::dora::select::Arrival;
use crate::dora::stats::Center;
use crate::event::{DeploymentKind, DeploymentOutcome, DeploymentRef, IncidentStatus, PullRequest};

const HOUR: f64 = 3_600.0;

fn mean() -> Question {
    Question { center: Center::Mean, ..question() }
}

fn left_out(figure: &Figure, reason: Reason) -> u64 {
    figure.excluded.get(&reason).copied().unwrap_or(0)
}

/// Datadog's documentation "Change Lead Time": commits at 15:00 and 16:00, deployed at 19:00, give
/// 4 h and 3 h, 3.5 h on average; the first deployment of a service gives none.
#[test]
fn lead_time_is_per_change_from_its_authoring_to_the_deployment() {
    let mut story = Story::default();
    let first = deployment("d1", "1", "12:00");
    let mut second = deployment("d2", "2", "19:00");
    second.commit = Some("b".to_owned());
    story.change(change("a", "15:00", "15:00")).change(change("b", "16:00", "16:00")).deploy(first).deploy(second);
    let figure = story.ask(&mean()).change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(3.5 * HOUR), 2));
    assert_eq!(left_out(&figure, Reason::Lead(LeadReason::FirstDeployment)), 1);
    let median = story.figures().change_lead_time;
    assert_eq!((median.value, median.method.as_str()), (Some(3.5 * HOUR), "p50, linear interpolation (type 7)"));
}

#[test]
fn a_first_deployment_gives_lead_time_to_the_changes_that_it_names_and_to_no_others() {
    let mut story = Story::default();
    let mut first = deployment("d1", "1", "12:00");
    first.changes = vec![change_ref("a", "10:00")];
    story.change(change("old", "01:00", "01:00")).change(change("a", "10:00", "10:30")).deploy(first);
    let figures = story.figures();
    assert_eq!((figures.change_lead_time.value, figures.change_lead_time.n), (Some(2.0 * HOUR), 1));
    assert_eq!((figures.deployment_frequency.n, figures.change_fail_rate.value), (1, Some(0.0)));
}

/// The median of 1, 2, 3 and 10 hours is 2.5 hours.
#[test]
fn an_even_number_of_lead_times_has_its_median_in_between() {
    let mut story = Story::default();
    let mut only = deployment("d1", "1", "12:00");
    only.changes = [("a", "11:00"), ("b", "10:00"), ("c", "09:00"), ("d", "02:00")]
        .map(|(sha, authored)| change_ref(sha, authored))
        .to_vec();
    story.deploy(only);
    assert_eq!(story.figures().change_lead_time.value, Some(2.5 * HOUR));
}

#[test]
fn a_change_counts_at_its_first_deployment_only() {
    let mut story = Story::default();
    let mut staging = deployment("s1", "1", "10:00");
    staging.environment = "staging".to_owned();
    staging.changes = vec![change_ref("a", "09:00")];
    let mut first = deployment("d1", "1", "12:00");
    first.changes = vec![change_ref("a", "09:00")];
    let mut again = deployment("d2", "2", "15:00");
    again.changes = vec![change_ref("a", "09:00"), change_ref("b", "14:00")];
    story.deploy(staging).deploy(first).deploy(again);
    let figure = story.ask(&mean()).change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(2.0 * HOUR), 2));
    assert_eq!(left_out(&figure, Reason::Lead(LeadReason::DeployedBefore)), 1);
}

#[test]
fn several_production_environments_count_the_first_arrival_or_the_last() {
    let mut story = Story::default();
    let mut first = deployment("d1", "1", "12:00");
    first.changes = vec![change_ref("a", "11:00")];
    let mut elsewhere = deployment("u1", "1", "14:00");
    elsewhere.environment = "production-us".to_owned();
    elsewhere.changes = vec![change_ref("a", "11:00")];
    story.deploy(elsewhere).deploy(first);
    let lead = |arrival| ask(&story.derived(), &question(), &["production", "production-us"], arrival).change_lead_time;
    assert_eq!((lead(Arrival::First).value, lead(Arrival::First).n), (Some(HOUR), 1));
    assert_eq!((lead(Arrival::Last).value, lead(Arrival::Last).n), (Some(3.0 * HOUR), 1));
    assert_eq!(left_out(&lead(Arrival::Last), Reason::Lead(LeadReason::DeployedLater)), 1);
}

#[test]
fn negative_lead_times_are_left_out_and_counted() {
    let mut story = Story::default();
    let mut only = deployment("d1", "1", "12:00");
    only.changes = vec![change_ref("a", "13:00"), change_ref("b", "11:00")];
    story.deploy(only);
    let figure = story.figures().change_lead_time;
    assert_eq!((figure.value, figure.n, left_out(&figure, Reason::Negative)), (Some(HOUR), 1, 1));
}

#[test]
fn merge_commits_are_no_changes_and_squashes_keep_their_first_commit() {
    let mut story = Story::default();
    let mut merge = change("m", "09:00", "11:00");
    merge.merge = true;
    let mut squash = change("s", "11:00", "11:00");
    squash.pull_request = Some(PullRequest {
        number: 7,
        first_commit_at: Some(at("08:00")),
        merged_at: Some(at("11:00")),
        ..PullRequest::default()
    });
    let mut second = deployment("d2", "2", "12:00");
    second.commit = Some("s".to_owned());
    story.deploy(deployment("d1", "1", "10:00")).change(merge).change(squash).deploy(second);
    let figure = story.figures().change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(4.0 * HOUR), 1));
    assert_eq!(left_out(&figure, Reason::Lead(LeadReason::MergeCommit)), 1);
    let merged = story.ask(&Question { lead_from: LeadFrom::Merged, ..question() }).change_lead_time;
    assert_eq!(merged.value, Some(HOUR));
    let committed = story.ask(&Question { lead_from: LeadFrom::Committed, ..question() }).change_lead_time;
    assert_eq!((committed.value, committed.reason), (None, Some(NoValue::AllChangesLeftOut)));
    assert_eq!(left_out(&committed, Reason::UnknownTime), 1);
}

/// What was merged after the deployed commit waits for the next deployment.
#[test]
fn a_deployment_brings_what_lies_between_its_commit_and_the_one_before() {
    let mut story = Story::default();
    for (sha, merged) in [("a", "01:00"), ("b", "02:00"), ("c", "03:00"), ("d", "04:00")] {
        story.change(change(sha, merged, merged));
    }
    for (id, commit, time) in [("d1", "a", "05:00"), ("d2", "b", "06:00"), ("d3", "d", "07:00")] {
        let mut event = deployment(id, id, time);
        event.commit = Some(commit.to_owned());
        story.deploy(event);
    }
    let derived = story.derived();
    let brought: Vec<(&str, usize)> = derived.leads.iter().map(|lead| (lead.sha.as_str(), lead.deployment)).collect();
    assert_eq!(brought, [("b", 1), ("c", 2), ("d", 2)]);
}

#[test]
fn an_unknown_commit_makes_the_answer_partial_and_says_so() {
    let mut story = Story::default();
    let mut second = deployment("d2", "2", "12:00");
    second.commit = Some("beyond-the-push".to_owned());
    story.deploy(deployment("d1", "1", "10:00")).change(change("a", "11:00", "11:00")).deploy(second);
    let figure = story.figures().change_lead_time;
    assert_eq!((figure.n, figure.more.partial), (1, Some(1)));
}

/// Datadog's documentation "Change Failure Detection": of V1 → V2 → V3 → V1 the first is what is gone
/// back to, and V2, the first deployment after it, the change failure. There rollbacks are left out of
/// the denominator; here only where that is asked for, and they are rework.
#[test]
fn a_rollback_is_a_redeploy_of_an_earlier_version() {
    let story = Story::versions(&["1", "2", "3", "1"]);
    let derived = story.derived();
    let rollback = &derived.deployments[3];
    assert_eq!((rollback.kind, rollback.kind_inferred), (DeploymentKind::Rollback, true));
    assert_eq!(rollback.rolls_back.as_ref().unwrap().id, "d2");
    assert_eq!(story.failed(), ["d2"]);
    let figures = story.figures();
    assert_eq!((figures.change_fail_rate.value, figures.change_fail_rate.more.failed), (Some(0.25), Some(1)));
    assert_eq!(figures.rework_rate.value, Some(0.25));
    assert_eq!(figures.failed_deployment_recovery_time.value, Some(2.0 * HOUR));
    let without = story.ask(&Question { exclude_rollbacks: true, ..question() });
    assert_eq!((without.change_fail_rate.value, without.change_fail_rate.n), (Some(1.0 / 3.0), 3));
}

#[test]
fn a_redeploy_is_neither_failure_nor_rollback() {
    let story = Story::versions(&["1", "1", "2", "2"]);
    assert!(story.failed().is_empty());
    assert_eq!(story.figures().rework_rate.value, Some(0.0));
}

#[test]
fn going_forward_again_after_a_rollback_is_no_rollback() {
    let story = Story::versions(&["1", "2", "1", "2"]);
    assert_eq!(story.failed(), ["d2"]);
    assert_eq!(story.figures().rework_rate.value, Some(0.25));
    // And a second time back: the roll-forward failed as well.
    assert_eq!(Story::versions(&["1", "2", "1", "2", "1"]).failed(), ["d2", "d4"]);
    // V3 is taken back to V2, which went forward after a rollback to V1.
    assert_eq!(Story::versions(&["1", "2", "1", "3", "2"]).failed(), ["d2", "d4"]);
}

#[test]
fn what_is_declared_beats_what_the_order_shows() {
    let mut story = Story::versions(&["1", "2", "3"]);
    let mut back = deployment("d4", "1", "04:00");
    back.kind = Some(DeploymentKind::Rollback);
    back.rolls_back = Some(key("d3"));
    story.deploy(back);
    assert_eq!(story.failed(), ["d3"]);
    assert_eq!(story.derived().deployments[2].because[0].link, LinkKind::Explicit);

    let mut story = Story::versions(&["1", "2"]);
    let mut planned = deployment("d3", "1", "03:00");
    planned.kind = Some(DeploymentKind::Planned);
    story.deploy(planned);
    assert!(story.failed().is_empty());

    // To a version from before anything was recorded: what ran last failed.
    let mut story = Story::versions(&["2", "3"]);
    let mut back = deployment("d3", "1", "03:00");
    back.kind = Some(DeploymentKind::Rollback);
    story.deploy(back);
    assert_eq!(story.failed(), ["d2"]);
}

#[test]
fn branch_names_as_versions_are_told_apart_by_commit() {
    let mut story = Story::default();
    for (id, commit, time) in [("d1", "a", "01:00"), ("d2", "b", "02:00"), ("d3", "a", "03:00")] {
        let mut event = deployment(id, "main", time);
        event.commit = Some(commit.to_owned());
        story.deploy(event);
    }
    assert_eq!(story.failed(), ["d2"]);
}

#[test]
fn a_hotfix_marks_what_it_repairs_and_restores_it() {
    let mut story = Story::versions(&["1", "2"]);
    let mut hotfix = deployment("d3", "2.1", "02:30");
    hotfix.kind = Some(DeploymentKind::Hotfix);
    story.deploy(hotfix);
    assert_eq!(story.failed(), ["d2"]);
    let figures = story.figures();
    assert_eq!(figures.failed_deployment_recovery_time.value, Some(0.5 * HOUR));
    assert_eq!(figures.rework_rate.value, Some(1.0 / 3.0));

    // After a rollback the hotfix repairs what was rolled back, not the rollback.
    let mut story = Story::versions(&["1", "2", "1"]);
    let mut hotfix = deployment("d4", "2.1", "04:00");
    hotfix.kind = Some(DeploymentKind::Hotfix);
    story.deploy(hotfix);
    assert_eq!(story.failed(), ["d2"]);

    // While an incident is open it repairs the incident's deployment, not the last one before it.
    let mut story = Story::versions(&["1", "2", "3"]);
    story.trouble("i", &["d2"], "02:30", Some("04:10"));
    let mut hotfix = deployment("d4", "3.1", "04:00");
    hotfix.kind = Some(DeploymentKind::Hotfix);
    story.deploy(hotfix);
    assert_eq!(story.failed(), ["d2"]);
}

#[test]
fn an_attempt_that_failed_reached_nobody_unless_an_incident_names_it() {
    let mut story = Story::versions(&["1"]);
    let mut attempt = deployment("d2", "2", "02:00");
    attempt.outcome = DeploymentOutcome::Failed;
    story.deploy(attempt);
    let figures = story.figures();
    assert_eq!((figures.deployment_frequency.n, figures.change_fail_rate.value), (1, Some(0.0)));
    assert_eq!(left_out(&figures.change_fail_rate, Reason::FailedAttempt), 1);
    story.trouble("i", &["d2"], "02:05", None);
    let figures = story.figures();
    assert_eq!((figures.deployment_frequency.n, figures.change_fail_rate.value), (2, Some(0.5)));
}

/// It leaves the numbers and what its neighbours are, and comes back with anything that is said later.
#[test]
fn a_withdrawn_deployment_was_none() {
    let mut story = Story::versions(&["1", "2", "1"]);
    assert_eq!((story.figures().deployment_frequency.n, story.failed()), (3, vec!["d2".to_owned()]));
    // With the time of what was wrong, as the one who repeats it says.
    let mut wrong = deployment("d2", "2", "02:00");
    wrong.outcome = DeploymentOutcome::Withdrawn;
    story.deploy(wrong);
    let figures = story.figures();
    assert_eq!((figures.deployment_frequency.n, figures.change_fail_rate.value), (2, Some(0.0)));
    assert_eq!(figures.deployment_frequency.excluded.get(&Reason::Withdrawn), Some(&1), "but it is shown");
    assert_eq!(story.failed(), Vec::<String>::new(), "1 after 1 goes back to nothing");
    story.trouble("i", &["d2"], "02:05", None);
    assert_eq!(story.failed(), Vec::<String>::new(), "nothing fails that was not there");
    story.deploy(deployment("d2", "2", "04:00"));
    assert_eq!((story.figures().deployment_frequency.n, story.failed()), (3, vec!["d2".to_owned()]));
    let mut only = Story::versions(&["1"]);
    let mut wrong = deployment("d1", "1", "09:00");
    wrong.outcome = DeploymentOutcome::Withdrawn;
    only.deploy(wrong);
    assert_eq!(only.figures().deployment_frequency.reason, Some(NoValue::NoDeploymentYet));
}

#[test]
fn a_deployment_counts_once_however_many_statuses_it_has() {
    let mut story = Story::versions(&["1"]);
    let mut started = deployment("d1", "1", "00:30");
    started.outcome = DeploymentOutcome::InProgress;
    story.deploy(started).deploy(deployment("d1", "1", "01:30"));
    assert_eq!(story.figures().deployment_frequency.n, 1);
    assert_eq!(story.derived().deployments[0].finished_at, Some(at("01:00")));
}

/// Deployments at both ends of the week in which Berlin's clocks go forward: on the last Sunday of
/// March at 01:00 UTC (Directive 2000/84/EC, article 2), which is 2026-03-29.
#[test]
fn weeks_are_those_of_the_time_zone() {
    let berlin = Calendar { time_zone: Tz::Europe__Berlin, ..question().calendar };
    let mut story = Story::default();
    for (id, time) in [
        ("d1", "2026-03-23T00:30:00+01:00"),
        ("d2", "2026-03-23T23:30:00+01:00"),
        ("d3", "2026-03-29T23:30:00+02:00"),
        ("d4", "2026-03-30T00:30:00+02:00"),
    ] {
        story.deploy(deployment(id, id, time));
    }
    let window = Window { from: at("2026-03-23T00:00:00+01:00"), to: at("2026-04-06T00:00:00+02:00") };
    let asked = Question { window, now: at("2026-05-01T00:00:00Z"), calendar: berlin, ..question() };
    let figure = story.ask(&asked).deployment_frequency;
    assert_eq!((figure.n, figure.value), (4, Some(4.0 / 14.0)));
    // Two days in the first week, one in the second.
    assert_eq!(figure.more.median_deployment_days_per_week, Some(1.5));
    let utc = story.ask(&Question { calendar: question().calendar, ..asked }).deployment_frequency;
    assert_ne!(utc.more.median_deployment_days_per_week, Some(1.5), "in UTC d1 and d4 lie in the week before");
}

#[test]
fn empty_weeks_are_zeros_and_partial_weeks_do_not_count() {
    let story = Story::versions(&["1", "2"]);
    // 2026-01-05 is a Monday; January holds the whole weeks of the 5th, 12th and 19th.
    assert_eq!(story.figures().deployment_frequency.more.median_deployment_days_per_week, Some(0.0));
    let window = Window { from: at("2026-01-01T00:00:00Z"), to: at("2026-01-12T00:00:00Z") };
    let one = story.ask(&Question { window, ..question() }).deployment_frequency;
    assert_eq!((one.more.median_deployment_days_per_week, one.value), (Some(1.0), Some(2.0 / 11.0)));
    let window = Window { from: at("2026-01-06T00:00:00Z"), to: at("2026-01-12T00:00:00Z") };
    let none = story.ask(&Question { window, ..question() }).deployment_frequency;
    assert_eq!((none.value, none.more.median_deployment_days_per_week), (Some(0.0), None));
}

#[test]
fn windows_are_half_open() {
    let story = Story::versions(&["1", "2"]);
    let window = Window { from: at("01:00"), to: at("02:00") };
    assert_eq!(story.ask(&Question { window, ..question() }).deployment_frequency.n, 1);
}

#[test]
fn reasons_become_names_where_they_are_counted() {
    let excluded = BTreeMap::from([(Reason::Negative, 1), (Reason::Lead(LeadReason::FirstDeployment), 2)]);
    assert_eq!(serde_json::to_string(&excluded).unwrap(), r#"{"negative":1,"first_deployment":2}"#);
}

#[test]
fn nothing_gives_no_numbers_but_reasons() {
    let figures = Story::default().figures();
    assert_eq!(figures.deployment_frequency.reason, Some(NoValue::NoDeploymentYet));
    assert_eq!(figures.change_lead_time.reason, Some(NoValue::NoChange));
    assert_eq!(figures.rework_rate.reason, Some(NoValue::NoDeployment));
    assert_eq!(figures.mean_time_to_recovery.reason, Some(NoValue::NothingResolved));
    assert_eq!(serde_json::to_value(&figures.rework_rate).unwrap()["value"], serde_json::Value::Null);
}

#[test]
fn incidents_name_deployments_by_id_alone_too() {
    let mut story = Story::versions(&["1", "2"]);
    let mut opened = incident("i", IncidentStatus::Opened, "03:00");
    opened.deployments = vec![DeploymentRef { source: None, ..named("d1") }];
    story.incident(opened);
    assert_eq!(story.failed(), ["d1"]);
}

/// Two regions of production go through the same versions one after the other: nobody went back.
#[test]
fn regions_of_one_environment_have_an_order_each() {
    let mut story = Story::default();
    for (id, version, place, time) in [
        ("1", "1", "prod-eu", "10:00"),
        ("2", "2", "prod-eu", "11:00"),
        ("3", "1", "prod-us", "11:30"),
        ("4", "2", "prod-us", "12:00"),
    ] {
        let mut deployment = deployment(id, version, time);
        deployment.environment = place.to_owned();
        deployment.name_environment("production".to_owned());
        story.deploy(deployment);
    }
    let figures = story.figures();
    assert_eq!((figures.change_fail_rate.value, figures.rework_rate.value), (Some(0.0), Some(0.0)));
    assert_eq!((figures.change_fail_rate.n, figures.failed_deployment_recovery_time.value), (4, None));
}

/// A pipeline's run names its deployments to staging and to production with one id.
#[test]
fn one_id_in_two_environments_is_two_deployments() {
    let mut story = Story::default();
    let mut staging = deployment("run-1", "1", "10:00");
    staging.environment = "staging".to_owned();
    story.deploy(staging).deploy(deployment("run-1", "1", "10:30"));
    let figures = story.figures();
    assert_eq!(figures.deployment_frequency.n, 1);
    let finished: Vec<_> = story.derived().deployments.iter().map(|row| row.finished_at.unwrap()).collect();
    assert_eq!(finished, [at("10:00"), at("10:30")]);
}

#[test]
fn a_service_that_was_never_deployed_has_no_frequency() {
    let figure = Story::default().figures().deployment_frequency;
    assert_eq!((figure.value, figure.reason, figure.n), (None, Some(NoValue::NoDeploymentYet), 0));
}

/// First commit 08:00, opened 09:00, reviewed 09:30, merged 11:00, deployed 12:00.
#[test]
fn a_change_with_a_pull_request_has_stages() {
    let mut story = Story::default();
    let mut change = change("a", "08:00", "11:00");
    change.pull_request = Some(PullRequest {
        number: 7,
        opened_at: Some(at("09:00")),
        first_commit_at: Some(at("08:00")),
        first_review_at: Some(at("09:30")),
        approved_at: None,
        merged_at: Some(at("11:00")),
    });
    let mut second = deployment("d2", "2", "12:00");
    second.commit = Some("a".to_owned());
    story.change(change).change(super::history::change("b", "11:30", "11:30")).deploy(deployment("d1", "1", "07:00"));
    story.deploy(second);
    let mut third = deployment("d3", "3", "13:00");
    third.commit = Some("b".to_owned());
    story.deploy(third);
    let figure = story.figures().change_lead_time;
    assert_eq!(figure.n, 2);
    let stages = figure.more.stages.unwrap();
    let all = [stages.coding, stages.pick_up, stages.review, stages.merge_to_deploy];
    assert_eq!(all.map(|stage| stage.value), [HOUR, HOUR / 2.0, 1.5 * HOUR, HOUR].map(Some));
    assert_eq!(all.map(|stage| stage.n), [1; 4], "b has no pull request");
}
