//! Is the process alive, may it be sent work.

use std::time::Duration;

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::gate::{Closed, Gate, Serving, Stage};
use crate::store::{StoreError, lease};

/// How long the database may take to answer.
const DATABASE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// The database answers.
    database: Check,
    /// This process is the one that may act.
    lease: Check,
}

#[derive(Debug, Serialize, ToSchema)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    const OK: Self = Self { ok: true, reason: None };

    fn failed(reason: impl Into<String>) -> Self {
        Self { ok: false, reason: Some(reason.into()) }
    }
}

/// The process is alive, whatever its database does.
#[utoipa::path(tag = "operations", security(()), responses((status = 200, description = "Alive", content_type = "text/plain")))]
#[get("/-/healthy")]
pub async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// Whether requests may be sent here: each check, and 503 when one fails.
#[utoipa::path(tag = "operations", security(()), responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
#[get("/-/ready")]
pub async fn ready(gate: web::Data<Gate>) -> HttpResponse {
    let (database, lease) = match &*gate.stage() {
        Stage::Open(serving) => check(serving).await,
        Stage::Closed(Closed::Standby) => (Check::OK, Check::failed(Closed::Standby.reason())),
        // What the database said may name hosts and users; it is in the log.
        Stage::Closed(why @ Closed::Database) => (Check::failed(why.reason()), Check::failed("needs the database")),
        Stage::Closed(why) => (Check::failed(why.reason()), Check::failed(why.reason())),
    };
    let ready = database.ok && lease.ok;
    let readiness = Readiness { ready, database, lease };
    if ready { HttpResponse::Ok().json(readiness) } else { HttpResponse::ServiceUnavailable().json(readiness) }
}

async fn check(serving: &Serving) -> (Check, Check) {
    let current = async {
        let mut conn = serving.app.store.read().await?;
        Ok::<bool, StoreError>(lease::is_current(&mut conn, serving.fencing).await?)
    };
    match timeout(DATABASE, current).await {
        Ok(Ok(true)) => (Check::OK, Check::OK),
        Ok(Ok(false)) => (Check::OK, Check::failed(Closed::Standby.reason())),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            (Check::failed(Closed::Database.reason()), Check::failed("needs the database"))
        }
        Err(_) => (Check::failed("the database takes more than 2 s to answer"), Check::failed("needs the database")),
    }
}
