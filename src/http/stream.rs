//! `GET /api/v1/stream`: what happens, as it happens (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::IntoParams;

use super::auth::Scope;
use super::params::{Params, not_one_of};
use super::{Caller, Problem};
use crate::app::{App, StreamEvent};

/// Comments in between keep proxies from closing a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KINDS: [&str; 5] = ["deployment", "incident", "alert", "rollback", "slo"];

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Kinds wanted, separated by commas: deployment, incident, alert, rollback, slo. All without it.
    kind: Option<String>,
}

/// Events of the kinds deployment, incident, alert, rollback and slo, each with an id. A listener
/// that is too slow gets `event: lagged` with the number of events it missed, and asks the list
/// endpoints for what it needs.
#[utoipa::path(
    tag = "stream",
    params(Filter),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream"))
)]
#[get("/api/v1/stream")]
pub async fn listen(caller: Caller, app: web::Data<App>, filter: Params<Filter>) -> Result<HttpResponse, Problem> {
    caller.require(Scope::Read)?;
    let kinds = kinds(filter.0.kind.as_deref())?;
    let events = BroadcastStream::new(app.stream.subscribe()).filter_map(move |event| {
        let text = match event {
            Ok(event) => kinds.contains(&event.kind).then(|| event_text(&event)),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Some(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n"))
            }
        };
        std::future::ready(text)
    });
    let body = with_keep_alive(events).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body))
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

/// Ends when the events end.
fn with_keep_alive(events: impl Stream<Item = String>) -> impl Stream<Item = String> {
    let mut ticks = interval(KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once: it sends the head of the answer.
    stream::unfold((Box::pin(events), ticks), |(mut events, mut ticks)| async {
        let text = tokio::select! {
            event = events.next() => event?,
            _ = ticks.tick() => ": keep-alive\n\n".to_owned(),
        };
        Some((text, (events, ticks)))
    })
}
