//! Which deployments failed, why, and what ended each failure.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::derive::Work;
use super::range::SHORT_HASH;
use super::row::{Because, Cause, LinkKind, Restoration};
use crate::event::{DeploymentKind, DeploymentOutcome, DeploymentRef, Incident};
use crate::time::Timestamp;

/// A rollback and what it undid, as indices of rows.
pub(super) struct Undo {
    pub by: usize,
    /// The deployment that failed.
    pub undone: Option<usize>,
    /// Every deployment that is gone with it.
    pub removed: Vec<usize>,
}

/// A hotfix and the failed deployment that it repairs.
pub(super) struct Fix {
    by: usize,
    repaired: usize,
}

/// The deployments that an incident belongs to, with how that is known.
pub(super) type Links = Vec<(usize, LinkKind)>;

pub(super) fn rollbacks(work: &mut Work<'_>) -> Vec<Undo> {
    let mut undos = Vec::new();
    for place in &work.places {
        for (position, (row, step)) in place.order.iter().zip(&place.steps).enumerate() {
            let named = work.rows.get(*row).and_then(|current| current.rolls_back.as_ref());
            let known = named.and_then(|named| work.named(named, *row)).filter(|named| named != row);
            let Some(current) = work.rows.get_mut(*row) else { continue };
            (current.kind, current.kind_inferred) = (step.kind, step.kind_inferred);
            if step.kind != DeploymentKind::Rollback {
                continue;
            }
            let at = |position: usize| place.order.get(position).copied();
            let (undone, link) = match &current.rolls_back {
                // Named, and perhaps not known yet: then nothing else is blamed in its stead.
                Some(_) => (known, LinkKind::Explicit),
                None if step.kind_inferred => (step.undoes.and_then(at), LinkKind::Inferred),
                None => (step.undoes.and_then(at), LinkKind::Rollback),
            };
            let by = current.key.clone();
            let removed: Vec<usize> = (step.took_away_from.unwrap_or(position)..position).filter_map(at).collect();
            let gone = removed.iter().filter_map(|gone| work.rows.get(*gone)).map(|gone| gone.key.clone()).collect();
            if let Some(failed) = undone.and_then(|undone| work.rows.get_mut(undone)) {
                failed.because.push(Because::deployment(Cause::Rollback, &by, link));
                let undone = failed.key.clone();
                if let Some(current) = work.rows.get_mut(*row) {
                    current.rolls_back = Some(undone);
                }
            }
            if let Some(current) = work.rows.get_mut(*row) {
                current.took_away = gone;
            }
            undos.push(Undo { by: *row, undone, removed });
        }
    }
    undos
}

/// Finds each incident's deployments, as strong a link as there is: named by the incident, undone
/// by a rollback that ran during it, or the newest one before it.
pub(super) fn link_incidents(work: &mut Work<'_>, incidents: &[&Incident], undos: &[Undo]) -> Vec<Links> {
    let index = Index::of(work);
    let links: Vec<Links> = incidents.iter().map(|incident| links_of(work, &index, incident, undos)).collect();
    for (incident, links) in incidents.iter().zip(&links) {
        for (row, link) in links {
            if let Some(row) = work.rows.get_mut(*row) {
                row.because.push(Because::incident(&incident.key, *link));
            }
        }
    }
    links
}

fn links_of(work: &Work<'_>, index: &Index, incident: &Incident, undos: &[Undo]) -> Links {
    if incident.is_withdrawn() {
        return Vec::new();
    }
    let said = if incident.correction.is_some() { LinkKind::Operator } else { LinkKind::Explicit };
    if said == LinkKind::Operator || !incident.deployments.is_empty() {
        let named = incident.named_deployments();
        let mut named: Vec<usize> = named.iter().flat_map(|named| index.named(work, incident, named)).collect();
        named.sort_unstable();
        named.dedup();
        return named.into_iter().map(|row| (row, said)).collect();
    }
    if !incident.affects(work.service) {
        return Vec::new();
    }
    let undone = undos.iter().filter_map(|undo| undone_during(work, incident, undo)).min();
    if let Some((_, row)) = undone {
        return vec![(row, LinkKind::Rollback)];
    }
    index.newest_before(work, incident).map(|row| (row, LinkKind::Inferred)).into_iter().collect()
}

/// The deployment that a rollback undid which ran while the incident lasted.
fn undone_during(work: &Work<'_>, incident: &Incident, undo: &Undo) -> Option<(Timestamp, usize)> {
    let undone = undo.undone?;
    let (ended, began) = (work.finished(undo.by)?, work.began(undo.by)?);
    let lasted = ended >= incident.started_at && incident.resolved_at.is_none_or(|resolved| began <= resolved);
    let soon = ended.duration_since(incident.started_at) <= work.rules.attribution_window;
    let before = work.finished(undone)? <= incident.started_at;
    (lasted && soon && before && concerns(work, incident, undone)).then_some((ended, undone))
}

