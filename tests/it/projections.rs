//! Rows of delivery metrics are kept; whatever happens in between, the numbers are those of the facts.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use devpulse::store::schema::dora_state;
use devpulse::store::{Conn, open};
use diesel::QueryDsl;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;

const SHOP: &str = r"
services:
  - {name: cart, repository: acme/shop}
  - {name: till, repository: acme/shop}
";

const MONOREPO: &str = r"
services:
  - {name: cart, repository: acme/shop, paths: [cart/**]}
  - {name: till, repository: acme/shop, paths: [till/**]}
";

/// How many projections of services were made.
async fn projections(url: &str) -> i64 {
    let store = open::open(url, 1).await.unwrap();
    let mut conn = store.read().await.unwrap();
    let query = || dora_state::table.select(dora_state::changed);
    match &mut conn {
        Conn::Postgres(c) => RunQueryDsl::get_result(query(), &mut **c).await.unwrap(),
        Conn::SqliteReader(c) => RunQueryDsl::get_result(query(), &mut **c).await.unwrap(),
        Conn::SqliteWriter(_) => unreachable!("it only reads"),
    }
}

fn ago(minutes: i64) -> String {
    (Utc::now() - TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn deployment(service: &str, id: &str, commit: &str, minutes: i64) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": ago(minutes), "service": service,
        "environment": "production", "version": commit, "commit": commit, "outcome": "succeeded"})
}

fn change(sha: &str, minutes: i64) -> Value {
    json!({"type": "change", "source": "git", "id": sha, "time": ago(minutes), "repository": "acme/shop", "sha": sha,
        "authored_at": ago(minutes), "committed_at": ago(minutes)})
}

async fn lead(devpulse: &DevPulse, selection: &str) -> Value {
    devpulse.get(&format!("/api/v1/dora?window=1d&{selection}")).await["metrics"]["change_lead_time"].clone()
}

/// The services whose deployments the included changes are counted at.
async fn counted_at(devpulse: &DevPulse, selection: &str) -> Vec<String> {
    let path = format!("/api/v1/dora/change_lead_time/explain?window=1d&{selection}");
    let explained = devpulse.get(path.trim_end_matches('&')).await;
    let included = explained["included"].as_array().unwrap().clone();
    included.iter().map(|row| row["deployment"]["service"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn a_change_of_two_services_counts_once_wherever_it_arrived_first(db: Database) {
        let devpulse = DevPulse::start(&db.url, SHOP).await;
        devpulse.post_events(&json!([change("c0", 300), change("c1", 60)])).await;
        devpulse.post_events(&json!([deployment("cart", "d1", "c0", 200), deployment("cart", "d2", "c1", 50)])).await;
        assert_eq!(lead(&devpulse, "").await["n"], 1);
        devpulse.post_events(&json!([deployment("till", "e1", "c0", 190), deployment("till", "e2", "c1", 40)])).await;
        let all = lead(&devpulse, "").await;
        assert_eq!((all["n"].as_u64(), all["excluded"]["deployed_before"].as_u64()), (Some(1), Some(1)), "{all}");
        assert_eq!(counted_at(&devpulse, "").await, ["cart"]);
        assert_eq!(counted_at(&devpulse, "arrival=last").await, ["till"]);
        for service in ["cart", "till"] {
            assert_eq!(lead(&devpulse, &format!("service={service}")).await["n"], 1, "each for itself");
        }
        // It becomes known late that the till had it first.
        devpulse.post_events(&deployment("till", "e1b", "c1", 55)).await;
        assert_eq!(counted_at(&devpulse, "").await, ["till"]);
        assert_eq!(counted_at(&devpulse, "arrival=last").await, ["cart"]);
        assert_eq!(lead(&devpulse, "").await["n"], 1);
    }

    async fn an_incident_of_no_service_belongs_to_whoever_deployed_what_it_names(db: Database) {
        let devpulse = DevPulse::start(&db.url, SHOP).await;
        let incident = |status: &str, minutes: i64| json!({"type": "incident", "source": "pager", "id": "i1",
            "time": ago(minutes), "status": status, "deployments": [{"id": "d9", "source": "ci"}]});
        devpulse.post_events(&json!([incident("opened", 30), incident("resolved", 20)])).await;
        let figures = async |selection: &str| {
            let answer = devpulse.get(format!("/api/v1/dora?window=1d&{selection}").trim_end_matches('&')).await;
            let of = |metric: &str, what: &str| answer["metrics"][metric][what].as_u64();
            (of("mean_time_to_recovery", "n"), of("change_fail_rate", "failed"))
        };
        assert_eq!(figures("").await, (Some(1), Some(0)), "it is nobody's so far");
        devpulse.post_events(&deployment("cart", "d9", "c1", 40)).await;
        assert_eq!(figures("").await, (Some(1), Some(1)));
        assert_eq!(figures("service=cart").await, (Some(1), Some(1)));
    }

    async fn a_push_concerns_the_services_whose_paths_it_touches(db: Database) {
        let devpulse = DevPulse::start(&db.url, MONOREPO).await;
        let of = |sha: &str, minutes: i64, paths: &[&str]| {
            let mut change = change(sha, minutes);
            change["paths"] = json!(paths);
            change
        };
        devpulse.post_events(&json!([of("c0", 300, &["cart/a"]), of("t0", 300, &["till/a"])])).await;
        for (service, commit) in [("cart", "c0"), ("till", "t0")] {
            devpulse.post_events(&deployment(service, &format!("{service}-0"), commit, 200)).await;
        }
        let figure = async |service: &str| {
            let figure = lead(&devpulse, &format!("service={service}")).await;
            (figure["n"].as_u64().unwrap(), figure["excluded"]["paths_unknown"].as_u64())
        };
        assert_eq!((figure("cart").await, figure("till").await), ((0, None), (0, None)));
        lead(&devpulse, "").await;
        let before = projections(&db.url).await;
        devpulse.post_events(&json!([of("c1", 100, &["cart/b"]), of("c2", 99, &["cart/b"])])).await;
        lead(&devpulse, "").await;
        assert_eq!(projections(&db.url).await, before + 1, "the till is left alone");
        // What is known of nobody's paths may be everybody's, until somebody says whose it is.
        devpulse.post_events(&of("x", 98, &[])).await;
        for service in ["cart", "till"] {
            devpulse.post_events(&deployment(service, &format!("{service}-1"), "x", 50)).await;
        }
        assert_eq!((figure("cart").await, figure("till").await), ((2, Some(1)), (0, Some(1))));
        devpulse.post_events(&of("x", 98, &["cart/c"])).await;
        assert_eq!((figure("cart").await, figure("till").await), ((3, None), (0, None)));
        // A deployment may name what is not its own: the change has something to say to it, too.
        let mut naming = deployment("till", "till-2", "y", 40);
        naming["changes"] = json!([{"repository": "acme/shop", "sha": "c9"}]);
        devpulse.post_events(&naming).await;
        assert_eq!(figure("till").await.0, 0, "nobody says when it was authored");
        devpulse.post_events(&of("c9", 45, &["cart/d"])).await;
        let till = lead(&devpulse, "service=till").await;
        assert_eq!((&till["n"], &till["excluded"]["other_paths"]), (&0.into(), &1.into()), "{till}");
    }

    async fn what_was_acknowledged_is_counted_after_a_crash(db: Database) {
        let mut devpulse = DevPulse::start(&db.url, SHOP).await;
        let months: Vec<Value> = (0..8).map(|n| deployment("cart", &format!("d{n}"), &format!("c{n}"), n * 20_000 + 10)).collect();
        devpulse.post_events(&months.into()).await;
        devpulse.kill();
        devpulse.restart().await;
        let n = async |window: &str| {
            let answer = devpulse.get(&format!("/api/v1/dora?service=cart&window={window}")).await;
            answer["metrics"]["deployment_frequency"]["n"].as_u64().unwrap()
        };
        assert_eq!((n("365d").await, n("30d").await, n("1d").await), (8, 3, 1));
    }

    async fn what_is_derived_can_be_thrown_away(db: Database) {
        let mut devpulse = DevPulse::start(&db.url, SHOP).await;
        devpulse.post_events(&json!([change("c0", 300), change("c1", 60)])).await;
        devpulse.post_events(&json!([deployment("cart", "d1", "c0", 200), deployment("cart", "d2", "c1", 50)])).await;
        let before = lead(&devpulse, "").await;
        assert_eq!(before["n"], 1, "{before}");
        devpulse.kill();
        let store = open::open(&db.url, 1).await.unwrap();
        let all = ["arrival", "change", "detail", "dirty", "link", "partition", "place", "repository", "state"];
        let statements: String = all.iter().map(|table| format!("DELETE FROM dora_{table};")).collect();
        let mut tx = store.begin().await.unwrap();
        match &mut *tx {
            Conn::Postgres(c) => c.batch_execute(&statements).await.unwrap(),
            Conn::SqliteWriter(c) => c.batch_execute(&statements).await.unwrap(),
            Conn::SqliteReader(_) => unreachable!("a transaction writes"),
        }
        tx.commit().await.unwrap();
        devpulse.restart().await;
        let after = lead(&devpulse, "").await;
        assert_eq!((&after["n"], &after["value"]), (&before["n"], &before["value"]), "{after}");
    }

    async fn another_configuration_counts_everything_anew(db: Database) {
        let mut devpulse = DevPulse::start(&db.url, SHOP).await;
        let mut event = deployment("cart", "d1", "c1", 10);
        event["environment"] = json!("eu-live");
        devpulse.post_events(&event).await;
        let n = async |devpulse: &DevPulse| {
            devpulse.get("/api/v1/dora?window=1d").await["metrics"]["deployment_frequency"]["n"].as_u64().unwrap()
        };
        assert_eq!(n(&devpulse).await, 0);
        let more = "environments:\n  - {name: production, tier: production, match: [\"*-live\"]}\n";
        std::fs::write(devpulse.configuration(), format!("{SHOP}{more}")).unwrap();
        devpulse.kill();
        devpulse.restart().await;
        assert_eq!(n(&devpulse).await, 1);
    }

    async fn questions_are_answered_while_facts_keep_coming(db: Database) {
        let devpulse = DevPulse::start(&db.url, SHOP).await;
        let over = tokio::time::Instant::now() + Duration::from_secs(4);
        let send = async {
            let mut sent = 0_u64;
            while tokio::time::Instant::now() < over {
                devpulse.post_events(&deployment("cart", &format!("d{sent}"), &format!("c{sent}"), 10)).await;
                sent += 1;
            }
            sent
        };
        let ask = async {
            let mut answers = 0_u64;
            let mut last = 0;
            while tokio::time::Instant::now() < over {
                let answer = devpulse.get("/api/v1/dora?window=1d").await;
                let n = answer["metrics"]["deployment_frequency"]["n"].as_u64().unwrap();
                assert!(n >= last, "{n} after {last}");
                (last, answers) = (n, answers + 1);
            }
            answers
        };
        let (sent, answers) = tokio::join!(send, ask);
        assert!(sent > 0 && answers > 0, "{sent} {answers}");
        let answer = devpulse.get("/api/v1/dora?window=1d").await;
        assert_eq!(answer["metrics"]["deployment_frequency"]["n"], sent);
    }
}
