//! The other side of the demo: the target that DevPulse calls to roll back, and the receiver of its
//! alerts. Both check the signature, as real ones should.

use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::narrator::Narrator;
use super::shop::Shop;

/// Shared by DevPulse and the listener for the length of one demo.
pub const SECRET: &str = "whsec_YSBzZWNyZXQgdGhhdCBpcyBub3Qgc2VjcmV0IGF0IGFsbA==";

pub struct Listener {
    port: u16,
    heard: Arc<Heard>,
    server: ServerHandle,
}

struct Heard {
    shop: Shop,
    narrator: Narrator,
    alerts: Mutex<Vec<Value>>,
    rollbacks: Mutex<Vec<Value>>,
}

impl Listener {
    pub fn start(shop: Shop, narrator: Narrator) -> Result<Self, std::io::Error> {
        let heard = Arc::new(Heard { shop, narrator, alerts: Mutex::default(), rollbacks: Mutex::default() });
        let data = web::Data::from(Arc::clone(&heard));
        let factory = move || {
            App::new()
                .app_data(data.clone())
                .route("/rollback", web::post().to(roll_back))
                .route("/alerts", web::post().to(alert))
        };
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0))?;
        let port = server.addrs().first().map_or(0, std::net::SocketAddr::port);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { port, heard, server: handle })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The alerts received so far, as DevPulse's webhook sends them.
    pub fn alerts(&self) -> Vec<Value> {
        self.heard.alerts.lock().clone()
    }

    /// The calls to roll back.
    pub fn rollbacks(&self) -> Vec<Value> {
        self.heard.rollbacks.lock().clone()
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

/// Puts the version that DevPulse names back in front of the customers.
async fn roll_back(request: HttpRequest, body: web::Bytes, heard: web::Data<Heard>) -> HttpResponse {
    let Some(call) = verified(&request, &body) else { return HttpResponse::Unauthorized().finish() };
    let Some(version) = call["to"]["version"].as_str() else { return HttpResponse::BadRequest().finish() };
    heard.shop.switch_to(version);
    let _ = heard.narrator.event("target", &format!("DevPulse calls: back to {version}. Switched."));
    heard.rollbacks.lock().push(call);
    HttpResponse::Ok().json(json!({"status": "done"}))
}

async fn alert(request: HttpRequest, body: web::Bytes, heard: web::Data<Heard>) -> HttpResponse {
    let Some(message) = verified(&request, &body) else { return HttpResponse::Unauthorized().finish() };
    let text = ["headline", "title", "text", "summary"].iter().find_map(|field| message[*field].as_str());
    let _ = heard.narrator.event("alert", text.unwrap_or("(see the webhook's body)"));
    heard.alerts.lock().push(message);
    HttpResponse::NoContent().finish()
}

/// The body, when its Standard Webhooks signature is good.
fn verified(request: &HttpRequest, body: &[u8]) -> Option<Value> {
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = request.headers().get(name)?;
        headers.insert(name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Webhook::new(SECRET).ok()?.verify(body, &headers).ok()?;
    serde_json::from_slice(body).ok()
}
