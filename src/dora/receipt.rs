//! What an accepted delivery event counts in, and what not, why, and what to do about it.

use std::collections::BTreeMap;

use super::count::Reason;
use super::derive::Derived;
use super::explain::detail;
use super::row::{DeploymentRow, LeadReason, LeadRow};
use super::{Metric, Rules};
use crate::event::{Change, Counting, Deployment, DeploymentKind, DeploymentOutcome, Incident, Joined, NotCounted};

/// The thing an accepted event told of, as it stands now, and what is known around it.
#[derive(Debug, Clone)]
pub enum Accepted<'a> {
    Deployment {
        state: Deployment,
        /// All of its service, as figures are computed from it.
        rows: &'a Derived,
    },
    Change(Change),
    Incident {
        state: Incident,
        link: Link,
    },
}

/// What is known of an incident's deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Known,
    /// It names deployments that did not arrive yet.
    Unknown,
    /// It names none, and none of its service finished shortly before it.
    NoneBefore,
    /// It names neither a service nor a deployment.
    NoService,
}

pub fn counting(accepted: &Accepted<'_>, rules: &Rules) -> Counting {
    let mut counting = Counting::default();
    match accepted {
        Accepted::Deployment { state, rows } => {
            counting.joined = joined(state);
            let same = |row: &&DeploymentRow| row.key == state.key && row.place == state.place();
            if let Some((number, row)) = rows.deployments.iter().enumerate().find(|(_, row)| same(row))
                && deployment(&mut counting, row, rules)
            {
                lead_time(&mut counting, state, rows, number, rules);
            }
        }
        Accepted::Change(state) => change(&mut counting, state),
        Accepted::Incident { state, link } => incident(&mut counting, state, *link),
    }
    counting
}

fn not(counting: &mut Counting, metrics: &[Metric], reason: &str, fix: Option<&str>) {
    counting.not_counted.extend(metrics.iter().map(|metric| NotCounted {
        metric: metric.name(),
        reason: reason.to_owned(),
        fix: fix.map(str::to_owned),
    }));
}

fn joined(state: &Deployment) -> Option<Joined> {
    let commit_from = state.provenance.commit_from?;
    Some(Joined { commit: state.commit.clone()?, repository: state.repository.clone(), commit_from })
}

const OF_DEPLOYMENTS: [Metric; 4] =
    [Metric::DeploymentFrequency, Metric::ChangeFailRate, Metric::ReworkRate, Metric::ChangeLeadTime];

/// Answers whether the deployment counts at all.
fn deployment(counting: &mut Counting, row: &DeploymentRow, rules: &Rules) -> bool {
    let reason = match row.outcome {
        _ if row.reached() => None,
        DeploymentOutcome::InProgress => Some("the deployment has not finished: it counts once it has succeeded"),
        DeploymentOutcome::Failed | DeploymentOutcome::Succeeded => {
            Some("a deployment that failed reached nobody: it counts only when an incident or a rollback names it")
        }
        DeploymentOutcome::Cancelled => Some("a deployment that was cancelled reached nobody"),
    };
    if let Some(reason) = reason {
        not(counting, &OF_DEPLOYMENTS, reason, None);
        return false;
    }
    let name = &row.environment;
    if !rules.is_production(name) {
        let reason = format!(
            "the environment {name} is not of tier production: it counts where it is asked for by name, \
             ?environment={name}"
        );
        let fix = "if it is production, add its name to `match` of an environment of tier production";
        not(counting, &OF_DEPLOYMENTS, &reason, Some(fix));
        return false;
    }
    let counted = [Metric::DeploymentFrequency, Metric::ChangeFailRate, Metric::ReworkRate];
    counting.counted_in.extend(counted.map(Metric::name));
    true
}

