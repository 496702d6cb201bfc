//! The rows of the selected services and environments, put together.
//!
//! A figure over several services comes from their rows, never from their figures.

use std::cmp::Ordering;
use std::collections::HashSet;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::derive::Derived;
use super::row::{DeploymentRow, IncidentRow, LeadReason, LeadRow};
use crate::time::Timestamp;

/// Where a change counts that reached several selected environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    #[default]
    First,
    Last,
}

#[derive(Debug, Clone, Copy)]
pub struct Lead<'a> {
    pub row: &'a LeadRow,
    pub deployment: &'a DeploymentRow,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub struct LeadLeftOut<'a> {
    /// (repository, sha); `None` where the deployment as a whole is meant.
    pub change: Option<(&'a str, &'a str)>,
    pub deployment: &'a DeploymentRow,
    pub at: Timestamp,
    pub reason: LeadReason,
}

/// Each list is sorted by the time that puts a row into a window.
#[derive(Debug, Default)]
pub struct Selected<'a> {
    /// By finish, else start.
    pub deployments: Vec<(Timestamp, &'a DeploymentRow)>,
    /// By the deployment's finish; each change once.
    pub leads: Vec<Lead<'a>>,
    pub leads_out: Vec<LeadLeftOut<'a>>,
    /// By start; each incident once.
    pub incidents: Vec<&'a IncidentRow>,
}

impl<'a> Selected<'a> {
    /// `wanted` is asked for each environment; `without_service` are incidents of no service.
    pub fn new(
        services: impl IntoIterator<Item = &'a Derived>,
        without_service: impl IntoIterator<Item = &'a IncidentRow>,
        wanted: impl Fn(&str) -> bool,
        arrival: Arrival,
    ) -> Self {
        let mut selected = Self::default();
        for service in services {
            selected.add(service, &wanted);
        }
        selected.incidents.extend(without_service.into_iter().filter(|incident| wanted(&incident.environment)));
        selected.settle_changes(arrival);
        selected.deployments.sort_by_key(|(at, row)| (*at, &row.key, &row.service, &row.place));
        selected.leads.sort_by_key(|lead| (lead.at, &lead.row.repository, &lead.row.sha));
        selected.leads_out.sort_by_key(|out| (out.at, out.change, &out.deployment.key));
        selected.incidents.sort_by_key(|incident| (incident.started_at, &incident.key));
        let mut seen = HashSet::new();
        selected.incidents.retain(|incident| seen.insert(&incident.key));
        selected
    }

    fn add(&mut self, service: &'a Derived, wanted: impl Fn(&str) -> bool) {
        let rows = service.deployments.iter().filter(|row| wanted(&row.environment));
        self.deployments.extend(rows.filter_map(|row| Some((row.at()?, row))));
        self.incidents.extend(service.incidents.iter().filter(|incident| wanted(&incident.environment)));
        let brought_by = |deployment: usize| {
            let row = service.deployments.get(deployment).filter(|row| wanted(&row.environment))?;
            Some((row, row.finished_at?))
        };
        self.leads.extend(service.leads.iter().filter_map(|row| {
            let (deployment, at) = brought_by(row.deployment)?;
            Some(Lead { row, deployment, at })
        }));
        self.leads_out.extend(service.leads_out.iter().filter_map(|out| {
            let (deployment, at) = brought_by(out.deployment)?;
            let change = out.change.as_ref().map(|(repository, sha)| (repository.as_str(), sha.as_str()));
            Some(LeadLeftOut { change, deployment, at, reason: out.reason })
        }));
    }

    /// Keeps each change at one deployment, though several places may have it.
    fn settle_changes(&mut self, arrival: Arrival) {
        let mut kept: HashMap<(&str, &str), Lead<'a>> = HashMap::with_capacity(self.leads.len());
        let reason = match arrival {
            Arrival::First => LeadReason::DeployedBefore,
            Arrival::Last => LeadReason::DeployedLater,
        };
        for lead in self.leads.drain(..) {
            let change = (lead.row.repository.as_str(), lead.row.sha.as_str());
            let loser = match kept.entry(change) {
                Entry::Vacant(free) => {
                    free.insert(lead);
                    continue;
                }
                Entry::Occupied(mut other) if precedes(&lead, other.get(), arrival) => other.insert(lead),
                Entry::Occupied(_) => lead,
            };
            let Lead { deployment, at, .. } = loser;
            self.leads_out.push(LeadLeftOut { change: Some(change), deployment, at, reason });
        }
        self.leads.extend(kept.into_values());
    }
}

fn precedes(a: &Lead<'_>, b: &Lead<'_>, arrival: Arrival) -> bool {
    let order = (a.at, &a.deployment.key).cmp(&(b.at, &b.deployment.key));
    match arrival {
        Arrival::First => order == Ordering::Less,
        Arrival::Last => order == Ordering::Greater,
    }
}
