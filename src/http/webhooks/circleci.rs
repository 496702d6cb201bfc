//! `POST /api/v1/webhooks/circleci`: CircleCI's outbound webhooks.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::circleci;
use crate::ingest::signature::Style;

pub const SOURCE: Source = Source { name: "circleci", title: "CircleCI" };
const SIGNATURE: HeaderName = HeaderName::from_static("circleci-signature");

/// Take a CircleCI webhook in
///
/// Completed runs of the workflows that `sources.circleci.deployment_workflows` names are deployments.
/// The signature (`circleci-signature`) is that of `sources.circleci.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("circleci-signature" = String, Header, description = "v1=HMAC-SHA-256 of the body")),
    request_body(content = String, content_type = "application/json", description = "CircleCI's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "CircleCI is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/circleci")]
pub async fn post_circleci(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.circleci.as_ref())?;
    let proof = Proof::Signature { style: Style::Versioned, header: SIGNATURE, secret: &settings.secret };
    let read =
        |delivered: &Delivered<'_>| Ok((circleci::parse(delivered.text, &delivered.context(&config, settings))?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
