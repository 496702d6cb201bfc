//! The other side of the demo: the target that DevPulse calls to roll back, and the receiver of its
//! alerts. Both check the signature, as real ones should.

use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use serde_json::json;
use standardwebhooks::Webhook;

use super::answers::{Call, Message, Version};
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
    alerts: Mutex<u64>,
    calls: Mutex<u64>,
}

impl Listener {
    pub fn start(shop: Shop, narrator: Narrator) -> Result<Self, std::io::Error> {
        let heard = Arc::new(Heard { shop, narrator, alerts: Mutex::default(), calls: Mutex::default() });
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

    /// Messages about alerts so far.
    pub fn alerts(&self) -> u64 {
        *self.heard.alerts.lock()
    }

    /// Calls to roll back so far.
    pub fn calls(&self) -> u64 {
        *self.heard.calls.lock()
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

/// Puts the version that DevPulse names back in front of the customers.
async fn roll_back(request: HttpRequest, body: web::Bytes, heard: web::Data<Heard>) -> HttpResponse {
    if !is_signed(&request, &body) {
        return HttpResponse::Unauthorized().finish();
    }
    let Ok(Call { to: Version { version } }) = serde_json::from_slice(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    heard.shop.switch_to(&version);
    *heard.calls.lock() += 1;
    let _ = heard.narrator.event("target", &format!("DevPulse calls: back to {version}. Switched."));
    HttpResponse::Ok().json(json!({"status": "done"}))
}

async fn alert(request: HttpRequest, body: web::Bytes, heard: web::Data<Heard>) -> HttpResponse {
    if !is_signed(&request, &body) {
        return HttpResponse::Unauthorized().finish();
    }
    let Ok(message) = serde_json::from_slice::<Message>(&body) else { return HttpResponse::BadRequest().finish() };
    let headlines: Vec<&str> = message.alerts.iter().map(|alert| alert.headline.as_str()).collect();
    let _ = heard.narrator.event(&message.kind, &headlines.join("; "));
    *heard.alerts.lock() += 1;
    HttpResponse::NoContent().finish()
}

/// Whether the Standard Webhooks signature is good.
fn is_signed(request: &HttpRequest, body: &[u8]) -> bool {
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = request.headers().get(name).map(|value| HeaderValue::from_bytes(value.as_bytes()));
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    }
    Webhook::new(SECRET).is_ok_and(|secret| secret.verify(body, &headers).is_ok())
}
