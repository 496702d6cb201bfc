//! The order of versions in one place: what is a rollback, what did it undo, what is a redeploy.

use std::collections::HashMap;

use crate::event::{Deployment, DeploymentKind};

/// One succeeded deployment seen in the order of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub kind: DeploymentKind,
    pub kind_inferred: bool,
    /// For a rollback: the failed deployment, the first one after the target.
    pub undoes: Option<usize>,
    /// For a rollback: the first of the deployments, up to this one, that it took away.
    pub took_away_from: Option<usize>,
    /// This version ran here before: it brings nothing new.
    pub again: bool,
}

/// The versions that succeeded in one place, in the order of their first deployments.
#[derive(Default)]
struct Versions<'a> {
    by_both: HashMap<(&'a str, &'a str), usize>,
    /// Deployments that named only a version, or only a commit, are matched by that alone.
    by_version: HashMap<&'a str, usize>,
    by_commit: HashMap<&'a str, usize>,
    only_version: HashMap<&'a str, usize>,
    only_commit: HashMap<&'a str, usize>,
    seen: Vec<Seen>,
}

struct Seen {
    first: usize,
    last: usize,
    /// It has a version or a commit by which it could come again.
    named: bool,
}

impl<'a> Versions<'a> {
    /// The version of a deployment, as a number, and whether it was here before. Two deployments
    /// have the same version when neither version nor commit differ where both are known: so a
    /// rebuild of one version from another commit, and branch names used as versions, are told apart.
    fn of(&mut self, deployment: &'a Deployment, position: usize) -> (usize, bool) {
        let (version, commit) = (deployment.version.as_deref(), deployment.commit.as_deref());
        let known = match (version, commit) {
            (Some(v), Some(c)) => {
                let halves = || self.only_version.get(v).or_else(|| self.only_commit.get(c));
                self.by_both.get(&(v, c)).or_else(halves)
            }
            (Some(v), None) => self.by_version.get(v),
            (None, Some(c)) => self.by_commit.get(c),
            (None, None) => None,
        };
        let (id, again) = known.map_or((self.seen.len(), false), |id| (*id, true));
        if !again {
            let named = version.is_some() || commit.is_some();
            self.seen.push(Seen { first: position, last: position, named });
        }
        self.remember(version, commit, id);
        (id, again)
    }

    fn remember(&mut self, version: Option<&'a str>, commit: Option<&'a str>, id: usize) {
        if let Some(v) = version {
            self.by_version.insert(v, id);
        }
        if let Some(c) = commit {
            self.by_commit.insert(c, id);
        }
        match (version, commit) {
            (Some(v), Some(c)) => self.by_both.insert((v, c), id),
            (Some(v), None) => self.only_version.insert(v, id),
            (None, Some(c)) => self.only_commit.insert(c, id),
            (None, None) => None,
        };
    }

    fn first(&self, id: usize) -> usize {
        self.seen.get(id).map_or(0, |seen| seen.first)
    }

    fn is_named(&self, id: usize) -> bool {
        self.seen.get(id).is_some_and(|seen| seen.named)
    }
}

/// Reads the succeeded deployments of one place, in order of their finish.
///
/// A deployment goes back when its version was here before and is older (by first deployment)
/// than the one it replaces: V1→V2→V3→V1 goes back to V1, a later V2 goes forward again, V1→V1 is
/// a redeploy. It undid the first deployment after the target that brought a newer version. What a
/// source declared, of whatever kind, beats what the order shows.
pub(super) fn steps(order: &[&Deployment]) -> Vec<Step> {
    let mut versions = Versions::default();
    let mut ids: Vec<usize> = Vec::with_capacity(order.len());
    let mut steps = Vec::with_capacity(order.len());
    for (position, deployment) in order.iter().enumerate() {
        let (id, again) = versions.of(deployment, position);
        let current = ids.last().copied();
        let goes_back =
            again && current.is_some_and(|c| versions.is_named(c) && versions.first(id) < versions.first(c));
        let declared = deployment.declared_kind();
        let inferred = if goes_back { DeploymentKind::Rollback } else { DeploymentKind::Planned };
        let kind = declared.unwrap_or(inferred);
        let mut step =
            Step { kind, kind_inferred: declared.is_none() && goes_back, undoes: None, took_away_from: None, again };
        if kind == DeploymentKind::Rollback && current.is_some_and(|current| current != id) {
            let target = if again { versions.seen.get(id).map(|seen| seen.last) } else { None };
            undo(&mut step, &versions, &ids, id, target);
        }
        if let Some(seen) = versions.seen.get_mut(id) {
            seen.last = position;
        }
        ids.push(id);
        steps.push(step);
    }
    steps
}

/// `ids` are the versions up to the rollback, `target` the position it goes back to, where known.
fn undo(step: &mut Step, versions: &Versions<'_>, ids: &[usize], id: usize, target: Option<usize>) {
    let previous = ids.len().saturating_sub(1);
    let after = target.map_or(previous, |target| target + 1);
    let newer = |(position, other): (usize, &usize)| (versions.first(*other) > versions.first(id)).then_some(position);
    let first_newer = target.and_then(|_| ids.iter().enumerate().skip(after).find_map(newer));
    step.undoes = Some(first_newer.unwrap_or(previous));
    step.took_away_from = Some(after.min(previous));
}
