//! `/metrics`: everything this process counts, for Prometheus.

use actix_web::{HttpResponse, get, web};
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusHandle;

use super::auth::Scope;
use super::{Caller, Problem};
use crate::app::App;
use crate::store::Store;
use crate::telemetry::process;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn describe() {
    describe_gauge!("devpulse_database_connections", "Connections of the pool, by state: open, idle, waiting, limit.");
}

/// Prometheus' text format 0.0.4. Open without a key when `server.metrics_public` says so.
#[utoipa::path(tag = "operations", responses((status = 200, description = "Metrics", content_type = "text/plain")))]
#[get("/metrics")]
pub async fn scrape(
    caller: Option<Caller>,
    app: web::Data<App>,
    handle: web::Data<PrometheusHandle>,
) -> Result<HttpResponse, Problem> {
    // Without a caller the request came in by `metrics_public`.
    caller.map_or(Ok(()), |caller| caller.require(Scope::Read))?;
    set_pool(&app.store);
    process::set();
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(handle.render()))
}

fn set_pool(store: &Store) {
    let pool = store.pool();
    let states = [("open", pool.size), ("idle", pool.available), ("waiting", pool.waiting), ("limit", pool.max_size)];
    for (state, count) in states {
        let count = u64::try_from(count).map_or(f64::INFINITY, crate::num::float);
        gauge!("devpulse_database_connections", "database" => store.name(), "state" => state).set(count);
    }
}
