//! Whether this process serves: with what, or why not.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError, web};
use arc_swap::ArcSwap;

use super::auth::{Claim, Door};
use super::{Problem, routes, webhooks};
use crate::app::App;
use crate::ingest::tally::Became;

/// Opened when this process may act, closed when it may not.
pub struct Gate(ArcSwap<Stage>);

/// Closed: nothing but health is answered.
pub enum Stage {
    Closed(Closed),
    Open(Serving),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    Starting,
    /// The database does not answer; the log has what it said.
    Database,
    /// Another process holds the lease.
    Standby,
    Stopping,
}

/// What a process has that may act: its parts, its door, the number of its lease.
pub struct Serving {
    pub app: web::Data<App>,
    pub door: Door,
    pub fencing: i64,
}

impl Closed {
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Starting => "DevPulse is starting",
            Self::Database => "the database does not answer",
            Self::Standby => "another process holds the lease",
            Self::Stopping => "DevPulse is stopping",
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Stage::Closed(Closed::Starting)))
    }
}

impl Gate {
    pub fn open(&self, serving: Serving) {
        self.0.store(Arc::new(Stage::Open(serving)));
    }

    pub fn close(&self, why: Closed) {
        self.0.store(Arc::new(Stage::Closed(why)));
    }

    pub fn stage(&self) -> Arc<Stage> {
        self.0.load_full()
    }
}

/// Middleware: hands the request the parts of this process and its caller, or answers for it.
pub async fn enter(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    if routes::is_health(request.path()) {
        return next.call(request).await;
    }
    let source = webhooks::source_of(request.path());
    let stage = request.app_data::<web::Data<Gate>>().map(|gate| gate.stage());
    let response = match admit(request).await {
        Ok(request) => next.call(request).await?,
        Err((request, problem)) => request.into_response(problem.error_response()),
    };
    if let (Some(source), Some(Stage::Open(Serving { app, .. }))) = (source, stage.as_deref()) {
        count_refusal(app, source, response.status());
    }
    Ok(response)
}

/// A delivery that no source has read; those that carry signatures count wrong ones themselves.
fn count_refusal(app: &App, source: webhooks::Entrance, status: StatusCode) {
    let became = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if source.by_key => Became::Unsigned,
        StatusCode::PAYLOAD_TOO_LARGE => Became::TooLarge,
        _ => return,
    };
    if source.webhook {
        app.tally.delivery(source.name, became, app.clock.now());
    } else {
        app.tally.add(source.name, became, 1, app.clock.now());
    }
}

type Refused = (ServiceRequest, Problem);

async fn admit(mut request: ServiceRequest) -> Result<ServiceRequest, Refused> {
    let Some(gate) = request.app_data::<web::Data<Gate>>().cloned() else {
        return Err((request, Problem::unavailable("DevPulse is not assembled")));
    };
    let stage = gate.stage();
    let serving = match &*stage {
        Stage::Open(serving) => serving,
        Stage::Closed(why) => return Err((request, Problem::unavailable(why.reason()))),
    };
    let public = routes::is_public(request.path(), &serving.app.config.load());
    if !public {
        match serving.door.admit(&Claim::of(request.request()), routes::scope_of(&request)).await {
            Ok(caller) => drop(request.extensions_mut().insert(caller)),
            Err(problem) => return Err((request, problem)),
        }
    }
    let mut parts = Extensions::new();
    parts.insert(serving.app.clone());
    parts.insert(web::Data::from(Arc::clone(&serving.app.dora)));
    request.add_data_container(Rc::new(parts));
    Ok(request)
}
