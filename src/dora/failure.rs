//! Which deployments failed, why, and what ended each failure.

use std::collections::BTreeMap;

use super::derive::Work;
use super::naming::Names;
use super::row::{Because, Cause, LinkKind, Restoration};
use crate::event::{DeploymentKind, Incident};
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
    let names = Names::of(work.service, &work.rows, work.rules);
    let links: Vec<Links> = incidents.iter().map(|incident| links_of(work, &names, incident, undos)).collect();
    for (incident, links) in incidents.iter().zip(&links) {
        for (row, link) in links {
            if let Some(row) = work.rows.get_mut(*row) {
                row.because.push(Because::incident(&incident.key, *link));
            }
        }
    }
    links
}

fn links_of(work: &Work<'_>, names: &Names<'_>, incident: &Incident, undos: &[Undo]) -> Links {
    if incident.is_withdrawn() {
        return Vec::new();
    }
    let said = if incident.correction.is_some() { LinkKind::Operator } else { LinkKind::Explicit };
    if said == LinkKind::Operator || !incident.deployments.is_empty() {
        let named = incident.named_deployments();
        let mut named: Vec<usize> = named.iter().flat_map(|named| names.find(incident, named)).collect();
        named.sort_unstable();
        named.dedup();
        return named.into_iter().map(|row| (row, said)).collect();
    }
    if !incident.affects(work.service) {
        return Vec::new();
    }
    let undone = undos.iter().filter_map(|undo| undone_during(work, names, incident, undo)).min();
    if let Some((_, row)) = undone {
        return vec![(row, LinkKind::Rollback)];
    }
    names.newest_before(incident).map(|row| (row, LinkKind::Inferred)).into_iter().collect()
}

/// The deployment that a rollback undid which ran while the incident lasted.
fn undone_during(work: &Work<'_>, names: &Names<'_>, incident: &Incident, undo: &Undo) -> Option<(Timestamp, usize)> {
    let undone = undo.undone?;
    let (ended, began) = (work.finished(undo.by)?, work.began(undo.by)?);
    let lasted = ended >= incident.started_at && incident.resolved_at.is_none_or(|resolved| began <= resolved);
    let soon = ended.duration_since(incident.started_at) <= work.rules.attribution_window;
    let before = work.finished(undone)? <= incident.started_at;
    (lasted && soon && before && names.concerns(incident, undone)).then_some((ended, undone))
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

/// What may have ended a failure.
#[derive(Default)]
struct Ends {
    /// Rollbacks and hotfixes of this very deployment: what came after the first of them says that it
    /// was not enough.
    repairs: Vec<(Timestamp, Cause)>,
    /// Rollbacks that took it away with others.
    gone: Option<Timestamp>,
    /// When each of its incidents was resolved; `None` while it is open.
    incidents: Vec<Option<Timestamp>>,
}

impl Ends {
    fn gone(&mut self, at: Timestamp) {
        self.gone = Some(self.gone.map_or(at, |gone| gone.min(at)));
    }

    /// When the last of its incidents was resolved: overlapping ones are one interval.
    fn resolved(&self) -> Option<Timestamp> {
        let all: Option<Vec<Timestamp>> = self.incidents.iter().copied().collect();
        all?.into_iter().max()
    }

    /// The first of: the last repair that was made before all of its incidents were resolved, the
    /// rollback that took it away, that resolution. Nothing ends a failure before the deployment
    /// finished, unless there is nothing else.
    fn restoration(&self, finished: Option<Timestamp>) -> Option<Restoration> {
        let resolved = self.resolved();
        let ends = |from: Option<Timestamp>| {
            let in_time = |at: &Timestamp| from.is_none_or(|from| *at >= from);
            let resolved = resolved.filter(in_time);
            let repairs = self.repairs.iter().filter(|(at, _)| in_time(at));
            let last = repairs.filter(|(at, _)| resolved.is_none_or(|resolved| *at <= resolved)).max();
            let gone = self.gone.filter(in_time).map(|at| (at, Cause::Rollback));
            last.copied().into_iter().chain(gone).chain(resolved.map(|at| (at, Cause::Incident))).min()
        };
        ends(finished).or_else(|| ends(None)).map(|(at, by)| Restoration { at, by })
    }
}

/// Ends each failure.
pub(super) fn restorations(
    work: &mut Work<'_>,
    incidents: &[&Incident],
    links: &[Links],
    undos: &[Undo],
    fixes: &[Fix],
) {
    let mut ends: BTreeMap<usize, Ends> = BTreeMap::new();
    for undo in undos {
        let Some(at) = work.finished(undo.by) else { continue };
        if let Some(undone) = undo.undone {
            ends.entry(undone).or_default().repairs.push((at, Cause::Rollback));
        }
        for removed in undo.removed.iter().filter(|removed| Some(**removed) != undo.undone) {
            ends.entry(*removed).or_default().gone(at);
        }
    }
    for fix in fixes {
        if let Some(at) = work.finished(fix.by) {
            ends.entry(fix.repaired).or_default().repairs.push((at, Cause::Hotfix));
        }
    }
    for (incident, links) in incidents.iter().zip(links) {
        for (row, _) in links {
            ends.entry(*row).or_default().incidents.push(incident.resolved_at);
        }
    }
    for (row, ends) in ends {
        if let Some(row) = work.rows.get_mut(row).filter(|row| row.failed()) {
            row.restored = ends.restoration(row.finished_at);
        }
    }
    for row in &mut work.rows {
        row.because.sort_by(|a, b| (a.kind, &a.deployment, &a.incident).cmp(&(b.kind, &b.deployment, &b.incident)));
    }
}
