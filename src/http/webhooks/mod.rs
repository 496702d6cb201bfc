//! `POST /api/v1/webhooks/…`: events from systems that send in their own words.

pub mod alertmanager;
pub mod github;

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::Problem;
use crate::app::App;
use crate::event::TelemetryBatch;
use crate::ingest::committer::{Committed, Fact, RequestKey, Submission};
use crate::ingest::fault::Fault;
use crate::ingest::metrics::{Outcome, count_delivery, count_events};
use crate::ingest::source::Reading;
use crate::time::Timestamp;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(github::post_github).service(alertmanager::post_alertmanager);
}

/// Whether senders prove themselves by a signature rather than by a key.
pub fn is_signed(path: &str) -> bool {
    path == "/api/v1/webhooks/github"
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryReceipt {
    pub outcome: DeliveryOutcome,
    /// Facts newly taken in.
    pub events: usize,
    /// Why nothing was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    Accepted,
    Duplicate,
    Skipped,
}

impl DeliveryOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Skipped => "skipped",
        }
    }
}

/// Takes in what a delivery says, and counts it for its source.
async fn take(
    app: &App,
    source: &'static str,
    received_at: Timestamp,
    request: Option<RequestKey>,
    reading: Reading,
) -> Result<DeliveryReceipt, Problem> {
    let receipt = match reading {
        Reading::Skipped(reason) => {
            DeliveryReceipt { outcome: DeliveryOutcome::Skipped, events: 0, reason: Some(reason) }
        }
        Reading::Facts(facts) => submit(app, received_at, request, facts).await?,
    };
    count_delivery(source, receipt.outcome.name());
    Ok(receipt)
}

async fn submit(
    app: &App,
    received_at: Timestamp,
    request: Option<RequestKey>,
    facts: Vec<Fact>,
) -> Result<DeliveryReceipt, Problem> {
    let kinds: Vec<&'static str> = facts.iter().map(|fact| fact.event.kind()).collect();
    let telemetry = TelemetryBatch::default();
    let submission = Submission { received_at, request, facts, telemetry, keyed: Vec::new() };
    let committed = app.committer.submit(submission).await?;
    for (index, kind) in kinds.into_iter().enumerate() {
        let new = matches!(&committed, Committed::Taken { facts, .. } if facts.get(index) == Some(&true));
        count_events(kind, if new { Outcome::Accepted } else { Outcome::Duplicate }, 1);
    }
    taken(&committed)
}

fn taken(committed: &Committed) -> Result<DeliveryReceipt, Problem> {
    let duplicate = |reason: &str| {
        Ok(DeliveryReceipt { outcome: DeliveryOutcome::Duplicate, events: 0, reason: Some(reason.to_owned()) })
    };
    match committed {
        Committed::Repeated => duplicate("this delivery was taken in before"),
        Committed::Taken { facts, .. } => match facts.iter().filter(|new| **new).count() {
            0 => duplicate("everything it says was taken in before"),
            events => Ok(DeliveryReceipt { outcome: DeliveryOutcome::Accepted, events, reason: None }),
        },
        Committed::KeyReused => {
            let detail = "this delivery's id came before with another body";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "delivery_id_reused", detail))
        }
    }
}

fn refused(fault: &Fault) -> Problem {
    if fault.is_malformed() {
        return Problem::bad_request("unreadable_body", format!("the body {}", fault.detail()));
    }
    let detail = format!("{} {}", fault.pointer(), fault.detail());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_payload", detail).at(fault.pointer())
}
