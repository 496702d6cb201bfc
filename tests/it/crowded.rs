//! Answers while there is no room to keep anything: the same ones, and for everybody who asks.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use devpulse::http::auth::Scope;
use devpulse::http::routes;
use devpulse::time::{Clock, Timestamp};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::alerting::config;
use crate::support::app;
use crate::support::db::on_both;

const SERVICES: usize = 10;

fn configuration() -> String {
    let services = (0..SERVICES).map(|n| format!("  - {{name: s{n}, team: shop, repository: acme/s{n}}}\n"));
    format!("teams: [{{name: shop}}]\nservices:\n{}", services.collect::<String>())
}

/// A change and its deployment each month, some of them followed by an incident.
fn year() -> Vec<Value> {
    let mut events = Vec::new();
    for n in 0..SERVICES {
        for month in 1..=12 {
            let (service, sha, day) = (format!("s{n}"), format!("c{n}-{month}"), n + 10);
            let time = |hour: usize| format!("2025-{month:02}-{day}T{hour:02}:00:00Z");
            events.push(json!({"type": "change", "source": "git", "id": sha, "time": time(n), "sha": sha,
                "repository": format!("acme/{service}"), "authored_at": time(n), "merged_at": time(n + 1)}));
            events.push(json!({"type": "deployment", "source": "ci", "id": sha, "time": time(12), "service": service,
                "environment": "production", "version": sha, "commit": sha, "outcome": "succeeded"}));
            if (n + month).is_multiple_of(5) {
                events.push(json!({"type": "incident", "source": "pager", "id": sha, "time": time(14),
                    "service": service, "environment": "production", "status": "resolved", "started_at": time(13)}));
            }
        }
    }
    events
}

on_both! {
    async fn answers_are_the_same_without_any_room(db: TestDb) {
        let clock = Clock::manual(Timestamp::parse("2025-12-31T00:00:00Z").unwrap());
        let ask = async |memory_bytes: usize| {
            let mut config = config(&configuration());
            config.dora.memory_bytes = memory_bytes;
            let app = app::app(&db.store, config, clock.clone()).await;
            app::serve(app, Scope::Admin, routes::configure).await
        };
        let (roomy, crowded) = (ask(1 << 26).await, ask(0).await);
        let request = TestRequest::post().uri("/api/v1/events").set_json(year());
        let (status, receipt) = roomy(request).await;
        assert_eq!((status, &receipt["invalid"]), (StatusCode::OK, &json!(0)), "{receipt:#}");

        let paths = [
            "?window=365d",
            "?window=365d&team=shop",
            "?window=200d&arrival=last",
            "?window=100d&team=shop&lead_time_from=merged",
            "?window=365d&service=s3",
            "/series?window=365d&bucket=month",
            "/change_lead_time/explain?window=365d",
            "/mean_time_to_recovery/explain?window=365d&team=shop",
        ];
        let mut expected = Vec::new();
        for path in paths {
            expected.push(roomy(TestRequest::get().uri(&format!("/api/v1/dora{path}"))).await);
        }
        assert_eq!(expected[0].1["metrics"]["change_lead_time"]["n"], 12 * SERVICES - SERVICES, "{:#}", expected[0].1);
        for (path, expected) in paths.iter().zip(&expected) {
            assert_eq!(expected.0, StatusCode::OK, "{path}: {:#}", expected.1);
        }
        // Everybody at once, each pushing out what the others have just read.
        let all = paths.iter().zip(&expected).cycle().take(4 * paths.len());
        join_all(all.map(async |(path, expected)| {
            let answer = crowded(TestRequest::get().uri(&format!("/api/v1/dora{path}"))).await;
            assert_eq!(&answer, expected, "{path}");
        }))
        .await;
    }
}
