//! A rollback target: checks each call's signature, remembers it, and acts once per idempotency key.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::time::Instant;

/// The secret the target shares with DevPulse.
pub const SECRET: &str = "whsec_dGhlIHRhcmdldCdzIHNlY3JldCwgMzIgYnl0ZXMhIQ==";

pub struct Target {
    pub port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    server: ServerHandle,
}

/// One call with a good signature: when it arrived, and what it asks for.
type Call = (Instant, Value);

impl Target {
    pub fn start() -> Self {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let data = web::Data::from(Arc::clone(&calls));
        let factory = move || App::new().app_data(data.clone()).route("/hook", web::post().to(take));
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, calls, server: handle }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Calls with a good signature so far, repeated ones included.
    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The rollbacks carried out for a service, each with its key and the time of its first call: a
    /// key seen before has no second effect.
    pub fn effects(&self, service: &str) -> Vec<(String, Instant)> {
        let mut effects: Vec<(String, Instant)> = Vec::new();
        for (at, body) in self.calls.lock().unwrap().iter().filter(|(_, body)| body["service"] == service) {
            let key = body["idempotency_key"].as_str().expect("a rollback call without an idempotency key");
            if !effects.iter().any(|(known, _)| known == key) {
                effects.push((key.to_owned(), *at));
            }
        }
        effects
    }
}

async fn take(request: HttpRequest, body: web::Bytes, calls: web::Data<Mutex<Vec<Call>>>) -> HttpResponse {
    let at = Instant::now();
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        if let Some(value) = request.headers().get(name) {
            headers.insert(name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    if let Err(error) = Webhook::new(SECRET).unwrap().verify(&body, &headers) {
        return HttpResponse::Unauthorized().body(error.to_string());
    }
    calls.lock().unwrap().push((at, serde_json::from_slice(&body).unwrap()));
    HttpResponse::Ok().json(json!({"status": "done"}))
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}
