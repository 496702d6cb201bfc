//! What to do about a deployment: evidence first, then the guardrails, then the mode.
//!
//! **Invariant:** no data is inconclusive, never failure and never success.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::evidence;
use super::explain;
use super::situation::{Candidate, Indicator, PastRollback, Situation};
use super::state::RollbackState;
use crate::config::model::{self, Mode, Policy};
use crate::event::{Deployment, DeploymentKind, DeploymentOutcome, EntityKey};
use crate::num::float;
use crate::slo::Counts;
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Move traffic now.
    Rollback,
    /// Ask a person.
    Propose,
    /// Record what would have happened: `regression` would have been a rollback, any other reason a page.
    Shadow,
    /// Call a person: the evidence is there, a guardrail forbids.
    Page,
    Hold,
}

/// Why the action is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    // Hold: there is nothing to judge.
    ModeOff,
    NotFinished,
    NoVersion,
    NewerDeployment { deployment: EntityKey },
    AlreadyDecided,
    BakeTimeOver { until: Timestamp },
    AnotherInProgress { deployment: EntityKey },
    // Hold: judged, and nothing to do.
    NoRequests,
    NoBaseline,
    Inconclusive,
    NotMaterial,
    BurningBefore,
    // The new version is worse, and it matters.
    Regression,
    // Page: so it is, but a guardrail forbids.
    Hotfix,
    DeployedDuringIncident { incident: EntityKey },
    RollbackOfRollback,
    NoTarget,
    NoExecutor,
    Cooldown { until: Timestamp },
    TooManyRollbacks { count: u32, window_seconds: u64 },
}

/// What one indicator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The new version has served nothing: inconclusive.
    NoRequests,
    /// Nothing was served before the deployment: inconclusive.
    NoBaseline,
    Inconclusive,
    /// Worse, but harmless to the budget.
    NotMaterial,
    /// Worse and material, but this SLO's alert was active before the deployment.
    BurningBefore,
    Regression,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IndicatorEvidence {
    pub slo: String,
    pub objective: f64,
    /// For a latency objective.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold_ms: Option<f64>,
    /// k bad of n on the new version since the deployment.
    pub since: Counts,
    pub baseline: Counts,
    /// p0: the upper 99.9 % bound of the baseline's bad share; absent without a baseline.
    pub baseline_bound: Option<f64>,
    /// log10 of the e-process M.
    pub log10_m: Option<f64>,
    /// log10 of 1/α, α shared among the indicators.
    pub log10_threshold: f64,
    /// Burn rate since the deployment, in multiples of the sustainable.
    pub burn: Option<f64>,
    /// The share of the budget used since the deployment.
    pub budget_consumed: f64,
    pub finding: Finding,
}

/// One side of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository: Option<String>,
    /// What the source of the deployment calls the environment, where that is another name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<String>,
    pub deployment: EntityKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetFault {
    NoVersion,
    SameVersion,
    Quarantined,
    RolledBack,
    TooFewRequests,
    BudgetNotIntact,
}

/// An earlier version that was considered and not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedTarget {
    pub version: Option<String>,
    pub deployment: EntityKey,
    pub fault: TargetFault,
}

/// What to do, with everything that led there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    pub action: Action,
    pub reason: Reason,
    /// One sentence for people.
    pub summary: String,
    pub service: String,
    pub environment: String,
    pub mode: Mode,
    /// Absent while the deployment names no version.
    pub from: Option<Release>,
    pub to: Option<Release>,
    pub rejected_targets: Vec<RejectedTarget>,
    /// α: the budget of false rollbacks per deployment.
    pub alpha: f64,
    pub indicators: Vec<IndicatorEvidence>,
    pub observed_at: Timestamp,
    pub decided_at: Timestamp,
    /// How long an approval is waited for, when one is wanted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
}

/// Judges one deployment at `now`.
pub fn decide(situation: &Situation, policy: &Policy, now: Timestamp) -> Decision {
    let indicators = match not_judged(situation, policy, now) {
        Some(reason) => return conclude(situation, policy, now, Vec::new(), reason, Action::Hold),
        None => weigh(situation, policy),
    };
    let finding = indicators.iter().map(|evidence| evidence.finding).max().unwrap_or(Finding::NoRequests);
    let hold = match finding {
        Finding::NoRequests => Some(Reason::NoRequests),
        Finding::NoBaseline => Some(Reason::NoBaseline),
        Finding::Inconclusive => Some(Reason::Inconclusive),
        Finding::NotMaterial => Some(Reason::NotMaterial),
        Finding::BurningBefore => Some(Reason::BurningBefore),
        Finding::Regression => None,
    };
    if let Some(reason) = hold {
        return conclude(situation, policy, now, indicators, reason, Action::Hold);
    }
    let refusal = guardrail(situation, policy, now);
    let action = match (policy.mode, &refusal) {
        (Mode::Off, _) => Action::Hold,
        (Mode::Shadow, _) => Action::Shadow,
        (_, Some(_)) => Action::Page,
        (Mode::Approve, None) => Action::Propose,
        (Mode::Automatic, None) => Action::Rollback,
    };
    conclude(situation, policy, now, indicators, refusal.unwrap_or(Reason::Regression), action)
}

