//! `POST /api/v1/events`: the native API.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, post, web};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Scope;
use super::body::single_header;
use super::event_schema::EventBody;
use super::{Caller, Problem};
use crate::app::App;
use crate::config::{Config, EnvironmentNames};
use crate::ingest::committer::{Committed, RequestKey, Submission};
use crate::ingest::decode::{self, Encoding};
use crate::ingest::key::request_key;
use crate::ingest::native::{self, Context, Parsed};
use crate::ingest::receipt::{Pending, Receipt};
use crate::time::Timestamp;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Batches of lines above this are answered with counts only, unless items are asked for.
const ITEMS_BY_DEFAULT: usize = 100;
/// Bodies above this are read on a thread where they hold nobody up.
const READ_ASIDE_BYTES: usize = 128 * 1024;

pub fn configure(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(post_events);
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// `items`: one entry per event, the default; `summary`: the counts only, the default for
    /// more than 100 lines.
    receipt: Option<Detail>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Detail {
    Items,
    Summary,
}

/// Take events in
///
/// One event as a JSON object, several as an array or one per line (`application/x-ndjson`);
/// plain or as gzip, zstd, br or deflate. The answer comes once the events are on disk. A bad item
/// spoils nothing but itself: every item gets one outcome, in order.
///
/// A request that may be sent twice should carry `Idempotency-Key` (any text up to 255 bytes), or
/// its events an `id` each.
#[utoipa::path(
    tag = "events",
    operation_id = "post_events",
    params(EventsQuery, ("Idempotency-Key" = Option<String>, Header, description = "Seen before: nothing is taken in again")),
    request_body(
        content(
            (EventBody = "application/json", examples(
                ("deployment" = (value = json!({"type": "deployment", "id": "d-41", "source": "ci/acme", "time": "2026-01-05T10:04:00Z", "service": "checkout", "environment": "production", "version": "1.4.2", "commit": "8f3c1d2", "outcome": "succeeded", "started_at": "2026-01-05T10:00:00Z", "changes": [{"repository": "acme/checkout", "sha": "8f3c1d2", "authored_at": "2026-01-05T08:00:00Z"}]}))),
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
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Receipt>, Problem> {
    caller.require(Scope::Ingest)?;
    let incoming = Incoming::of(&request)?;
    let config = app.config.load_full();
    let raw = decode::read(payload, config.ingest.max_body_bytes).await?;
    let received_at = app.clock.now();
    let scope = caller.name;
    let (pending, submission, with_items) = if raw.len() > READ_ASIDE_BYTES {
        let reading = web::block(move || incoming.read(&scope, raw, &config, received_at));
        reading.await.map_err(|_| Problem::unavailable("the server is stopping"))??
    } else {
        incoming.read(&scope, raw, &config, received_at)?
    };
    let committed = submit(&app, submission).await?;
    let receipt = pending.receipt(&committed, with_items, |_| None);
    count(&receipt);
    Ok(web::Json(receipt))
}

async fn submit(app: &App, submission: Submission) -> Result<Committed, Problem> {
    if submission.facts.is_empty() && submission.telemetry.is_empty() && submission.keyed.is_empty() {
        return Ok(Committed::Taken { facts: Vec::new(), keyed: Vec::new() });
    }
    match app.committer.submit(submission).await? {
        Committed::KeyReused => {
            let detail = "this Idempotency-Key came before with another body: use a new key for a new request";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail))
        }
        committed => Ok(committed),
    }
}

/// What the request says about its body.
struct Incoming {
    encoding: Encoding,
    lines: bool,
    idempotency_key: Option<String>,
    detail: Option<Detail>,
}

impl Incoming {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let query = web::Query::<EventsQuery>::from_query(request.query_string()).map_err(|error| {
            let detail = format!("{error}: the only parameter is receipt=items or receipt=summary");
            Problem::bad_request("unknown_parameter", detail)
        })?;
        Ok(Self {
            encoding: Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())?,
            lines: declares_lines(single_header(request, &CONTENT_TYPE, 255)?.as_deref())?,
            idempotency_key: single_header(request, &IDEMPOTENCY_KEY, 255)?,
            detail: query.receipt,
        })
    }

    fn read(
        &self,
        caller: &str,
        raw: Bytes,
        config: &Config,
        received_at: Timestamp,
    ) -> Result<(Pending, Submission, bool), Problem> {
        let body = decode::decode(raw, self.encoding, config.ingest.max_decoded_bytes)?;
        let context = Context {
            received_at,
            max_future: config.ingest.max_future,
            max_items: config.ingest.max_items,
            environments: EnvironmentNames::new(&config.environments),
        };
        let mut parsed = native::parse(decode::utf8(&body)?, self.lines, &context)?;
        let with_items = self.wants_items(&parsed);
        let pending = Pending::of(&mut parsed);
        let Parsed { facts, telemetry, keyed, .. } = parsed;
        let request = self.request_key(caller, &body);
        Ok((pending, Submission { received_at, request, facts, telemetry, keyed }, with_items))
    }

    fn wants_items(&self, parsed: &Parsed) -> bool {
        self.detail.map_or(!parsed.lines || parsed.items.len() <= ITEMS_BY_DEFAULT, |detail| detail == Detail::Items)
    }

    /// Keys belong to their caller: two callers may use the same one.
    fn request_key(&self, caller: &str, body: &[u8]) -> Option<RequestKey> {
        let key = self.idempotency_key.as_deref()?;
        Some(request_key(&["idempotency-key", caller, key], body))
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

fn count(receipt: &Receipt) {
    let outcomes = [("accepted", receipt.accepted), ("duplicate", receipt.duplicate), ("invalid", receipt.invalid)];
    for (outcome, items) in outcomes {
        crate::ingest::count("api", outcome, items);
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
