//! Before anything is routed: no U+0000 in an address, and HEAD is GET without its body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};
use bytes::Bytes;

use super::Problem;

/// Middleware.
pub async fn tidy(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    // PostgreSQL keeps no such text, and no name of anything has one.
    if request.uri().path_and_query().is_some_and(|address| address.as_str().contains("%00")) {
        let problem = Problem::bad_request("bad_character", "the address contains U+0000 (%00), which no name has");
        return Ok(request.into_response(problem.error_response()));
    }
    if request.method() != Method::HEAD {
        return next.call(request).await;
    }
    request.head_mut().method = Method::GET;
    Ok(next.call(request).await?.map_body(|_, body| BoxBody::new(LeftOut(body.size()))))
}

/// A body of which only the length is told; a stream is never begun.
struct LeftOut(BodySize);

impl MessageBody for LeftOut {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