/// Why the deployment is not judged at all.
fn not_judged(situation: &Situation, policy: &Policy, now: Timestamp) -> Option<Reason> {
    let deployment = &situation.deployment;
    let finished = deployment.finished_at.filter(|_| deployment.outcome == DeploymentOutcome::Succeeded);
    if policy.mode == Mode::Off {
        return Some(Reason::ModeOff);
    }
    let Some(finished) = finished else { return Some(Reason::NotFinished) };
    if deployment.version.is_none() {
        return Some(Reason::NoVersion);
    }
    if let Some(newer) = &situation.newer {
        return Some(Reason::NewerDeployment { deployment: newer.clone() });
    }
    if situation.past.iter().any(|past| past.deployment == deployment.key) {
        return Some(Reason::AlreadyDecided);
    }
    // One at a time. A proposal for an older deployment is no obstacle: this one cancels it.
    if let Some(other) = situation.past.iter().find(|past| past.state == RollbackState::Running) {
        return Some(Reason::AnotherInProgress { deployment: other.deployment.clone() });
    }
    let until = finished.plus(policy.bake_time);
    (now > until).then_some(Reason::BakeTimeOver { until })
}

fn weigh(situation: &Situation, policy: &Policy) -> Vec<IndicatorEvidence> {
    // α bounds the false rollbacks of a deployment, so its indicators share it (Bonferroni).
    let tests = u32::try_from(situation.indicators.len()).unwrap_or(u32::MAX).max(1);
    let alpha = policy.false_rollback_budget / f64::from(tests);
    let evidence = |indicator: &Indicator| {
        let test = evidence::test(indicator.since, indicator.baseline, alpha);
        let burn = indicator.since.ratio().map(|share| share / (1.0 - indicator.objective));
        let material = burn.is_some_and(|burn| burn >= policy.material_burn)
            || indicator.budget_consumed >= policy.material_budget_share;
        let finding = match test {
            _ if indicator.since.total == 0 => Finding::NoRequests,
            None => Finding::NoBaseline,
            Some(test) if !test.is_decisive() => Finding::Inconclusive,
            Some(_) if !material => Finding::NotMaterial,
            Some(_) if situation.burned_before(&indicator.slo) => Finding::BurningBefore,
            Some(_) => Finding::Regression,
        };
        IndicatorEvidence {
            slo: indicator.slo.clone(),
            objective: indicator.objective,
            threshold_ms: match indicator.kind {
                model::Indicator::Availability => None,
                model::Indicator::Latency { threshold } => Some(threshold.as_secs_f64() * 1e3),
            },
            since: indicator.since,
            baseline: indicator.baseline,
            baseline_bound: test.map(|test| test.p0),
            log10_m: test.map(|test| test.log10_m),
            log10_threshold: -alpha.log10(),
            burn,
            budget_consumed: indicator.budget_consumed,
            finding,
        }
    };
    situation.indicators.iter().map(evidence).collect()
}

/// The first guardrail that forbids touching traffic: the deployment itself, the target, the rate
/// of rollbacks.
fn guardrail(situation: &Situation, policy: &Policy, now: Timestamp) -> Option<Reason> {
    let deployment = &situation.deployment;
    if deployment.kind == Some(DeploymentKind::Rollback) || deployment.rolls_back.is_some() {
        return Some(Reason::RollbackOfRollback);
    }
    // People are at work there already, and the baseline is the incident's.
    if deployment.kind == Some(DeploymentKind::Hotfix) {
        return Some(Reason::Hotfix);
    }
    if let Some(incident) = situation.open_incident() {
        return Some(Reason::DeployedDuringIncident { incident: incident.key.clone() });
    }
    if choose_target(situation, policy).0.is_none() {
        return Some(Reason::NoTarget);
    }
    // A shadow touches nothing: it needs no executor.
    if policy.executor.is_none() && policy.mode != Mode::Shadow {
        return Some(Reason::NoExecutor);
    }
    rate(&situation.past, policy, now)
}

