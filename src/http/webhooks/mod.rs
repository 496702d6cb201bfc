//! `POST /api/v1/webhooks/…`: events from systems that send in their own words.

pub mod alertmanager;
pub mod github;
pub mod github_import;
pub mod pagerduty;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::Problem;
use super::body::single_header;
use crate::app::App;
use crate::event::TelemetryBatch;
use crate::ingest::committer::{Committed, Fact, RequestKey, Submission};
use crate::ingest::fault::Fault;
use crate::ingest::metrics::{Outcome, count_delivery, count_events};
use crate::ingest::signature::Style;
use crate::ingest::source::Reading;
use crate::time::Timestamp;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(github::post_github).service(github_import::import_github);
    routes.service(alertmanager::post_alertmanager);
    routes.service(pagerduty::post_pagerduty);
}

/// Whether senders prove themselves by a signature rather than by a key.
pub fn is_signed(path: &str) -> bool {
    matches!(path, "/api/v1/webhooks/github" | "/api/v1/webhooks/pagerduty")
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

/// How a source proves that a delivery is its own.
struct Signed {
    source: &'static str,
    style: Style,
    header: HeaderName,
    /// Where the secret is configured.
    key: &'static str,
}

impl Signed {
    /// The signature that the sender claims to have made: looked at before a byte of the body is kept.
    fn claimed(&self, request: &HttpRequest) -> Result<String, Problem> {
        let header = single_header(request, &self.header, 1_000)?;
        let missing = || self.unsigned(&format!("{} is missing: give the webhook a secret", self.name()));
        let header = header.ok_or_else(missing)?;
        if self.style.is_signature(&header) { Ok(header) } else { Err(self.misfit()) }
    }

    fn verify(&self, secret: &SecretString, signature: &str, body: &[u8]) -> Result<(), Problem> {
        if self.style.is_signed(secret, signature, body) { Ok(()) } else { Err(self.misfit()) }
    }

    fn misfit(&self) -> Problem {
        self.unsigned(&format!("{} does not fit: the webhook's secret is not that of {}", self.name(), self.key))
    }

    fn unsigned(&self, detail: &str) -> Problem {
        count_delivery(self.source, "unsigned");
        Problem::new(StatusCode::UNAUTHORIZED, "bad_signature", detail)
    }

    /// As its documentation writes it.
    fn name(&self) -> &'static str {
        match self.style {
            Style::GitHub => "X-Hub-Signature-256",
            Style::PagerDuty => "X-PagerDuty-Signature",
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
    taken(&submit_facts(app, received_at, request, facts).await?)
}

/// Takes facts in and counts them.
async fn submit_facts(
    app: &App,
    received_at: Timestamp,
    request: Option<RequestKey>,
    facts: Vec<Fact>,
) -> Result<Committed, Problem> {
    let kinds: Vec<&'static str> = facts.iter().map(|fact| fact.event.kind()).collect();
    let telemetry = TelemetryBatch::default();
    let submission = Submission { received_at, request, facts, telemetry, keyed: Vec::new() };
    let committed = app.committer.submit(submission).await?;
    for (index, kind) in kinds.into_iter().enumerate() {
        let new = matches!(&committed, Committed::Taken { facts, .. } if facts.get(index) == Some(&true));
        count_events(kind, if new { Outcome::Accepted } else { Outcome::Duplicate }, 1);
    }
    Ok(committed)
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
