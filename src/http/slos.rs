//! `GET /api/v1/slos`: where every objective stands now.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::{Caller, Problem};
use crate::app::App;
use crate::slo::SloStatus;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(list).service(one);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Filter {
    service: Option<String>,
    environment: Option<String>,
    /// Objectives whose name sorts after this one: `next` of the page before.
    cursor: Option<String>,
    /// 1 to 500; 100 by default.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Page {
    items: Vec<SloStatus>,
    next: Option<String>,
}

/// Budgets, burn rates per window, verdicts of the alert pairs, time to exhaustion.
#[utoipa::path(tag = "slos", params(Filter), responses((status = 200, body = Page), (status = 400, body = Problem)))]
#[get("/api/v1/slos")]
async fn list(caller: Caller, app: web::Data<App>, filter: web::Query<Filter>) -> Result<web::Json<Page>, Problem> {
    caller.require(Scope::Read)?;
    let limit = filter.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(Problem::bad_request("bad_parameter", "limit must be from 1 to 500").at("limit"));
    }
    let now = app.clock.now();
    let live = app.live.read();
    let mut wanted: Vec<_> = live
        .all()
        .iter()
        .filter(|tracked| filter.service.as_ref().is_none_or(|service| *service == tracked.slo.service))
        .filter(|tracked| filter.environment.as_ref().is_none_or(|name| *name == tracked.slo.environment))
        .filter(|tracked| filter.cursor.as_ref().is_none_or(|cursor| tracked.slo.name > *cursor))
        .collect();
    wanted.sort_by(|a, b| a.slo.name.cmp(&b.slo.name));
    let more = wanted.len() > limit;
    wanted.truncate(limit);
    let next = wanted.last().filter(|_| more).map(|tracked| tracked.slo.name.clone());
    let items = wanted.into_iter().map(|tracked| live.status(tracked, now)).collect();
    Ok(web::Json(Page { items, next }))
}

/// One objective by its name.
#[utoipa::path(tag = "slos", params(("name", description = "Name in the configuration")),
    responses((status = 200, body = SloStatus), (status = 404, body = Problem)))]
#[get("/api/v1/slos/{name}")]
async fn one(caller: Caller, app: web::Data<App>, name: web::Path<String>) -> Result<web::Json<SloStatus>, Problem> {
    caller.require(Scope::Read)?;
    let live = app.live.read();
    let tracked = live.all().iter().find(|tracked| tracked.slo.name == *name);
    let tracked = tracked.ok_or_else(|| Problem::not_found(format!("no objective is named {name:?}")))?;
    Ok(web::Json(live.status(tracked, app.clock.now())))
}
