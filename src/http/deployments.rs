//! `GET /api/v1/deployments`.

use actix_web::{get, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::listing::{ListParams, Listing};
use super::params::{Params, one_of};
use super::{Caller, Problem};
use crate::app::App;
use crate::event::{Deployment, DeploymentKind, DeploymentOutcome};
use crate::http::auth::Scope;
use crate::store::dora::DoraCache;
use crate::store::history::{self, DeploymentFilter};

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeploymentParams {
    #[param(value_type = Option<DeploymentOutcome>)]
    pub outcome: Option<String>,
    /// As declared by the source.
    #[param(value_type = Option<DeploymentKind>)]
    pub kind: Option<String>,
    pub version: Option<String>,
    pub commit: Option<String>,
}

/// Deployments, newest first
#[utoipa::path(tag = "delivery", params(ListParams, DeploymentParams), responses(
    (status = OK, body = Listing<Deployment>),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/deployments")]
pub async fn list(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<ListParams, DeploymentParams>,
) -> Result<web::Json<Listing<Deployment>>, Problem> {
    caller.require(Scope::Read)?;
    let Params(list, own) = params;
    let outcomes = "in_progress, succeeded, failed, cancelled, withdrawn";
    one_of::<DeploymentOutcome>("outcome", own.outcome.as_deref(), outcomes)?;
    one_of::<DeploymentKind>("kind", own.kind.as_deref(), "planned, rollback, hotfix")?;
    let list = list.filter(&app, &cache).await?;
    let filter =
        DeploymentFilter { list, outcome: own.outcome, kind: own.kind, version: own.version, commit: own.commit };
    let page = history::list_deployments(&mut app.store.read().await?, &filter).await?;
    Ok(web::Json(page.into()))
}
