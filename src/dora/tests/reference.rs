//! The definitions once more, as slowly and literally as they can be written, for one place.

use std::collections::BTreeSet;

use crate::dora::calendar::Window;
use crate::dora::derive::History;
use crate::event::{Deployment, DeploymentKind, DeploymentOutcome, EntityKey, Incident};
use crate::time::Timestamp;

#[derive(Debug, PartialEq)]
pub struct Expected {
    pub deployments: u64,
    pub failed: u64,
    pub unplanned: u64,
    pub open: u64,
    pub lead_mean: Option<f64>,
    pub recovery_mean: Option<f64>,
    pub incident_mean: Option<f64>,
}

const DAY: i64 = 86_400_000_000;

/// The succeeded deployments in order.
fn order(history: &History) -> Vec<&Deployment> {
    let mut order: Vec<&Deployment> =
        history.deployments.iter().filter(|d| d.outcome == DeploymentOutcome::Succeeded).collect();
    order.sort_by_key(|d| (d.finished_at.unwrap(), d.started_at, d.key.clone()));
    order
}

/// All versions here carry their commit, or none does.
fn same(a: &Deployment, b: &Deployment) -> bool {
    a.version == b.version
}

fn first_of(order: &[&Deployment], d: &Deployment) -> usize {
    order.iter().position(|other| same(other, d)).unwrap()
}

fn goes_back(order: &[&Deployment], i: usize) -> bool {
    i > 0 && first_of(order, order[i]) < i && first_of(order, order[i]) < first_of(order, order[i - 1])
}

fn kind(order: &[&Deployment], i: usize) -> DeploymentKind {
    match (order[i].kind, &order[i].rolls_back) {
        (Some(kind), _) => kind,
        (None, Some(_)) => DeploymentKind::Rollback,
        (None, None) if goes_back(order, i) => DeploymentKind::Rollback,
        (None, None) => DeploymentKind::Planned,
    }
}

/// Where the version of a rollback was last.
fn target(order: &[&Deployment], i: usize) -> Option<usize> {
    (0..i).rev().find(|j| same(order[*j], order[i]))
}

fn undone(history: &History, order: &[&Deployment], i: usize) -> Option<EntityKey> {
    if let Some(named) = &order[i].rolls_back {
        let known = history.deployments.iter().any(|d| d.key == *named);
        return (known && *named != order[i].key).then(|| named.clone());
    }
    if i == 0 || same(order[i], order[i - 1]) {
        return None;
    }
    let newer = |j: &usize| first_of(order, order[*j]) > first_of(order, order[i]);
    let failed = target(order, i).and_then(|target| (target + 1..i).find(newer)).unwrap_or(i - 1);
    Some(order[failed].key.clone())
}

fn rollbacks(order: &[&Deployment]) -> Vec<usize> {
    (0..order.len()).filter(|i| kind(order, *i) == DeploymentKind::Rollback).collect()
}

fn linked(history: &History, order: &[&Deployment], incident: &Incident) -> BTreeSet<EntityKey> {
    if incident.is_withdrawn() {
        return BTreeSet::new();
    }
    if !incident.deployments.is_empty() {
        let named = |d: &&Deployment| {
            d.outcome != DeploymentOutcome::Withdrawn
                && incident.deployments.iter().any(|n| n.id.as_ref() == Some(&d.key.id))
        };
        return history.deployments.iter().filter(named).map(|d| d.key.clone()).collect();
    }
    let during = |i: &usize| {
        let (ended, began) = (order[*i].finished_at.unwrap(), order[*i].started_at.or(order[*i].finished_at).unwrap());
        let undone = undone(history, order, *i)?;
        let undone = history.deployments.iter().find(|d| d.key == undone)?;
        let fits = ended >= incident.started_at
            && incident.resolved_at.is_none_or(|resolved| began <= resolved)
            && ended.micros_since(incident.started_at) <= DAY
            && undone.finished_at? <= incident.started_at;
        fits.then(|| (ended, row_number(history, &undone.key), undone.key.clone()))
    };
    if let Some((.., key)) = rollbacks(order).iter().filter_map(during).min() {
        return BTreeSet::from([key]);
    }
    let before = order.iter().rfind(|d| d.finished_at.unwrap() <= incident.started_at);
    let recent = before.filter(|d| incident.started_at.micros_since(d.finished_at.unwrap()) <= DAY);
    recent.map(|d| d.key.clone()).into_iter().collect()
}

