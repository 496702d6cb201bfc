//! What no handler answers: unknown paths, wrong methods, and input that the extractors refuse.

use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};

use super::Problem;
use super::openapi::Spec;

/// Bytes of the JSON bodies that operators send; events have a limit of their own.
const JSON_LIMIT: usize = 256 * 1024;

/// The service behind all routes: 405 where another method would do, else 404.
pub async fn nowhere(request: HttpRequest, spec: web::Data<Spec>) -> HttpResponse {
    let pattern = request.resource_map().match_pattern(request.path());
    let methods = pattern.and_then(|pattern| spec.methods.get(&pattern).cloned());
    let Some(methods) = methods else {
        let detail = format!("there is no {} here; the API is described at /api/openapi.json", request.path());
        return Problem::not_found(detail).error_response();
    };
    let detail = format!("{} does not work here; use {methods}", request.method());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    let mut response = problem.error_response();
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

pub fn path() -> web::PathConfig {
    web::PathConfig::default().error_handler(|error, _| Problem::not_found(error.to_string()).into())
}

pub fn json() -> web::JsonConfig {
    web::JsonConfig::default().limit(JSON_LIMIT).error_handler(|error, _| json_problem(&error).into())
}

fn json_problem(error: &JsonPayloadError) -> Problem {
    let status = error.status_code();
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "bad_json",
    };
    let detail = match error {
        JsonPayloadError::Deserialize(error) => error.to_string(),
        JsonPayloadError::ContentType => "send `content-type: application/json`".to_owned(),
        other => other.to_string(),
    };
    let status =
        if matches!(error, JsonPayloadError::ContentType) { StatusCode::UNSUPPORTED_MEDIA_TYPE } else { status };
    Problem::new(status, kind, detail)
}
