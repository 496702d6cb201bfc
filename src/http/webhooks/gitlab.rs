//! `POST /api/v1/webhooks/gitlab`: webhooks of projects and groups.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, post, web};
use secrecy::{ExposeSecret, SecretString};

use super::proof::Proof;
use super::receive::{Delivered, Read};
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::config::Config;
use crate::config::model::GitLab;
use crate::http::Problem;
use crate::http::body::single_header;
use crate::ingest::gitlab;
use crate::ingest::key::request_key;

pub const SOURCE: Source = Source { name: "gitlab", title: "GitLab" };
const TOKEN: HeaderName = HeaderName::from_static("x-gitlab-token");
/// The same for every attempt to deliver.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What versions before 17.4 have; hooks that one event sets off share it.
const EVENT_ID: HeaderName = HeaderName::from_static("x-gitlab-event-uuid");

/// Take a GitLab webhook in
///
/// Understands deployments, pushes, merge requests, comments on them, and work items that are incidents;
/// answers 200 to all others, too. The token (`X-Gitlab-Token`), or the signature (`webhook-signature`), is that of
/// `sources.gitlab.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(
        ("X-Gitlab-Token" = Option<String>, Header, description = "The secret token"),
        ("webhook-signature" = Option<String>, Header, description = "Standard Webhooks, with webhook-id and webhook-timestamp"),
        ("Idempotency-Key" = Option<String>, Header, description = "Seen before: nothing is taken in again"),
    ),
    request_body(content = String, content_type = "application/json", description = "GitLab's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The token or the signature is missing or wrong", body = Problem),
        (status = 404, description = "GitLab is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/gitlab")]
pub async fn post_gitlab(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.gitlab.as_ref())?;
    let proof = proof(&settings.secret);
    let reading = |delivered: &Delivered<'_>| read(&config, settings, &request, delivered);
    SOURCE.receive(&app, (&request, payload), &proof, reading).await
}

/// GitLab's signing tokens can be told from its secret tokens.
fn proof(secret: &SecretString) -> Proof<'_> {
    if secret.expose_secret().starts_with("whsec_") {
        Proof::StandardWebhooks { secret }
    } else {
        Proof::Token { header: TOKEN, secret }
    }
}

fn read(config: &Config, settings: &GitLab, request: &HttpRequest, delivered: &Delivered<'_>) -> Read {
    let text = delivered.text;
    let attempt = single_header(request, &IDEMPOTENCY_KEY, 200)?;
    let event = single_header(request, &EVENT_ID, 200)?;
    let by_attempt = attempt.as_ref().map(|id| request_key(&["gitlab-delivery", id], text.as_bytes()));
    let by_event = || event.as_ref().map(|id| request_key(&["gitlab-event", id, text], text.as_bytes()));
    let key = by_attempt.or_else(by_event);
    let id = attempt.as_deref().or(event.as_deref());
    Ok((gitlab::parse(text, id, &delivered.context(config, settings))?, key))
}
