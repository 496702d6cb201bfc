//! `GET /`: where to go from here.

use actix_web::{HttpResponse, get};
use serde_json::json;

/// Where to go from here; needs no key and tells nothing about this installation
#[utoipa::path(
    tag = "operations",
    security(()),
    responses((status = 200, description = "Paths by what they are for", content_type = "application/json", body = Object))
)]
#[get("/")]
pub async fn index() -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": "DevPulse",
        "links": {
            "openapi": "/api/openapi.json",
            "events": "/api/v1/events",
            "sources": "/api/v1/sources",
            "dora": "/api/v1/dora",
            "findings": "/api/v1/findings",
            "slos": "/api/v1/slos",
            "alerts": "/api/v1/alerts",
            "rollbacks": "/api/v1/rollbacks",
            "stream": "/api/v1/stream",
            "metrics": "/metrics",
            "healthy": "/-/healthy",
            "ready": "/-/ready",
        },
    }))
}
