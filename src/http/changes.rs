//! `GET /api/v1/changes`.

use actix_web::{get, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::listing::{ListParams, Listing};
use super::params::Params;
use super::{Caller, Problem};
use crate::app::App;
use crate::event::Change;
use crate::http::auth::Scope;
use crate::store::dora::DoraCache;
use crate::store::history::{self, ChangeFilter};
use crate::time::Timestamp;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangeParams {
    /// The service that the change itself names.
    pub service: Option<String>,
    pub repository: Option<String>,
    pub sha: Option<String>,
    #[param(value_type = Option<Timestamp>)]
    pub from: Option<String>,
    #[param(value_type = Option<Timestamp>)]
    pub to: Option<String>,
    /// At most so many items, 1 to 500; 100 without it.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Changes, newest first
#[utoipa::path(tag = "delivery", params(ChangeParams), responses(
    (status = OK, body = Listing<Change>),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/changes")]
pub async fn list(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<ChangeParams>,
) -> Result<web::Json<Listing<Change>>, Problem> {
    caller.require(Scope::Read)?;
    let own = params.0;
    let common = ListParams {
        service: own.service,
        environment: None,
        from: own.from,
        to: own.to,
        limit: own.limit,
        cursor: own.cursor,
    };
    let list = common.filter(&app, &cache).await?;
    let filter = ChangeFilter { list, repository: own.repository, sha: own.sha };
    let page = history::list_changes(&mut app.store.read().await?, &filter).await?;
    Ok(web::Json(page.into()))
}
