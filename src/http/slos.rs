//! `GET /api/v1/slos`: where every objective stands now.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::listing::{canonical, known_place};
use super::params::{PageParams, Params, cursor, suggestion};
use super::{Caller, Problem};
use crate::app::App;
use crate::slo::SloStatus;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(list).service(one);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    service: Option<String>,
    /// An environment of the configuration, or a name that sources use.
    environment: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SloPage {
    /// By name.
    items: Vec<SloStatus>,
    /// `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

/// Budgets, burn rates per window, verdicts of the alert pairs, time to exhaustion.
#[utoipa::path(tag = "slos", params(Filter, PageParams), responses(
    (status = 200, body = SloPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/slos")]
async fn list(
    caller: Caller,
    app: web::Data<App>,
    params: Params<Filter, PageParams>,
) -> Result<web::Json<SloPage>, Problem> {
    caller.require(Scope::Read)?;
    let Params(Filter { service, environment }, page) = params;
    let (limit, after) = (page.limit()?, page.cursor::<String>()?);
    let environment = canonical(&app, environment);
    let found = statuses(&app, service.as_deref(), environment.as_deref(), after.as_deref(), limit);
    if found.items.is_empty() && after.is_none() {
        known_place(&app, service.as_deref(), environment.as_deref()).await?;
    }
    Ok(web::Json(found))
}

fn statuses(app: &App, service: Option<&str>, environment: Option<&str>, after: Option<&str>, limit: usize) -> SloPage {
    let now = app.clock.now();
    let live = app.live.read();
    let mut wanted: Vec<_> = live
        .all()
        .iter()
        .filter(|tracked| service.is_none_or(|service| *service == tracked.slo.service))
        .filter(|tracked| environment.is_none_or(|name| *name == tracked.slo.environment))
        .filter(|tracked| after.is_none_or(|after| *tracked.slo.name > *after))
        .collect();
    wanted.sort_by(|a, b| a.slo.name.cmp(&b.slo.name));
    let more = wanted.len() > limit;
    wanted.truncate(limit);
    let next = wanted.last().filter(|_| more).and_then(|tracked| cursor(&tracked.slo.name));
    let items = wanted.into_iter().map(|tracked| live.status(tracked, now)).collect();
    SloPage { items, next }
}

/// One objective by its name.
#[utoipa::path(tag = "slos", params(("name", description = "Name in the configuration")),
    responses((status = 200, body = SloStatus), (status = 404, body = Problem)))]
#[get("/api/v1/slos/{name}")]
async fn one(caller: Caller, app: web::Data<App>, name: web::Path<String>) -> Result<web::Json<SloStatus>, Problem> {
    caller.require(Scope::Read)?;
    let live = app.live.read();
    let tracked = live.all().iter().find(|tracked| tracked.slo.name == *name);
    let tracked = tracked.ok_or_else(|| {
        let names = live.all().iter().map(|tracked| tracked.slo.name.as_str());
        let hint = suggestion(&name, names).unwrap_or_default();
        Problem::not_found(format!("no objective is named `{name}`{hint}; GET /api/v1/slos lists them"))
    })?;
    Ok(web::Json(live.status(tracked, app.clock.now())))
}