/// Whether a deployment is in the incident's environment: any of production where it names none.
fn concerns(work: &Work<'_>, incident: &Incident, row: usize) -> bool {
    let Some(row) = work.rows.get(row) else { return false };
    match &incident.environment {
        Some(raw) => work.rules.environment(raw).0 == row.environment,
        None => work.rules.is_production(&row.environment),
    }
}

/// Rows by the names that incidents use for them.
struct Index {
    by_id: BTreeMap<String, Vec<usize>>,
    by_version: BTreeMap<String, Vec<usize>>,
    by_commit: BTreeMap<String, Vec<usize>>,
    /// Succeeded deployments per environment, in order of their finish.
    succeeded: BTreeMap<String, Vec<(Timestamp, usize)>>,
}

impl Index {
    fn of(work: &Work<'_>) -> Self {
        let mut index = Self {
            by_id: BTreeMap::new(),
            by_version: BTreeMap::new(),
            by_commit: BTreeMap::new(),
            succeeded: BTreeMap::new(),
        };
        for (row, deployment) in work.rows.iter().enumerate() {
            index.by_id.entry(deployment.key.id.clone()).or_default().push(row);
            if let Some(version) = &deployment.version {
                index.by_version.entry(version.clone()).or_default().push(row);
            }
            if let Some(commit) = &deployment.commit {
                index.by_commit.entry(commit.clone()).or_default().push(row);
            }
            if let (DeploymentOutcome::Succeeded, Some(at)) = (deployment.outcome, deployment.finished_at) {
                index.succeeded.entry(deployment.environment.clone()).or_default().push((at, row));
            }
        }
        index
    }

    /// An id (with its source, where given) names deployments wherever they are. A version or a
    /// commit names one deployment: the newest of the incident's environment at its start, else
    /// the first after it.
    fn named(&self, work: &Work<'_>, incident: &Incident, named: &DeploymentRef) -> Vec<usize> {
        if let Some(id) = &named.id {
            let rows = self.by_id.get(id).into_iter().flatten().copied();
            let of = |source: &str, row: usize| work.rows.get(row).is_some_and(|row| row.key.source == source);
            // Without a source: the incident's own, which may number deployments too; else any.
            let source = named.source.as_ref().unwrap_or(&incident.key.source);
            let mut rows: Vec<usize> = rows.collect();
            let ours = named.source.is_none() && incident.affects(work.service);
            if !ours || rows.iter().any(|row| of(source, *row)) {
                rows.retain(|row| of(source, *row));
            }
            // One id may be deployed to several places: those the incident is about, if any.
            let concerned: Vec<usize> = rows.iter().copied().filter(|row| concerns(work, incident, *row)).collect();
            return if concerned.is_empty() { rows } else { concerned };
        }
        // Without a service, a version could be anybody's.
        let ours = incident.affects(work.service);
        let mut rows: Vec<usize> = match (&named.version, &named.commit) {
            (Some(version), _) if ours => self.by_version.get(version).cloned().unwrap_or_default(),
            (None, Some(commit)) if ours || incident.service.is_none() => self.with_commit(commit),
            _ => Vec::new(),
        };
        if let (Some(_), Some(commit)) = (&named.version, &named.commit) {
            rows.retain(|row| work.rows.get(*row).and_then(|row| row.commit.as_ref()).is_some_and(|c| c == commit));
        }
        if rows.iter().any(|row| concerns(work, incident, *row)) {
            rows.retain(|row| concerns(work, incident, *row));
        } else if incident.environment.is_some() {
            return Vec::new();
        }
        rows.sort_unstable();
        let at_start = |row: &&usize| work.finished(**row).is_some_and(|at| at <= incident.started_at);
        rows.iter().rev().find(at_start).or_else(|| rows.first()).copied().into_iter().collect()
    }

    fn with_commit(&self, commit: &str) -> Vec<usize> {
        if commit.len() < SHORT_HASH {
            return self.by_commit.get(commit).cloned().unwrap_or_default();
        }
        let from = self.by_commit.range::<str, _>((Bound::Included(commit), Bound::Unbounded));
        from.take_while(|(sha, _)| sha.starts_with(commit)).flat_map(|(_, rows)| rows).copied().collect()
    }

    /// The newest succeeded deployment that finished at or before the incident's start, not
    /// longer before it than the attribution window.
    fn newest_before(&self, work: &Work<'_>, incident: &Incident) -> Option<usize> {
        let start = incident.started_at;
        let candidates = self.succeeded.values().filter_map(|succeeded| {
            let until = succeeded.partition_point(|(at, _)| *at <= start);
            let (at, row) = *succeeded.get(until.checked_sub(1)?)?;
            concerns(work, incident, row).then_some((at, row))
        });
        let (at, row) = candidates.max()?;
        (start.duration_since(at) <= work.rules.attribution_window).then_some(row)
    }
}

