//! `GET /api/v1/alerts`: what burns, what burnt, and who was told.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::{Caller, Problem};
use crate::alert::{Alert, Group, Kind, State};
use crate::app::App;
use crate::store::outbox::{self, Delivery};
use crate::store::{alert, alert::Position};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(list).service(one);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Filter {
    state: Option<State>,
    service: Option<String>,
    environment: Option<String>,
    kind: Option<Kind>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// 1 to 500; 100 by default.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Page {
    /// The newest first.
    items: Vec<Alert>,
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Detail {
    #[serde(flatten)]
    alert: Alert,
    /// The alerts it shares its messages with; `null` while nobody was told.
    group: Option<Group>,
    /// The group's messages, the newest first, those that were given up included.
    deliveries: Vec<Delivery>,
}

/// Alerts, pending, firing and resolved, the newest first.
#[utoipa::path(tag = "alerts", params(Filter), responses((status = 200, body = Page), (status = 400, body = Problem)))]
#[get("/api/v1/alerts")]
async fn list(caller: Caller, app: web::Data<App>, filter: web::Query<Filter>) -> Result<web::Json<Page>, Problem> {
    caller.require(Scope::Read)?;
    let filter = filter.into_inner();
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("bad_parameter", "limit must be from 1 to 500").at("limit"));
    }
    let wanted = filter.wanted()?;
    let mut items = alert::page(&mut app.store.read().await?, &wanted, limit.saturating_add(1)).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|alert| Position::of(alert).to_string());
    Ok(web::Json(Page { items, next }))
}

impl Filter {
    fn wanted(self) -> Result<alert::Filter, Problem> {
        let unreadable = || Problem::bad_request("bad_parameter", "this is no cursor of an earlier page").at("cursor");
        let before = self.cursor.map(|cursor| Position::parse(&cursor).ok_or_else(unreadable)).transpose()?;
        let Self { state, service, environment, kind, .. } = self;
        Ok(alert::Filter { state, service, environment, kind, before })
    }
}

/// One alert, its group, and what became of each message.
#[utoipa::path(tag = "alerts", params(("id", description = "As the list has it")),
    responses((status = 200, body = Detail), (status = 404, body = Problem)))]
#[get("/api/v1/alerts/{id}")]
async fn one(caller: Caller, app: web::Data<App>, id: web::Path<String>) -> Result<web::Json<Detail>, Problem> {
    caller.require(Scope::Read)?;
    let mut conn = app.store.read().await?;
    let found = alert::find(&mut conn, &id).await?;
    let alert = found.ok_or_else(|| Problem::not_found(format!("no alert has the id {:?}", id.as_str())))?;
    let group = alert::group_of(&mut conn, &alert.id).await?;
    let deliveries = match &group {
        Some(group) => outbox::deliveries(&mut conn, &group.id).await?,
        None => Vec::new(),
    };
    Ok(web::Json(Detail { alert, group, deliveries }))
}
