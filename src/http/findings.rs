//! `GET /api/v1/findings`.

use actix_web::{get, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::listing::{ListParams, Listing};
use super::params::{Params, one_of};
use super::{Caller, Problem};
use crate::app::App;
use crate::event::{Finding, FindingKind, FindingSeverity, FindingStatus};
use crate::http::auth::Scope;
use crate::store::dora::DoraCache;
use crate::store::history::{self, FindingFilter};
use crate::time::Timestamp;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FindingParams {
    /// The service whose code, dependency or repository it is about.
    pub service: Option<String>,
    pub repository: Option<String>,
    #[param(value_type = Option<FindingKind>)]
    pub kind: Option<String>,
    #[param(value_type = Option<FindingSeverity>)]
    pub severity: Option<String>,
    #[param(value_type = Option<FindingStatus>)]
    pub status: Option<String>,
    /// Of `opened_at`; `from` and `to` are half open.
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

/// Findings of scanners, newest first
///
/// Weaknesses of the code, of dependencies, and leaked secrets, as GitHub's alerts tell of them.
#[utoipa::path(tag = "delivery", params(FindingParams), responses(
    (status = OK, body = Listing<Finding>),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/findings")]
pub async fn list(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<FindingParams>,
) -> Result<web::Json<Listing<Finding>>, Problem> {
    caller.require(Scope::Read)?;
    let own = params.0;
    one_of::<FindingKind>("kind", own.kind.as_deref(), "code, dependency, secret")?;
    one_of::<FindingSeverity>("severity", own.severity.as_deref(), "low, medium, high, critical")?;
    one_of::<FindingStatus>("status", own.status.as_deref(), "open, fixed, dismissed")?;
    let FindingParams { service, repository, kind, severity, status, from, to, limit, cursor } = own;
    let common = ListParams { service, environment: None, from, to, limit, cursor };
    let list = common.filter(&app, &cache).await?;
    let filter = FindingFilter { list, repository, kind, severity, status };
    let page = history::list_findings(&mut app.store.read().await?, &filter).await?;
    Ok(web::Json(page.into()))
}
