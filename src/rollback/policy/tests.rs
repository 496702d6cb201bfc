//! The decision, one fact changed at a time.

use std::time::Duration;

use super::*;
use crate::event::{Incident, IncidentStatus, Provenance};
use crate::rollback::situation::{Served, SloAlert};

const HOUR: Duration = Duration::from_hours(1);
/// When the suspect finished.
const DEPLOYED: Timestamp = Timestamp::from_seconds(1_767_607_440);

fn now() -> Timestamp {
    DEPLOYED.plus(Duration::from_mins(2))
}

fn key(id: &str) -> EntityKey {
    EntityKey { source: "ci/acme".to_owned(), id: id.to_owned() }
}

fn deployment(id: &str, version: &str, finished: Timestamp) -> Deployment {
    Deployment {
        key: key(id),
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        place: None,
        version: Some(version.to_owned()),
        commit: None,
        repository: None,
        outcome: DeploymentOutcome::Succeeded,
        kind: Some(DeploymentKind::Planned),
        started_at: Some(finished.minus(Duration::from_mins(1))),
        finished_at: Some(finished),
        url: None,
        schema: None,
        changes: Vec::new(),
        rolls_back: None,
        provenance: Provenance::default(),
        attributes: std::collections::BTreeMap::new(),
    }
}

fn candidate(id: &str, version: &str, hours_before: u32, bad: u64, total: u64) -> Candidate {
    let counts = Counts { bad, total };
    Candidate {
        deployment: deployment(id, version, DEPLOYED.minus(HOUR * hours_before)),
        served: vec![Served { slo: "checkout-availability".to_owned(), objective: 0.99, counts }],
    }
}

/// 2.1 % of 4,310 requests fail after a baseline of 0.3 %, on a 99 % objective.
fn situation() -> Situation {
    Situation {
        deployment: deployment("d-41", "1.4.2", DEPLOYED),
        newer: None,
        candidates: vec![candidate("d-40", "1.4.1", 24, 60, 20_000), candidate("d-39", "1.4.0", 48, 50, 20_000)],
        indicators: vec![Indicator {
            slo: "checkout-availability".to_owned(),
            objective: 0.99,
            kind: model::Indicator::Availability,
            since: Counts { bad: 90, total: 4_310 },
            baseline: Counts { bad: 30, total: 10_000 },
            budget_consumed: 0.004,
        }],
        past: Vec::new(),
        quarantined: std::collections::BTreeSet::new(),
        alerts: Vec::new(),
        incidents: Vec::new(),
        observed_at: now(),
    }
}

fn policy(mode: Mode) -> Policy {
    Policy {
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        mode,
        false_rollback_budget: 1e-4,
        bake_time: HOUR,
        baseline_window: HOUR,
        material_burn: 2.0,
        material_budget_share: 0.02,
        target_min_requests: 1_000,
        cooldown: HOUR,
        max_rollbacks: 3,
        max_rollbacks_window: HOUR * 24,
        approval_timeout: HOUR,
        verify_timeout: Duration::from_mins(1),
        executor: Some(model::Executor::HaProxy(model::HaProxy {
            socket: "unix:/run/haproxy.sock".to_owned(),
            switch: model::HaProxySwitch::Weight { server: "be/v{version}".to_owned() },
            timeout: Duration::from_secs(1),
        })),
    }
}

fn judged(situation: &Situation) -> (Action, Reason) {
    let decision = decide(situation, &policy(Mode::Automatic), now());
    (decision.action, decision.reason)
}

/// A decision to roll back, for tests of what follows from one.
pub fn decision() -> Decision {
    decide(&situation(), &policy(Mode::Automatic), now())
}

