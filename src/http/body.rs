//! How a body that cannot be taken in is answered.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;

use super::Problem;
use crate::ingest::committer::SubmitError;
use crate::ingest::decode::BodyError;
use crate::ingest::fault::Fault;
use crate::ingest::native::Unreadable;

const OVERLOADED: &str = "overloaded";

impl Problem {
    /// For senders of webhooks: to many of them any 4xx means that the event, or the webhook, is of no use, and
    /// they give it up.
    #[must_use]
    pub fn to_sender(self) -> Self {
        if self.kind != OVERLOADED {
            return self;
        }
        let retry_after_seconds = self.retry_after_seconds;
        Self { retry_after_seconds, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, OVERLOADED, self.detail) }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let (status, kind) = match error {
            BodyError::TooLarge { .. } | BodyError::DecodedTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            BodyError::UnknownEncoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
            BodyError::Corrupt(_) => (StatusCode::BAD_REQUEST, "corrupt_body"),
            BodyError::Interrupted(_) => (StatusCode::BAD_REQUEST, "interrupted_body"),
            BodyError::NoMemory => (StatusCode::TOO_MANY_REQUESTS, OVERLOADED),
            BodyError::NotUtf8 { .. } => (StatusCode::BAD_REQUEST, "not_utf8"),
        };
        let mut problem = Self::new(status, kind, error.to_string());
        problem.retry_after_seconds = (error == BodyError::NoMemory).then_some(1);
        problem
    }
}

impl From<Unreadable> for Problem {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::TooMany { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", error.to_string())
            }
            _ => Self::bad_request("unreadable_body", error.to_string()),
        }
    }
}

/// What is wrong with a webhook's body.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        if fault.is_malformed() {
            return Self::bad_request("unreadable_body", format!("the body {}", fault.detail()));
        }
        let detail = format!("{} {}", fault.pointer(), fault.detail());
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_payload", detail).at(fault.pointer())
    }
}

/// A delivery that no repetition would make better.
impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::new(problem.pointer.unwrap_or_default(), problem.detail)
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Overloaded => {
                let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, error.to_string());
                problem.retry_after_seconds = Some(1);
                problem
            }
            SubmitError::InDoubt => Self::unavailable(
                "the database went away while it committed: the request may have been kept; send it again if its \
                 events have ids or it has an Idempotency-Key, so that nothing counts twice",
            ),
            SubmitError::Store(reason) => {
                tracing::error!(%reason, "events could not be committed");
                Self::unavailable("the database did not commit; nothing was kept, send the request again")
            }
        }
    }
}

/// The only value of a header, at most `limit` bytes of visible ASCII; `None` where it is absent.
///
/// # Errors
/// 400 problem: the header is there more than once, empty, too long, or not ASCII.
pub fn single_header(request: &HttpRequest, name: &HeaderName, limit: usize) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let bad =
        |reason: &str| Problem::bad_request("bad_header", format!("the header {name} {reason}")).at(name.as_str());
    if values.next().is_some() {
        return Err(bad("is given more than once"));
    }
    match value.to_str() {
        Err(_) => Err(bad("has characters other than visible ASCII")),
        Ok("") => Err(bad("is empty")),
        Ok(text) if text.len() > limit => Err(bad(&format!("is longer than {limit} bytes"))),
        Ok(text) => Ok(Some(text.to_owned())),
    }
}
