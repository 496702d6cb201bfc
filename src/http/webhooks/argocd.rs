//! `POST /api/v1/webhooks/argocd`: what Argo CD synchronised.

use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::gitops::argocd;

pub const SOURCE: Source = Source { name: "argocd", title: "Argo CD" };

/// Take a notification of Argo CD in
///
/// In the form of `deploy/argocd/devpulse-notifications.yaml`. A sync of another revision is a
/// deployment: succeeded once the application is healthy, failed where it degrades first or the sync
/// fails. The secret of `sources.argocd` comes as `Authorization: Bearer SECRET`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("Authorization" = String, Header, description = "Bearer and the secret")),
    request_body(content = String, content_type = "application/json", description = "Argo CD's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The secret is missing or wrong", body = Problem),
        (status = 404, description = "Argo CD is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/argocd")]
pub async fn post_argocd(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.argocd.as_ref())?;
    let proof = Proof::Bearer { secret: &settings.secret };
    let read =
        |delivered: &Delivered<'_>| Ok((argocd::parse(delivered.text, &delivered.context(&config, settings))?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