/// Of several changes one that counts is enough; where none does, what most of them lack.
fn lead_time(counting: &mut Counting, state: &Deployment, rows: &Derived, number: usize, rules: &Rules) {
    let mut why: BTreeMap<Reason, usize> = BTreeMap::new();
    for lead in rows.leads.iter().filter(|lead| lead.deployment == number) {
        match lead_out(rows, lead, rules) {
            None => return counting.counted_in.push(Metric::ChangeLeadTime.name()),
            Some(reason) => *why.entry(reason).or_default() += 1,
        }
    }
    for out in rows.leads_out.iter().filter(|out| out.deployment == number) {
        *why.entry(Reason::Lead(out.reason)).or_default() += 1;
    }
    let most = why.into_iter().max_by_key(|(_, n)| *n).map(|(reason, _)| reason);
    let kind = rows.deployments.get(number).map(|row| row.kind);
    let (reason, fix) = match most {
        Some(Reason::Lead(LeadReason::FirstDeployment)) => (
            "the deployment names no changes and no earlier deployment exists",
            Some("send changes[] or change events"),
        ),
        Some(Reason::Lead(LeadReason::NoChangesKnown))
            if state.commit.is_none() && state.provenance.artifact.is_some() =>
        {
            (
                "the deployment names an artifact, and no event so far the commit that it was built from",
                Some("send artifact.packaged of CDEvents with the commit as its change"),
            )
        }
        Some(Reason::Lead(LeadReason::NothingNew)) if kind == Some(DeploymentKind::Rollback) => {
            ("a rollback brings no new changes", None)
        }
        Some(reason) => match detail(reason).split_once(": ") {
            Some((reason, fix)) => (reason, Some(fix)),
            None => (detail(reason), None),
        },
        None => ("a deployment that failed brings no changes", None),
    };
    not(counting, &[Metric::ChangeLeadTime], reason, fix);
}

/// Why a change does not count at the deployment that brought it, authored times and first arrivals
/// in production asked for.
fn lead_out(rows: &Derived, lead: &LeadRow, rules: &Rules) -> Option<Reason> {
    let finish = |lead: &LeadRow| rows.deployments.get(lead.deployment)?.finished_at;
    let is_production =
        |lead: &LeadRow| rows.deployments.get(lead.deployment).is_some_and(|row| rules.is_production(&row.environment));
    let (Some(authored), Some(finished)) = (lead.authored_at, finish(lead)) else { return Some(Reason::UnknownTime) };
    let same = |other: &&LeadRow| (&other.repository, &other.sha) == (&lead.repository, &lead.sha);
    let earlier = |other: &LeadRow| is_production(other) && finish(other).is_some_and(|other| other < finished);
    if rows.leads.iter().filter(same).any(earlier) {
        return Some(Reason::Lead(LeadReason::DeployedBefore));
    }
    (authored > finished).then_some(Reason::Negative)
}

fn change(counting: &mut Counting, state: &Change) {
    let (reason, fix) = if state.merge {
        ("a merge commit is not a change", None)
    } else if state.authored_at.is_none() {
        ("the time it was authored is not known", Some("send authored_at"))
    } else {
        ("by itself it counts in nothing: it counts with the deployment to production that brings it", None)
    };
    not(counting, &[Metric::ChangeLeadTime], reason, fix);
}

fn incident(counting: &mut Counting, state: &Incident, link: Link) {
    if state.is_withdrawn() {
        let metrics = [Metric::ChangeFailRate, Metric::FailedDeploymentRecoveryTime, Metric::MeanTimeToRecovery];
        return not(counting, &metrics, "it is withdrawn: it was no incident", None);
    }
    let resolved = state.resolved_at.is_some();
    let mut settle = |metric: Metric, reason: Option<(&str, Option<&str>)>| match reason {
        None => counting.counted_in.push(metric.name()),
        Some((reason, fix)) => not(counting, &[metric], reason, fix),
    };
    let unlinked = match link {
        Link::Known => None,
        Link::Unknown => {
            Some(("the deployments it names are not known: it counts when they arrive", Some("send deployment events")))
        }
        Link::NoneBefore => Some((
            "it names no deployment, and none of its service finished within the attribution window before it",
            Some("name the deployment in deployments[]"),
        )),
        Link::NoService => Some((
            "it names neither a service nor a deployment",
            Some("send service, or name the deployment in deployments[]"),
        )),
    };
    settle(Metric::ChangeFailRate, unlinked);
    let open = (!resolved).then_some(("it is not resolved", None));
    settle(Metric::FailedDeploymentRecoveryTime, unlinked.or(open));
    settle(Metric::MeanTimeToRecovery, open);
}
