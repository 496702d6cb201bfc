//! `POST /api/v1/events`: the native API.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, post, web};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::body::single_header;
use super::event_schema::EventBody;
use super::params::{Nothing, Params, one_of};
use super::taking::{self, Detail, Reading};
use super::{Caller, Problem};
use crate::app::App;
use crate::config::{Config, EnvironmentNames};
use crate::ingest::budget::Hold;
use crate::ingest::committer::RequestKey;
use crate::ingest::decode::{self, Encoding};
use crate::ingest::items::Parsed;
use crate::ingest::key::request_key;
use crate::ingest::native::{self, Context};
use crate::ingest::receipt::Receipt;
use crate::ingest::tally;
use crate::time::Timestamp;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Batches of lines above this are answered with counts only, unless items are asked for.
const ITEMS_BY_DEFAULT: usize = 100;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(post_events);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `items`: one entry per event, the default; `outcomes`: the same without what each counts in,
    /// which takes as long as all the rest; `summary`: the counts only, the default for more than
    /// 100 lines.
    receipt: Option<String>,
}

/// Take events in
///
/// One event as a JSON object, several as an array or one per line (`application/x-ndjson`);
/// plain or as gzip, zstd, br or deflate. The answer comes once the events are on disk. A bad item
/// spoils nothing but itself: every item gets one outcome, in order.
///
/// Items of accepted deployments, changes and incidents say what they count in and what not, as of
/// now (the first 500 of a request, and deployments of its first 8 services).
///
/// A request that may be sent twice should carry `Idempotency-Key` (any text up to 255 bytes), or
/// its events an `id` each.
#[utoipa::path(
    tag = "events",
    params(Wanted, ("Idempotency-Key" = Option<String>, Header, description = "Seen before: nothing is taken in again")),
    request_body(
        content(
            (EventBody = "application/json", examples(
                ("deployment" = (value = json!({"type": "deployment", "id": "d-41", "source": "ci/acme", "time": "2026-01-05T10:04:00Z", "service": "checkout", "environment": "production", "version": "1.4.2", "commit": "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b", "outcome": "succeeded", "started_at": "2026-01-05T10:00:00Z", "changes": [{"repository": "acme/checkout", "sha": "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b", "authored_at": "2026-01-05T08:00:00Z"}]}))),
                ("incident" = (value = json!({"type": "incident", "id": "i-9", "source": "pagerduty", "time": "2026-01-05T10:10:00Z", "service": "checkout", "environment": "production", "status": "opened", "severity": "critical", "title": "checkout is down", "deployments": [{"id": "d-41", "source": "ci/acme"}]}))),
                ("request" = (value = json!({"type": "request", "time": "2026-01-05T10:04:03Z", "service": "checkout", "environment": "production", "version": "1.4.2", "route": "/pay", "status": 503, "duration_ms": 12.5}))),
                ("performance" = (value = json!({"type": "performance", "time": "2026-01-05T10:04:10Z", "service": "checkout", "environment": "production", "version": "1.4.2", "requests": 1200, "errors": 3, "duration_ms": {"count": 1200, "sum": 15300, "buckets": [[5, 100], [10, 700], [25, 390], [50, 10]]}}))),
            )),
            (String = "application/x-ndjson"),
        ),
    ),
    responses(
        (status = 200, description = "The events are on disk; one outcome per item", body = Receipt,
         example = json!({"accepted": 1, "duplicate": 0, "invalid": 1, "items": [{"outcome": "accepted", "id": "d-41"}, {"outcome": "invalid", "error": {"pointer": "/service", "detail": "is missing: name the service that was deployed"}}]})),
        (status = 400, description = "Nothing could be read", body = Problem),
        (status = 401, description = "No key, or an unknown one", body = Problem),
        (status = 403, description = "The key lacks the scope ingest", body = Problem),
        (status = 413, description = "Too many bytes or events", body = Problem),
        (status = 415, description = "An encoding or a content type that is not supported", body = Problem),
        (status = 422, description = "The Idempotency-Key came before with another body", body = Problem),
        (status = 429, description = "Too many requests wait; see Retry-After", body = Problem),
        (status = 503, description = "The database does not answer; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/events")]
