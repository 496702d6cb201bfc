//! What webhooks sent that could not be taken in: how much of it is told, kept and shown, and to whom.

use std::time::Duration;

use devpulse::config::model::Retention;
use devpulse::store::invalid_delivery::{self, InvalidDelivery};
use devpulse::store::{Store, retention};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::{PullRequests, deliver};
use crate::support::wait::until;

const PATH: &str = "/api/v1/webhooks/alertmanager";
const KEPT: &str = "/api/v1/sources/invalid";

async fn post(devpulse: &DevPulse, body: String) -> Value {
    devpulse.send(devpulse.request("POST", PATH).body(body)).await.ok()
}

/// A message with so many alerts without a fingerprint.
fn bad(name: &str, alerts: usize) -> String {
    let alerts: Vec<Value> =
        (0..alerts).map(|n| json!({"status": "firing", "labels": {"alertname": format!("{name} {n}")}})).collect();
    json!({"alerts": alerts}).to_string()
}

async fn keep(store: &Store, source: &str, at: i64, digests: std::ops::Range<u16>) {
    let one = |n: u16| InvalidDelivery {
        digest: [source.as_bytes(), &n.to_be_bytes()].concat(),
        source: source.to_owned(),
        received_at: Timestamp::from_seconds(at).micros(),
        pointer: String::new(),
        detail: "is wrong".to_owned(),
        body: b"{}".to_vec(),
    };
    let some: Vec<InvalidDelivery> = digests.map(one).collect();
    let mut tx = store.begin().await.unwrap();
    invalid_delivery::keep(&mut tx, source, &some).await.unwrap();
    tx.commit().await.unwrap();
}

async fn kept(store: &Store, source: &str) -> Vec<(i64, Vec<u8>)> {
    let found = invalid_delivery::page(&mut store.read().await.unwrap(), Some(source), None, 1_000).await.unwrap();
    found.into_iter().map(|one| (one.received_at / 1_000_000, one.digest)).collect()
}

on_both! {
    async fn many_parts_of_one_delivery_leave_a_hundred(db: TestDb) {
        let times = async || kept(&db.store, "a").await.into_iter().map(|(at, _)| at).collect::<Vec<i64>>();
        keep(&db.store, "b", 1, 0..1).await;
        keep(&db.store, "a", 2, 0..30).await;
        keep(&db.store, "a", 3, 30..100).await;
        assert_eq!(times().await, [vec![3; 70], vec![2; 30]].concat());
        keep(&db.store, "a", 4, 100..250).await;
        assert_eq!(times().await, vec![4; 100], "the newest, of one time as many as are kept");
        keep(&db.store, "a", 5, 300..310).await;
        assert_eq!(times().await, [vec![5; 10], vec![4; 90]].concat());
        assert_eq!(kept(&db.store, "b").await.len(), 1, "each source has its own");

        let hour = Duration::from_hours(1);
        let keep = Retention { ten_seconds: hour, minutes: hour, hours: hour, messages: hour, invalid_deliveries: hour };
        let now = Timestamp::from_seconds(5).plus(hour);
        assert_eq!(retention::prune(&db.store, &keep, hour, now).await.unwrap().invalid_deliveries, 91);
        assert_eq!(times().await, vec![5; 10]);
    }

    async fn a_delivery_of_many_bad_parts_is_told_and_kept_in_part(database: Database) {
        let mut devpulse = DevPulse::start(&database.url, "").await;
        assert_eq!(post(&devpulse, bad("old", 1)).await["invalid"], 1);
        let receipt = post(&devpulse, bad("new", 150)).await;
        assert_eq!((&receipt["outcome"], &receipt["invalid"]), (&json!("invalid"), &json!(150)));
        assert_eq!(receipt["errors"].as_array().unwrap().len(), 100);
        assert_eq!(receipt["errors"][99]["pointer"], "/alerts/99/fingerprint");
        let first = devpulse.get(KEPT).await;
        assert_eq!(first["items"].as_array().unwrap().len(), 20);
        assert!(first["next"].is_string(), "{first}");
        let all = devpulse.all(KEPT).await;
        let bodies: std::collections::BTreeSet<&str> = all.iter().map(|one| one["body"].as_str().unwrap()).collect();
        assert_eq!((all.len(), bodies.len()), (21, 21), "twenty of the second delivery, and the first");
        assert!(all[20]["body"].as_str().unwrap().contains("old 0"));
        until("all parts to be counted", Duration::from_secs(10), async || {
            let items = devpulse.get("/api/v1/sources").await["items"].clone();
            items.as_array().unwrap().iter().any(|item| item["invalid"] == 151).then_some(())
        })
        .await;

        // Bodies may name people: reading numbers is not enough.
        let key = |scope: &str| {
            let created = devpulse.run(&["keys", "create", "--name", scope, "--scope", scope]);
            String::from_utf8(created.stdout).unwrap().trim().to_owned()
        };
        let (reader, operator) = (key("read"), key("operate"));
        devpulse.use_key(&reader);
        assert_eq!(devpulse.send(devpulse.request("GET", KEPT)).await.status, 403);
        devpulse.use_key(&operator);
        assert_eq!(devpulse.all(KEPT).await.len(), 21);
        let wrong = devpulse.send(devpulse.request("GET", &format!("{KEPT}?cursor=x"))).await;
        assert_eq!((wrong.status, &wrong.json["pointer"]), (400, &json!("cursor")));
    }

    async fn a_delivery_of_too_many_items_is_refused_as_a_whole(database: Database) {
        let devpulse = DevPulse::start(&database.url, "ingest: {max_items: 5}\nsources: {github: {secret: s}}\n").await;
        assert_eq!(post(&devpulse, bad("a", 5)).await["invalid"], 5);
        let zeros = format!("{{\"alerts\": [0{}]}}", ",0".repeat(1_000_000));
        for (body, invalid) in [(bad("a", 6), 1), (zeros, 1), ("{\"alerts\": {}}".to_owned(), 1)] {
            let receipt = post(&devpulse, body).await;
            assert_eq!((&receipt["outcome"], &receipt["invalid"]), (&json!("invalid"), &json!(invalid)), "{receipt}");
            assert_eq!(receipt["errors"][0]["pointer"], "/alerts", "{receipt}");
        }
        let of = PullRequests { repository: "acme/checkout" };
        for (commits, outcome) in [(5, "accepted"), (6, "invalid")] {
            let names: Vec<String> = (0..commits).map(|n| format!("{commits}{n}")).collect();
            let listed: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "05T10:00")).collect();
            let (event, body) = of.push("main", None, listed.last().unwrap().0, &listed, "05T10:00");
            let receipt = deliver(&devpulse, event, &body, "s").await.ok();
            assert_eq!(receipt["outcome"], outcome, "{receipt}");
            if outcome == "invalid" {
                assert_eq!(receipt["errors"][0]["pointer"], "/commits");
                assert!(receipt["errors"][0]["detail"].as_str().unwrap().contains("ingest.max_items"), "{receipt}");
            }
        }
    }
}
