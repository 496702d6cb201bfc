//! The state of a deployment, a change, an incident: a fold over its facts.
//!
//! The folds sort by (event time, content), so that any order of arrival, any duplication and any
//! late correction give the same state.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::{
    ChangeEvent, ChangeRef, DeploymentEvent, DeploymentKind, DeploymentOutcome, DeploymentRef, EntityKey,
    IncidentEvent, IncidentStatus, LinksEvent, PullRequest, SchemaDeclaration,
};
use super::origin::{self, Provenance};
use super::push::PushRef;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    #[serde(flatten)]
    pub key: EntityKey,
    pub service: String,
    pub environment: String,
    /// The environment as the source names it, where that is another name: one of its regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub version: Option<String>,
    pub commit: Option<String>,
    pub repository: Option<String>,
    pub outcome: DeploymentOutcome,
    /// As declared; `None` where no source said.
    pub kind: Option<DeploymentKind>,
    pub started_at: Option<Timestamp>,
    /// The first fact with the outcome above; `None` while in progress.
    pub finished_at: Option<Timestamp>,
    pub url: Option<String>,
    pub schema: Option<SchemaDeclaration>,
    pub changes: Vec<ChangeRef>,
    pub rolls_back: Option<EntityKey>,
    #[serde(flatten)]
    pub provenance: Provenance,
    pub attributes: BTreeMap<String, String>,
}

impl Deployment {
    /// Where versions follow each other: the environment as the source names it.
    pub fn place(&self) -> &str {
        self.place.as_ref().unwrap_or(&self.environment)
    }

    /// The kind as declared; what names a deployment that it undoes declares itself a rollback.
    pub fn declared_kind(&self) -> Option<DeploymentKind> {
        self.kind.or(self.rolls_back.as_ref().map(|_| DeploymentKind::Rollback))
    }
}

/// Keyed by (repository, sha).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub repository: String,
    pub sha: String,
    pub service: Option<String>,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    pub merged_at: Option<Timestamp>,
    pub pull_request: Option<PullRequest>,
    pub merge: bool,
    pub paths: Vec<String>,
    /// The push that brought it to the main line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRef>,
    /// That push brought more commits than are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    #[serde(flatten)]
    pub key: EntityKey,
    pub service: Option<String>,
    /// What else is affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_services: Vec<String>,
    pub environment: Option<String>,
    /// The environment as the source names it, where that is another name: one of its regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub status: IncidentStatus,
    pub severity: Option<String>,
    pub title: Option<String>,
    pub url: Option<String>,
    pub started_at: Timestamp,
    /// Nobody said when it was opened: `started_at` is when it was first heard of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_unknown: bool,
    /// When somebody or something noticed, where anybody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    pub acknowledged_at: Option<Timestamp>,
    /// Cleared again when the incident reopens.
    pub resolved_at: Option<Timestamp>,
    pub deployments: Vec<DeploymentRef>,
    /// What a person said about its deployments: it goes before everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Correction {
    /// These and no others.
    pub deployments: Vec<DeploymentRef>,
    pub at: Timestamp,
    /// The key that said so.
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Incident {
    /// It was no incident after all: it counts nowhere.
    pub fn is_withdrawn(&self) -> bool {
        self.status == IncidentStatus::Withdrawn
    }

    /// Every service that it affects.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.service.iter().chain(&self.other_services).map(String::as_str)
    }

    pub fn affects(&self, service: &str) -> bool {
        self.services().any(|affected| affected == service)
    }

    /// The deployments that are named, by a person or else by events.
    pub fn named_deployments(&self) -> &[DeploymentRef] {
        self.correction.as_ref().map_or(&self.deployments, |correction| &correction.deployments)
    }
}

/// Later facts win field by field; a missing field never erases a known one.
pub(super) fn newer<T: Clone>(known: &mut Option<T>, said: Option<&T>) {
    if let Some(value) = said {
        *known = Some(value.clone());
    }
}

/// Sorted by `when`: the event time, and what goes before what at one instant; then by content,
/// so that ties are settled the same way whatever order they came in.
pub(super) fn in_order<T: Serialize, K: Ord>(facts: &[T], when: impl Fn(&T) -> K) -> Vec<&T> {
    let mut sorted: Vec<&T> = facts.iter().collect();
    sorted.sort_by_cached_key(|fact| (when(fact), serde_json::to_string(fact).unwrap_or_default()));
    sorted
}

