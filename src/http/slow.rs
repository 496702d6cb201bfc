//! Clients that stall half way through a body are let go, so that they hold nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError, web};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::Problem;
use super::connections::Connection;

/// A whole body may take so many times what one silence may: one byte now and then is stalling, too.
const WHOLE_BODY: u32 = 6;

/// How long a client may stay silent within a body.
#[derive(Clone, Copy)]
pub struct Patience(pub Duration);

/// Middleware: answers 408 and closes the connection when the body stalls. A body that is still on
/// its way when its request is refused is not waited for.
pub async fn limit(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(patience) = request.app_data::<web::Data<Patience>>().map(|patience| patience.0) else {
        return next.call(request).await;
    };
    let mut handling = request.conn_data::<Arc<Connection>>().map(Connection::handle);
    let read = Arc::new(Read::default());
    let has_body = has_body(&request);
    if has_body {
        let inner = request.take_payload();
        let body = Body { inner, patience, ends: None, wait: None, read: Arc::clone(&read) };
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }
    let mut response = next.call(request).await?;
    if read.stalled.load(Ordering::Relaxed) {
        let detail = "the body did not arrive in time";
        let answer = Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).error_response();
        response = response.into_response(answer);
    }
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if refused && has_body && !read.whole.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(handling) = &mut handling {
            handling.end_within(patience);
        }
    }
    Ok(match handling {
        Some(handling) => response.map_body(|_, body| handling.keep_during(body)),
        None => response,
    })
}

fn has_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    length.is_some_and(|length| length.as_bytes() != b"0") || headers.contains_key(TRANSFER_ENCODING)
}

/// How far the reading of a body came.
#[derive(Default)]
struct Read {
    stalled: AtomicBool,
    whole: AtomicBool,
}

struct Body {
    inner: Payload,
    patience: Duration,
    /// When the whole body must be there; set when it is first waited for.
    ends: Option<Instant>,
    wait: Option<Pin<Box<Sleep>>>,
    read: Arc<Read>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(chunk) = Pin::new(&mut self.inner).poll_next(context) {
            self.wait = None;
            if chunk.is_none() {
                self.read.whole.store(true, Ordering::Relaxed);
            }
            return Poll::Ready(chunk);
        }
        let patience = self.patience;
        let ends = *self.ends.get_or_insert_with(|| Instant::now() + patience * WHOLE_BODY);
        let left = ends.saturating_duration_since(Instant::now()).min(patience);
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(left)));
        if wait.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.read.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(PayloadError::Io(io::Error::from(io::ErrorKind::TimedOut)))))
    }
}
