//! `POST /api/v1/webhooks/github`: the signature, the headers, the form.

use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, post, web};

use super::proof::Proof;
use super::receive::{Delivered, Read};
use super::{DeliveryReceipt, Source};
use crate::app::App;
use crate::config::Config;
use crate::config::model::GitHub;
use crate::http::Problem;
use crate::http::body::single_header;
use crate::ingest::github;
use crate::ingest::key::request_key;
use crate::ingest::signature::Style;

pub const SOURCE: Source = Source { name: "github", title: "GitHub" };
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");

/// Take a GitHub webhook in
///
/// Understands `deployment`, `deployment_status`, `workflow_run`, `release`, `push`, `pull_request`,
/// `pull_request_review`, `issues`, `code_scanning_alert`, `dependabot_alert` and
/// `secret_scanning_alert`; answers 200 to all others, too. The signature (`X-Hub-Signature-256`) is that of
/// `sources.github.secret`; no key is needed.
#[utoipa::path(
    tag = "events",
    security(()),
    params(
        ("X-Hub-Signature-256" = String, Header, description = "HMAC-SHA-256 of the body"),
        ("X-GitHub-Event" = String, Header, description = "The event's name"),
        ("X-GitHub-Delivery" = Option<String>, Header, description = "Seen before: nothing is taken in again"),
    ),
    request_body(content = String, content_type = "application/json", description = "GitHub's payload"),
    responses(
        (status = 200, description = "Taken in and on disk, seen before, skipped, or invalid; see errors", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body ended early", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "GitHub is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 503, description = "The database does not answer, or too many requests wait; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/github")]
pub async fn post_github(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let settings = SOURCE.configured(config.sources.github.as_ref())?;
    let proof = Proof::Signature { style: Style::Hub, header: SIGNATURE, secret: &settings.secret };
    let reading = |delivered: &Delivered<'_>| read(&config, settings, &request, delivered);
    SOURCE.receive(&app, (&request, payload), &proof, reading).await
}

fn read(config: &Config, settings: &GitHub, request: &HttpRequest, delivered: &Delivered<'_>) -> Read {
    let Some(event) = single_header(request, &EVENT, 100)? else {
        return Err(Problem::bad_request("bad_header", "X-GitHub-Event is missing").at(EVENT.as_str()));
    };
    let text = delivered.text;
    let content_type = single_header(request, &CONTENT_TYPE, 255)?.unwrap_or_default();
    let form = content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let json = if form { form_payload(text)? } else { text.into() };
    let key = single_header(request, &DELIVERY, 200)?.map(|id| request_key(&["github-delivery", &id], text.as_bytes()));
    Ok((github::parse(&event, &json, &delivered.context(config, settings))?, key))
}

/// GitHub's other way of sending: a form with the JSON in `payload`.
fn form_payload(text: &str) -> Result<std::borrow::Cow<'_, str>, Problem> {
    let field = url::form_urlencoded::parse(text.as_bytes()).find(|field| field.0 == "payload");
    let missing = || Problem::bad_request("unreadable_body", "the form has no field `payload`").at("payload");
    field.map(|field| field.1).ok_or_else(missing)
}
