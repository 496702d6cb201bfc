//! From the history of one service to the rows that metrics count.
//!
//! A service is derived as a whole, because an incident may name no environment and a change may
//! reach several; deployments follow each other within one place (service and environment name).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::range::{RangeName, Ranges};
use super::repository::Repository;
use super::row::{DeploymentRow, IncidentRow, LeadOut, LeadRow};
use super::rules::Rules;
use super::{failure, lead, order};
use crate::event::{Deployment, DeploymentKind, DeploymentOutcome, EntityKey, Incident};
use crate::time::Timestamp;

/// All that is known of one service.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub service: String,
    pub deployments: Vec<Deployment>,
    /// Those that its changes may come from; others do no harm.
    pub repositories: Vec<Arc<Repository>>,
    /// Those of the service, those that name no service, and those of other services that name
    /// deployments; others do no harm.
    pub incidents: Vec<Incident>,
    /// Those that an earlier derivation asked for and clones have answered.
    pub ranges: Ranges,
}

/// The rows of one service. Equal for equal histories, in whatever order they are given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Derived {
    pub service: String,
    /// In order of (finish, else start; start; key).
    pub deployments: Vec<DeploymentRow>,
    pub leads: Vec<LeadRow>,
    pub leads_out: Vec<LeadOut>,
    /// Incidents of this service, and those that name no service but one of its deployments.
    pub incidents: Vec<IncidentRow>,
    /// What the service needs to be told about its repositories, known or not.
    pub ranges: BTreeSet<RangeName>,
}

/// What the stages of the derivation share.
pub(super) struct Work<'a> {
    pub service: &'a str,
    pub rules: &'a Rules,
    /// Parallel to `rows`.
    pub deployments: Vec<&'a Deployment>,
    pub rows: Vec<DeploymentRow>,
    /// A key names one deployment in each place.
    by_key: HashMap<&'a EntityKey, Vec<usize>>,
    /// The succeeded deployments of each place, in order, as indices.
    pub places: Vec<Place>,
}

pub(super) struct Place {
    pub order: Vec<usize>,
    pub steps: Vec<order::Step>,
}

impl Work<'_> {
    /// The deployment with this key in the place of the one that names it, else the only one.
    pub fn named(&self, key: &EntityKey, by: usize) -> Option<usize> {
        let rows = self.by_key.get(key)?;
        let place = |row: usize| self.rows.get(row).map(|row| &row.place);
        let beside = rows.iter().find(|row| place(**row) == place(by));
        beside.or_else(|| rows.first().filter(|_| rows.len() == 1)).copied()
    }

    pub fn finished(&self, row: usize) -> Option<Timestamp> {
        self.rows.get(row)?.finished_at
    }

    /// When a deployment began, or ended where its start is not known.
    pub fn began(&self, row: usize) -> Option<Timestamp> {
        let row = self.rows.get(row)?;
        row.started_at.or(row.finished_at)
    }
}

pub fn derive(history: &History, rules: &Rules) -> Derived {
    let mut work = prepare(history, rules);
    let undos = failure::rollbacks(&mut work);
    let mut incidents: Vec<&Incident> = history.incidents.iter().collect();
    incidents.sort_by(|a, b| a.key.cmp(&b.key));
    let links = failure::link_incidents(&mut work, &incidents, &undos);
    let fixes = failure::hotfixes(&mut work, &incidents, &links, &undos);
    failure::restorations(&mut work, &incidents, &links, &undos, &fixes);
    let lead::Leads { rows: leads, out: leads_out, ranges } =
        lead::times(&mut work, &history.repositories, &history.ranges);
    let incidents =
        incidents.iter().zip(links).filter_map(|(incident, links)| row_of(&work, incident, links)).collect();
    Derived { service: history.service.clone(), deployments: work.rows, leads, leads_out, incidents, ranges }
}

fn prepare<'a>(history: &'a History, rules: &'a Rules) -> Work<'a> {
    let mut deployments: Vec<&Deployment> = history.deployments.iter().collect();
    deployments.sort_by_key(|d| (d.finished_at.or(d.started_at), d.started_at, &d.key, d.place()));
    let rows: Vec<DeploymentRow> = deployments.iter().map(|d| plain_row(d, rules)).collect();
    let mut by_key: HashMap<&EntityKey, Vec<usize>> = HashMap::new();
    for (row, deployment) in deployments.iter().enumerate() {
        by_key.entry(&deployment.key).or_default().push(row);
    }
    let mut orders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, deployment) in deployments.iter().enumerate() {
        if deployment.outcome == DeploymentOutcome::Succeeded && deployment.finished_at.is_some() {
            orders.entry(deployment.place()).or_default().push(row);
        }
    }
    let places = orders.into_values().map(|order| {
        let succeeded: Vec<&Deployment> = order.iter().filter_map(|row| deployments.get(*row).copied()).collect();
        Place { steps: order::steps(&succeeded), order }
    });
    let places = places.collect();
    Work { service: &history.service, rules, deployments, rows, by_key, places }
}

fn plain_row(deployment: &Deployment, rules: &Rules) -> DeploymentRow {
    DeploymentRow {
        key: deployment.key.clone(),
        service: deployment.service.clone(),
        place: deployment.place().to_owned(),
        environment: rules.environment(&deployment.environment).0.to_owned(),
        version: deployment.version.clone(),
        commit: deployment.commit.clone(),
        outcome: deployment.outcome,
        kind: deployment.declared_kind().unwrap_or(DeploymentKind::Planned),
        kind_inferred: false,
        started_at: deployment.started_at,
        finished_at: deployment.finished_at,
        rolls_back: deployment.rolls_back.clone(),
        took_away: Vec::new(),
        because: Vec::new(),
        restored: None,
        changes_from: None,
        no_range: None,
        partial: false,
    }
}

fn row_of(work: &Work<'_>, incident: &Incident, links: failure::Links) -> Option<IncidentRow> {
    let ours = incident.affects(work.service) || (incident.service.is_none() && !links.is_empty());
    ours.then(|| incident_row(incident, work.rules, links, &work.rows))
}

/// Incidents that name neither a service nor a deployment that is known: they belong to no
/// service, and count where no service is asked for.
pub fn without_service(incident: &Incident, rules: &Rules) -> IncidentRow {
    incident_row(incident, rules, Vec::new(), &[])
}

fn incident_row(incident: &Incident, rules: &Rules, links: failure::Links, rows: &[DeploymentRow]) -> IncidentRow {
    let linked = links.first().and_then(|(row, _)| rows.get(*row)).map(|row| row.environment.as_str());
    let named = incident.environment.as_deref().map(|raw| rules.environment(raw).0);
    IncidentRow {
        key: incident.key.clone(),
        service: incident.service.clone(),
        other_services: incident.other_services.clone(),
        environment: named.or(linked).unwrap_or_else(|| rules.default_environment()).to_owned(),
        title: incident.title.clone(),
        severity: incident.severity.clone(),
        status: incident.status,
        started_at: incident.started_at,
        start_unknown: incident.start_unknown,
        detected_at: incident.detected_at,
        resolved_at: incident.resolved_at,
        links,
    }
}
