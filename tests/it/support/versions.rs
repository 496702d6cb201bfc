//! Two versions of a small HTTP program: each says its version and fails as often as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

/// One running version. It fails `percent` of its requests, evenly spread.
pub struct Version {
    pub name: String,
    pub port: u16,
    state: Arc<State>,
    server: ServerHandle,
}

#[derive(Default)]
struct State {
    percent: AtomicU64,
    served: AtomicU64,
}

impl Version {
    pub fn start(name: &str) -> Self {
        let state = Arc::new(State::default());
        let (data, version) = (web::Data::from(Arc::clone(&state)), name.to_owned());
        let factory = move || {
            let version = version.clone();
            App::new().app_data(data.clone()).default_service(web::to(move |state: web::Data<State>| {
                let answer = respond(&state, &version);
                async { answer }
            }))
        };
        let server = HttpServer::new(factory).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { name: name.to_owned(), port, state, server: handle }
    }

    pub fn fail(&self, percent: u64) {
        self.state.percent.store(percent, Ordering::SeqCst);
    }

    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }
}

fn respond(state: &State, version: &str) -> HttpResponse {
    let n = state.served.fetch_add(1, Ordering::SeqCst);
    let percent = state.percent.load(Ordering::SeqCst);
    let failing = (n + 1) * percent / 100 > n * percent / 100;
    let mut answer = if failing { HttpResponse::InternalServerError() } else { HttpResponse::Ok() };
    answer.insert_header(("x-version", version)).body("ok")
}

impl Drop for Version {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}
