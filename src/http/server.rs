//! The HTTP server: routes, what surrounds them, limits.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_actix_web::AppExt;

use super::gate::{self, Gate};
use super::slow::{self, Patience};
use super::{observe, openapi, refuse, routes};
use crate::config::Config;

/// How long a quiet connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves on `listener` until stopped; what is served depends on the gate.
///
/// # Errors
/// The listener cannot be used.
pub fn start(listener: TcpListener, gate: Arc<Gate>, metrics: PrometheusHandle, config: &Config) -> io::Result<Server> {
    let limits = &config.server;
    let gate = web::Data::from(gate);
    let metrics = web::Data::new(metrics);
    let patience = web::Data::new(Patience(limits.client_timeout));
    let max_body = config.ingest.max_body_bytes;
    let server = HttpServer::new(move || {
        let (app, api) = actix_web::App::new()
            .into_utoipa_app()
            .openapi(openapi::base())
            .configure(routes::configure)
            .split_for_parts();
        app.app_data(gate.clone())
            .app_data(metrics.clone())
            .app_data(patience.clone())
            .app_data(web::Data::new(openapi::finish(api)))
            .app_data(web::PayloadConfig::new(max_body))
            .app_data(refuse::path())
            .app_data(refuse::json())
            .default_service(web::to(refuse::nowhere))
            .wrap(from_fn(slow::limit))
            .wrap(from_fn(gate::enter))
            .wrap(from_fn(observe::observe))
    })
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(limits.client_timeout)
    .client_disconnect_timeout(limits.client_timeout)
    .shutdown_timeout(limits.shutdown_timeout.as_secs().max(1))
    .disable_signals();
    let workers = match limits.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let server = server.workers(workers).max_connections(limits.max_connections.div_ceil(workers));
    Ok(server.listen(listener)?.run())
}
