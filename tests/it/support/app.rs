//! The program without its process: handlers, committer and store, called directly.

use actix_web::dev::Service;
use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use actix_web::{HttpMessage, test, web};
use devpulse::app::{App, Wake};
use devpulse::config::model::Config;
use devpulse::http::Caller;
use devpulse::http::auth::Scope;
use devpulse::ingest::budget::Budget;
use devpulse::ingest::committer::{Committer, Settings};
use devpulse::slo::Live;
use devpulse::store::Store;
use devpulse::time::Clock;
use parking_lot::RwLock;
use serde_json::Value;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

pub async fn app(store: &Store, config: Config, clock: Clock) -> web::Data<App> {
    let settings = Settings {
        fencing: None,
        replica: "test".to_owned(),
        max_waiting: 8,
        materialise_every: std::time::Duration::from_mins(1),
    };
    let (notices, _) = tokio::sync::mpsc::channel(1);
    let (committer, _task) = Committer::start(store.clone(), clock.clone(), settings, notices).await.unwrap();
    web::Data::new(App {
        dora: std::sync::Arc::new(devpulse::store::dora::DoraCache::new(config.dora.memory_bytes)),
        live: RwLock::new(Live::new(&config)),
        config: arc_swap::ArcSwap::from_pointee(config),
        store: store.clone(),
        clock,
        committer,
        wake: Wake::default(),
        bodies: Budget::new(1 << 24),
        webhook_bodies: Budget::new(1 << 20),
        tally: devpulse::ingest::tally::Tally::default(),
        stream: tokio::sync::broadcast::channel(1).0,
    })
}

/// Some routes, for a caller with one scope: answers with the status and, where it is JSON, the body.
pub async fn serve(
    app: web::Data<App>,
    scope: Scope,
    configure: impl FnOnce(&mut ServiceConfig<'_>),
) -> impl AsyncFn(TestRequest) -> (StatusCode, Value) {
    let with_data = actix_web::App::new().into_utoipa_app().app_data(app.clone());
    let with_data = with_data.app_data(web::Data::from(app.dora.clone()));
    let (service, _) = with_data.configure(configure).split_for_parts();
    let service = test::init_service(service.wrap_fn(move |request, next| {
        request.extensions_mut().insert(Caller { name: "k1".to_owned(), scopes: vec![scope] });
        next.call(request)
    }))
    .await;
    async move |request: TestRequest| {
        let response = test::call_service(&service, request.to_request()).await;
        let status = response.status();
        let body = test::read_body(response).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}
