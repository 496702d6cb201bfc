//! What others document and compute, and where DevPulse's numbers differ from theirs and why.

use super::history::{Story, at, change, change_ref, deployment, question};
use crate::dora::calendar::Window;
use crate::dora::count::{LeadFrom, Question};
use crate::dora::stats::Center;
use crate::event::DeploymentKind;
use crate::time::Timestamp;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;

/// One succeeded deployment at ten o'clock of each of these days of January 2026.
fn on_days(days: impl IntoIterator<Item = u32>) -> Story {
    let mut story = Story::default();
    for day in days {
        story.deploy(deployment(&format!("d{day}"), &day.to_string(), &format!("2026-01-{day:02}T10:00:00Z")));
    }
    story
}

fn resolved(story: &mut Story, id: &str, day: u32, opened: &str, closed: &str) {
    let time = |clock: &str| format!("2026-01-{day:02}T{clock}:00Z");
    story.trouble(id, &[], &time(opened), Some(&time(closed)));
}

/// Four Keys, METRICS.md, "Change Failure Rate": "if there are four deployments in a day and one
/// causes a failure, that is a 25% change failure rate".
#[test]
fn one_of_four_deployments_is_a_quarter() {
    let mut story = Story::versions(&["1", "2", "3", "4"]);
    story.trouble("i", &["d2"], "02:10", Some("02:30"));
    let figure = story.figures().change_fail_rate;
    assert_eq!((figure.value, figure.n), (Some(0.25), 4));
}

/// GitLab's issue 444295: of ten deployments, one a day, two have an incident each: 0.2. Where both
/// incidents are of the first day, GitLab says 0.2 still; "the correct answer should be 0.1".
#[test]
fn two_incidents_of_one_deployment_of_ten_are_a_tenth() {
    let rate = |days: [u32; 2]| {
        let mut story = on_days(1..=10);
        resolved(&mut story, "i1", days[0], "10:30", "11:00");
        resolved(&mut story, "i2", days[1], "12:00", "12:30");
        story.figures().change_fail_rate.value
    };
    assert_eq!(rate([1, 10]), Some(0.2));
    assert_eq!(rate([1, 1]), Some(0.1));
}

/// Four Keys' query for it divides incidents by distinct changes, so that a failed deployment of many
/// changes weighs less than one of few. The definition above it speaks of deployments, and so does
/// DevPulse.
#[test]
fn the_size_of_a_deployment_does_not_change_the_fail_rate() {
    let mut story = Story::default();
    let mut large = deployment("d1", "1", "10:00");
    large.changes = ["a", "b", "c"].map(|sha| change_ref(sha, "09:00")).to_vec();
    let mut small = deployment("d2", "2", "11:00");
    small.changes = vec![change_ref("d", "10:30")];
    story.deploy(large).deploy(small).trouble("i", &["d1"], "10:10", Some("10:20"));
    assert_eq!(story.figures().change_fail_rate.value, Some(0.5));
}

/// Four Keys, METRICS.md, "Deployment Frequency": daily is a median of three or more days per week
/// with deployments, however many there are on a day. Its query takes the weeks at both ends of the
/// period as if they were whole; DevPulse leaves them out of the median.
#[test]
fn most_working_days_are_three_days_a_week() {
    let mut story = on_days([5, 7, 9, 12, 14, 16, 19, 21, 23, 27]);
    for again in 0..3 {
        story.deploy(deployment(&format!("again-{again}"), &format!("again-{again}"), "2026-01-05T15:00:00Z"));
    }
    assert_eq!(story.figures().deployment_frequency.more.median_deployment_days_per_week, Some(3.0));
    let every_other_week = on_days([5, 19]).figures().deployment_frequency;
    assert_eq!(every_other_week.more.median_deployment_days_per_week, Some(1.0), "of 1, 0 and 1");
}

/// Four Keys, METRICS.md, "Lead Time for Changes", ignores changes that took no time, because its
/// pushes of merges look like that. DevPulse knows merge commits as such; a change that was deployed
/// within its minute is the fastest change there is, and counts.
#[test]
fn a_change_without_a_wait_counts() {
    let mut story = Story::default();
    let mut only = deployment("d1", "1", "12:00");
    only.changes = vec![change_ref("a", "12:00"), change_ref("b", "11:50"), change_ref("c", "11:40")];
    story.deploy(only);
    let figure = story.figures().change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(10.0 * MINUTE), 3), "without the first it were a quarter of an hour");
}

/// Four Keys, METRICS.md, "Time to Restore Services": defined as from the deployment that caused the
/// failure, computed as from the opening of the incident. DevPulse has both, each by its own name.
#[test]
fn recovery_is_from_the_deployment_and_mttr_from_the_incident() {
    let mut story = Story::versions(&["1", "2"]);
    story.trouble("i", &["d2"], "03:00", Some("05:00"));
    let figures = story.figures();
    assert_eq!(figures.failed_deployment_recovery_time.value, Some(3.0 * HOUR));
    assert_eq!(figures.mean_time_to_recovery.value, Some(2.0 * HOUR));
}

/// GitLab's documentation, "How change failure rate is calculated": ten deployments, one a day, with
/// two incidents on the first day and one on the last, are 0.3 there, as incidents are divided by
/// deployments. GitLab's issue 444295 calls that wrong: two incidents of one deployment are one failed
/// deployment.
#[test]
fn two_incidents_of_one_deployment_are_not_two_failures() {
    let mut story = on_days(5..15);
    resolved(&mut story, "i1", 5, "11:00", "11:30");
    resolved(&mut story, "i2", 5, "12:00", "12:30");
    assert_eq!(story.figures().change_fail_rate.value, Some(0.1), "the answer that the issue asks for");
    resolved(&mut story, "i3", 14, "11:00", "11:30");
    assert_eq!(story.figures().change_fail_rate.value, Some(0.2));
    assert_eq!(story.figures().mean_time_to_recovery.n, 3);
}

