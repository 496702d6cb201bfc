//! `POST /api/v1/webhooks/flux`: what Flux reconciled.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::gitops::flux;
use crate::ingest::signature::Style;

pub const SOURCE: Source = Source { name: "flux", title: "Flux" };
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// Take an event of Flux in
///
/// Of the provider `generic-hmac`. A Kustomization's new revision is a deployment, and so is what Helm
/// installed, upgraded or rolled back. The signature (`X-Signature`) is that of `sources.flux.secret`;
/// no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("X-Signature" = String, Header, description = "HMAC-SHA-256 of the body")),
    request_body(content = String, content_type = "application/json", description = "Flux's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "Flux is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/flux")]
pub async fn post_flux(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.flux.as_ref())?;
    let proof = Proof::Signature { style: Style::Hub, header: SIGNATURE, secret: &settings.secret };
    let read =
        |delivered: &Delivered<'_>| Ok((flux::parse(delivered.text, &delivered.context(&config, settings))?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
