//! GitHub's webhooks: a delivery's body → facts, or an honest word why there are none.
//!
//! **Invariant:** pure. The signature is checked before (`ingest/signature.rs`), the delivery is
//! deduplicated after (its id is the request's key; equal facts have equal digests).

pub mod batch;
mod deployment;
mod finding;
mod incident;
mod pull_request;
mod push;
mod release;
mod shapes;
mod workflow;

use super::fault::Fault;
use super::source::{self, Reading, Skip};
use super::wire::read;
use crate::config::model::GitHub;
use crate::event::FindingKind;

pub type Context<'a> = source::Context<'a, GitHub>;

/// Events that GitHub may send and that say nothing about delivery on their own: name, why, in words.
const NOT_COUNTED: [(&str, Skip, &str); 4] = [
    ("ping", Skip::Test, "pong: the webhook works"),
    ("workflow_job", Skip::CountedElsewhere, "jobs are parts of workflow runs, which are counted as a whole"),
    ("check_run", Skip::UnusedEvent, "checks are not deployments"),
    ("check_suite", Skip::UnusedEvent, "checks are not deployments"),
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
            let unknown = (other, Skip::UnusedEvent, "DevPulse does not use this event");
            let (_, why, words) = *known.unwrap_or(&unknown);
            Ok(Reading::skipped(why, words))
        }
    }
}
