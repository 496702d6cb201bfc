//! `POST /api/v1/webhooks/azure_devops`: service hooks.

use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::http::Problem;
use crate::ingest::azure_devops;

pub const SOURCE: Source = Source { name: "azure_devops", title: "Azure DevOps" };

/// Take a service hook of Azure DevOps in
///
/// Stages, classic releases and builds that `sources.azure_devops.deployment_stages` names are
/// deployments; pushes to the default branch and completed pull requests are changes, pushes to other branches
/// their original commits, comments and votes their reviews. Service hooks prove themselves by basic
/// authentication: the password is `sources.azure_devops.secret`, with any name.
#[utoipa::path(
    tag = "events",
    security(()),
    params(("Authorization" = String, Header, description = "Basic, with any name")),
    request_body(content = String, content_type = "application/json", description = "Azure DevOps's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The password is missing or wrong", body = Problem),
        (status = 404, description = "Azure DevOps is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/azure_devops")]
pub async fn post_azure_devops(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.azure_devops.as_ref())?;
    let proof = Proof::Password { secret: &settings.secret };
    let read = |delivered: &Delivered<'_>| {
        Ok((azure_devops::parse(delivered.text, &delivered.context(&config, settings))?, None))
    };
    SOURCE.receive(&app, (&request, payload), &proof, read).await
}
