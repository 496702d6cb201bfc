//! `POST /api/v1/webhooks/bitbucket`: Bitbucket Cloud's webhooks.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::{Delivered, Read};
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::config::Config;
use crate::config::model::Bitbucket;
use crate::http::Problem;
use crate::http::body::single_header;
use crate::ingest::bitbucket;
use crate::ingest::key::request_key;
use crate::ingest::signature::Style;

pub const SOURCE: Source = Source { name: "bitbucket", title: "Bitbucket" };
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature");
const EVENT: HeaderName = HeaderName::from_static("x-event-key");
/// The same for every attempt to deliver.
const DELIVERY: HeaderName = HeaderName::from_static("x-request-uuid");

/// Take a webhook of Bitbucket Cloud in
///
/// Understands `repo:push`, pull requests (`created`, `updated`, `fulfilled`, `rejected`, `approved`,
/// `unapproved`, `changes_request_created`, `comment_created`) and, as deployments, the commit statuses that
/// `sources.bitbucket.deployment_statuses` names; answers 200 to all others, too. The signature
/// (`X-Hub-Signature`) is that of `sources.bitbucket.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(
        ("X-Hub-Signature" = String, Header, description = "HMAC-SHA-256 of the body"),
        ("X-Event-Key" = String, Header, description = "The event's name"),
        ("X-Request-UUID" = Option<String>, Header, description = "Seen before: nothing is taken in again"),
    ),
    request_body(content = String, content_type = "application/json", description = "Bitbucket's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "Bitbucket is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/bitbucket")]
pub async fn post_bitbucket(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.bitbucket.as_ref())?;
    let proof = Proof::Signature { style: Style::Hub, header: SIGNATURE, secret: &settings.pipelines.secret };
    let reading = |delivered: &Delivered<'_>| read(&config, settings, &request, delivered);
    SOURCE.receive(&app, (&request, payload), &proof, reading).await
}

fn read(config: &Config, settings: &Bitbucket, request: &HttpRequest, delivered: &Delivered<'_>) -> Read {
    let Some(event) = single_header(request, &EVENT, 100)? else {
        return Err(Problem::bad_request("bad_header", "X-Event-Key is missing").at(EVENT.as_str()));
    };
    let text = delivered.text;
    let id = single_header(request, &DELIVERY, 200)?;
    let key = id.map(|id| request_key(&["bitbucket-delivery", &id], text.as_bytes()));
    Ok((bitbucket::parse(&event, text, &delivered.context(config, settings))?, key))
}
