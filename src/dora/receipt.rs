//! What an accepted delivery event counts in, and what not, why, and what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use super::count::Reason;
use super::derive::Derived;
use super::explain::detail;
use super::row::{DeploymentRow, IncidentRow, LeadReason, LeadRow};
use super::{Metric, Rules, derive};
use crate::event::{Change, Counting, Deployment, DeploymentKind, DeploymentOutcome, Incident, Joined, NotCounted};

/// The thing an accepted event told of, as it stands now.
#[derive(Debug, Clone)]
pub enum Accepted {
    Deployment(Deployment),
    Change(Change),
    /// With the services whose deployments it may concern.
    Incident(Incident, BTreeSet<String>),
}

impl Accepted {
    /// Those whose rows [`counting`] looks at.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Deployment(state) => (Some(state.service.as_str()), None),
            Self::Change(_) => (None, None),
            Self::Incident(_, services) => (None, Some(services)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(String::as_str))
    }
}

/// `rows` are those of services, as figures are computed from them. `None` where one of its
/// services is not among them.
pub fn counting(accepted: &Accepted, rows: &BTreeMap<String, Derived>, rules: &Rules) -> Option<Counting> {
    let mut counting = Counting::default();
    let rows: Option<Vec<&Derived>> = accepted.services().map(|service| rows.get(service)).collect();
    let rows = rows?;
    match accepted {
        Accepted::Deployment(state) => {
            counting.joined = joined(state);
            let same = |row: &&DeploymentRow| row.key == state.key && row.place == state.place();
            for rows in rows {
                if let Some((number, row)) = rows.deployments.iter().enumerate().find(|(_, row)| same(row))
                    && deployment(&mut counting, row, rules)
                {
                    lead_time(&mut counting, state, rows, number, rules);
                }
            }
        }
        Accepted::Change(state) => change(&mut counting, state),
        Accepted::Incident(state, _) => incident(&mut counting, state, &rows, rules),
    }
    Some(counting)
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
        DeploymentOutcome::Withdrawn => Some("it is withdrawn: it was no deployment"),
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

/// Why something does not count, and what to do about it.
pub type Why = (String, Option<&'static str>);

fn why(reason: &str, fix: Option<&'static str>) -> Why {
    (reason.to_owned(), fix)
}

fn incident(counting: &mut Counting, state: &Incident, rows: &[&Derived], rules: &Rules) {
    if state.is_withdrawn() {
        let metrics = [Metric::ChangeFailRate, Metric::FailedDeploymentRecoveryTime, Metric::MeanTimeToRecovery];
        return not(counting, &metrics, "it is withdrawn: it was no incident", None);
    }
    let linked: Vec<&DeploymentRow> = linked(state, rows).collect();
    let failed = match unlinked(state, rows, rules) {
        Some(why) => Err(why),
        None => first_that_counts(&linked, |row| in_production(row, rules)),
    };
    let restored = match failed.clone() {
        Err(why) => Err(why),
        Ok(()) => first_that_counts(&linked, |row| in_production(row, rules).and_then(|()| was_restored(row))),
    };
    let of_services = rows.iter().flat_map(|rows| &rows.incidents).filter(|row| row.key == state.key);
    let mut incidents: Vec<IncidentRow> = of_services.cloned().collect();
    if incidents.is_empty() {
        incidents.push(derive::without_service(state, rules));
    }
    let incidents: Vec<&IncidentRow> = incidents.iter().collect();
    let recovered = first_that_counts(&incidents, |row| was_resolved(row, rules));
    for (metric, result) in [
        (Metric::ChangeFailRate, failed),
        (Metric::FailedDeploymentRecoveryTime, restored),
        (Metric::MeanTimeToRecovery, recovered),
    ] {
        match result {
            Ok(()) => counting.counted_in.push(metric.name()),
            Err((reason, fix)) => not(counting, &[metric], &reason, fix),
        }
    }
}

/// The deployments that an incident is linked to.
fn linked<'a>(state: &'a Incident, rows: &'a [&Derived]) -> impl Iterator<Item = &'a DeploymentRow> {
    let ours = |row: &&DeploymentRow| row.because.iter().any(|because| because.incident.as_ref() == Some(&state.key));
    rows.iter().flat_map(|rows| &rows.deployments).filter(ours)
}

/// One is enough; where none does, why the last does not.
fn first_that_counts<T>(rows: &[&T], counts: impl Fn(&T) -> Result<(), Why>) -> Result<(), Why> {
    let mut result = Err(why("nothing is known of it yet", None));
    for row in rows {
        result = counts(row);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn in_production(row: &DeploymentRow, rules: &Rules) -> Result<(), Why> {
    let (id, name) = (&row.key.id, &row.environment);
    if !row.reached() || row.at().is_none() {
        return Err((format!("the deployment {id} that it is linked to has not finished"), None));
    }
    if !rules.is_production(name) {
        let reason = format!(
            "the deployment {id} that it is linked to was to {name}, which is not of tier production: it counts \
             where that is asked for by name, ?environment={name}"
        );
        return Err((reason, None));
    }
    Ok(())
}

fn was_restored(row: &DeploymentRow) -> Result<(), Why> {
    let id = &row.key.id;
    match (row.at(), &row.restored) {
        (Some(from), Some(restored)) if restored.at < from => {
            Err((format!("the failure of deployment {id} ended before it finished"), None))
        }
        (_, Some(_)) => Ok(()),
        (_, None) => Err((format!("the failure of deployment {id} has not ended: it is not resolved"), None)),
    }
}

fn was_resolved(row: &IncidentRow, rules: &Rules) -> Result<(), Why> {
    let name = &row.environment;
    if !rules.is_production(name) {
        let reason = format!(
            "the environment {name} is not of tier production: it counts where it is asked for by name, \
             ?environment={name}"
        );
        return Err((reason, None));
    }
    match row.resolved_at {
        None => Err(why("it is not resolved", None)),
        Some(_) if row.start_unknown => Err(why("nobody said when it began", Some("send started_at"))),
        Some(at) if at < row.started_at => Err(why("it ended before it began: clocks disagree", None)),
        Some(_) => Ok(()),
    }
}

/// Why an incident is linked to no deployment; `None` where it is. `rows` are those of all services
/// that it may concern.
pub fn unlinked(state: &Incident, rows: &[&Derived], rules: &Rules) -> Option<Why> {
    if linked(state, rows).next().is_some() {
        return None;
    }
    let place = state.environment.as_deref().map(|raw| format!(" to {}", rules.environment(raw).0)).unwrap_or_default();
    Some(if state.is_withdrawn() {
        why("it is withdrawn: it was no incident", None)
    } else if state.correction.as_ref().is_some_and(|said| said.deployments.is_empty()) {
        why("a person said that it belongs to no deployment", Some("DELETE its links to take that back"))
    } else if !state.named_deployments().is_empty() {
        let reason = format!("the deployments{place} that it names are not known: it counts when they arrive");
        (reason, Some("send deployment events"))
    } else if state.service.is_none() {
        why(
            "it names neither a service nor a deployment",
            Some("send service, or name the deployment in deployments[]"),
        )
    } else {
        let reason = format!(
            "it names no deployment, and none{place} of its service finished within the attribution window before it"
        );
        (reason, Some("name the deployment in deployments[]"))
    })
}