/// `None` when there are no facts.
///
/// A deployment that succeeded once stays succeeded (it reached its environment) and finished at
/// its first success, however many statuses follow; without a success, the latest final status
/// counts, from the first time it was said. A withdrawal holds until anything else is said of it.
pub fn fold_deployment(facts: &[DeploymentEvent]) -> Option<Deployment> {
    // Who withdraws may repeat the very fact that was wrong, with its time.
    let sorted = in_order(facts, |fact| (fact.time, fact.outcome == DeploymentOutcome::Withdrawn));
    let first = *sorted.first()?;
    let mut state = Deployment {
        key: first.key.clone(),
        service: first.service.clone(),
        environment: first.environment.clone(),
        place: None,
        version: None,
        commit: None,
        repository: None,
        outcome: DeploymentOutcome::InProgress,
        kind: None,
        started_at: None,
        finished_at: None,
        url: None,
        schema: None,
        changes: Vec::new(),
        rolls_back: None,
        provenance: Provenance::default(),
        attributes: BTreeMap::new(),
    };
    for fact in &sorted {
        state.service.clone_from(&fact.service);
        state.environment.clone_from(&fact.environment);
        newer(&mut state.place, fact.place.as_ref());
        newer(&mut state.version, fact.version.as_ref());
        newer(&mut state.commit, fact.commit.as_ref());
        newer(&mut state.repository, fact.repository.as_ref());
        newer(&mut state.kind, fact.kind.as_ref());
        newer(&mut state.started_at, fact.started_at.as_ref());
        newer(&mut state.url, fact.url.as_ref());
        newer(&mut state.schema, fact.schema.as_ref());
        newer(&mut state.rolls_back, fact.rolls_back.as_ref());
        newer(&mut state.provenance.artifact, fact.artifact.as_ref());
        newer(&mut state.provenance.chain, fact.chain.as_ref());
        state.attributes.extend(fact.attributes.clone());
        merge_changes(&mut state.changes, &fact.changes);
    }
    let named = state.provenance.artifact.take();
    state.provenance.artifact = named.or_else(|| origin::artifact(state.version.as_deref(), None));
    let outcome = final_outcome(&sorted);
    let said = |outcome| sorted.iter().find(|fact| fact.outcome == outcome).map(|fact| fact.time);
    state.started_at = state.started_at.or_else(|| said(DeploymentOutcome::InProgress));
    if outcome != DeploymentOutcome::InProgress {
        state.finished_at = said(outcome);
    }
    state.outcome = outcome;
    if let Some(last) = sorted.last().filter(|fact| fact.outcome == DeploymentOutcome::Withdrawn) {
        // It stays where it was, for those who ask what became of it.
        state.finished_at = state.finished_at.or(Some(last.time));
        state.outcome = last.outcome;
    }
    Some(state)
}

fn final_outcome(sorted: &[&DeploymentEvent]) -> DeploymentOutcome {
    if sorted.iter().any(|fact| fact.outcome == DeploymentOutcome::Succeeded) {
        return DeploymentOutcome::Succeeded;
    }
    let open = [DeploymentOutcome::InProgress, DeploymentOutcome::Withdrawn];
    let last_final = sorted.iter().rev().find(|fact| !open.contains(&fact.outcome));
    last_final.map_or(DeploymentOutcome::InProgress, |fact| fact.outcome)
}

fn merge_changes(known: &mut Vec<ChangeRef>, said: &[ChangeRef]) {
    if said.is_empty() {
        return;
    }
    let places = places(known, said);
    for (change, place) in said.iter().zip(places) {
        match known.get_mut(place) {
            None => known.push(change.clone()),
            Some(known) => {
                newer(&mut known.authored_at, change.authored_at.as_ref());
                newer(&mut known.committed_at, change.committed_at.as_ref());
            }
        }
    }
}

/// Where each change that was said is among the known ones, or will be: by an index, for an import may
/// say tens of thousands of one deployment.
fn places(known: &[ChangeRef], said: &[ChangeRef]) -> Vec<usize> {
    let mut index: HashMap<(&str, &str), usize> = HashMap::with_capacity(known.len().saturating_add(said.len()));
    let all = known.iter().chain(said);
    let place = |change| {
        let next = index.len();
        *index.entry(name_of(change)).or_insert(next)
    };
    all.map(place).skip(known.len()).collect()
}

const fn name_of(change: &ChangeRef) -> (&str, &str) {
    (change.repository.as_str(), change.sha.as_str())
}

