//! `GET /api/v1/alerts`: pages, filters, deliveries, and who may ask.

use actix_web::dev::Service;
use actix_web::http::StatusCode;
use actix_web::{HttpMessage, test, web};
use devpulse::app::{App, Wake};
use devpulse::config::model::{Config, Severity::Page, Severity::Ticket};
use devpulse::http::auth::Scope;
use devpulse::http::{Caller, alerts};
use devpulse::ingest::budget::Budget;
use devpulse::ingest::committer::{Committer, Settings};
use devpulse::slo::Live;
use devpulse::store::Store;
use devpulse::time::Clock;
use parking_lot::RwLock;
use serde_json::Value;
use utoipa_actix_web::AppExt;

use crate::support::alerting::{CLEAR, at, changed, fires, look, observe, unreachable};
use crate::support::db::on_both;

async fn app(store: &Store, config: Config) -> web::Data<App> {
    let settings = Settings {
        fencing: None,
        replica: "test".to_owned(),
        max_waiting: 8,
        materialise_every: std::time::Duration::from_mins(1),
    };
    let (notices, _) = tokio::sync::mpsc::channel(1);
    let clock = Clock::manual(at(0));
    let (committer, _task) = Committer::start(store.clone(), clock.clone(), settings, notices).await.unwrap();
    web::Data::new(App {
        live: RwLock::new(Live::new(&config)),
        config: arc_swap::ArcSwap::from_pointee(config),
        store: store.clone(),
        clock,
        committer,
        wake: Wake::default(),
        bodies: Budget::new(1 << 20),
        webhook_bodies: Budget::new(1 << 20),
        tally: devpulse::ingest::tally::Tally::default(),
        dora: std::sync::Arc::default(),
        stream: tokio::sync::broadcast::channel(1).0,
    })
}

/// Asks as a caller with one scope.
async fn get(app: &web::Data<App>, scope: Scope, path: &str) -> (StatusCode, Value) {
    let (service, _) =
        actix_web::App::new().into_utoipa_app().app_data(app.clone()).configure(alerts::configure).split_for_parts();
    let service = test::init_service(service.wrap_fn(move |request, next| {
        request.extensions_mut().insert(Caller { name: "k1".to_owned(), scopes: vec![scope] });
        next.call(request)
    }))
    .await;
    let response = test::call_service(&service, test::TestRequest::get().uri(path).to_request()).await;
    let status = response.status();
    let body = test::read_body(response).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|alert| alert["labels"]["slo"].as_str().unwrap()).collect()
}

on_both! {
    async fn alerts_are_listed_newest_first_in_pages(db: TestDb) {
        let config = unreachable("[slo]");
        for (second, slo) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let service = if slo == "c" { "search" } else { "checkout" };
            // Two of them at the same instant.
            let now = at(i64::try_from(second).unwrap().min(3));
            observe(&db.store, &config, &look(service, slo, fires(Page, "Budget burns")), now).await.unwrap();
        }
        observe(&db.store, &config, &look("checkout", "a", CLEAR), at(9)).await.unwrap();
        let app = app(&db.store, config).await;

        let mut seen = Vec::new();
        let mut cursor = String::new();
        for _ in 0..3 {
            let (status, page) = get(&app, Scope::Read, &format!("/api/v1/alerts?limit=2{cursor}")).await;
            assert_eq!(status, StatusCode::OK);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            cursor = page["next"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
        }
        assert_eq!(cursor, "", "the last page has no next");
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[2..], ["c", "b", "a"]);
        assert!(seen[..2].contains(&"d".to_owned()) && seen[..2].contains(&"e".to_owned()), "{seen:?}");

        let filtered = async |query: &str| get(&app, Scope::Read, &format!("/api/v1/alerts?{query}")).await.1;
        assert_eq!(names(&filtered("service=search").await), ["c"]);
        assert_eq!(names(&filtered("state=resolved").await), ["a"]);
        assert_eq!(names(&filtered("state=firing&service=checkout").await).len(), 3);
        assert_eq!(names(&filtered("kind=rollback").await).len(), 0);
        assert_eq!(names(&filtered("kind=burn_rate&environment=production").await).len(), 5);
        assert_eq!(names(&filtered("environment=staging").await).len(), 0);
    }

    async fn one_alert_comes_with_its_deliveries(db: TestDb) {
        let config = unreachable("[service]");
        let alert = changed(
            observe(&db.store, &config, &look("checkout", "a", fires(Ticket, "Budget burns")), at(0)).await.unwrap(),
        );
        let app = app(&db.store, config).await;
        let (status, body) = get(&app, Scope::Read, &format!("/api/v1/alerts/{}", alert.id)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["headline"], "Budget burns");
        assert_eq!(body["facts"][0]["value"], "20.1×");
        assert_eq!(body["group"]["labels"]["service"], "checkout");
        let channels: Vec<_> =
            body["deliveries"].as_array().unwrap().iter().map(|d| d["channel"].as_str().unwrap()).collect();
        assert_eq!(channels, ["email", "slack", "webhook"]);
        assert_eq!(get(&app, Scope::Read, "/api/v1/alerts/nonesuch").await.0, StatusCode::NOT_FOUND);
    }

    async fn wrong_questions_are_refused(db: TestDb) {
        let app = app(&db.store, unreachable("[]")).await;
        for query in ["limit=0", "limit=501", "cursor=x", "state=burning", "stat=firing"] {
            let (status, _) = get(&app, Scope::Read, &format!("/api/v1/alerts?{query}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        }
        assert_eq!(get(&app, Scope::Ingest, "/api/v1/alerts").await.0, StatusCode::FORBIDDEN);
        assert_eq!(get(&app, Scope::Ingest, "/api/v1/alerts/x").await.0, StatusCode::FORBIDDEN);
    }
}
