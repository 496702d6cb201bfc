//! `GET /api/v1/alerts`: pages, filters, deliveries, and who may ask.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use actix_web::web;
use devpulse::app::App;
use devpulse::config::model::{Config, Severity::Page, Severity::Ticket};
use devpulse::http::alerts;
use devpulse::http::auth::Scope;
use devpulse::store::Store;
use devpulse::time::Clock;
use serde_json::Value;

use crate::support::alerting::{CLEAR, at, changed, fires, look, observe, unreachable};
use crate::support::app;
use crate::support::db::on_both;

async fn app(store: &Store, config: Config) -> web::Data<App> {
    app::app(store, config, Clock::manual(at(0))).await
}

/// Asks as a caller with one scope.
async fn get(app: &web::Data<App>, scope: Scope, path: &str) -> (StatusCode, Value) {
    app::serve(app.clone(), scope, alerts::configure).await(TestRequest::get().uri(path)).await
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
