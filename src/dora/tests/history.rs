//! A history written down event by event, and what is asked of it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Weekday;
use chrono_tz::Tz;

use crate::config::model::{Environment, Service, Tier};
use crate::dora::calendar::{Calendar, Window};
use crate::dora::count::{LeadFrom, Question};
use crate::dora::figure::{Figures, Standards, figures};
use crate::dora::month::Month;
use crate::dora::partition::Partition;
use crate::dora::range::Ranges;
use crate::dora::repository::Repository;
use crate::dora::row::{Cause, DeploymentRow};
use crate::dora::select::{Arrival, Selected};
use crate::dora::split::{Elsewhere, Partitions, split};
use crate::dora::stats::Center;
use crate::dora::{Derived, History, Rules, derive};
use crate::event::{
    Change, ChangeEvent, ChangeRef, DeliveryEvent, DeploymentEvent, DeploymentOutcome, DeploymentRef, EntityKey,
    IncidentEvent, IncidentStatus, LinksEvent, state,
};
use crate::time::Timestamp;

/// `10:30` of 2026-01-05, or a whole RFC 3339 time.
pub fn at(text: &str) -> Timestamp {
    if text.contains('T') {
        return Timestamp::parse(text).unwrap();
    }
    Timestamp::parse(&format!("2026-01-05T{text}:00Z")).unwrap()
}

pub fn key(id: &str) -> EntityKey {
    EntityKey { source: "test".to_owned(), id: id.to_owned() }
}

/// A succeeded deployment of `checkout` to production.
pub fn deployment(id: &str, version: &str, time: &str) -> DeploymentEvent {
    DeploymentEvent {
        key: key(id),
        time: at(time),
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        place: None,
        version: Some(version.to_owned()),
        commit: None,
        outcome: DeploymentOutcome::Succeeded,
        started_at: None,
        kind: None,
        url: None,
        schema: None,
        repository: None,
        changes: Vec::new(),
        rolls_back: None,
        sighting: None,
        artifact: None,
        chain: None,
        attributes: BTreeMap::new(),
    }
}

pub fn change_ref(sha: &str, authored: &str) -> ChangeRef {
    ChangeRef {
        repository: "acme/checkout".to_owned(),
        sha: sha.to_owned(),
        authored_at: Some(at(authored)),
        committed_at: None,
    }
}

/// A change of `acme/checkout`, authored and merged.
pub fn change(sha: &str, authored: &str, merged: &str) -> ChangeEvent {
    ChangeEvent {
        key: key(sha),
        time: at(merged),
        repository: "acme/checkout".to_owned(),
        sha: sha.to_owned(),
        service: None,
        authored_at: Some(at(authored)),
        committed_at: None,
        merged_at: Some(at(merged)),
        pull_request: None,
        merge: false,
        paths: Vec::new(),
        push: None,
        attributes: BTreeMap::new(),
    }
}

pub fn incident(id: &str, status: IncidentStatus, time: &str) -> IncidentEvent {
    IncidentEvent {
        service: Some("checkout".to_owned()),
        environment: Some("production".to_owned()),
        ..IncidentEvent::new(key(id), at(time), status)
    }
}

pub fn named(id: &str) -> DeploymentRef {
    DeploymentRef { id: Some(id.to_owned()), source: Some("test".to_owned()), ..DeploymentRef::default() }
}

pub fn changes(events: &[DeliveryEvent]) -> Vec<Change> {
    let mut changes: BTreeMap<(String, String), Vec<ChangeEvent>> = BTreeMap::new();
    for event in events {
        if let DeliveryEvent::Change(e) = event {
            changes.entry((e.repository.clone(), e.sha.clone())).or_default().push(e.clone());
        }
    }
    changes.values().filter_map(|facts| state::fold_change(facts)).collect()
}

/// Folds events into the history of `checkout`, as the store does.
pub fn fold(events: &[DeliveryEvent]) -> History {
    let mut deployments: BTreeMap<(EntityKey, String), Vec<DeploymentEvent>> = BTreeMap::new();
    let mut incidents: BTreeMap<EntityKey, Vec<IncidentEvent>> = BTreeMap::new();
    let mut links: BTreeMap<EntityKey, Vec<LinksEvent>> = BTreeMap::new();
    for event in events.iter().cloned() {
        match event {
            DeliveryEvent::Deployment(e) => {
                deployments.entry((e.key.clone(), e.place().to_owned())).or_default().push(e);
            }
            DeliveryEvent::Change(_) => {}
            DeliveryEvent::Incident(e) => incidents.entry(e.key.clone()).or_default().push(e),
            DeliveryEvent::Links(e) => links.entry(e.key.clone()).or_default().push(e),
            // The store joins these into the changes.
            DeliveryEvent::PullRequest(_)
            | DeliveryEvent::Push(_)
            | DeliveryEvent::Finding(_)
            | DeliveryEvent::Origin(_)
            | DeliveryEvent::Unread(_) => {}
        }
    }
    History {
        service: "checkout".to_owned(),
        deployments: deployments.values().filter_map(|facts| state::fold_deployment(facts)).collect(),
        repositories: Repository::of(&changes(events)),
        incidents: incidents
            .iter()
            .filter_map(|(key, facts)| state::fold_incident(facts, links.get(key).map_or(&[], Vec::as_slice)))
            .collect(),
        ranges: Ranges::new(),
    }
}

