//! What a rollback decision rests on: rows of the store, read now and then, and counts from the
//! windows in memory, read at every judgement.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::alert::burn;
use crate::config::model::Policy;
use crate::event::{Deployment, DeploymentOutcome, Incident};
use crate::rollback::situation::{Candidate, Indicator, PastRollback, Served, Situation, SloAlert};
use crate::slo::live::Tracked;
use crate::slo::{self, Counts, Live};
use crate::store::{self, Store, StoreError};
use crate::time::Timestamp;

/// Deployments looked back for a target.
const CANDIDATES: i64 = 30;
/// Clocks of senders may run a little ahead.
const AHEAD: Duration = Duration::from_hours(1);

/// What the store knows of one place with a rollback policy.
pub struct Watched {
    pub read_at: Timestamp,
    /// Newest first.
    deployments: Vec<Deployment>,
    past: Vec<PastRollback>,
    quarantined: BTreeSet<String>,
    alerts: Vec<SloAlert>,
    incidents: Vec<Incident>,
}

impl Watched {
    /// # Errors
    /// The database does not answer.
    pub async fn read(store: &Store, policy: &Policy, now: Timestamp) -> Result<Self, StoreError> {
        let place = (policy.service.as_str(), policy.environment.as_str());
        let mut conn = store.read().await?;
        let deployments = store::place::deployments(&mut conn, place, CANDIDATES).await?;
        let mut watched = Self {
            read_at: now,
            deployments,
            past: Vec::new(),
            quarantined: BTreeSet::new(),
            alerts: Vec::new(),
            incidents: Vec::new(),
        };
        let Some((key, began)) = watched.current().and_then(|d| Some((d.key.clone(), began(d)?))) else {
            return Ok(watched);
        };
        let since = now.minus(policy.max_rollbacks_window.max(policy.cooldown));
        watched.past = store::rollback::past(&mut conn, place, &key, since).await?;
        watched.quarantined = store::quarantine::versions(&mut conn, place).await?;
        watched.incidents = store::place::incidents(&mut conn, place, began).await?;
        let active = store::place::alerts(&mut conn, place, "burn_rate", began.minus(policy.bake_time)).await?;
        watched.alerts = active
            .into_iter()
            .filter_map(|(fingerprint, started_at, resolved_at)| {
                let slo = fingerprint.strip_prefix(burn::PREFIX)?.to_owned();
                Some(SloAlert { slo, started_at, resolved_at })
            })
            .collect();
        Ok(watched)
    }

    /// The newest deployment in place.
    pub fn current(&self) -> Option<&Deployment> {
        self.succeeded().next()
    }

    fn succeeded(&self) -> impl Iterator<Item = &Deployment> {
        self.deployments.iter().filter(|deployment| deployment.outcome == DeploymentOutcome::Succeeded)
    }

    /// `None` while nothing was deployed, or when the newest deployment is too old to be watched.
    pub fn situation(&self, live: &Live, policy: &Policy, observed_at: Timestamp, now: Timestamp) -> Option<Situation> {
        let deployment = self.current()?;
        if deployment.finished_at?.plus(policy.bake_time) < now {
            return None;
        }
        Some(Situation {
            deployment: deployment.clone(),
            newer: self.newer(deployment),
            candidates: self.candidates(live, now),
            indicators: indicators(live, deployment, policy, now),
            past: self.past.clone(),
            quarantined: self.quarantined.clone(),
            alerts: self.alerts.clone(),
            incidents: self.incidents.clone(),
            observed_at,
        })
    }

    fn newer(&self, current: &Deployment) -> Option<crate::event::EntityKey> {
        let finished = current.finished_at;
        let running = self.deployments.iter().filter(|d| d.outcome == DeploymentOutcome::InProgress);
        let mut after = running.filter(|d| d.key != current.key && d.started_at >= finished);
        after.next().map(|deployment| deployment.key.clone())
    }

    fn candidates(&self, live: &Live, now: Timestamp) -> Vec<Candidate> {
        let ends = self.succeeded().filter_map(began);
        let earlier = self.succeeded().skip(1);
        earlier
            .zip(ends)
            .map(|(deployment, until)| Candidate {
                deployment: deployment.clone(),
                served: served(live, deployment, until, now),
            })
            .collect()
    }
}

/// How a service's telemetry tells its versions apart.
enum Labels<'a> {
    /// Requests say which version answered them.
    Version(&'a str),
    /// They do not: everything after the deployment is the new version's.
    None,
    /// They do, and this version has not been heard of yet.
    Silent,
}

fn labels<'a>(tracked: &Tracked, deployment: &'a Deployment) -> Labels<'a> {
    match deployment.version.as_deref() {
        Some(version) if tracked.has_version(version) => Labels::Version(version),
        _ if tracked.is_labelled() => Labels::Silent,
        _ => Labels::None,
    }
}

fn began(deployment: &Deployment) -> Option<Timestamp> {
    let finished = deployment.finished_at?;
    Some(deployment.started_at.map_or(finished, |started| started.min(finished)))
}

/// One entry per objective of the place; nothing while the deployment is not finished.
fn indicators(live: &Live, deployment: &Deployment, policy: &Policy, now: Timestamp) -> Vec<Indicator> {
    let (Some(began), Some(finished)) = (began(deployment), deployment.finished_at) else { return Vec::new() };
    let from = began.minus(policy.baseline_window);
    let place = live.of(&deployment.service, &deployment.environment);
    place
        .map(|tracked| {
            let before = || tracked.ring.sum_within(from, began, now);
            let (since, baseline) = match labels(tracked, deployment) {
                Labels::Version(version) => (
                    tracked.version(version, began, now.plus(AHEAD), now),
                    tracked.other_versions(version, from, began, now),
                ),
                Labels::Silent => (Counts::default(), before()),
                Labels::None => (tracked.ring.sum_within(finished, now.plus(AHEAD), now), before()),
            };
            let burn = slo::burn::burn(since, tracked.slo.objective).unwrap_or(0.0);
            let elapsed = now.duration_since(began).as_secs_f64();
            Indicator {
                slo: tracked.slo.name.clone(),
                objective: tracked.slo.objective,
                kind: tracked.slo.indicator,
                since,
                baseline,
                // consumed(W) = burn · W / T
                budget_consumed: burn * elapsed / tracked.slo.window.as_secs_f64(),
            }
        })
        .collect()
}

/// What a deployment's version served until the next deployment began, per objective.
fn served(live: &Live, deployment: &Deployment, until: Timestamp, now: Timestamp) -> Vec<Served> {
    let Some(began) = began(deployment) else { return Vec::new() };
    let place = live.of(&deployment.service, &deployment.environment);
    place
        .map(|tracked| Served {
            slo: tracked.slo.name.clone(),
            objective: tracked.slo.objective,
            counts: match labels(tracked, deployment) {
                Labels::Version(version) => tracked.version(version, began, until, now),
                Labels::Silent => Counts::default(),
                Labels::None => tracked.ring.sum_within(began, until, now),
            },
        })
        .collect()
}
