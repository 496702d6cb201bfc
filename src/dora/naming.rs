//! Which deployments of a service an incident means: those it names, or the newest before it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::range::SHORT_HASH;
use super::row::DeploymentRow;
use super::rules::Rules;
use crate::event::{DeploymentOutcome, DeploymentRef, Incident};
use crate::time::Timestamp;

type Rows<'a> = BTreeMap<&'a str, Vec<usize>>;

/// Rows of one service by the names that incidents use for them.
pub struct Names<'a> {
    service: &'a str,
    rules: &'a Rules,
    rows: &'a [DeploymentRow],
    by_id: Rows<'a>,
    by_version: Rows<'a>,
    by_commit: Rows<'a>,
    /// Succeeded deployments per place, in order of their finish.
    succeeded: BTreeMap<(&'a str, &'a str), Vec<(Timestamp, usize)>>,
}

impl<'a> Names<'a> {
    /// `rows` are all of the service, in the order of [`Derived`](super::Derived).
    pub fn of(service: &'a str, rows: &'a [DeploymentRow], rules: &'a Rules) -> Self {
        let mut names = Self {
            service,
            rules,
            rows,
            by_id: Rows::new(),
            by_version: Rows::new(),
            by_commit: Rows::new(),
            succeeded: BTreeMap::new(),
        };
        let meant = rows.iter().enumerate().filter(|(_, row)| row.outcome != DeploymentOutcome::Withdrawn);
        for (number, row) in meant {
            names.by_id.entry(&row.key.id).or_default().push(number);
            if let Some(version) = &row.version {
                names.by_version.entry(version).or_default().push(number);
            }
            if let Some(commit) = &row.commit {
                names.by_commit.entry(commit).or_default().push(number);
            }
            if let (DeploymentOutcome::Succeeded, Some(at)) = (row.outcome, row.finished_at) {
                names.succeeded.entry((&row.environment, &row.place)).or_default().push((at, number));
            }
        }
        names
    }

    /// An id (with its source, where given) names deployments wherever they are. A version or a
    /// commit names one deployment: the newest of the incident's environment at its start, else
    /// the first after it.
    pub fn find(&self, incident: &Incident, named: &DeploymentRef) -> Vec<usize> {
        match &named.id {
            Some(id) => self.by_id(incident, id, named.source.as_deref()),
            None => self.by_content(incident, named).into_iter().collect(),
        }
    }

    fn by_id(&self, incident: &Incident, id: &str, source: Option<&str>) -> Vec<usize> {
        let of = |source: &str, row: usize| self.rows.get(row).is_some_and(|row| row.key.source == source);
        let mut rows = self.by_id.get(id).cloned().unwrap_or_default();
        // Without a source: the incident's own, which may number deployments too; else any.
        let ours = source.is_none() && incident.affects(self.service);
        let source = source.unwrap_or(&incident.key.source);
        if !ours || rows.iter().any(|row| of(source, *row)) {
            rows.retain(|row| of(source, *row));
        }
        // One id may be deployed to several places: those the incident is about, if any.
        let concerned: Vec<usize> = rows.iter().copied().filter(|row| self.concerns(incident, *row)).collect();
        if concerned.is_empty() { rows } else { concerned }
    }

    fn by_content(&self, incident: &Incident, named: &DeploymentRef) -> Option<usize> {
        // Without a service, a version could be anybody's.
        let ours = incident.affects(self.service);
        let mut rows = match (&named.version, &named.commit) {
            (Some(version), _) if ours => self.by_version.get(version.as_str()).cloned().unwrap_or_default(),
            (None, Some(commit)) if ours || incident.service.is_none() => self.with_commit(commit),
            _ => return None,
        };
        if let (Some(_), Some(commit)) = (&named.version, &named.commit) {
            rows.retain(|row| self.rows.get(*row).and_then(|row| row.commit.as_ref()).is_some_and(|c| c == commit));
        }
        if rows.iter().any(|row| self.concerns(incident, *row)) {
            rows.retain(|row| self.concerns(incident, *row));
        } else if incident.environment.is_some() {
            return None;
        }
        rows.sort_unstable();
        let finished = |row: usize| self.rows.get(row).and_then(|row| row.finished_at);
        let at_start = |row: &&usize| finished(**row).is_some_and(|at| at <= incident.started_at);
        rows.iter().rev().find(at_start).or_else(|| rows.first()).copied()
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
    pub fn newest_before(&self, incident: &Incident) -> Option<usize> {
        let start = incident.started_at;
        let candidates = self.succeeded.values().filter_map(|succeeded| {
            let until = succeeded.partition_point(|(at, _)| *at <= start);
            let (at, row) = *succeeded.get(until.checked_sub(1)?)?;
            self.concerns(incident, row).then_some((at, row))
        });
        let (at, row) = candidates.max()?;
        (start.duration_since(at) <= self.rules.attribution_window).then_some(row)
    }

    /// Whether a deployment is where the incident is: in any production environment where it names
    /// none; in its region, where it names one that is deployed to.
    pub fn concerns(&self, incident: &Incident, row: usize) -> bool {
        let Some(row) = self.rows.get(row) else { return false };
        let Some(raw) = &incident.environment else { return self.rules.is_production(&row.environment) };
        let name = self.rules.environment(raw).0;
        if name != row.environment {
            return false;
        }
        match incident.place.as_deref() {
            Some(place) if self.succeeded.contains_key(&(name, place)) => row.place == place,
            _ => true,
        }
    }
}
