//! `POST /api/v1/webhooks/jenkins`: builds, from Jenkins' Notification plugin.

use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::jenkins;

pub const SOURCE: Source = Source { name: "jenkins", title: "Jenkins" };

/// Take a notification of Jenkins in
///
/// Builds of the jobs that `sources.jenkins.deployment_jobs` names are deployments. The plugin can prove
/// itself by a name and a password in its URL only: the password is `sources.jenkins.secret`.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("Authorization" = String, Header, description = "Basic, with any name")),
    request_body(content = String, content_type = "application/json", description = "Jenkins's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The password is missing or wrong", body = Problem),
        (status = 404, description = "Jenkins is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/jenkins")]
pub async fn post_jenkins(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.jenkins.as_ref())?;
    let proof = Proof::Password { secret: &settings.secret };
    let read =
        |delivered: &Delivered<'_>| Ok((jenkins::parse(delivered.text, &delivered.context(&config, settings))?, None));
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
