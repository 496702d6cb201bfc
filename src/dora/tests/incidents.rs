//! Incidents with known answers: what they blame, when a failure is over.

use super::history::{Story, at, deployment, incident, question};
use crate::dora::calendar::Window;
use crate::dora::count::{Question, Reason};
use crate::dora::figure::NoValue;
use crate::dora::row::{Cause, LinkKind};
use crate::event::{DeploymentKind, DeploymentRef, IncidentStatus};

const HOUR: f64 = 3_600.0;

/// GitLab's issue 480920 counts such a deployment twice; it failed once.
#[test]
fn several_incidents_of_one_deployment_are_one_failure_and_one_interval() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i1", &["d2"], "02:05", Some("02:30")).trouble("i2", &["d2"], "02:20", Some("03:00"));
    let figures = story.figures();
    assert_eq!((figures.change_fail_rate.more.failed, figures.change_fail_rate.value), (Some(1), Some(0.5)));
    let recovery = figures.failed_deployment_recovery_time;
    assert_eq!((recovery.value, recovery.n), (Some(HOUR), 1));
    assert_eq!(figures.mean_time_to_recovery.value, Some(32.5 * 60.0));
}

/// Apache `DevLake`'s issue 4610 settles what is counted: deployments that caused failures, of all
/// deployments, not incidents.
#[test]
fn one_incident_of_several_deployments_makes_each_of_them_failed() {
    let mut story = Story::versions(&["1", "2", "3"]);
    story.trouble("i", &["d2", "d3"], "03:30", Some("04:00"));
    assert_eq!(story.failed(), ["d2", "d3"]);
    let figures = story.figures();
    assert_eq!(figures.failed_deployment_recovery_time.n, 2);
    assert_eq!(figures.mean_time_to_recovery.n, 1);
}

#[test]
fn an_incident_that_names_nothing_belongs_to_the_newest_deployment_before_it() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("tie", &[], "02:00", Some("02:10"));
    assert_eq!(story.failed(), ["d2"]);
    let because = &story.derived().deployments[1].because[0];
    assert_eq!((because.kind, because.link), (Cause::Incident, LinkKind::Inferred));
    assert!(because.confidence < 1.0);

    let mut story = Story::versions(&["1"]);
    story.trouble("later", &[], "2026-01-06T01:00:01Z", None);
    assert!(story.failed().is_empty(), "outside the attribution window of a day");
}

#[test]
fn a_rollback_during_an_incident_says_which_deployment_it_belongs_to() {
    let mut story = Story::versions(&["1", "2", "3"]);
    story.trouble("i", &[], "03:30", Some("05:00"));
    assert_eq!(story.failed(), ["d3"]);
    story.deploy(deployment("d4", "1", "04:00"));
    assert_eq!(story.failed(), ["d2"]);
    let because = &story.derived().deployments[1].because;
    assert_eq!(because.iter().map(|b| b.link).collect::<Vec<_>>(), [LinkKind::Inferred, LinkKind::Rollback]);
}

#[test]
fn incidents_may_name_versions_and_commits() {
    for named in [
        DeploymentRef { version: Some("2".to_owned()), ..DeploymentRef::default() },
        DeploymentRef { commit: Some("0123456".to_owned()), ..DeploymentRef::default() },
    ] {
        let mut story = Story::versions(&["1"]);
        let mut second = deployment("d2", "2", "02:00");
        second.commit = Some("0123456789abcdef".to_owned());
        story.deploy(second).deploy(deployment("d3", "3", "03:00"));
        let mut opened = incident("i", IncidentStatus::Opened, "04:00");
        opened.deployments = vec![named];
        story.incident(opened);
        assert_eq!(story.failed(), ["d2"]);
    }
}

#[test]
fn an_unknown_deployment_is_waited_for_and_nobody_is_blamed_instead() {
    let mut story = Story::versions(&["1"]);
    story.trouble("i", &["d2"], "01:30", None);
    assert!(story.failed().is_empty());
    story.deploy(deployment("d2", "2", "01:20"));
    assert_eq!(story.failed(), ["d2"]);
}

