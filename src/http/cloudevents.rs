//! `POST /api/v1/cloudevents`: CloudEvents 1.0 over HTTP.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use actix_web::{HttpRequest, post, web};
use bytes::Bytes;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::body::single_header;
use super::taking::{self, Detail, Reading};
use super::{Caller, Problem};
use crate::app::App;
use crate::config::{Config, EnvironmentNames};
use crate::ingest::budget::Hold;
use crate::ingest::cloudevents::{self, Attributes, Content, Context, SOURCE, media_type};
use crate::ingest::decode::{self, Encoding};
use crate::ingest::fault::Fault;
use crate::ingest::items::{Fate, Parsed};
use crate::ingest::native;
use crate::ingest::receipt::Receipt;
use crate::ingest::tally::Became;
use crate::time::Timestamp;

const PREFIX: &str = "ce-";

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(post_cloudevents);
}

/// Take CloudEvents in
///
/// One event in the headers (`ce-…`, with the data as the body) or as JSON
/// (`application/cloudevents+json`), or many (`application/cloudevents-batch+json`). Understood are
/// CDEvents 0.3 to 0.6 (`service.deployed`, `upgraded` and `rolledback`, `artifact.packaged` and `published`,
/// `change.merged`, `incident.detected`, `reported` and `resolved`) and `io.devpulse.deployment`, `change`, `incident`,
/// `request`, `performance` and `error`, whose data is an event of `POST /api/v1/events`; all others are
/// skipped, and those of CDEvents in versions that are not known kept as they came. An event is known by
/// `source` and `id`: sent again it is a duplicate.
///
/// One event that is wrong is answered 422; in a batch it spoils nothing but itself.
#[utoipa::path(
    tag = "events",
    params(
        ("ce-id" = Option<String>, Header, description = "In binary mode, as all attributes"),
        ("ce-source" = Option<String>, Header, description = "A URI reference"),
        ("ce-type" = Option<String>, Header, description = "What happened"),
        ("ce-specversion" = Option<String>, Header, description = "1.0"),
    ),
    request_body(
        content(
            (String = "application/cloudevents+json"),
            (String = "application/cloudevents-batch+json"),
            (String = "application/json"),
        ),
    ),
    responses(
        (status = 200, description = "On disk, seen before, or skipped; one outcome per event", body = Receipt,
         example = json!({"accepted": 1, "duplicate": 0, "invalid": 0, "items": [{"outcome": "accepted", "id": "271069a8"}]})),
        (status = 400, description = "Nothing could be read, or it is no CloudEvent", body = Problem),
        (status = 401, description = "No key, or an unknown one", body = Problem),
        (status = 403, description = "The key lacks the scope ingest", body = Problem),
        (status = 413, description = "Too many bytes or events", body = Problem),
        (status = 415, description = "An encoding or a format that is not supported", body = Problem),
        (status = 422, description = "The one event is wrong; see pointer", body = Problem),
        (status = 429, description = "Too many requests wait; see Retry-After", body = Problem),
        (status = 503, description = "The database does not answer; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/cloudevents")]
pub async fn post_cloudevents(
    caller: Caller,
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Receipt>, Problem> {
    caller.require(Scope::Ingest)?;
    let incoming = Incoming::of(&request)?;
    let config = app.config.load_full();
    let mut hold = app.bodies.hold();
    let raw = decode::read(payload, config.ingest.max_body_bytes, &mut hold).await?;
    let received_at = app.clock.now();
    let (bytes, encoding, settings) = (raw.len(), incoming.encoding, Arc::clone(&config));
    let reading = taking::read(bytes, encoding, move || incoming.read(raw, hold, &settings, received_at)).await;
    let reading = reading.inspect_err(|problem| {
        // What is too large is counted as that.
        if problem.status != StatusCode::PAYLOAD_TOO_LARGE.as_u16() {
            app.tally.add(SOURCE, Became::Invalid, 1, received_at);
        }
    })?;
    reading.take_in(&app, SOURCE).await.map(web::Json)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batched,
}

/// What the headers say.
struct Incoming {
    mode: Mode,
    encoding: Encoding,
    content_type: Option<String>,
    attributes: Result<Attributes<'static>, Fault>,
}

impl Incoming {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let content_type = single_header(request, &CONTENT_TYPE, 255)?;
        let mode = mode(content_type.as_deref())?;
        let has_attributes = attributes(request.headers()).next().is_some();
        if mode == Mode::Binary && !has_attributes {
            let detail = "the request is no CloudEvent: send application/cloudevents+json, \
                application/cloudevents-batch+json, or the attributes as headers such as ce-type";
            return Err(Problem::bad_request("no_cloudevent", detail));
        }
        let encoding = Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())?;
        let attributes = Attributes::of_headers(attributes(request.headers()));
        Ok(Self { mode, encoding, content_type, attributes })
    }

    fn read(self, raw: Bytes, mut hold: Hold, config: &Config, received_at: Timestamp) -> Result<Reading, Problem> {
        let body = decode::decode(raw, self.encoding, config.ingest.max_decoded_bytes, &mut hold)?;
        let content = match self.mode {
            Mode::Binary => {
                Content::Binary { attributes: self.attributes, content_type: self.content_type.as_deref(), body: &body }
            }
            Mode::Structured => Content::Structured(decode::utf8(&body)?),
            Mode::Batched => Content::Batched(decode::utf8(&body)?),
        };
        let context = Context {
            native: native::Context {
                received_at,
                max_future: config.ingest.max_future,
                max_items: config.ingest.max_items,
                environments: EnvironmentNames::new(&config.environments),
            },
            settings: &config.sources.cloudevents,
            services: &config.services,
        };
        let parsed = cloudevents::parse(content, &context)?;
        if self.mode != Mode::Batched {
            refuse_invalid(&parsed)?;
        }
        Ok(Reading::of(parsed, received_at, None, Detail::Items, hold))
    }
}

/// The attributes in the headers, without their prefix.
fn attributes(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    let named = headers.iter().map(|(name, value)| (name.as_str().strip_prefix(PREFIX), value));
    named.filter_map(|(name, value)| Some((name?, value.as_bytes())))
}

fn mode(content_type: Option<&str>) -> Result<Mode, Problem> {
    let named = content_type.map(|named| media_type(named).unwrap_or_default()).unwrap_or_default();
    match named.as_str() {
        "application/cloudevents+json" | "application/cloudevents" => Ok(Mode::Structured),
        "application/cloudevents-batch+json" | "application/cloudevents-batch" => Ok(Mode::Batched),
        named if named.starts_with("application/cloudevents") => {
            let detail = format!(
                "the event format {named} is not supported: send application/cloudevents+json, \
                 application/cloudevents-batch+json, or the attributes as headers"
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", detail))
        }
        _ => Ok(Mode::Binary),
    }
}

/// Senders of one event look at the status, not into the answer.
fn refuse_invalid(parsed: &Parsed) -> Result<(), Problem> {
    match parsed.items.first().map(|item| &item.fate) {
        Some(Fate::Invalid(fault)) => Err(fault.clone().into()),
        _ => Ok(()),
    }
}
