//! Every route on one screen, and which of them need no key.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::{
    alerts, changes, cloudevents, compare, deployments, dora, events, findings, health, incidents, index, links,
    metrics, openapi, quarantine, rollbacks, services, slos, sources, stream, webhooks,
};
use crate::config::Config;

/// The whole surface.
pub fn configure(routes: &mut ServiceConfig) {
    routes.service(health::healthy).service(health::ready);
    routes.service(index::index);
    routes.service(metrics::scrape).service(openapi::describe);
    routes.service(stream::listen);
    routes.configure(events::configure).configure(cloudevents::configure);
    routes.configure(webhooks::configure).configure(sources::configure);
    routes.configure(dora::configure).configure(compare::configure).configure(services::configure);
    routes.configure(deployments::configure).configure(changes::configure).configure(incidents::configure);
    routes.configure(links::configure).configure(findings::configure);
    routes.configure(slos::configure).configure(alerts::configure);
    routes.configure(rollbacks::configure).configure(quarantine::configure);
}

/// Answered by every process, whatever its state.
pub fn is_health(path: &str) -> bool {
    matches!(path, "/-/healthy" | "/-/ready")
}

/// Needs no key: the index has no secrets, webhooks carry signatures of their own.
pub fn is_public(path: &str, config: &Config) -> bool {
    path == "/" || webhooks::is_signed(path) || (path == "/metrics" && config.server.metrics_public)
}

/// What a key needs for a request: those that change something, and bring no events, are an operator's.
pub fn scope_of(request: &ServiceRequest) -> Scope {
    if webhooks::source_of(request.path()).is_some() {
        Scope::Ingest
    } else if matches!(*request.method(), Method::GET | Method::HEAD) {
        Scope::Read
    } else {
        Scope::Operate
    }
}
