//! `/api/v1/quarantine`: versions that were rolled back and must not be gone back to.

use actix_web::{delete, get, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::params::{Params, flag};
use super::{Caller, Problem};
use crate::app::App;
use crate::store::quarantine::{self, Quarantined};

pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(list_quarantine).service(lift_quarantine);
}

/// More than anybody reads; what is beyond was lifted long ago.
const LIMIT: i64 = 1_000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct QuarantineParams {
    /// True: also those that were lifted, with when and by whom.
    #[param(value_type = Option<bool>)]
    lifted: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct QuarantineList {
    /// Newest first.
    items: Vec<Quarantined>,
}

/// Versions in quarantine.
#[utoipa::path(tag = "rollbacks", params(QuarantineParams), responses((status = 200, body = QuarantineList)))]
#[get("/api/v1/quarantine")]
async fn list_quarantine(
    caller: Caller,
    app: web::Data<App>,
    params: Params<QuarantineParams>,
) -> Result<web::Json<QuarantineList>, Problem> {
    caller.require(Scope::Read)?;
    let lifted = flag("lifted", params.0.lifted.as_deref())?;
    let items = quarantine::list(&mut app.store.read().await?, lifted, LIMIT).await?;
    Ok(web::Json(QuarantineList { items }))
}

/// Lets a version out of quarantine: it may be gone back to again. Who did it is recorded.
#[utoipa::path(
    tag = "rollbacks",
    params(("service" = String, Path), ("environment" = String, Path), ("version" = String, Path)),
    responses(
        (status = 204),
        (status = 403, body = Problem, description = "The key lacks the scope operate."),
        (status = 404, body = Problem, description = "The version is not in quarantine."),
    ),
)]
#[delete("/api/v1/quarantine/{service}/{environment}/{version}")]
async fn lift_quarantine(
    caller: Caller,
    app: web::Data<App>,
    path: web::Path<(String, String, String)>,
) -> Result<actix_web::HttpResponse, Problem> {
    caller.require(Scope::Operate)?;
    let (service, environment, version) = path.into_inner();
    let mut tx = app.store.begin().await?;
    let place = (service.as_str(), environment.as_str());
    if !quarantine::lift(&mut tx, place, &version, &caller.name, app.clock.now()).await? {
        return Err(Problem::not_found(format!(
            "version `{version}` of `{service}` in `{environment}` is not in quarantine; GET /api/v1/quarantine lists those that are"
        )));
    }
    tx.commit().await?;
    tracing::info!(service, environment, version, by = caller.name, "a version was let out of quarantine");
    Ok(actix_web::HttpResponse::NoContent().finish())
}
