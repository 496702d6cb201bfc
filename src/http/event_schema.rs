//! The events as the OpenAPI document shows them. What is really read stands in
//! `ingest/native/shapes.rs`; a test holds the two together.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::event::{
    ChangeRef, DeploymentKind, DeploymentOutcome, DeploymentRef, EntityKey, IncidentStatus, PullRequest,
    SchemaDeclaration,
};
use crate::time::Timestamp;

/// One event, or several.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum EventBody {
    One(Box<EventSchema>),
    Several(Vec<EventSchema>),
}

#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventSchema {
    Deployment(DeploymentSchema),
    Change(ChangeSchema),
    Incident(IncidentSchema),
    Request(RequestSchema),
    Performance(PerformanceSchema),
    Error(ErrorSchema),
}

#[derive(ToSchema)]
pub struct DeploymentSchema {
    /// Unique within `source`; one deployment keeps its id through all its statuses.
    pub id: String,
    /// Who says so; `api` by default.
    pub source: Option<String>,
    /// When the outcome came about; the time of receipt by default.
    pub time: Option<Timestamp>,
    pub service: String,
    pub environment: String,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub commit: Option<String>,
    /// The repository of `commit` and of `changes` that name none, as OWNER/NAME.
    pub repository: Option<String>,
    pub outcome: DeploymentOutcome,
    pub started_at: Option<Timestamp>,
    pub kind: Option<DeploymentKind>,
    pub url: Option<String>,
    pub schema: Option<SchemaDeclaration>,
    pub changes: Option<Vec<ChangeRef>>,
    /// The failed deployment that this one undoes.
    pub rolls_back: Option<EntityKey>,
}

#[derive(ToSchema)]
pub struct ChangeSchema {
    /// The sha by default.
    pub id: Option<String>,
    pub source: Option<String>,
    pub time: Option<Timestamp>,
    pub service: Option<String>,
    pub environment: Option<String>,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    /// OWNER/NAME.
    pub repository: String,
    pub sha: String,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    pub merged_at: Option<Timestamp>,
    pub pull_request: Option<PullRequest>,
    /// Whether this is a merge commit: those are not changes.
    pub merge: Option<bool>,
    /// Paths touched, which tell the services of a repository apart.
    pub paths: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub struct IncidentSchema {
    /// Unique within `source`; one incident keeps its id from opening to resolution.
    pub id: String,
    pub source: Option<String>,
    /// When the status came about; the time of receipt by default.
    pub time: Option<Timestamp>,
    pub service: Option<String>,
    /// Every service that is affected, where there are several.
    pub services: Option<Vec<String>>,
    pub environment: Option<String>,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub status: IncidentStatus,
    /// When the trouble began, where that differs from its opening.
    pub started_at: Option<Timestamp>,
    /// When somebody or something noticed.
    pub detected_at: Option<Timestamp>,
    pub severity: Option<String>,
    pub title: Option<String>,
    pub url: Option<String>,
    /// Deployments that caused it, by id and source, or by version, or by commit.
    pub deployments: Option<Vec<DeploymentRef>>,
}

/// One request that was served; a status of 500 or above is an error.
#[derive(ToSchema)]
pub struct RequestSchema {
    /// With an id, a repetition counts once.
    pub id: Option<String>,
    pub source: Option<String>,
    pub time: Option<Timestamp>,
    pub service: String,
    pub environment: String,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub route: Option<String>,
    #[schema(minimum = 100, maximum = 599)]
    pub status: u16,
    #[schema(minimum = 0)]
    pub duration_ms: Option<f64>,
}

/// Many requests, counted by the sender.
#[derive(ToSchema)]
pub struct PerformanceSchema {
    pub id: Option<String>,
    pub source: Option<String>,
    pub time: Option<Timestamp>,
    pub service: String,
    pub environment: String,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub route: Option<String>,
    pub requests: u64,
    /// A part of `requests`; 0 by default.
    pub errors: Option<u64>,
    pub duration_ms: Option<DurationsSchema>,
}

#[derive(ToSchema)]
pub struct DurationsSchema {
    pub count: u64,
    /// Milliseconds.
    pub sum: f64,
    /// `[upper bound in milliseconds, count in this bucket]`, ascending, not cumulative.
    pub buckets: Vec<Vec<f64>>,
}

/// One error, or `count` equal ones.
#[derive(ToSchema)]
pub struct ErrorSchema {
    pub id: Option<String>,
    pub source: Option<String>,
    pub time: Option<Timestamp>,
    pub service: String,
    pub environment: String,
    pub version: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    /// `error` by default.
    pub level: Option<String>,
    /// Errors of one fingerprint are one error; by default level and message without their numbers.
    pub fingerprint: Option<String>,
    pub message: String,
    /// 1 by default.
    #[schema(minimum = 1)]
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::PartialSchema;

    use super::*;
    use crate::ingest::native::{TYPES, fields};

    fn shown<T: PartialSchema>() -> BTreeSet<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let shown = [
            shown::<DeploymentSchema>(),
            shown::<ChangeSchema>(),
            shown::<IncidentSchema>(),
            shown::<RequestSchema>(),
            shown::<PerformanceSchema>(),
            shown::<ErrorSchema>(),
        ];
        for (kind, mut shown) in TYPES.into_iter().zip(shown) {
            shown.insert("type".to_owned());
            let read: BTreeSet<String> = fields(kind).iter().map(ToString::to_string).collect();
            assert_eq!(shown, read, "{kind}");
        }
    }

    /// The fields that the table below `## kind` names.
    fn documented(kind: &str) -> Vec<&'static str> {
        let document = include_str!("../../docs/events.md");
        let section = document.split("\n## ").find(|section| section.lines().next() == Some(kind)).unwrap_or_default();
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
    }

    #[test]
    fn the_document_names_exactly_the_fields_that_are_read() {
        for kind in TYPES {
            assert_eq!(documented(kind), fields(kind), "docs/events.md, {kind}");
        }
    }
}
