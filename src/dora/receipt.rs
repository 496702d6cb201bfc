//! What an accepted delivery event counts in, and what not, why, and what to do about it.

use super::Metric;
use crate::event::{Change, Counting, Deployment, DeploymentKind, DeploymentOutcome, Incident, Joined, NotCounted};

/// The thing an accepted event told of, as it stands now, and what is known around it.
#[derive(Debug, Clone)]
pub enum Accepted {
    Deployment {
        state: Deployment,
        /// The environment is of tier production.
        production: bool,
        /// The deployment that succeeded there before this one.
        earlier: Option<Deployment>,
        /// Changes of its repository are known, or its commit is, or a clone says what it brings.
        changes_known: bool,
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

pub fn counting(accepted: &Accepted) -> Counting {
    let mut counting = Counting::default();
    match accepted {
        Accepted::Deployment { state, production, earlier, changes_known } => {
            counting.joined = joined(state);
            if !deployment(&mut counting, state, *production) {
                return counting;
            }
            lead_time(&mut counting, state, earlier.as_ref(), *changes_known);
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
fn deployment(counting: &mut Counting, state: &Deployment, production: bool) -> bool {
    let reason = match state.outcome {
        DeploymentOutcome::InProgress => Some("the deployment has not finished: it counts once it has succeeded"),
        DeploymentOutcome::Failed => {
            Some("a deployment that failed reached nobody: it counts only when an incident or a rollback names it")
        }
        DeploymentOutcome::Cancelled => Some("a deployment that was cancelled reached nobody"),
        DeploymentOutcome::Succeeded => None,
    };
    if let Some(reason) = reason {
        not(counting, &OF_DEPLOYMENTS, reason, None);
        return false;
    }
    if !production {
        let name = &state.environment;
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

fn lead_time(counting: &mut Counting, state: &Deployment, earlier: Option<&Deployment>, changes_known: bool) {
    let mut out = |reason, fix| not(counting, &[Metric::ChangeLeadTime], reason, fix);
    if state.changes.is_empty() {
        if state.declared_kind() == Some(DeploymentKind::Rollback) {
            return out("a rollback brings no new changes", None);
        }
        let Some(earlier) = earlier else {
            let reason = "the deployment names no changes and no earlier deployment exists";
            return out(reason, Some("send changes[] or change events"));
        };
        if state.version.is_some() && (&state.version, &state.commit) == (&earlier.version, &earlier.commit) {
            return out("a redeploy of the same version brings no new changes", None);
        }
        if !changes_known && state.commit.is_none() && state.provenance.artifact.is_some() {
            let reason = "the deployment names an artifact, and no event so far the commit that it was built from";
            return out(reason, Some("send artifact.packaged of CDEvents with the commit as its change"));
        }
        if !changes_known {
            let reason = "the deployment names no changes, and none of its repository are known";
            return out(reason, Some("send changes[], or commit and change events"));
        }
    } else if !changes_known && state.changes.iter().all(|change| change.authored_at.is_none()) {
        return out("no time is known of the changes that the deployment names", Some("send authored_at in changes[]"));
    } else if state.changes.iter().all(|change| change.authored_at.is_some() && change.authored_at > state.finished_at)
    {
        let reason = "every change was authored after the deployment had finished";
        return out(reason, Some("check the clocks, and `time`: when the deployment finished"));
    }
    counting.counted_in.push(Metric::ChangeLeadTime.name());
}

fn change(counting: &mut Counting, state: &Change) {
    let (reason, fix) = if state.merge {
        ("a merge commit is not a change", None)
    } else if state.authored_at.is_none() {
        ("the time it was authored is not known", Some("send authored_at"))
    } else {
        ("it counts once a deployment to production brings it", None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DeliveryEvent, state};

    fn deployment(json: &str) -> Deployment {
        let base = r#"{"type":"deployment","id":"d-41","source":"ci/acme","time":"2026-01-05T10:04:00Z","service":"checkout","environment":"production""#;
        match serde_json::from_str(&format!("{base},{json}}}")).unwrap() {
            DeliveryEvent::Deployment(event) => state::fold_deployment(&[event]).unwrap(),
            _ => unreachable!(),
        }
    }

    fn of(json: &str, production: bool, earlier: bool, changes_known: bool) -> Counting {
        let earlier = earlier.then(|| deployment(r#""version":"1.4.1","outcome":"succeeded""#));
        counting(&Accepted::Deployment { state: deployment(json), production, earlier, changes_known })
    }

    /// The example of the wire contract.
    #[test]
    fn a_first_deployment_without_changes_says_what_is_missing() {
        let counting = of(r#""version":"1.4.2","outcome":"succeeded""#, true, false, false);
        assert_eq!(counting.counted_in, ["deployment_frequency", "change_fail_rate", "rework_rate"]);
        assert_eq!(
            counting.not_counted,
            [NotCounted {
                metric: "change_lead_time",
                reason: "the deployment names no changes and no earlier deployment exists".to_owned(),
                fix: Some("send changes[] or change events".to_owned()),
            }]
        );
    }

    #[test]
    fn named_changes_count_at_once() {
        let changes = r#""outcome":"succeeded","changes":[{"repository":"a/b","sha":"8f3c","authored_at":"2026-01-05T08:00:00Z"}]"#;
        assert!(of(changes, true, false, false).counted_in.contains(&"change_lead_time"));
        assert!(of(r#""outcome":"succeeded""#, true, true, true).counted_in.contains(&"change_lead_time"));
        assert!(!of(r#""outcome":"succeeded""#, true, true, false).counted_in.contains(&"change_lead_time"));
        let again = of(r#""version":"1.4.1","outcome":"succeeded""#, true, true, true);
        assert!(again.not_counted[0].reason.starts_with("a redeploy"), "{again:?}");
    }

    #[test]
    fn changes_of_the_future_do_not_count() {
        let changes = r#""outcome":"succeeded","changes":[{"repository":"a/b","sha":"8f3c","authored_at":"2026-01-05T11:00:00Z"}]"#;
        let told = of(changes, true, false, false);
        assert!(!told.counted_in.contains(&"change_lead_time"), "{told:?}");
    }

    #[test]
    fn other_tiers_and_unfinished_deployments_count_in_nothing() {
        for counting in [
            of(r#""outcome":"succeeded""#, false, true, true),
            of(r#""outcome":"in_progress""#, true, true, true),
            of(r#""outcome":"failed""#, true, true, true),
        ] {
            assert!(counting.counted_in.is_empty());
            assert_eq!(counting.not_counted.len(), 4);
        }
    }

    #[test]
    fn an_open_incident_counts_as_a_failure_but_not_yet_as_a_recovery() {
        let event = r#"{"type":"incident","id":"i","source":"pd","time":"2026-01-05T10:00:00Z","status":"opened","service":"checkout"}"#;
        let DeliveryEvent::Incident(event) = serde_json::from_str(event).unwrap() else { unreachable!() };
        let state = state::fold_incident(&[event], &[]).unwrap();
        let told = counting(&Accepted::Incident { state: state.clone(), link: Link::Known });
        assert_eq!(told.counted_in, ["change_fail_rate"]);
        let told = counting(&Accepted::Incident { state, link: Link::NoneBefore });
        assert!(told.counted_in.is_empty());
        assert!(told.not_counted[0].fix.is_some());
    }
}
