//! `GET /api/v1/stream`: what happens, as it happens (server-sent events).
//!
//! A stream lives longer than a key may: its listener is let in again before every word.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, get, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::IntoParams;

use super::auth::{Claim, Scope};
use super::gate::{Gate, Stage};
use super::params::{Params, not_one_of};
use super::{Caller, Problem};
use crate::app::{App, StreamEvent};

/// Comments in between keep proxies from closing a quiet connection, and show that a listener is
/// gone, whose place another waits for.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KINDS: [&str; 5] = ["deployment", "incident", "alert", "rollback", "slo"];

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Kinds wanted, separated by commas: deployment, incident, alert, rollback, slo. All without it.
    kind: Option<String>,
}

/// How many may listen at once, at most [`Listeners::MOST`] and half of the connections.
#[derive(Clone)]
pub struct Listeners(Arc<Semaphore>);

impl Listeners {
    pub const MOST: usize = 256;

    pub fn among(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new((connections / 2).clamp(1, Self::MOST))))
    }
}

/// Events of the kinds deployment, incident, alert, rollback and slo, each with an id. A listener
/// that is too slow gets `event: lagged` with the number of events it missed, and asks the list
/// endpoints for what it needs. The stream ends when its key is revoked. At most 256 may listen at
/// once, and no more than half of `server.max_connections`.
#[utoipa::path(
    tag = "stream",
    params(Filter),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        (status = 429, description = "Too many listen; see Retry-After", body = Problem),
    )
)]
#[get("/api/v1/stream")]
pub async fn listen(
    caller: Caller,
    app: web::Data<App>,
    gate: web::Data<Gate>,
    listeners: web::Data<Listeners>,
    filter: Params<Filter>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Scope::Read)?;
    let kinds = kinds(filter.0.kind.as_deref())?;
    let place = Arc::clone(&listeners.0).try_acquire_owned().map_err(|_| too_many())?;
    let listener = Listener { gate, claim: Claim::of(&request), _place: place };
    let events = BroadcastStream::new(app.stream.subscribe()).filter_map(move |event| {
        let text = match event {
            Ok(event) => kinds.contains(&event.kind).then(|| event_text(&event)),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Some(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n"))
            }
        };
        std::future::ready(text)
    });
    let body = with_keep_alive(events, listener).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body))
}

fn too_many() -> Problem {
    let detail = "too many listen already: come back later, or share one stream";
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", detail);
    problem.retry_after_seconds = Some(10);
    problem
}

/// Holds nothing of the request: that would keep the leader's parts, and the stream, for ever.
struct Listener {
    gate: web::Data<Gate>,
    claim: Claim,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Whether whoever listens would be let in now.
    async fn may(&self) -> bool {
        let Stage::Open(serving) = &*self.gate.stage() else { return false };
        serving.door.admit(&self.claim, Scope::Read).await.is_ok_and(|caller| caller.require(Scope::Read).is_ok())
    }
}

fn kinds(wanted: Option<&str>) -> Result<Vec<&'static str>, Problem> {
    let Some(wanted) = wanted else { return Ok(KINDS.to_vec()) };
    let known = |word: &str| {
        let found = KINDS.into_iter().find(|kind| *kind == word.trim());
        found.ok_or_else(|| not_one_of("kind", word.trim(), &KINDS.join(", ")))
    };
    wanted.split(',').map(known).collect()
}

fn event_text(event: &StreamEvent) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", uuid::Uuid::now_v7(), event.kind, event.data)
}

/// Ends when the events end, or when the listener may not listen any more.
fn with_keep_alive(events: impl Stream<Item = String>, listener: Listener) -> impl Stream<Item = String> {
    let mut ticks = interval(KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once: it sends the head of the answer.
    stream::unfold((Box::pin(events), ticks, listener), |(mut events, mut ticks, listener)| async {
        let text = tokio::select! {
            event = events.next() => event?,
            _ = ticks.tick() => ": keep-alive\n\n".to_owned(),
        };
        listener.may().await.then_some((text, (events, ticks, listener)))
    })
}