/// GitLab's handbook, "Incident Metrics": times to recovery are of incidents that were resolved; the
/// others are not over, and so neither zero nor as long as they last by now.
#[test]
fn never_restored_counts_as_failed_and_stays_open_with_its_age() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i", &["d2"], "02:05", None);
    let figures = story.figures();
    let recovery = figures.failed_deployment_recovery_time;
    assert_eq!(figures.change_fail_rate.value, Some(0.5));
    assert_eq!((recovery.value, recovery.reason), (None, Some(NoValue::NothingRestored)));
    let age = at("2026-02-01T00:00:00Z").duration_since(at("02:00")).as_secs_f64();
    assert_eq!((recovery.more.open, recovery.more.oldest_open_seconds), (Some(1), Some(age)));
    assert_eq!(figures.mean_time_to_recovery.more.open, Some(1));
}

/// PagerDuty's webhooks, `incident.reopened`: it was resolved, and is triggered again.
#[test]
fn a_reopened_incident_is_open_again() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i", &["d2"], "02:05", Some("03:00"));
    assert_eq!(story.figures().failed_deployment_recovery_time.value, Some(HOUR));
    story.incident(incident("i", IncidentStatus::Reopened, "03:30"));
    let figures = story.figures();
    assert_eq!(figures.failed_deployment_recovery_time.value, None);
    assert_eq!((figures.mean_time_to_recovery.value, figures.mean_time_to_recovery.more.open), (None, Some(1)));
    story.incident(incident("i", IncidentStatus::Resolved, "04:00"));
    assert_eq!(story.figures().failed_deployment_recovery_time.value, Some(2.0 * HOUR));
}

#[test]
fn a_withdrawn_incident_leaves_no_trace_in_numbers_until_it_is_one_again() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i", &["d2"], "02:05", Some("03:00"));
    let counted = story.figures();
    assert_eq!(counted.change_fail_rate.value, Some(0.5));
    story.incident(incident("i", IncidentStatus::Withdrawn, "05:00"));
    let withdrawn = story.figures();
    assert_eq!((withdrawn.change_fail_rate.value, story.failed()), (Some(0.0), Vec::<String>::new()));
    assert_eq!((withdrawn.failed_deployment_recovery_time.n, withdrawn.mean_time_to_recovery.n), (0, 0));
    assert_eq!(withdrawn.mean_time_to_recovery.excluded.get(&Reason::Withdrawn), Some(&1), "but it is shown");
    // Said to be resolved before, heard of after: the withdrawal came later and holds.
    story.incident(incident("i", IncidentStatus::Resolved, "04:00"));
    assert_eq!(story.figures().mean_time_to_recovery.n, 0);
    story.incident(incident("i", IncidentStatus::Resolved, "06:00"));
    let again = story.figures();
    assert_eq!(again.mean_time_to_recovery.value, counted.mean_time_to_recovery.value, "its life is what it was");
    assert_eq!(again.change_fail_rate.value, Some(0.5));
}

#[test]
fn what_came_first_ended_the_failure() {
    let mut story = Story::versions(&["1", "2", "1"]);
    story.trouble("i", &["d2"], "02:05", Some("05:00"));
    assert_eq!(story.figures().failed_deployment_recovery_time.value, Some(HOUR), "the rollback at 03:00");
    let mut story = Story::versions(&["1", "2", "1"]);
    story.trouble("i", &["d2"], "02:05", Some("02:30"));
    assert_eq!(story.figures().failed_deployment_recovery_time.value, Some(0.5 * HOUR), "the resolution");
}

/// A recovery belongs to the window of the restoration, the failure to that of the deployment.
#[test]
fn failures_and_recoveries_may_lie_in_different_windows() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i", &["d2"], "02:05", Some("2026-01-20T00:00:00Z"));
    let until = |to| Window { from: at("2026-01-01T00:00:00Z"), to: at(to) };
    let early = story.ask(&Question { window: until("2026-01-10T00:00:00Z"), ..question() });
    assert_eq!((early.change_fail_rate.value, early.failed_deployment_recovery_time.n), (Some(0.5), 0));
    assert_eq!(early.failed_deployment_recovery_time.more.open, Some(1));
    let late = Window { from: at("2026-01-10T00:00:00Z"), to: at("2026-02-01T00:00:00Z") };
    let late = story.ask(&Question { window: late, ..question() });
    assert_eq!((late.change_fail_rate.n, late.failed_deployment_recovery_time.n), (0, 1));
    assert_eq!(late.change_fail_rate.reason, Some(NoValue::NoDeployment));
}

