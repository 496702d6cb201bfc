//! `POST /api/v1/webhooks/alertmanager`: alerts of Alertmanager and of Grafana.

use actix_web::{HttpRequest, post, web};

use super::receive::Delivered;
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::config::EnvironmentNames;
use crate::http::auth::Scope;
use crate::http::{Caller, Problem};
use crate::ingest::alertmanager::{self, Context};
use crate::ingest::decode;

pub const SOURCE: Source = Source { name: "alertmanager", title: "Alertmanager" };

/// Take a message of Alertmanager or of Grafana's alerting in
///
/// Each alert is an incident from `startsAt` to its resolution. Messages repeat; what was told before
/// counts once. Give the key (scope `ingest`) as `http_config.authorization.credentials`.
#[utoipa::path(
    tag = "events",
    request_body(content = String, content_type = "application/json", description = "The webhook's payload, version 4"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "No key, or an unknown one", body = Problem),
        (status = 403, description = "The key lacks the scope ingest", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/alertmanager")]
pub async fn post_alertmanager(
    caller: Caller,
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    caller.require(Scope::Ingest)?;
    let config = app.config.load_full();
    let mut hold = app.bodies.hold();
    let body = decode::read(payload, config.ingest.max_body_bytes, &mut hold).await;
    let body = body.map_err(|error| Problem::from(error).to_sender())?;
    let read = |delivered: &Delivered<'_>| {
        let context = Context {
            received_at: delivered.received_at,
            settings: &config.sources.alertmanager,
            environments: EnvironmentNames::new(&config.environments),
            services: &config.services,
            max_items: config.ingest.max_items,
        };
        Ok((alertmanager::parse(delivered.text, &context)?, None))
    };
    SOURCE.take(&app, &request, &body, read).await
}