/// `None` when there are no facts.
pub fn fold_change(facts: &[ChangeEvent]) -> Option<Change> {
    let sorted = in_order(facts, |fact| fact.time);
    let first = *sorted.first()?;
    let mut state = Change {
        repository: first.repository.clone(),
        sha: first.sha.clone(),
        service: None,
        authored_at: None,
        committed_at: None,
        merged_at: None,
        pull_request: None,
        merge: false,
        paths: Vec::new(),
        push: None,
        partial: false,
    };
    for fact in sorted {
        newer(&mut state.service, fact.service.as_ref());
        newer(&mut state.authored_at, fact.authored_at.as_ref());
        newer(&mut state.committed_at, fact.committed_at.as_ref());
        newer(&mut state.merged_at, fact.merged_at.as_ref());
        newer(&mut state.push, fact.push.as_ref());
        state.merge |= fact.merge;
        for path in &fact.paths {
            if !state.paths.contains(path) {
                state.paths.push(path.clone());
            }
        }
        if let Some(said) = &fact.pull_request {
            let known = state.pull_request.get_or_insert_default();
            known.number = said.number;
            newer(&mut known.opened_at, said.opened_at.as_ref());
            newer(&mut known.first_commit_at, said.first_commit_at.as_ref());
            newer(&mut known.first_review_at, said.first_review_at.as_ref());
            newer(&mut known.approved_at, said.approved_at.as_ref());
            newer(&mut known.merged_at, said.merged_at.as_ref());
        }
    }
    state.paths.sort();
    Some(state)
}

/// `None` when there are no facts.
///
/// The incident starts where its earliest fact says so; a resolution holds until a later fact
/// opens the incident again. A withdrawal holds until anything else is said of it.
pub fn fold_incident(facts: &[IncidentEvent], links: &[LinksEvent]) -> Option<Incident> {
    let sorted = in_order(facts, |fact| (fact.time, rank(fact.status)));
    let first = *sorted.first()?;
    let opened = sorted.iter().any(|fact| fact.status == IncidentStatus::Opened || fact.started_at.is_some());
    let mut state = Incident {
        key: first.key.clone(),
        service: None,
        other_services: Vec::new(),
        environment: None,
        place: None,
        status: first.status,
        severity: None,
        title: None,
        url: None,
        started_at: first.time,
        start_unknown: !opened,
        detected_at: None,
        acknowledged_at: None,
        resolved_at: None,
        deployments: Vec::new(),
        correction: in_order(links, |fact| fact.time).last().and_then(|last| correction(last)),
        attributes: BTreeMap::new(),
    };
    let mut declared_start = None;
    let mut withdrawn = false;
    for fact in sorted {
        if fact.service.is_some() {
            // Who names services names them all.
            state.service.clone_from(&fact.service);
            state.other_services.clone_from(&fact.other_services);
        }
        if fact.environment.is_some() {
            state.environment.clone_from(&fact.environment);
            state.place.clone_from(&fact.place);
        }
        newer(&mut state.detected_at, fact.detected_at.as_ref());
        newer(&mut state.severity, fact.severity.as_ref());
        newer(&mut state.title, fact.title.as_ref());
        newer(&mut state.url, fact.url.as_ref());
        newer(&mut declared_start, fact.started_at.as_ref());
        state.attributes.extend(fact.attributes.clone());
        for named in &fact.deployments {
            if !state.deployments.contains(named) {
                state.deployments.push(named.clone());
            }
        }
        apply_status(&mut state, fact);
        withdrawn = fact.status == IncidentStatus::Withdrawn;
    }
    // Its life went on meanwhile: whoever takes the withdrawal back finds it as it is.
    if withdrawn {
        state.status = IncidentStatus::Withdrawn;
    }
    state.deployments.sort();
    state.started_at = declared_start.unwrap_or(state.started_at);
    Some(state)
}

fn correction(said: &LinksEvent) -> Option<Correction> {
    let deployments = said.deployments.clone()?;
    Some(Correction { deployments, at: said.time, actor: said.actor.clone(), reason: said.reason.clone() })
}

/// Of statuses at one instant (sources that count in seconds), the natural order.
const fn rank(status: IncidentStatus) -> u8 {
    match status {
        // One label taken for another within a second: it is an incident still.
        IncidentStatus::Withdrawn => 0,
        IncidentStatus::Opened => 1,
        IncidentStatus::Acknowledged => 2,
        IncidentStatus::Resolved => 3,
        IncidentStatus::Reopened => 4,
    }
}

fn apply_status(state: &mut Incident, fact: &IncidentEvent) {
    match fact.status {
        IncidentStatus::Opened | IncidentStatus::Reopened => {
            state.resolved_at = None;
            state.status = fact.status;
        }
        IncidentStatus::Acknowledged => {
            state.acknowledged_at = state.acknowledged_at.or(Some(fact.time));
            if state.resolved_at.is_none() {
                state.status = fact.status;
            }
        }
        IncidentStatus::Resolved => {
            state.resolved_at = state.resolved_at.or(Some(fact.time));
            state.status = fact.status;
        }
        IncidentStatus::Withdrawn => {}
    }
}