#[test]
fn a_resolution_without_an_opening_has_no_recovery_time() {
    let mut story = Story::versions(&["1"]);
    story.incident(incident("i", IncidentStatus::Resolved, "02:00"));
    let figure = story.figures().mean_time_to_recovery;
    assert_eq!((figure.value, figure.n), (None, 0));
    assert_eq!(figure.excluded.get(&Reason::UnknownTime), Some(&1));
    story.incident(incident("i", IncidentStatus::Opened, "01:30"));
    assert_eq!(story.figures().mean_time_to_recovery.value, Some(HOUR / 2.0));
}

/// Sources that count in seconds: whatever else the events say, opened goes before resolved, and
/// resolved before reopened.
#[test]
fn statuses_of_one_instant_have_their_natural_order() {
    let mut opened = incident("i", IncidentStatus::Opened, "01:30");
    opened.service = None;
    let mut story = Story::versions(&["1"]);
    story.incident(opened).incident(incident("i", IncidentStatus::Resolved, "01:30"));
    assert_eq!(story.figures().mean_time_to_recovery.n, 1);
    story.incident(incident("i", IncidentStatus::Reopened, "01:30"));
    assert_eq!(story.figures().mean_time_to_recovery.more.open, Some(1));
}

#[test]
fn an_id_without_a_source_is_looked_for_in_the_service() {
    let mut story = Story::versions(&["1", "2", "3"]);
    let mut seen = incident("i", IncidentStatus::Opened, "03:30");
    seen.key.source = "pagerduty".to_owned();
    seen.deployments = vec![DeploymentRef { id: Some("d2".to_owned()), ..DeploymentRef::default() }];
    story.incident(seen);
    assert_eq!(story.failed(), ["d2"]);
}

/// A second hotfix says that the first was not enough; one that came after the resolution repairs
/// something else.
#[test]
fn the_last_repair_before_the_resolution_ends_the_failure() {
    let repaired = |resolved: Option<&str>, second: DeploymentKind| {
        let mut story = Story::versions(&["1", "2"]);
        for (id, version, time, kind) in [("h1", "3", "02:30", DeploymentKind::Hotfix), ("h2", "1", "03:00", second)] {
            let mut repair = deployment(id, version, time);
            repair.kind = Some(kind);
            repair.started_at = Some(at(time));
            story.deploy(repair);
        }
        story.trouble("i", &["d2"], "02:05", resolved);
        story.restored("d2")
    };
    for (resolved, ended, by) in [
        (None, "03:00", Cause::Hotfix),
        (Some("04:00"), "03:00", Cause::Hotfix),
        (Some("02:45"), "02:30", Cause::Hotfix),
        (Some("02:15"), "02:15", Cause::Incident),
    ] {
        assert_eq!(repaired(resolved, DeploymentKind::Hotfix), Some((at(ended), by)), "resolved at {resolved:?}");
    }
    assert_eq!(repaired(None, DeploymentKind::Rollback), Some((at("03:00"), Cause::Rollback)));
}

/// Deployments to two regions of production; whoever names a region means its deployments.
#[test]
fn an_incident_of_a_region_is_blamed_on_the_deployments_to_it() {
    let of = |place: Option<&str>| {
        let mut story = Story::default();
        for (id, place, time) in [("eu", "prod-eu", "01:00"), ("us", "prod-us", "02:00")] {
            let mut event = deployment(id, id, time);
            event.place = Some(place.to_owned());
            story.deploy(event);
        }
        let mut trouble = incident("i", IncidentStatus::Opened, "03:00");
        trouble.place = place.map(str::to_owned);
        story.incident(trouble);
        story.failed()
    };
    assert_eq!(of(Some("prod-eu")), ["eu"]);
    assert_eq!(of(Some("prod-us")), ["us"]);
    assert_eq!(of(None), ["us"], "the newest of any");
    assert_eq!(of(Some("prod-asia")), ["us"], "a name that nothing is deployed to says nothing");
}
