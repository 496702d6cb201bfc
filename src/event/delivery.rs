//! Delivery events: few, precious, kept one by one. Each is a fact about a deployment, a change,
//! an incident, a pull request, a push, a finding or an origin; the state of that thing is a fold
//! over its facts (`state.rs`, `pull_request.rs`, `push.rs`, `finding.rs`, `origin.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::finding::FindingEvent;
use super::origin::OriginEvent;
use super::pull_request::PullRequestEvent;
use super::push::{PushEvent, PushRef};
use super::sighting::Sighting;
use super::unread::UnreadEvent;
use crate::time::Timestamp;

/// Names an incident, or a deployment within its service and environment: `id` is unique within
/// `source`, but a pipeline's run may deploy to several places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct EntityKey {
    pub source: String,
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeliveryEvent {
    Deployment(DeploymentEvent),
    Change(ChangeEvent),
    Incident(IncidentEvent),
    Links(LinksEvent),
    PullRequest(PullRequestEvent),
    Push(PushEvent),
    Finding(FindingEvent),
    Origin(OriginEvent),
    Unread(UnreadEvent),
}

impl DeliveryEvent {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Deployment(_) => "deployment",
            Self::Change(_) => "change",
            Self::Incident(_) => "incident",
            Self::Links(_) => "links",
            Self::PullRequest(_) => "pull_request",
            Self::Push(_) => "push",
            Self::Finding(_) => "finding",
            Self::Origin(_) => "origin",
            Self::Unread(_) => "unread",
        }
    }

    pub const fn time(&self) -> Timestamp {
        match self {
            Self::Deployment(event) => event.time,
            Self::Change(event) => event.time,
            Self::Incident(event) => event.time,
            Self::Links(event) => event.time,
            Self::PullRequest(event) => event.time,
            Self::Push(event) => event.time,
            Self::Finding(event) => event.time,
            Self::Origin(event) => event.time,
            Self::Unread(event) => event.time,
        }
    }

    pub const fn set_time(&mut self, time: Timestamp) {
        match self {
            Self::Deployment(event) => event.time = time,
            Self::Change(event) => event.time = time,
            Self::Incident(event) => event.time = time,
            Self::Links(event) => event.time = time,
            Self::PullRequest(event) => event.time = time,
            Self::Push(event) => event.time = time,
            Self::Finding(event) => event.time = time,
            Self::Origin(event) => event.time = time,
            Self::Unread(event) => event.time = time,
        }
    }

    pub const fn key(&self) -> &EntityKey {
        match self {
            Self::Deployment(event) => &event.key,
            Self::Change(event) => &event.key,
            Self::Incident(event) => &event.key,
            Self::Links(event) => &event.key,
            Self::PullRequest(event) => &event.key,
            Self::Push(event) => &event.key,
            Self::Finding(event) => &event.key,
            Self::Origin(event) => &event.key,
            Self::Unread(event) => &event.key,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    InProgress,
    Succeeded,
    Failed,
    Cancelled,
    /// It was no deployment after all: it leaves the numbers, until anything else is said of it.
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    Planned,
    Rollback,
    Hotfix,
}

/// The database schema a deployment runs on, and the oldest revision it can run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchemaDeclaration {
    pub revision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatible_from: Option<String>,
}

/// A change named by a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRef {
    pub repository: String,
    pub sha: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authored_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
}

/// One status of one deployment, at `time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    pub service: String,
    pub environment: String,
    /// The environment as the source names it, where that is another name: one of its regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub outcome: DeploymentOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// `None` where the source does not say; planned, unless the history shows a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeploymentKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaDeclaration>,
    /// The repository `commit` belongs to, where the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRef>,
    /// The failed deployment that this rollback undoes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<EntityKey>,
    /// Where the source tells again and again what one of its objects runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sighting: Option<Sighting>,
    /// The names by which its origin may be known (`origin.rs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl DeploymentEvent {
    /// With nothing but what each has.
    pub const fn new(
        key: EntityKey,
        time: Timestamp,
        service: String,
        environment: String,
        outcome: DeploymentOutcome,
    ) -> Self {
        Self {
            key,
            time,
            service,
            environment,
            outcome,
            place: None,
            version: None,
            commit: None,
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

    /// Where versions follow each other: the environment as the source names it.
    pub fn place(&self) -> &str {
        self.place.as_ref().unwrap_or(&self.environment)
    }

    /// Gives the environment its configured name; what the source called it stays the place.
    pub fn name_environment(&mut self, name: String) {
        if name != self.environment {
            self.place = Some(std::mem::replace(&mut self.environment, name));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PullRequest {
    pub number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_commit_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_review_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_at: Option<Timestamp>,
}

/// What one source knows of one commit. `key.id` is the sha unless the source named another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    pub repository: String,
    pub sha: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authored_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// True where the source says that this is a merge commit: those are not changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// Paths touched, where the source lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The push that brought it to the main line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRef>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    Opened,
    Acknowledged,
    Resolved,
    Reopened,
    /// It was no incident after all: it leaves the numbers, until anything else is said of it.
    Withdrawn,
}

/// Names a deployment by id and source, or by version, or by commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One status of one incident, at `time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What else is affected; only beside `service`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_services: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The environment as the source names it, where that is another name: one of its regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub status: IncidentStatus,
    /// When the trouble began, where the source knows it to differ from `time` of the opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When somebody or something noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentRef>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl IncidentEvent {
    /// With nothing but what each has.
    pub const fn new(key: EntityKey, time: Timestamp, status: IncidentStatus) -> Self {
        Self {
            key,
            time,
            status,
            service: None,
            other_services: Vec::new(),
            environment: None,
            place: None,
            started_at: None,
            detected_at: None,
            severity: None,
            title: None,
            url: None,
            deployments: Vec::new(),
            attributes: BTreeMap::new(),
        }
    }

    /// Gives the environment its configured name; what the source called it stays the place.
    pub fn name_environment(&mut self, name: String) {
        let said = self.environment.replace(name);
        if said != self.environment {
            self.place = said;
        }
    }
}

/// A person's word on which deployments an incident belongs to, at `time`; the latest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinksEvent {
    /// The incident's.
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    /// These and no others; `None` takes the correction back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployments: Option<Vec<DeploymentRef>>,
    /// The key that said so.
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