#[test]
fn a_material_regression_is_rolled_back_with_its_evidence() {
    let decision = decision();
    assert_eq!((decision.action, &decision.reason), (Action::Rollback, &Reason::Regression));
    assert_eq!(decision.to.as_ref().unwrap().version, "1.4.1");
    let evidence = &decision.indicators[0];
    assert!(evidence.log10_m.unwrap() > 4.0 && (evidence.log10_threshold - 4.0).abs() < 1e-9);
    assert!(evidence.baseline_bound.unwrap() > 0.003, "an upper bound, not the point");
    assert!((evidence.burn.unwrap() - 2.088).abs() < 1e-3);
    assert!(
        decision.summary.starts_with(
            "2.1 % of 4,310 requests on 1.4.2 failed, 0.3 % before it; chance of a false alarm below 1 in "
        ),
        "{}",
        decision.summary
    );
    let json = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision, "it can be read back");
}

#[test]
fn the_mode_decides_who_acts() {
    let action = |mode| decide(&situation(), &policy(mode), now()).action;
    assert_eq!(action(Mode::Off), Action::Hold);
    assert_eq!(action(Mode::Shadow), Action::Shadow);
    assert_eq!(action(Mode::Automatic), Action::Rollback);
    let proposal = decide(&situation(), &policy(Mode::Approve), now());
    assert_eq!((proposal.action, proposal.expires_at), (Action::Propose, Some(now().plus(HOUR))));
}

#[test]
fn no_data_is_inconclusive() {
    let mut silent = situation();
    silent.indicators[0].since = Counts::default();
    silent.indicators[0].budget_consumed = 0.5;
    assert_eq!(judged(&silent), (Action::Hold, Reason::NoRequests));
    let mut first = situation();
    first.indicators[0].baseline = Counts::default();
    assert_eq!(judged(&first), (Action::Hold, Reason::NoBaseline));
    let mut unmeasured = situation();
    unmeasured.indicators.clear();
    assert_eq!(judged(&unmeasured), (Action::Hold, Reason::NoRequests));
}

#[test]
fn noise_is_not_a_regression_and_a_harmless_one_is_left_alone() {
    let mut noise = situation();
    noise.indicators[0].since = Counts { bad: 4, total: 1_000 };
    assert_eq!(judged(&noise), (Action::Hold, Reason::Inconclusive));
    // Real (0.3 % → 1.2 %), but 1.2 times the sustainable burn and 0.4 % of the budget.
    let mut harmless = situation();
    harmless.indicators[0].since = Counts { bad: 120, total: 10_000 };
    assert_eq!(judged(&harmless), (Action::Hold, Reason::NotMaterial));
    // The same, when it has eaten 2 % of the budget.
    harmless.indicators[0].budget_consumed = 0.02;
    assert_eq!(judged(&harmless).0, Action::Rollback);
}

#[test]
fn indicators_share_the_budget_of_false_rollbacks() {
    let mut two = situation();
    let mut latency = two.indicators[0].clone();
    latency.slo = "checkout-latency".to_owned();
    latency.kind = model::Indicator::Latency { threshold: Duration::from_millis(300) };
    two.indicators[0].since = Counts { bad: 10, total: 4_310 };
    two.indicators.push(latency);
    let decision = decide(&two, &policy(Mode::Automatic), now());
    assert_eq!(decision.action, Action::Rollback);
    assert!((decision.indicators[0].log10_threshold - 20_000_f64.log10()).abs() < 1e-9);
    assert!(decision.summary.contains("took longer than 300 ms"), "{}", decision.summary);
}

#[test]
fn an_old_signal_does_not_blame_a_new_deployment() {
    let began = DEPLOYED.minus(Duration::from_mins(1));
    let alert =
        |started, resolved_at| SloAlert { slo: "checkout-availability".to_owned(), started_at: started, resolved_at };
    let mut burning = situation();
    burning.alerts = vec![alert(began.minus(HOUR), None)];
    assert_eq!(judged(&burning), (Action::Hold, Reason::BurningBefore));
    let mut over = situation();
    over.alerts = vec![alert(began.minus(HOUR), Some(began.minus(Duration::from_secs(1))))];
    assert_eq!(judged(&over).0, Action::Rollback, "it had ended");
    let mut after = situation();
    after.alerts = vec![alert(DEPLOYED.plus(Duration::from_secs(30)), None)];
    assert_eq!(judged(&after).0, Action::Rollback, "the deployment's own alert");
    let mut other = situation();
    other.alerts = vec![SloAlert { slo: "another".to_owned(), ..alert(began.minus(HOUR), None) }];
    assert_eq!(judged(&other).0, Action::Rollback, "another objective's alert");
}

