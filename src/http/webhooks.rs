//! `POST /api/v1/webhooks/…`: events from systems that sign what they send.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, post, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::Problem;
use super::body::single_header;
use crate::app::App;
use crate::config::{Config, EnvironmentNames};
use crate::event::TelemetryBatch;
use crate::ingest::committer::{Committed, Fact, RequestKey, Submission};
use crate::ingest::decode::{self, Encoding};
use crate::ingest::fault::Fault;
use crate::ingest::github::{self, Context, Reading, signature};
use crate::ingest::key::request_key;
use crate::ingest::metrics::{Outcome, count_delivery, count_events};
use crate::time::Timestamp;

const SOURCE: &str = "github";
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(post_github);
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

/// Take a GitHub webhook in
///
/// Understands `deployment`, `deployment_status`, `workflow_run`, `push`, `pull_request` and
/// `issues`; answers 200 to all others, too. The signature (`X-Hub-Signature-256`) is that of
/// `sources.github.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(
        ("X-Hub-Signature-256" = String, Header, description = "HMAC-SHA-256 of the body"),
        ("X-GitHub-Event" = String, Header, description = "The event's name"),
        ("X-GitHub-Delivery" = Option<String>, Header, description = "Seen before: nothing is taken in again"),
    ),
    request_body(content = String, content_type = "application/json", description = "GitHub's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, or skipped", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body or a header cannot be read", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "GitHub is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 422, description = "A required field is missing or wrong; see pointer", body = Problem),
        (status = 429, description = "Too many requests wait; see Retry-After", body = Problem),
        (status = 503, description = "The database does not answer; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/github")]
pub async fn post_github(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let body = decode::read(payload, config.ingest.max_body_bytes).await?;
    verify(&config, &request, &body)?;
    let received_at = app.clock.now();
    let read = read(&config, &request, &body, received_at).inspect_err(|_| count_delivery(SOURCE, "invalid"));
    let receipt = match read? {
        (Reading::Skipped(reason), _) => {
            DeliveryReceipt { outcome: DeliveryOutcome::Skipped, events: 0, reason: Some(reason) }
        }
        (Reading::Facts(facts), request) => submit(&app, received_at, request, facts).await?,
    };
    count_delivery(SOURCE, receipt.outcome.name());
    Ok(web::Json(receipt))
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
            let detail = "X-GitHub-Delivery came before with another body";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "delivery_id_reused", detail).at(DELIVERY.as_str()))
        }
    }
}

/// Before anything else is looked at.
fn verify(config: &Config, request: &HttpRequest, body: &[u8]) -> Result<(), Problem> {
    let Some(github) = &config.sources.github else {
        let detail = "GitHub is not configured as a source: set sources.github.secret to the webhook's secret";
        return Err(Problem::not_found(detail));
    };
    let header = single_header(request, &SIGNATURE, 200)?;
    if signature::is_signed(&github.secret, header.as_deref(), body) {
        return Ok(());
    }
    count_delivery(SOURCE, "unsigned");
    let detail = match header {
        None => "X-Hub-Signature-256 is missing: give the webhook a secret on GitHub",
        Some(_) => "X-Hub-Signature-256 does not fit: the webhook's secret is not that of sources.github.secret",
    };
    Err(Problem::new(StatusCode::UNAUTHORIZED, "bad_signature", detail))
}

fn read(
    config: &Config,
    request: &HttpRequest,
    body: &[u8],
    received_at: Timestamp,
) -> Result<(Reading, Option<RequestKey>), Problem> {
    let Some(event) = single_header(request, &EVENT, 100)? else {
        return Err(Problem::bad_request("bad_header", "X-GitHub-Event is missing").at(EVENT.as_str()));
    };
    if Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())? != Encoding::Identity {
        let detail = "GitHub's deliveries are not compressed: send the body that was signed";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail));
    }
    let text = decode::utf8(body)?;
    let content_type = single_header(request, &CONTENT_TYPE, 255)?.unwrap_or_default();
    let form = content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let json = if form { form_payload(text)? } else { text.into() };
    let key = single_header(request, &DELIVERY, 200)?.map(|id| request_key(&["github-delivery", &id], body));
    let Some(github) = &config.sources.github else { return Err(Problem::not_found("GitHub is not configured")) };
    let context = Context {
        received_at,
        github,
        services: &config.services,
        environments: EnvironmentNames::new(&config.environments),
    };
    Ok((github::parse(&event, &json, &context).map_err(|fault| refused(&fault))?, key))
}

/// GitHub's other way of sending: a form with the JSON in `payload`.
fn form_payload(text: &str) -> Result<std::borrow::Cow<'_, str>, Problem> {
    let field = url::form_urlencoded::parse(text.as_bytes()).find(|field| field.0 == "payload");
    let missing = || Problem::bad_request("unreadable_body", "the form has no field `payload`").at("payload");
    field.map(|field| field.1).ok_or_else(missing)
}

fn refused(fault: &Fault) -> Problem {
    if fault.is_malformed() {
        return Problem::bad_request("unreadable_body", format!("the body {}", fault.detail()));
    }
    let detail = format!("{} {}", fault.pointer(), fault.detail());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_payload", detail).at(fault.pointer())
}
