//! An HTTP server that answers as it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Notify;

pub struct Peer {
    port: u16,
    state: Arc<Mutex<State>>,
    server: ServerHandle,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    script: VecDeque<Reply>,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the peer answers next.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The usual answer.
    Usual,
    /// Status, headers, body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Slack's 200 with an error in it.
    SlackError(&'static str),
    /// The usual answer, but not before the test allows it.
    Held(Arc<Notify>),
}

impl Peer {
    pub fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let data = web::Data::from(Arc::clone(&state));
        let factory = move || App::new().app_data(data.clone()).default_service(web::to(answer));
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, state, server: handle }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next answers; when they are used up, the usual one: 200, as Slack would say it.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().script.extend(replies);
    }

    /// Everything asked since the last time.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The paths asked for since the last time.
    pub fn paths(&self) -> Vec<String> {
        self.take().into_iter().map(|asked| asked.path).collect()
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, state: web::Data<Mutex<State>>) -> HttpResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let asked = Asked { path: request.path().to_owned(), headers, body: body.to_vec() };
    let (reply, usual) = {
        let mut state = state.lock().unwrap();
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let fresh = format!("1700000000.{:06}", state.asked.len() + 1);
        let ts = said["ts"].as_str().unwrap_or(&fresh);
        let message = json!({"type": "message", "ts": ts, "text": said["text"], "bot_id": "B1", "user": "U1"});
        let usual = json!({"ok": true, "channel": "C0123", "ts": ts, "text": "", "message": message});
        state.asked.push(asked);
        (state.script.pop_front(), usual)
    };
    match reply {
        None | Some(Reply::Usual) => HttpResponse::Ok().json(usual),
        Some(Reply::Held(release)) => {
            release.notified().await;
            HttpResponse::Ok().json(usual)
        }
        Some(Reply::SlackError(error)) => HttpResponse::Ok().json(json!({"ok": false, "error": error})),
        Some(Reply::Status(status, headers, body)) => {
            let mut response = HttpResponse::build(status.try_into().unwrap());
            for (name, value) in headers {
                response.insert_header((name, value));
            }
            response.body(body)
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}
