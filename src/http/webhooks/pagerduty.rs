//! `POST /api/v1/webhooks/pagerduty`: PagerDuty's webhooks, version 3.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::pagerduty::{self, Context};
use crate::ingest::signature::Style;

pub const SOURCE: Source = Source { name: "pagerduty", title: "PagerDuty" };
const SIGNATURE: HeaderName = HeaderName::from_static("x-pagerduty-signature");

/// Take a PagerDuty webhook (version 3) in
///
/// Incidents triggered, acknowledged, reopened and resolved; 200 for everything else, because a
/// refusal would make PagerDuty drop the event and, after three, the subscription. The signature
/// (`X-PagerDuty-Signature`) is that of `sources.pagerduty.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("X-PagerDuty-Signature" = String, Header, description = "HMAC-SHA-256 of the body; any of several")),
    request_body(content = String, content_type = "application/json", description = "PagerDuty's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "PagerDuty is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/pagerduty")]
pub async fn post_pagerduty(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.pagerduty.as_ref())?;
    let proof = Proof::Signature { style: Style::Versioned, header: SIGNATURE, secret: &settings.secret };
    let context = Context { settings, services: &config.services };
    let read = |delivered: &Delivered<'_>| Ok((pagerduty::parse(delivered.text, &context)?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