/// GitLab's issue 480920: one deployment with two incidents is 200 % there, as it is wherever
/// incidents are divided by deployments (LinearB, "What is CFR?"). A share is never more than all.
#[test]
fn a_fail_rate_is_never_more_than_all() {
    let mut story = Story::versions(&["1"]);
    story.trouble("i1", &["d1"], "01:10", Some("01:20")).trouble("i2", &["d1"], "01:30", None);
    assert_eq!(story.figures().change_fail_rate.value, Some(1.0));
}

/// GitLab's documentation measures lead time from the merge of the request to the deployment; its
/// issue 328459 says why that looks better than it is. DevPulse begins with the authoring, and
/// answers GitLab's number when asked for it.
#[test]
fn lead_time_begins_with_the_authoring_and_on_request_with_the_merge() {
    let mut story = Story::default();
    story.deploy(deployment("d1", "1", "07:00")).change(change("a", "08:00", "11:00"));
    story.deploy(deployment("d2", "2", "12:00"));
    assert_eq!(story.figures().change_lead_time.value, Some(4.0 * HOUR));
    let merged = story.ask(&Question { lead_from: LeadFrom::Merged, ..question() });
    assert_eq!(merged.change_lead_time.value, Some(HOUR));
}

/// GitLab's "time to restore service" is the median time that an incident was open, DORA's older
/// "mean time to recovery" the mean. DevPulse's value is the mean, with the median beside it.
#[test]
fn the_mean_of_incidents_has_the_median_beside_it() {
    let mut story = Story::versions(&["1"]);
    for (id, closed) in [("i1", "02:10"), ("i2", "02:20"), ("i3", "03:30")] {
        story.trouble(id, &[], "02:00", Some(closed));
    }
    let figure = story.figures().mean_time_to_recovery;
    assert_eq!((figure.value, figure.more.median), (Some(40.0 * MINUTE), Some(20.0 * MINUTE)));
}

/// Sleuth, "How we calculate": "the total number of deploys divided by the total number of days in the
/// period, weekends included".
#[test]
fn weekends_are_days() {
    let story = on_days((5..10).chain(12..17));
    let window = Window { from: at("2026-01-05T00:00:00Z"), to: at("2026-01-19T00:00:00Z") };
    let figure = story.ask(&Question { window, ..question() }).deployment_frequency;
    assert_eq!((figure.value, figure.more.per_week), (Some(10.0 / 14.0), Some(5.0)));
}

/// Sleuth, "How we calculate": lead times "are the averages for each deploy across the period", so
/// that a deployment of one change weighs as much as one of three: (1 h + 9 h) / 2. DevPulse takes
/// each change once.
#[test]
fn lead_time_is_no_average_of_averages() {
    let mut story = Story::default();
    let mut three = deployment("d1", "1", "10:00");
    three.changes = ["a", "b", "c"].map(|sha| change_ref(sha, "09:00")).to_vec();
    let mut one = deployment("d2", "2", "20:00");
    one.changes = vec![change_ref("d", "11:00")];
    story.deploy(three).deploy(one);
    let mean = story.ask(&Question { center: Center::Mean, ..question() }).change_lead_time;
    assert_eq!((mean.value, mean.n), (Some(3.0 * HOUR), 4));
    assert_eq!(story.figures().change_lead_time.value, Some(HOUR));
}

/// dora.dev, "DORA's software delivery performance metrics": deployment rework rate is the share of
/// deployments that were not planned but happened as a result of an incident; failed deployment
/// recovery time is about deployments that need immediate intervention, not about every outage.
#[test]
fn rework_is_unplanned_work_and_recovery_that_of_deployments() {
    let mut story = on_days([5, 7, 9, 12]);
    let mut hotfix = deployment("fix", "12.1", "2026-01-12T11:00:00Z");
    hotfix.kind = Some(DeploymentKind::Hotfix);
    // Three days after the last deployment: a broken disk, say.
    story.deploy(hotfix).trouble("disk", &[], "2026-01-15T10:00:00Z", Some("2026-01-15T14:00:00Z"));
    let figures = story.figures();
    assert_eq!((figures.rework_rate.value, figures.rework_rate.more.unplanned), (Some(0.2), Some(1)));
    let recovery = figures.failed_deployment_recovery_time;
    assert_eq!((recovery.value, recovery.n), (Some(HOUR), 1));
    assert_eq!(figures.mean_time_to_recovery.value, Some(4.0 * HOUR));
}

/// GitLab's webhook events, "Deployment events": `"status_changed_at": "2021-04-28 21:50:00 +0200"`.
#[test]
fn offsets_are_part_of_the_time() {
    let mut story = Story::default();
    let mut event = deployment("d1", "1", "2021-04-28T00:00:00Z");
    event.time = Timestamp::parse("2021-04-28 21:50:00 +0200").unwrap();
    event.changes = vec![change_ref("a", "2021-04-28T18:50:00Z")];
    story.deploy(event);
    let window = Window { from: at("2021-04-01T00:00:00Z"), to: at("2021-05-01T00:00:00Z") };
    let figure = story.ask(&Question { window, ..question() }).change_lead_time;
    assert_eq!((figure.value, figure.n), (Some(HOUR), 1));
}