pub fn rules_with(services: &[Service]) -> Rules {
    rules_with_clones(services, &[])
}

pub fn rules_with_clones(services: &[Service], clones: &[&str]) -> Rules {
    let environment = |name: &str, tier| Environment { name: name.to_owned(), tier, matches: Vec::new() };
    let environments = [
        environment("production", Tier::Production),
        environment("production-us", Tier::Production),
        environment("staging", Tier::Staging),
    ];
    let clones = clones.iter().map(ToString::to_string).collect();
    Rules::of(&environments, services, Duration::from_hours(24), clones)
}

pub fn service(paths: &[&str]) -> Service {
    Service {
        name: "checkout".to_owned(),
        team: None,
        repository: Some("acme/checkout".to_owned()),
        paths: paths.iter().map(ToString::to_string).collect(),
    }
}

/// All of January 2026 in UTC.
pub fn question() -> Question {
    Question {
        window: Window { from: at("2026-01-01T00:00:00Z"), to: at("2026-02-01T00:00:00Z") },
        now: at("2026-02-01T00:00:00Z"),
        calendar: Calendar { time_zone: Tz::UTC, week_starts_on: Weekday::Mon },
        center: Center::Percentile(50.0),
        lead_from: LeadFrom::Authored,
        exclude_rollbacks: false,
    }
}

/// Events of `checkout`, and what becomes of them.
#[derive(Default)]
pub struct Story(pub Vec<DeliveryEvent>);

impl Story {
    pub fn deploy(&mut self, event: DeploymentEvent) -> &mut Self {
        self.0.push(DeliveryEvent::Deployment(event));
        self
    }

    /// Succeeded deployments `d1`, `d2`, …, one an hour from 01:00, of these versions.
    pub fn versions(versions: &[&str]) -> Self {
        let mut story = Self::default();
        for (i, version) in versions.iter().enumerate() {
            story.deploy(deployment(&format!("d{}", i + 1), version, &format!("{:02}:00", i + 1)));
        }
        story
    }

    pub fn change(&mut self, event: ChangeEvent) -> &mut Self {
        self.0.push(DeliveryEvent::Change(event));
        self
    }

    pub fn incident(&mut self, event: IncidentEvent) -> &mut Self {
        self.0.push(DeliveryEvent::Incident(event));
        self
    }

    /// An incident of these deployments (none: to be attributed) from one time to another.
    pub fn trouble(&mut self, id: &str, deployments: &[&str], from: &str, to: Option<&str>) -> &mut Self {
        let mut opened = incident(id, IncidentStatus::Opened, from);
        opened.deployments = deployments.iter().map(|id| named(id)).collect();
        self.incident(opened);
        if let Some(to) = to {
            self.incident(incident(id, IncidentStatus::Resolved, to));
        }
        self
    }

    pub fn derived(&self) -> Derived {
        derive(&fold(&self.0), &rules_with(&[service(&[])]))
    }

    pub fn figures(&self) -> Figures {
        self.ask(&question())
    }

    pub fn ask(&self, question: &Question) -> Figures {
        ask(&self.derived(), question, &["production"], Arrival::First)
    }

    /// What ended the failure of a deployment, and when.
    pub fn restored(&self, id: &str) -> Option<(Timestamp, Cause)> {
        let derived = self.derived();
        let row = derived.deployments.iter().find(|row| row.key.id == id).unwrap();
        row.restored.as_ref().map(|restored| (restored.at, restored.by))
    }

    /// Ids of the deployments that count as failed.
    pub fn failed(&self) -> Vec<String> {
        let derived = self.derived();
        derived.deployments.iter().filter(|row| row.failed()).map(|row| row.key.id.clone()).collect()
    }
}

/// Asks what would be read for the question: the partitions of its months, and the lasting rows.
pub fn ask(derived: &Derived, question: &Question, environments: &[&str], arrival: Arrival) -> Figures {
    let partitions = split(derived, &Elsewhere::new(), &rules_with(&[service(&[])]));
    let wanted = |_: &str, name: &str| environments.contains(&name);
    let counted = |row: &&DeploymentRow| wanted("", &row.environment) && row.outcome != DeploymentOutcome::Withdrawn;
    let first = derived.deployments.iter().filter(counted).filter_map(DeploymentRow::at).min();
    let read = needed(&partitions, question.window).map(|(month, partition)| ("checkout", month, partition));
    figures(&Selected::new(read, wanted, first, arrival), question, Standards::default())
}

/// The partitions that a window is answered from.
pub fn needed(partitions: &Partitions, window: Window) -> impl Iterator<Item = (Month, &Partition)> {
    let months = Month::of(window.from)..=Month::of(window.to);
    let read = partitions.iter().filter(move |(month, _)| months.contains(month) || **month == Month::LASTING);
    read.map(|(month, (partition, _))| (*month, partition))
}