fn incident(started_at: Timestamp, resolved_at: Option<Timestamp>) -> Incident {
    Incident {
        key: key("i-9"),
        service: None,
        other_services: Vec::new(),
        environment: None,
        place: None,
        status: IncidentStatus::Opened,
        severity: None,
        title: None,
        url: None,
        started_at,
        correction: None,
        start_unknown: false,
        detected_at: None,
        acknowledged_at: None,
        resolved_at,
        deployments: Vec::new(),
        attributes: std::collections::BTreeMap::new(),
    }
}

#[test]
fn people_at_work_are_told_and_not_overruled() {
    let mut during = situation();
    during.incidents = vec![incident(DEPLOYED.minus(HOUR), None)];
    assert_eq!(judged(&during), (Action::Page, Reason::DeployedDuringIncident { incident: key("i-9") }));
    let mut caused = situation();
    caused.incidents = vec![incident(DEPLOYED.plus(Duration::from_secs(30)), None)];
    assert_eq!(judged(&caused).0, Action::Rollback, "the incident came after the deployment");
    let mut hotfix = situation();
    hotfix.deployment.kind = Some(DeploymentKind::Hotfix);
    assert_eq!(judged(&hotfix), (Action::Page, Reason::Hotfix));
}

#[test]
fn a_rollback_is_never_rolled_back() {
    let mut again = situation();
    again.deployment.kind = Some(DeploymentKind::Rollback);
    assert_eq!(judged(&again), (Action::Page, Reason::RollbackOfRollback));
    let mut linked = situation();
    linked.deployment.rolls_back = Some(key("d-40"));
    assert_eq!(judged(&linked).1, Reason::RollbackOfRollback);
}

#[test]
fn the_target_is_proven_good() {
    let mut given = situation();
    given.quarantined.insert("1.4.1".to_owned());
    let decision = decide(&given, &policy(Mode::Automatic), now());
    assert_eq!(decision.to.as_ref().unwrap().version, "1.4.0");
    assert_eq!(decision.rejected_targets[0].fault, TargetFault::Quarantined);
    let faults = |candidates: Vec<Candidate>, past: Vec<PastRollback>| {
        let given = Situation { candidates, past, ..situation() };
        let decision = decide(&given, &policy(Mode::Automatic), now());
        assert_eq!((decision.action, decision.reason), (Action::Page, Reason::NoTarget));
        decision.rejected_targets.into_iter().map(|rejected| rejected.fault).collect::<Vec<_>>()
    };
    assert_eq!(faults(vec![candidate("d-40", "1.4.1", 1, 0, 999)], vec![]), [TargetFault::TooFewRequests]);
    assert_eq!(faults(vec![candidate("d-40", "1.4.1", 1, 101, 10_000)], vec![]), [TargetFault::BudgetNotIntact]);
    assert_eq!(faults(vec![candidate("d-40", "1.4.2", 1, 0, 10_000)], vec![]), [TargetFault::SameVersion]);
    let undone =
        PastRollback { deployment: key("d-40"), state: RollbackState::Done, acted_at: DEPLOYED.minus(HOUR * 30) };
    assert_eq!(faults(vec![candidate("d-40", "1.4.1", 1, 0, 10_000)], vec![undone]), [TargetFault::RolledBack]);
    let mut nameless = candidate("d-40", "1.4.1", 1, 0, 10_000);
    nameless.deployment.version = None;
    assert_eq!(faults(vec![nameless], vec![]), [TargetFault::NoVersion]);
    assert_eq!(faults(vec![], vec![]), []);
}