/// The place among all deployments, whatever became of them.
fn row_number(history: &History, key: &EntityKey) -> usize {
    let mut all: Vec<&Deployment> = history.deployments.iter().collect();
    all.sort_by_key(|d| (d.finished_at.or(d.started_at), d.started_at, d.key.clone()));
    all.iter().position(|d| d.key == *key).unwrap()
}

fn repaired(history: &History, order: &[&Deployment], i: usize) -> Option<EntityKey> {
    if let Some(named) = &order[i].rolls_back {
        let known = history.deployments.iter().any(|d| d.key == *named);
        return (known && *named != order[i].key).then(|| named.clone());
    }
    let (ended, began) = (order[i].finished_at.unwrap(), order[i].started_at.or(order[i].finished_at).unwrap());
    let open = history
        .incidents
        .iter()
        .filter(|n| n.started_at <= ended && n.resolved_at.is_none_or(|resolved| resolved >= began));
    let open: BTreeSet<EntityKey> = open.flat_map(|incident| linked(history, order, incident)).collect();
    if let Some(j) = (0..i).rev().find(|j| open.contains(&order[*j].key)) {
        return Some(order[j].key.clone());
    }
    match i.checked_sub(1) {
        Some(before) if kind(order, before) == DeploymentKind::Rollback => {
            undone(history, order, before).filter(|undone| *undone != order[i].key)
        }
        Some(before) => Some(order[before].key.clone()),
        None => None,
    }
}

/// Whether a deployment failed, and what ended it.
fn failure(history: &History, order: &[&Deployment], d: &Deployment) -> (bool, Option<Timestamp>) {
    let (mut failed, mut repairs, mut gone_with) = (false, Vec::new(), Vec::new());
    let position = order.iter().position(|other| other.key == d.key);
    for i in rollbacks(order) {
        let is_undone = undone(history, order, i).as_ref() == Some(&d.key);
        failed |= is_undone;
        let moved = i > 0 && !same(order[i], order[i - 1]);
        let gone_from = target(order, i).map_or(i.saturating_sub(1), |target| (target + 1).min(i.saturating_sub(1)));
        let gone = moved && position.is_some_and(|p| gone_from <= p && p < i);
        let at = order[i].finished_at.unwrap();
        if is_undone {
            repairs.push(at);
        } else if gone {
            gone_with.push(at);
        }
    }
    for i in 0..order.len() {
        if kind(order, i) == DeploymentKind::Hotfix && repaired(history, order, i).as_ref() == Some(&d.key) {
            failed = true;
            repairs.push(order[i].finished_at.unwrap());
        }
    }
    let incidents: Vec<&Incident> =
        history.incidents.iter().filter(|incident| linked(history, order, incident).contains(&d.key)).collect();
    failed |= !incidents.is_empty();
    let all = incidents.iter().all(|incident| incident.resolved_at.is_some());
    let resolved = incidents.iter().filter_map(|incident| incident.resolved_at).max().filter(|_| all);
    let end = |from: Timestamp| {
        let resolved = resolved.filter(|end| *end >= from);
        let in_time = |end: &&Timestamp| **end >= from;
        let before = |end: &&Timestamp| resolved.is_none_or(|resolved| **end <= resolved);
        let last = repairs.iter().filter(in_time).filter(before).max();
        last.into_iter().chain(gone_with.iter().filter(in_time)).copied().chain(resolved).min()
    };
    (failed, end(d.finished_at.unwrap()).or_else(|| end(Timestamp::from_micros(i64::MIN))))
}

