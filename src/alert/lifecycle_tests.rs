//! The life cycle: a table of cases, and that restarts change nothing.

use proptest::prelude::*;

use super::super::observation::{Fact, Link};
use super::*;

const PENDING_FOR: Duration = Duration::from_secs(30);
const KEEP_FIRING_FOR: Duration = Duration::from_secs(20);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_600_000 + seconds)
}

fn content(headline: &str, figure: u32) -> Content {
    Content {
        headline: headline.to_owned(),
        summary: format!("burns {figure} times too fast"),
        facts: vec![Fact { label: "burn".to_owned(), value: figure.to_string() }],
        links: vec![Link { label: "runbook".to_owned(), url: "https://example.com/".to_owned() }],
    }
}

fn observation(condition: Condition, pending_for: Duration, keep_firing_for: Duration) -> Observation {
    Observation {
        fingerprint: "burn_rate:checkout-availability".to_owned(),
        kind: Kind::BurnRate,
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        labels: BTreeMap::from([("slo".to_owned(), "checkout-availability".to_owned())]),
        condition,
        pending_for,
        keep_firing_for,
    }
}

/// What is seen, in short: `t3` a ticket with figure 3, `p3` a page, `h` a page under another
/// headline, `-` clear, `?` no data.
fn condition(seen: &str) -> Condition {
    let figure = || seen[1..].parse().unwrap();
    match &seen[..1] {
        "t" => Condition::Firing { severity: Severity::Ticket, content: content("Budget burns", figure()) },
        "p" => Condition::Firing { severity: Severity::Page, content: content("Budget burns", figure()) },
        "h" => Condition::Firing { severity: Severity::Page, content: content("Budget is gone", 1) },
        "-" => Condition::Clear { last_word: None },
        "?" => Condition::Unknown,
        other => panic!("{other}"),
    }
}

fn name(transition: &Transition) -> String {
    match transition {
        Transition::Unchanged(why) => format!("{why:?}"),
        Transition::Changed(change, _) => format!("{change:?}"),
    }
}

fn active(transition: Transition, before: Option<Alert>) -> Option<Alert> {
    match transition {
        Transition::Unchanged(_) => before,
        Transition::Changed(Change::Cancelled | Change::Resolved, _) => None,
        Transition::Changed(_, alert) => Some(*alert),
    }
}

/// Plays `(second, seen, expected)` rows.
fn play(pending_for: Duration, keep_firing_for: Duration, rows: &[(i64, &str, &str)]) {
    let mut alert: Option<Alert> = None;
    for (row, (second, seen, expected)) in rows.iter().enumerate() {
        let transition = step(alert.as_ref(), &observation(condition(seen), pending_for, keep_firing_for), at(*second));
        assert_eq!(name(&transition), *expected, "row {row}: {second} s, {seen}");
        if let Transition::Changed(_, new) = &transition {
            assert_eq!(new.updated_at, at(*second), "row {row}");
            assert_eq!(new.revision, alert.as_ref().map_or(1, |alert| alert.revision + 1), "row {row}");
        }
        alert = active(transition, alert);
    }
}

#[test]
fn without_waiting_it_fires_and_resolves_at_once() {
    play(
        Duration::ZERO,
        Duration::ZERO,
        &[
            (0, "-", "Inactive"),
            (1, "?", "Inactive"),
            (2, "t1", "Fired"),
            (3, "t1", "StillFiring"),
            (4, "-", "Resolved"),
            (5, "-", "Inactive"),
            (6, "p1", "Fired"),
        ],
    );
}

#[test]
fn one_incident_escalates_and_is_not_half_over() {
    play(
        Duration::ZERO,
        Duration::ZERO,
        &[
            (0, "t1", "Fired"),
            (1, "p1", "Escalated"),
            (2, "t1", "StillFiring"),
            (3, "p1", "StillFiring"),
            (4, "h", "Updated"),
            (5, "-", "Resolved"),
        ],
    );
}

#[test]
fn moving_figures_are_told_once_a_minute() {
    play(
        Duration::ZERO,
        Duration::ZERO,
        &[
            (0, "p1", "Fired"),
            (1, "p2", "ToldRecently"),
            (59, "p3", "ToldRecently"),
            (60, "p4", "Refreshed"),
            (100, "p4", "StillFiring"),
            (119, "p5", "ToldRecently"),
            (120, "p5", "Refreshed"),
            (1000, "p5", "StillFiring"),
        ],
    );
}

#[test]
fn pending_must_hold_without_a_gap() {
    play(
        PENDING_FOR,
        Duration::ZERO,
        &[
            (0, "t1", "Started"),
            (29, "t2", "StillPending"),
            (29, "-", "Cancelled"),
            (30, "t1", "Started"),
            (59, "p1", "StillPending"),
            (60, "p1", "Fired"),
        ],
    );
}

#[test]
fn it_keeps_firing_until_it_has_been_clear_for_long_enough() {
    play(
        Duration::ZERO,
        KEEP_FIRING_FOR,
        &[
            (0, "t1", "Fired"),
            (10, "-", "Clearing"),
            (29, "-", "StillClearing"),
            (29, "t1", "Relapsed"),
            (30, "-", "Clearing"),
            (49, "p1", "Escalated"),
            (50, "-", "Clearing"),
            (69, "-", "StillClearing"),
            (70, "-", "Resolved"),
        ],
    );
}