#[test]
fn a_version_that_somebody_else_rolled_back_is_no_target() {
    let mut given = situation();
    let mut back = candidate("d-40r", "1.4.0", 2, 10, 20_000);
    back.deployment.rolls_back = Some(key("d-40"));
    given.candidates = vec![candidate("d-40", "1.4.1", 3, 10, 20_000), back];
    let decision = decide(&given, &policy(Mode::Automatic), now());
    assert_eq!(decision.to.unwrap().version, "1.4.0", "a rollback's deployment is a fine target itself");
}

#[test]
fn rollbacks_are_rationed() {
    let past = |state, acted_at| PastRollback { deployment: key("d-30"), state, acted_at };
    let with = |past: Vec<PastRollback>| judged(&Situation { past, ..situation() });
    let recent = now().minus(HOUR / 2);
    assert_eq!(
        with(vec![past(RollbackState::Done, recent)]),
        (Action::Page, Reason::Cooldown { until: recent.plus(HOUR) })
    );
    let earlier: Vec<PastRollback> =
        (2..5).map(|hours| past(RollbackState::Failed, now().minus(HOUR * hours))).collect();
    assert_eq!(with(earlier.clone()), (Action::Page, Reason::TooManyRollbacks { count: 3, window_seconds: 86_400 }));
    assert_eq!(with(earlier[..2].to_vec()).0, Action::Rollback);
    let idle = [RollbackState::Cancelled, RollbackState::Expired, RollbackState::Shadowed, RollbackState::Refused];
    assert_eq!(with(idle.map(|state| past(state, recent)).to_vec()).0, Action::Rollback);
}

#[test]
fn one_rollback_at_a_time() {
    let past = |state| PastRollback { deployment: key("d-30"), state, acted_at: now().minus(HOUR * 90) };
    let with = |state| judged(&Situation { past: vec![past(state)], ..situation() });
    let waits = Reason::AnotherInProgress { deployment: key("d-30") };
    assert_eq!(with(RollbackState::Running), (Action::Hold, waits), "judged again when that one has ended");
    assert_eq!(with(RollbackState::Proposed).0, Action::Rollback, "this deployment cancels that proposal");
}

#[test]
fn a_deployment_is_judged_in_its_bake_time_once_and_while_it_is_the_newest() {
    let late = decide(&situation(), &policy(Mode::Automatic), DEPLOYED.plus(HOUR * 2));
    assert_eq!((late.action, late.reason), (Action::Hold, Reason::BakeTimeOver { until: DEPLOYED.plus(HOUR) }));
    let mut superseded = situation();
    superseded.newer = Some(key("d-42"));
    assert_eq!(judged(&superseded), (Action::Hold, Reason::NewerDeployment { deployment: key("d-42") }));
    let mut decided = situation();
    decided.past = vec![PastRollback { deployment: key("d-41"), state: RollbackState::Cancelled, acted_at: DEPLOYED }];
    assert_eq!(judged(&decided), (Action::Hold, Reason::AlreadyDecided));
    let mut unfinished = situation();
    unfinished.deployment.outcome = DeploymentOutcome::InProgress;
    assert_eq!(judged(&unfinished), (Action::Hold, Reason::NotFinished));
    let mut nameless = situation();
    nameless.deployment.version = None;
    assert_eq!(judged(&nameless), (Action::Hold, Reason::NoVersion));
}

#[test]
fn without_an_executor_people_are_called_but_a_shadow_needs_none() {
    let mut bare = policy(Mode::Automatic);
    bare.executor = None;
    assert_eq!(decide(&situation(), &bare, now()).reason, Reason::NoExecutor);
    bare.mode = Mode::Shadow;
    let shadow = decide(&situation(), &bare, now());
    assert_eq!((shadow.action, shadow.reason), (Action::Shadow, Reason::Regression));
}