pub async fn post_events(
    caller: Caller,
    Params(wanted, Nothing {}): Params<Wanted>,
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Receipt>, Problem> {
    caller.require(Scope::Ingest)?;
    let incoming = Incoming::of(&request, &wanted, caller)?;
    let config = app.config.load_full();
    let mut hold = app.bodies.hold();
    let raw = decode::read(payload, config.ingest.max_body_bytes, &mut hold).await?;
    let received_at = app.clock.now();
    let (bytes, encoding, settings) = (raw.len(), incoming.encoding, Arc::clone(&config));
    let reading = taking::read(bytes, encoding, move || incoming.read(raw, hold, &settings, received_at)).await?;
    reading.take_in(&app, tally::NATIVE).await.map(web::Json)
}

/// What the request says about its body, and who sends it.
struct Incoming {
    caller: Caller,
    encoding: Encoding,
    lines: bool,
    idempotency_key: Option<String>,
    detail: Option<Detail>,
}

impl Incoming {
    fn of(request: &HttpRequest, wanted: &Wanted, caller: Caller) -> Result<Self, Problem> {
        Ok(Self {
            caller,
            encoding: Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())?,
            lines: declares_lines(single_header(request, &CONTENT_TYPE, 255)?.as_deref())?,
            idempotency_key: single_header(request, &IDEMPOTENCY_KEY, 255)?,
            detail: one_of("receipt", wanted.receipt.as_deref(), "items, outcomes, summary")?,
        })
    }

    fn read(&self, raw: Bytes, mut hold: Hold, config: &Config, received_at: Timestamp) -> Result<Reading, Problem> {
        let body = decode::decode(raw, self.encoding, config.ingest.max_decoded_bytes, &mut hold)?;
        let context = Context {
            received_at,
            max_future: config.ingest.max_future,
            max_items: config.ingest.max_items,
            environments: EnvironmentNames::new(&config.environments),
        };
        let parsed = native::parse(decode::utf8(&body)?, self.lines, &context)?;
        let detail = self.detail_of(&parsed);
        Ok(Reading::of(parsed, received_at, self.request_key(&body), detail, hold))
    }

    fn detail_of(&self, parsed: &Parsed) -> Detail {
        let many = parsed.lines && parsed.items.len() > ITEMS_BY_DEFAULT;
        self.detail.unwrap_or(if many { Detail::Summary } else { Detail::Items })
    }

    /// Keys belong to their caller: two callers may use the same one.
    fn request_key(&self, body: &[u8]) -> Option<RequestKey> {
        let key = self.idempotency_key.as_deref()?;
        Some(request_key(&["idempotency-key", &self.caller.name, key], body))
    }
}

/// Whether the content type says one event per line; other JSON types are looked into.
fn declares_lines(content_type: Option<&str>) -> Result<bool, Problem> {
    let Some(content_type) = content_type else { return Ok(false) };
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let name = parts.next().unwrap_or_default();
    let unsupported = |what: String| {
        let detail = format!("{what}: send application/json or application/x-ndjson, in UTF-8");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", detail)
    };
    if let Some(charset) = parts.find_map(|part| part.strip_prefix("charset=").map(|c| c.trim_matches('"').to_owned()))
        && !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")
    {
        return Err(unsupported(format!("the charset {charset} is not supported")));
    }
    match name.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(true),
        // What curl and simple senders say when they are not told what they send.
        ""
        | "application/json"
        | "text/json"
        | "text/plain"
        | "application/octet-stream"
        | "application/x-www-form-urlencoded" => Ok(false),
        name if name.ends_with("+json") => Ok(false),
        name => Err(unsupported(format!("the content type {name} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_understood_or_refused() {
        assert!(declares_lines(Some("application/x-ndjson; charset=UTF-8")).unwrap());
        assert!(!declares_lines(Some("application/cloudevents+json")).unwrap());
        assert!(!declares_lines(None).unwrap());
        for refused in ["application/xml", "multipart/form-data; boundary=x", "application/json; charset=latin1"] {
            assert_eq!(declares_lines(Some(refused)).unwrap_err().status, 415, "{refused}");
        }
    }
}