/// Guardrail 4: cooldown, and the most rollbacks per window, from when each began to act. Asked
/// again when a person approves.
pub fn rate(past: &[PastRollback], policy: &Policy, now: Timestamp) -> Option<Reason> {
    // A shadow's own past is made of shadows.
    let acted =
        |state: RollbackState| state.acted() || (policy.mode == Mode::Shadow && state == RollbackState::Shadowed);
    let acted: Vec<Timestamp> = past.iter().filter(|past| acted(past.state)).map(|past| past.acted_at).collect();
    let until = acted.iter().max()?.plus(policy.cooldown);
    if now < until {
        return Some(Reason::Cooldown { until });
    }
    let since = now.minus(policy.max_rollbacks_window);
    let count = u32::try_from(acted.iter().filter(|at| **at > since).count()).unwrap_or(u32::MAX);
    let window_seconds = policy.max_rollbacks_window.as_secs();
    (count >= policy.max_rollbacks).then_some(Reason::TooManyRollbacks { count, window_seconds })
}

/// Guardrail 2: the newest earlier version that is proven good, and those that are not.
fn choose_target(situation: &Situation, policy: &Policy) -> (Option<Release>, Vec<RejectedTarget>) {
    let mut rejected = Vec::new();
    for candidate in &situation.candidates {
        match fault(candidate, situation, policy) {
            None => return (release(&candidate.deployment), rejected),
            Some(fault) => rejected.push(RejectedTarget {
                version: candidate.deployment.version.clone(),
                deployment: candidate.deployment.key.clone(),
                fault,
            }),
        }
    }
    (None, rejected)
}

fn fault(candidate: &Candidate, situation: &Situation, policy: &Policy) -> Option<TargetFault> {
    let deployment = &candidate.deployment;
    let Some(version) = &deployment.version else { return Some(TargetFault::NoVersion) };
    if Some(version) == situation.deployment.version.as_ref() {
        return Some(TargetFault::SameVersion);
    }
    if situation.quarantined.contains(version) {
        return Some(TargetFault::Quarantined);
    }
    let undone = |other: &Candidate| other.deployment.rolls_back.as_ref() == Some(&deployment.key);
    let acted = situation.past.iter().any(|past| past.state.acted() && past.deployment == deployment.key);
    if acted || situation.candidates.iter().any(undone) {
        return Some(TargetFault::RolledBack);
    }
    let served = candidate.served.iter().map(|served| served.counts.total).max().unwrap_or(0);
    if served < policy.target_min_requests.max(1) {
        return Some(TargetFault::TooFewRequests);
    }
    let intact =
        candidate.served.iter().all(|served| served.counts.ratio().is_none_or(|share| share <= 1.0 - served.objective));
    (!intact).then_some(TargetFault::BudgetNotIntact)
}

fn release(deployment: &Deployment) -> Option<Release> {
    Some(Release {
        version: deployment.version.clone()?,
        commit: deployment.commit.clone(),
        repository: deployment.repository.clone(),
        place: deployment.place.clone(),
        deployment: deployment.key.clone(),
    })
}

fn conclude(
    situation: &Situation,
    policy: &Policy,
    now: Timestamp,
    indicators: Vec<IndicatorEvidence>,
    reason: Reason,
    action: Action,
) -> Decision {
    let (to, rejected_targets) = match action {
        Action::Hold => (None, Vec::new()),
        _ => choose_target(situation, policy),
    };
    let mut decision = Decision {
        action,
        reason,
        summary: String::new(),
        service: situation.deployment.service.clone(),
        environment: situation.deployment.environment.clone(),
        mode: policy.mode,
        from: release(&situation.deployment),
        to,
        rejected_targets,
        alpha: policy.false_rollback_budget,
        indicators,
        observed_at: situation.observed_at,
        decided_at: now,
        expires_at: (action == Action::Propose).then(|| now.plus(policy.approval_timeout)),
    };
    decision.summary = explain::sentence(&decision);
    decision
}

impl Decision {
    /// The indicator that speaks loudest: the worst finding, the strongest evidence.
    pub fn strongest(&self) -> Option<&IndicatorEvidence> {
        let strength = |evidence: &IndicatorEvidence| evidence.log10_m.unwrap_or(f64::NEG_INFINITY);
        self.indicators.iter().max_by(|a, b| a.finding.cmp(&b.finding).then(strength(a).total_cmp(&strength(b))))
    }

    /// What the first state of the journalled rollback is; `None` for a decision that is not journalled.
    pub const fn first_state(&self) -> Option<RollbackState> {
        match self.action {
            Action::Rollback => Some(RollbackState::Running),
            Action::Propose => Some(RollbackState::Proposed),
            Action::Shadow => Some(RollbackState::Shadowed),
            Action::Page => Some(RollbackState::Refused),
            Action::Hold => None,
        }
    }

    /// The time from the arrival of the deciding event to `at`, in seconds.
    pub fn latency_seconds(&self, at: Timestamp) -> f64 {
        float(u64::try_from(at.micros_since(self.observed_at)).unwrap_or(0)) / 1e6
    }
}

#[cfg(test)]
pub(super) mod tests;
