//! GitHub's webhooks: a delivery's body → facts, or an honest word why there are none.
//!
//! **Invariant:** pure. The signature is checked before (`ingest/signature.rs`), the delivery is
//! deduplicated after (its id is the request's key; equal facts have equal digests).

pub mod batch;
mod deployment;
mod finding;
mod incident;
mod place;
mod pull_request;
mod push;
mod release;
mod shapes;
mod workflow;

use super::fault::Fault;
use super::source::Reading;
use super::wire::read;
use crate::config::EnvironmentNames;
use crate::config::model::{GitHub, Service};
use crate::event::FindingKind;
use crate::time::Timestamp;

/// What reading depends on besides the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub received_at: Timestamp,
    pub github: &'a GitHub,
    pub services: &'a [Service],
    pub environments: EnvironmentNames<'a>,
}

/// Events that GitHub may send and that say nothing about delivery on their own; the first part of
/// the answer, the second is the reason.
const NOT_COUNTED: [(&str, &str); 4] = [
    ("ping", "pong: the webhook works"),
    ("workflow_job", "jobs are parts of workflow runs, which are counted as a whole"),
    ("check_run", "checks are not deployments"),
    ("check_suite", "checks are not deployments"),
];

/// Reads the body of a delivery; `event` is the value of `X-GitHub-Event`.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(event: &str, body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    match event {
        "deployment" => deployment::created(read(body)?, body, context),
        "deployment_status" => deployment::status(read(body)?, body, context),
        "workflow_run" => workflow::run(read(body)?, body, context),
        "push" => push::push(read(body)?, body, context),
        "pull_request" => pull_request::pull_request(read(body)?, body, context),
        "pull_request_review" => pull_request::review(read(body)?, body, context),
        "release" => release::release(read(body)?, body, context),
        "code_scanning_alert" => finding::finding(FindingKind::Code, read(body)?, body, context),
        "dependabot_alert" => finding::finding(FindingKind::Dependency, read(body)?, body, context),
        "secret_scanning_alert" => finding::finding(FindingKind::Secret, read(body)?, body, context),
        "issues" => incident::issue(read(body)?, body, context),
        other => {
            let known = NOT_COUNTED.iter().find(|entry| entry.0 == other);
            let reason = known.map_or("DevPulse does not use this event", |entry| entry.1);
            Ok(Reading::Skipped(reason.to_owned()))
        }
    }
}