/// A hotfix repairs the deployment it names, else the newest one of its place that an open
/// incident is linked to, else the one before it; where that is a rollback, what it undid.
pub(super) fn hotfixes(work: &mut Work<'_>, incidents: &[&Incident], links: &[Links], undos: &[Undo]) -> Vec<Fix> {
    let mut fixes = Vec::new();
    for place in &work.places {
        for (position, (row, step)) in place.order.iter().zip(&place.steps).enumerate() {
            if step.kind != DeploymentKind::Hotfix {
                continue;
            }
            let earlier = place.order.get(..position).unwrap_or_default();
            let named = work.deployments.get(*row).and_then(|hotfix| hotfix.rolls_back.as_ref());
            let (repaired, link) = match named {
                Some(named) => (work.named(named, *row), LinkKind::Explicit),
                None => (broken(work, *row, earlier, incidents, links, undos), LinkKind::Inferred),
            };
            fixes
                .extend(repaired.filter(|repaired| repaired != row).map(|repaired| (Fix { by: *row, repaired }, link)));
        }
    }
    for (fix, link) in &fixes {
        let Some(by) = work.rows.get(fix.by).map(|row| row.key.clone()) else { continue };
        if let Some(repaired) = work.rows.get_mut(fix.repaired) {
            repaired.because.push(Because::deployment(Cause::Hotfix, &by, *link));
        }
    }
    fixes.into_iter().map(|(fix, _)| fix).collect()
}

/// The deployment that a hotfix repairs which names none.
fn broken(
    work: &Work<'_>,
    hotfix: usize,
    earlier: &[usize],
    incidents: &[&Incident],
    links: &[Links],
    undos: &[Undo],
) -> Option<usize> {
    let (began, ended) = (work.began(hotfix)?, work.finished(hotfix)?);
    let open = incidents.iter().zip(links).filter(|(incident, _)| {
        incident.started_at <= ended && incident.resolved_at.is_none_or(|resolved| resolved >= began)
    });
    let linked = open.flat_map(|(_, links)| links).map(|(row, _)| *row);
    let newest = linked.filter(|row| earlier.binary_search(row).is_ok()).max();
    newest.or_else(|| {
        let before = *earlier.last()?;
        match undos.iter().find(|undo| undo.by == before) {
            Some(rollback) => rollback.undone,
            None => Some(before),
        }
    })
}

/// Ends each failure where the first of these ended it: the rollback that took the deployment
/// away, the hotfix, or the last resolution of its incidents once all are resolved.
pub(super) fn restorations(
    work: &mut Work<'_>,
    incidents: &[&Incident],
    links: &[Links],
    undos: &[Undo],
    fixes: &[Fix],
) {
    let mut ends: BTreeMap<usize, Vec<(Timestamp, Cause)>> = BTreeMap::new();
    for undo in undos {
        let Some(at) = work.finished(undo.by) else { continue };
        for row in undo.removed.iter().copied().chain(undo.undone) {
            ends.entry(row).or_default().push((at, Cause::Rollback));
        }
    }
    for fix in fixes {
        if let Some(at) = work.finished(fix.by) {
            ends.entry(fix.repaired).or_default().push((at, Cause::Hotfix));
        }
    }
    // Overlapping incidents are one interval: it lasts until the last of them is resolved.
    let mut resolved: BTreeMap<usize, Option<Timestamp>> = BTreeMap::new();
    for (incident, links) in incidents.iter().zip(links) {
        for (row, _) in links {
            let last = resolved.entry(*row).or_insert(incident.resolved_at);
            *last = last.zip(incident.resolved_at).map(|(a, b)| a.max(b));
        }
    }
    for (row, at) in resolved {
        ends.entry(row).or_default().extend(at.map(|at| (at, Cause::Incident)));
    }
    for (row, ends) in ends {
        let Some(row) = work.rows.get_mut(row).filter(|row| row.failed()) else { continue };
        let finished = row.finished_at;
        // An end before the deployment's finish ended something else, unless there is no other.
        let after = ends.iter().filter(|(at, _)| finished.is_none_or(|finished| *at >= finished)).min();
        row.restored = after.or_else(|| ends.iter().min()).map(|(at, by)| Restoration { at: *at, by: *by });
    }
    for row in &mut work.rows {
        row.because.sort_by(|a, b| (a.kind, &a.deployment, &a.incident).cmp(&(b.kind, &b.deployment, &b.incident)));
    }
}