fn leads(history: &History, order: &[&Deployment], window: Window) -> Vec<i64> {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    let mut leads = Vec::new();
    let changes = || history.repositories.iter().flat_map(|repository| repository.commits());
    let known = |sha: &str| changes().find(|c| &*c.sha == sha);
    for (i, d) in order.iter().enumerate() {
        let own = |d: &Deployment| d.commit.as_deref().and_then(known);
        let reach = |d: &Deployment| own(d).map_or(d.started_at.or(d.finished_at).unwrap(), |c| c.merged_at.unwrap());
        let mut brought: Vec<(&str, Option<Timestamp>)> = Vec::new();
        let goes_on =
            |j: usize| j == 0 || (first_of(order, order[j]) == j && kind(order, j) != DeploymentKind::Rollback);
        if !d.changes.is_empty() {
            brought.extend(d.changes.iter().map(|c| (c.sha.as_str(), c.authored_at)));
        } else if i > 0 && goes_on(i) {
            let earlier = (0..i).filter(|j| !order[*j].changes.is_empty() || goes_on(*j));
            let before = earlier.map(|j| reach(order[j])).max().unwrap();
            let until = reach(d);
            let new = changes().filter(|c| before < c.merged_at.unwrap() && c.merged_at.unwrap() <= until);
            brought.extend(new.chain(own(d)).map(|c| (&*c.sha, c.authored_at)));
        }
        for (sha, authored) in brought {
            let merge = known(sha).is_some_and(|c| c.merge);
            if !merge && there.insert(sha) {
                let finished = d.finished_at.unwrap();
                let lead = finished.micros_since(authored.unwrap());
                if window.contains(finished) && lead >= 0 {
                    leads.push(lead);
                }
            }
        }
    }
    leads
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "small numbers")]
fn mean(micros: &[i64]) -> Option<f64> {
    let sum: f64 = micros.iter().map(|m| *m as f64 / 1e6).sum();
    (!micros.is_empty()).then(|| sum / micros.len() as f64)
}

pub fn figures(history: &History, window: Window) -> Expected {
    let order = order(history);
    let mut expected = Expected {
        deployments: 0,
        failed: 0,
        unplanned: 0,
        open: 0,
        lead_mean: mean(&leads(history, &order, window)),
        recovery_mean: None,
        incident_mean: None,
    };
    let mut recoveries = Vec::new();
    let over = |d: &&Deployment| !matches!(d.outcome, DeploymentOutcome::InProgress | DeploymentOutcome::Withdrawn);
    for d in history.deployments.iter().filter(over) {
        let finished = d.finished_at.unwrap();
        let (failed, restored) = failure(history, &order, d);
        let position = order.iter().position(|other| other.key == d.key);
        if position.is_none() && !failed {
            continue;
        }
        // Who names what it undoes declares a rollback, whatever became of it.
        let named = if d.rolls_back.is_some() { DeploymentKind::Rollback } else { DeploymentKind::Planned };
        let kind = position.map_or(d.kind.unwrap_or(named), |i| kind(&order, i));
        if window.contains(finished) {
            expected.deployments += 1;
            expected.failed += u64::from(failed);
            expected.unplanned += u64::from(kind != DeploymentKind::Planned);
        }
        match restored {
            _ if !failed => {}
            Some(end) if window.contains(end) => {
                recoveries.extend(Some(end.micros_since(finished)).filter(|lasted| *lasted >= 0));
            }
            Some(end) if end < window.from => {}
            _ => expected.open += u64::from(finished < window.to),
        }
    }
    expected.recovery_mean = mean(&recoveries);
    let resolved = history.incidents.iter().filter(|incident| !incident.is_withdrawn()).filter_map(|incident| {
        let end = incident.resolved_at.filter(|end| window.contains(*end) && !incident.start_unknown)?;
        Some(end.micros_since(incident.started_at)).filter(|lasted| *lasted >= 0)
    });
    expected.incident_mean = mean(&resolved.collect::<Vec<_>>());
    expected
}
