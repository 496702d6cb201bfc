//! `POST /api/v1/webhooks/opsgenie`: alerts.

use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::opsgenie;

pub const SOURCE: Source = Source { name: "opsgenie", title: "Opsgenie" };

/// Take an Opsgenie webhook in
///
/// Alerts created, acknowledged, unacknowledged, closed and deleted are incidents; 200 for everything
/// else. The integration sends the secret of `sources.opsgenie` as the custom header
/// `Authorization: Bearer SECRET`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("Authorization" = String, Header, description = "Bearer and the secret")),
    request_body(content = String, content_type = "application/json", description = "Opsgenie's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The secret is missing or wrong", body = Problem),
        (status = 404, description = "Opsgenie is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/opsgenie")]
pub async fn post_opsgenie(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.opsgenie.as_ref())?;
    let proof = Proof::Bearer { secret: &settings.secret };
    let read =
        |delivered: &Delivered<'_>| Ok((opsgenie::parse(delivered.text, &delivered.context(&config, settings))?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
