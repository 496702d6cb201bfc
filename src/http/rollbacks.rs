//! `/api/v1/rollbacks`: what was decided and why, how far it is, and what people may do about it.

use actix_web::{get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::listing::{canonical, known_place};
use super::params::{PageParams, Params, cursor, one_of};
use super::{Caller, Problem};
use crate::app::App;
use crate::event::EntityKey;
use crate::rollback::policy::Decision;
use crate::rollback::state::{HistoryEntry, Rollback, RollbackState, Step};
use crate::store::rollback::{self, Filter};
use crate::time::Timestamp;
use crate::worker::saga::people::{self, ActError};

pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(list_rollbacks).service(show_rollback).service(approve_rollback).service(cancel_rollback);
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RollbackParams {
    service: Option<String>,
    /// An environment of the configuration, or a name that sources use.
    environment: Option<String>,
    #[param(value_type = Option<RollbackState>)]
    state: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RollbackPage {
    /// Newest first.
    items: Vec<RollbackSummary>,
    /// The cursor of the next page; null on the last.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RollbackSummary {
    id: String,
    service: String,
    environment: String,
    state: RollbackState,
    mode: crate::config::model::Mode,
    /// The deployment that is undone.
    deployment: EntityKey,
    from_version: Option<String>,
    to_version: Option<String>,
    /// One sentence for people.
    summary: String,
    decided_at: Timestamp,
    updated_at: Timestamp,
    /// Absent while something is left to do, or a failed or refused one still needs a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RollbackDetail {
    #[serde(flatten)]
    rollback: RollbackSummary,
    /// The decision with all its evidence.
    decision: Decision,
    steps: Vec<Step>,
    /// Who did what to it.
    history: Vec<HistoryEntry>,
}

impl From<&Rollback> for RollbackSummary {
    fn from(rollback: &Rollback) -> Self {
        let decision = &rollback.decision;
        Self {
            id: rollback.id.clone(),
            service: rollback.service.clone(),
            environment: rollback.environment.clone(),
            state: rollback.state,
            mode: rollback.mode,
            deployment: rollback.deployment.clone(),
            from_version: decision.from.as_ref().map(|from| from.version.clone()),
            to_version: decision.to.as_ref().map(|to| to.version.clone()),
            summary: decision.summary.clone(),
            decided_at: rollback.decided_at,
            updated_at: rollback.updated_at,
            finished_at: rollback.finished_at,
        }
    }
}

/// Rollbacks: decided, proposed, shadowed, refused; newest first.
#[utoipa::path(tag = "rollbacks", params(RollbackParams, PageParams), responses(
    (status = 200, body = RollbackPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/rollbacks")]
async fn list_rollbacks(
    caller: Caller,
    app: web::Data<App>,
    params: Params<RollbackParams, PageParams>,
) -> Result<web::Json<RollbackPage>, Problem> {
    caller.require(Scope::Read)?;
    let Params(own, page) = params;
    let limit = page.limit()?;
    let after = page.cursor::<(i64, String)>()?.map(|(at, id)| (Timestamp::from_micros(at), id));
    let states = RollbackState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    let filter = Filter {
        service: own.service,
        environment: canonical(&app, own.environment),
        state: one_of("state", own.state.as_deref(), &states)?,
    };
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut found = rollback::page(&mut app.store.read().await?, &filter, after.as_ref(), rows).await?;
    if found.is_empty() && after.is_none() {
        known_place(&app, filter.service.as_deref(), filter.environment.as_deref()).await?;
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).and_then(|last| cursor(&(last.decided_at.micros(), &last.id)));
    Ok(web::Json(RollbackPage { items: found.iter().map(RollbackSummary::from).collect(), next }))
}

/// One rollback: decision, evidence, steps with what was sent and answered, history.
#[utoipa::path(tag = "rollbacks", params(("id" = String, Path)), responses(
    (status = 200, body = RollbackDetail),
    (status = 404, body = Problem),
))]
#[get("/api/v1/rollbacks/{id}")]
async fn show_rollback(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
) -> Result<web::Json<RollbackDetail>, Problem> {
    caller.require(Scope::Read)?;
    detail(&app, &id).await
}

/// Approves a proposed rollback; it begins at once. 409 when that is no longer possible.
#[utoipa::path(tag = "rollbacks", params(("id" = String, Path)), responses(
    (status = 200, body = RollbackDetail),
    (status = 403, body = Problem, description = "The key lacks the scope operate."),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "Not proposed any more, too late, superseded, or its target is quarantined."),
))]
#[post("/api/v1/rollbacks/{id}/approve")]
async fn approve_rollback(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
) -> Result<web::Json<RollbackDetail>, Problem> {
    caller.require(Scope::Operate)?;
    let policies = &app.config.load().rollback.policies;
    people::approve(&app.store, policies, &id, &caller.name, app.clock.now()).await?;
    app.wake.saga.notify_one();
    detail(&app, &id).await
}

/// Withdraws a rollback before traffic is touched, or closes a failed or refused one that needed
/// a person. 409 when traffic is being moved already.
#[utoipa::path(tag = "rollbacks", params(("id" = String, Path)), responses(
    (status = 200, body = RollbackDetail),
    (status = 403, body = Problem, description = "The key lacks the scope operate."),
    (status = 404, body = Problem),
    (status = 409, body = Problem),
))]
#[post("/api/v1/rollbacks/{id}/cancel")]
async fn cancel_rollback(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
) -> Result<web::Json<RollbackDetail>, Problem> {
    caller.require(Scope::Operate)?;
    people::cancel(&app.store, &id, &caller.name, app.clock.now()).await?;
    app.wake.saga.notify_one();
    detail(&app, &id).await
}

async fn detail(app: &App, id: &str) -> Result<web::Json<RollbackDetail>, Problem> {
    let found = rollback::load(&mut app.store.read().await?, id).await?;
    let (rollback, steps) = found.ok_or_else(|| {
        Problem::not_found(format!("no rollback has the id `{id}`; GET /api/v1/rollbacks lists them"))
    })?;
    let steps = steps.into_iter().map(shown).collect();
    let summary = RollbackSummary::from(&rollback);
    Ok(web::Json(RollbackDetail { rollback: summary, decision: rollback.decision, steps, history: rollback.history }))
}

/// A poll URL may hold a secret: it is journalled, to poll on after a restart, but not shown.
fn shown(mut step: Step) -> Step {
    if let Some(response) = step.response.as_mut().and_then(serde_json::Value::as_object_mut) {
        response.remove("poll_url");
    }
    step
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::NotFound => Self::not_found(error.to_string()),
            ActError::Conflict(why) => Self::conflict(why),
            ActError::Store(error) => error.into(),
        }
    }
}
