//! Around every request: its id, its span, its metrics, and errors as problems.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;
use tracing::Instrument;

use super::Problem;
use crate::telemetry::trace;

/// Comes back in the answer, so that a client's report can be found in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub fn describe() {
    describe_counter!("devpulse_http_requests_total", "Requests answered, by route template.");
    describe_histogram!(
        "devpulse_http_request_duration_seconds",
        Unit::Seconds,
        "From the head of a request to the head of its answer, by route template."
    );
}

/// Middleware, the outermost.
pub async fn observe(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let id = request_id(&request);
    let method = method_label(request.method());
    let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let span = tracing::debug_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        request_id = id,
    );
    trace::continue_from(&span, request.headers());
    let mut response = ended(as_problem(next.call(request).instrument(span.clone()).await?));

    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    // 503 has its reason in the log already, or is what a probe is there to hear.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(request_id = id, method, route, status = status.as_u16(), "a request failed");
    }
    histogram!("devpulse_http_request_duration_seconds", "method" => method, "route" => route.clone())
        .record(began.elapsed());
    counter!("devpulse_http_requests_total", "method" => method, "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"devpulse\""));
    }
    Ok(response)
}

/// The client's own id, or a new one.
fn request_id(request: &ServiceRequest) -> String {
    let sent = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    sent.filter(sane).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Methods as a label: whatever a client makes up is one value.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Errors that actix itself answered get the shape of all others; their headers stay.
fn as_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let is = |kind: &str| {
        let shown = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        shown.is_some_and(|shown| shown.starts_with(kind))
    };
    let answered = is("application/problem+json") || is("application/json");
    if answered || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let told = response.response().error().map(ToString::to_string).filter(|_| status.is_client_error());
    let reason = status.canonical_reason().unwrap_or("error");
    let problem = Problem::new(status, kind(status), told.unwrap_or_else(|| reason.to_owned()));
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let (request, response) = response.into_parts();
    let (mut response, _) = response.into_parts();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    ServiceResponse::new(request, response.set_body(BoxBody::new(body)))
}

/// JSON ends its line: answers that a terminal shows one after the other do not run together.
fn ended(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/") && kind.ends_with("json")) {
        return response;
    }
    response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) if !bytes.is_empty() => {
            let mut bytes = Vec::from(bytes);
            bytes.push(b'\n');
            BoxBody::new(bytes)
        }
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => body,
    })
}

const fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "error",
    }
}
