//! `GET /api/v1/incidents`.

use actix_web::{get, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::listing::{ListParams, Listing};
use super::params::{Params, one_of};
use super::{Caller, Problem};
use crate::app::App;
use crate::event::{Incident, IncidentStatus};
use crate::http::auth::Scope;
use crate::store::dora::DoraCache;
use crate::store::history::{self, IncidentFilter};

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IncidentParams {
    #[param(value_type = Option<IncidentStatus>)]
    pub status: Option<String>,
}

/// Incidents, newest first by their start
#[utoipa::path(tag = "delivery", params(ListParams, IncidentParams), responses(
    (status = OK, body = Listing<Incident>),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/incidents")]
pub async fn list(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<ListParams, IncidentParams>,
) -> Result<web::Json<Listing<Incident>>, Problem> {
    caller.require(Scope::Read)?;
    let Params(list, own) = params;
    let statuses = "opened, acknowledged, resolved, reopened, withdrawn";
    one_of::<IncidentStatus>("status", own.status.as_deref(), statuses)?;
    let filter = IncidentFilter { list: list.filter(&app, &cache).await?, status: own.status };
    let page = history::list_incidents(&mut app.store.read().await?, &filter).await?;
    Ok(web::Json(page.into()))
}
