//! `GET /api/v1/alerts`: what burns, what burnt, and who was told.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::listing::{canonical, known_place};
use super::params::{PageParams, Params, cursor, invalid, one_of};
use super::{Caller, Problem};
use crate::alert::{Alert, Group, Kind, State};
use crate::app::App;
use crate::store::outbox::{self, Delivery};
use crate::store::{alert, alert::Position};

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(list).service(one);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    #[param(value_type = Option<State>)]
    state: Option<String>,
    service: Option<String>,
    /// An environment of the configuration, or a name that sources use.
    environment: Option<String>,
    #[param(value_type = Option<Kind>)]
    kind: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertPage {
    /// The newest first.
    items: Vec<Alert>,
    /// `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertDetail {
    #[serde(flatten)]
    alert: Alert,
    /// The alerts it shares its messages with; `null` while nobody was told.
    group: Option<Group>,
    /// The group's messages, the newest first, those that were given up included.
    deliveries: Vec<Delivery>,
}

/// Alerts, pending, firing and resolved, the newest first.
#[utoipa::path(tag = "alerts", params(Filter, PageParams), responses(
    (status = 200, body = AlertPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/alerts")]
async fn list(
    caller: Caller,
    app: web::Data<App>,
    params: Params<Filter, PageParams>,
) -> Result<web::Json<AlertPage>, Problem> {
    caller.require(Scope::Read)?;
    let Params(own, page) = params;
    let limit = page.limit()?;
    let no_cursor = || invalid("cursor", "must be `next` of a page of this list");
    let before = page.cursor::<String>()?.map(|text| Position::parse(&text).ok_or_else(no_cursor)).transpose()?;
    let wanted = alert::Filter {
        state: one_of("state", own.state.as_deref(), "pending, firing, resolved")?,
        service: own.service,
        environment: canonical(&app, own.environment),
        kind: one_of("kind", own.kind.as_deref(), "burn_rate, rollback, test")?,
        before,
    };
    let mut items = alert::page(&mut app.store.read().await?, &wanted, limit.saturating_add(1)).await?;
    if items.is_empty() && wanted.before.is_none() {
        known_place(&app, wanted.service.as_deref(), wanted.environment.as_deref()).await?;
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).and_then(|alert| cursor(&Position::of(alert).to_string()));
    Ok(web::Json(AlertPage { items, next }))
}

/// One alert, its group, and what became of each message.
#[utoipa::path(tag = "alerts", params(("id", description = "As the list has it")),
    responses((status = 200, body = AlertDetail), (status = 404, body = Problem)))]
#[get("/api/v1/alerts/{id}")]
async fn one(caller: Caller, app: web::Data<App>, id: web::Path<String>) -> Result<web::Json<AlertDetail>, Problem> {
    caller.require(Scope::Read)?;
    let mut conn = app.store.read().await?;
    let found = alert::find(&mut conn, &id).await?;
    let alert = found
        .ok_or_else(|| Problem::not_found(format!("no alert has the id `{id}`; GET /api/v1/alerts lists them")))?;
    let group = alert::group_of(&mut conn, &alert.id).await?;
    let deliveries = match &group {
        Some(group) => outbox::deliveries(&mut conn, &group.id).await?,
        None => Vec::new(),
    };
    Ok(web::Json(AlertDetail { alert, group, deliveries }))
}