#[test]
fn without_data_the_clocks_stand_still() {
    play(
        PENDING_FOR,
        KEEP_FIRING_FOR,
        &[
            (0, "p1", "Started"),
            (10, "?", "Frozen"),
            (500, "?", "StillFrozen"),
            // 10 of 30 seconds have passed.
            (510, "p1", "Thawed"),
            (529, "p1", "StillPending"),
            (530, "p1", "Fired"),
            (540, "?", "Frozen"),
            (900, "p1", "Thawed"),
            (910, "-", "Clearing"),
            (915, "?", "Frozen"),
            (1915, "-", "Thawed"),
            // 5 of 20 seconds have passed.
            (1929, "-", "StillClearing"),
            (1930, "-", "Resolved"),
        ],
    );
}

#[test]
fn data_that_comes_back_with_news_tells_it() {
    play(
        Duration::ZERO,
        Duration::ZERO,
        &[(0, "t1", "Fired"), (1, "?", "Frozen"), (2, "p1", "Escalated"), (3, "?", "Frozen"), (4, "-", "Resolved")],
    );
}

#[test]
fn the_alert_says_what_was_told() {
    let observe = |alert: Option<&Alert>, seen: &str, second: i64| match step(
        alert,
        &observation(condition(seen), PENDING_FOR, Duration::ZERO),
        at(second),
    ) {
        Transition::Changed(_, alert) => *alert,
        Transition::Unchanged(why) => panic!("{seen} at {second}: {why:?}"),
    };
    let pending = observe(None, "t1", 0);
    assert_eq!((pending.state, pending.fired_at, pending.told_at), (State::Pending, None, None));
    let firing = observe(Some(&pending), "p7", 30);
    assert_eq!((firing.state, firing.severity, firing.fired_at), (State::Firing, Severity::Page, Some(at(30))));
    assert_eq!(firing.content, content("Budget burns", 7));
    assert_eq!(firing.started_at, at(0));
    let resolved = observe(Some(&firing), "-", 40);
    assert_eq!((resolved.state, resolved.resolved_at), (State::Resolved, Some(at(40))));
    assert_eq!(resolved.id, pending.id);

    let again = observe(Some(&resolved), "t1", 50);
    assert_eq!(again.state, State::Pending, "a resolved alert is over: the next one is another");
    assert_ne!(again.id, resolved.id);
}

#[test]
fn the_last_word_replaces_what_was_told() {
    let fire = observation(condition("p1"), Duration::ZERO, Duration::ZERO);
    let Transition::Changed(_, firing) = step(None, &fire, at(0)) else { panic!() };
    let last = Condition::Clear { last_word: Some(content("Rolled back", 0)) };
    let Transition::Changed(Change::Resolved, resolved) =
        step(Some(&firing), &observation(last, Duration::ZERO, Duration::ZERO), at(1))
    else {
        panic!()
    };
    assert_eq!(resolved.content.headline, "Rolled back");
}

proptest! {
    /// A restart reads the alert back from its stored form: whenever that happens, the same
    /// observations give the same transitions. What is kept obeys the life cycle.
    #[test]
    fn restarts_change_nothing(
        steps in prop::collection::vec((0_i64..40, 0_usize..7, any::<bool>()), 1..60),
        pending in 0_u64..60,
        keep in 0_u64..60,
    ) {
        let (pending, keep) = (Duration::from_secs(pending), Duration::from_secs(keep));
        let (mut steady, mut restarted): (Option<Alert>, Option<Alert>) = (None, None);
        let mut now = 0;
        for (wait, seen, restart) in steps {
            now += wait;
            let seen = ["t1", "t2", "p1", "p2", "h", "-", "?"][seen];
            let observation = observation(condition(seen), pending, keep);
            if restart {
                let stored = serde_json::to_string(&restarted).unwrap();
                restarted = serde_json::from_str(&stored).unwrap();
            }
            let transition = step(steady.as_ref(), &observation, at(now));
            prop_assert_eq!(&transition, &step(restarted.as_ref(), &observation, at(now)));
            steady = active(transition.clone(), steady);
            restarted = active(transition, restarted);
            if let Some(alert) = &steady {
                prop_assert_eq!(alert.fired_at.is_some(), alert.state == State::Firing);
                prop_assert!(alert.resolved_at.is_none());
                prop_assert!(alert.state != State::Pending || alert.waiting_since.is_some());
                prop_assert!(alert.waiting_since.is_none_or(|since| since <= at(now)));
            }
        }
    }

    /// The severity never falls, and a page is told as soon as it is seen.
    #[test]
    fn a_page_is_never_lost(seen in prop::collection::vec(0_usize..3, 1..40)) {
        let mut alert: Option<Alert> = None;
        let mut worst = Severity::Ticket;
        for (second, index) in seen.into_iter().enumerate() {
            let seen = ["t1", "p1", "?"][index];
            if seen == "p1" {
                worst = Severity::Page;
            }
            let transition =
                step(alert.as_ref(), &observation(condition(seen), Duration::ZERO, KEEP_FIRING_FOR), at(i64::try_from(second).unwrap()));
            alert = active(transition, alert);
            if let Some(alert) = &alert {
                prop_assert_eq!(alert.severity, worst);
            }
        }
    }
}
