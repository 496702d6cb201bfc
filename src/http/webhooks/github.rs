//! `POST /api/v1/webhooks/github`: the signature, the headers, the form.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, post, web};

use super::{DeliveryReceipt, Signed, refused, take};
use crate::app::App;
use crate::config::model::GitHub;
use crate::config::{Config, EnvironmentNames};
use crate::http::Problem;
use crate::http::body::single_header;
use crate::ingest::committer::RequestKey;
use crate::ingest::decode::{self, Encoding};
use crate::ingest::github::{self, Context};
use crate::ingest::key::request_key;
use crate::ingest::metrics::count_delivery;
use crate::ingest::signature::Style;
use crate::ingest::source::Reading;
use crate::time::Timestamp;

const SOURCE: &str = "github";
const SIGNED: Signed = Signed {
    source: SOURCE,
    style: Style::GitHub,
    header: HeaderName::from_static("x-hub-signature-256"),
    key: "sources.github.secret",
};
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
        (status = 200, description = "Taken in and on disk, seen before, or skipped", body = DeliveryReceipt,
         example = json!({"outcome": "accepted", "events": 1})),
        (status = 400, description = "The body or a header cannot be read", body = Problem),
        (status = 401, description = "The signature is missing or wrong", body = Problem),
        (status = 404, description = "GitHub is not configured as a source", body = Problem),
        (status = 413, description = "Too many bytes", body = Problem),
        (status = 422, description = "A required field is missing or wrong; see pointer", body = Problem),
        (status = 429, description = "Too many requests wait; see Retry-After", body = Problem),
        (status = 503, description = "The database does not answer; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/webhooks/github")]
pub async fn post_github(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<DeliveryReceipt>, Problem> {
    let config = app.config.load_full();
    let github = configured(&config)?;
    let signature = SIGNED.claimed(&request)?;
    let mut hold = app.webhook_bodies.hold();
    let body = decode::read(payload, config.ingest.max_body_bytes, &mut hold).await?;
    SIGNED.verify(&github.secret, &signature, &body)?;
    let received_at = app.clock.now();
    let read = read(&config, github, &request, &body, received_at).inspect_err(|_| count_delivery(SOURCE, "invalid"));
    let (reading, request) = read?;
    let receipt = take(&app, SOURCE, received_at, request, reading).await?;
    Ok(web::Json(receipt))
}

fn configured(config: &Config) -> Result<&GitHub, Problem> {
    config.sources.github.as_ref().ok_or_else(|| {
        let detail = "GitHub is not configured as a source: set sources.github.secret to the webhook's secret";
        Problem::not_found(detail)
    })
}

fn read(
    config: &Config,
    github: &GitHub,
    request: &HttpRequest,
    body: &[u8],
    received_at: Timestamp,
) -> Result<(Reading, Option<RequestKey>), Problem> {
    let Some(event) = single_header(request, &EVENT, 100)? else {
        return Err(Problem::bad_request("bad_header", "X-GitHub-Event is missing").at(EVENT.as_str()));
    };
    if Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())? != Encoding::Identity {
        let detail = "GitHub's deliveries are not compressed: send the body that was signed";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail));
    }
    let text = decode::utf8(body)?;
    let content_type = single_header(request, &CONTENT_TYPE, 255)?.unwrap_or_default();
    let form = content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let json = if form { form_payload(text)? } else { text.into() };
    let key = single_header(request, &DELIVERY, 200)?.map(|id| request_key(&["github-delivery", &id], body));
    let context = Context {
        received_at,
        github,
        services: &config.services,
        environments: EnvironmentNames::new(&config.environments),
    };
    Ok((github::parse(&event, &json, &context).map_err(|fault| refused(&fault))?, key))
}

/// GitHub's other way of sending: a form with the JSON in `payload`.
fn form_payload(text: &str) -> Result<std::borrow::Cow<'_, str>, Problem> {
    let field = url::form_urlencoded::parse(text.as_bytes()).find(|field| field.0 == "payload");
    let missing = || Problem::bad_request("unreadable_body", "the form has no field `payload`").at("payload");
    field.map(|field| field.1).ok_or_else(missing)
}
