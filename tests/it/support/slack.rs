//! A small server that poses as Slack's Web API and remembers what was said.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

pub struct Slack {
    port: u16,
    heard: Arc<Mutex<Vec<Call>>>,
    server: ServerHandle,
}

/// One call: `chat.postMessage` or `chat.update`, and its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub token: String,
    pub body: Value,
}

impl Slack {
    pub fn start() -> Self {
        let heard: Arc<Mutex<Vec<Call>>> = Arc::default();
        let data = web::Data::from(Arc::clone(&heard));
        let factory = move || App::new().app_data(data.clone()).route("/api/{method}", web::post().to(answer));
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, heard, server: handle }
    }

    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/", self.port)
    }

    pub fn calls(&self) -> Vec<Call> {
        self.heard.lock().unwrap().clone()
    }
}

async fn answer(request: HttpRequest, body: web::Json<Value>, heard: web::Data<Mutex<Vec<Call>>>) -> HttpResponse {
    let method = request.match_info().get("method").unwrap().to_owned();
    let token = request.headers().get("authorization").map_or("", |v| v.to_str().unwrap()).to_owned();
    let body = body.into_inner();
    let mut heard = heard.lock().unwrap();
    let ts = body["ts"].as_str().map_or_else(|| format!("1700000000.{:06}", heard.len() + 1), str::to_owned);
    let message = json!({"type": "message", "ts": ts, "text": body["text"], "bot_id": "B1", "user": "U1"});
    heard.push(Call { method, token, body });
    HttpResponse::Ok().json(json!({"ok": true, "channel": "C1", "ts": ts, "text": "", "message": message}))
}

impl Drop for Slack {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}
