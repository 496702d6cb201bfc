//! `kill -9` under load, again and again: what was acknowledged is there exactly once, and no
//! rollback is carried out twice.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::http::{Client, client};
use crate::support::random::Random;
use crate::support::wait::until;
use crate::support::webhook::{SECRET, Target};

const KILLS: u64 = 50;
const LOADERS: u64 = 6;
const REQUESTS_PER_BATCH: u64 = 20;

on_both! {
    async fn nothing_acknowledged_is_lost_and_nothing_is_done_twice(db: Database) {
        let target = Target::start();
        let mut devpulse = DevPulse::start(&db.url, &configuration(&target)).await;
        let histories: Vec<Value> = (0..KILLS).flat_map(healthy_history).collect();
        devpulse.post_events(&histories.into()).await;

        let stop = Arc::new(AtomicBool::new(false));
        let progress: Vec<Arc<AtomicU64>> = (0..LOADERS).map(|_| Arc::default()).collect();
        let load = |n: u64, acknowledged: &Arc<AtomicU64>| {
            tokio::spawn(load(devpulse.url(""), n, Arc::clone(&stop), Arc::clone(acknowledged)))
        };
        let loaders: Vec<_> = (0..).zip(&progress).map(|(n, acknowledged)| load(n, acknowledged)).collect();
        let mut random = Random::new();
        let mut deployments: Vec<JoinHandle<()>> = Vec::new();
        for n in 0..KILLS {
            // Every loader gets something acknowledged between two kills, however slow the machine.
            until("every loader to get on", Duration::from_mins(1), async || {
                progress.iter().all(|acknowledged| acknowledged.load(Ordering::SeqCst) > n).then_some(())
            })
            .await;
            sleep(Duration::from_millis(random.below(150))).await;
            deployments.push(tokio::spawn(bad_deployment(devpulse.url(""), n)));
            sleep(Duration::from_millis(random.below(150))).await;
            devpulse.kill();
            devpulse.restart().await;
        }
        stop.store(true, Ordering::SeqCst);
        for deployment in deployments {
            deployment.await.unwrap();
        }
        for (n, loader) in (0..).zip(loaders) {
            let acknowledged = loader.await.unwrap();
            println!("loader {n}: {acknowledged} deployments and batches were acknowledged");
            everything_is_there_once(&devpulse, n, acknowledged).await;
        }
        for n in 0..KILLS {
            rolled_back_once(&devpulse, &target, n).await;
        }
        println!("{KILLS} kills, {KILLS} rollbacks, {} calls for them", target.calls());
    }
}

fn configuration(target: &Target) -> String {
    let url = target.url();
    let (mut services, mut slos, mut policies) = (String::new(), String::new(), String::new());
    let mut watch = |service: &str| {
        writeln!(services, "  - {{name: {service}}}").unwrap();
        writeln!(
            slos,
            "  - {{name: {service}, service: {service}, environment: production, objective: 0.999, window: 30d, \
             indicator: {{availability: {{}}}}}}"
        )
        .unwrap();
    };
    (0..LOADERS).for_each(|n| watch(&format!("load-{n}")));
    (0..KILLS).for_each(|n| watch(&format!("shop-{n}")));
    for n in 0..KILLS {
        writeln!(
            policies,
            "    - {{service: shop-{n}, environment: production, mode: automatic, \
             executor: {{webhook: {{url: \"{url}\", secret: \"{SECRET}\"}}}}}}"
        )
        .unwrap();
    }
    format!("services:\n{services}slos:\n{slos}rollback:\n  policies:\n{policies}")
}

fn minutes_ago(minutes: i64) -> String {
    (chrono::Utc::now() - chrono::Duration::minutes(minutes)).to_rfc3339()
}

fn deployment(service: &str, id: &str, version: &str, time: &str) -> Value {
    json!({"type": "deployment", "id": id, "source": "ci", "time": time, "service": service,
        "environment": "production", "version": version, "outcome": "succeeded"})
}

/// Version 1 has served 2,000 requests, two of which failed.
fn healthy_history(n: u64) -> Vec<Value> {
    let service = format!("shop-{n}");
    vec![
        deployment(&service, &format!("{service}-1"), "1", &minutes_ago(120)),
        json!({"type": "performance", "time": minutes_ago(30), "service": service, "environment": "production",
            "version": "1", "requests": 2_000, "errors": 2}),
    ]
}

/// Version 2 arrives and fails three requests in five; told again until DevPulse has it.
async fn bad_deployment(base: String, n: u64) {
    let (client, service) = (client(), format!("shop-{n}"));
    let now = chrono::Utc::now().to_rfc3339();
    let announcement = deployment(&service, &format!("{service}-2"), "2", &now);
    insist(|| client.post(format!("{base}/api/v1/events")).json(&announcement)).await;
    let traffic: Vec<Value> = (0..100).map(|i| request(&service, "2", if i % 5 < 3 { 500 } else { 200 })).collect();
    insist(|| keyed(&client, &base, &service).json(&traffic)).await;
}

fn request(service: &str, version: &str, status: u16) -> Value {
    json!({"type": "request", "time": chrono::Utc::now().to_rfc3339(), "service": service,
        "environment": "production", "version": version, "status": status, "duration_ms": 3.5})
}

fn keyed(client: &Client, base: &str, key: &str) -> RequestBuilder {
    client.post(format!("{base}/api/v1/events")).header("idempotency-key", key)
}

/// Deployments one by one and telemetry in batches, each sent until it is acknowledged. Answers how
/// many of each were.
async fn load(base: String, n: u64, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> u64 {
    let (client, service) = (client(), format!("load-{n}"));
    let mut sequence = 0;
    while !stop.load(Ordering::SeqCst) {
        let id = format!("{service}-{sequence}");
        let announcement = deployment(&service, &id, &sequence.to_string(), &chrono::Utc::now().to_rfc3339());
        insist(|| client.post(format!("{base}/api/v1/events")).json(&announcement)).await;
        let batch: Vec<Value> = (0..REQUESTS_PER_BATCH).map(|_| request(&service, "1", 200)).collect();
        insist(|| keyed(&client, &base, &id).json(&batch)).await;
        sequence += 1;
        acknowledged.store(sequence, Ordering::SeqCst);
    }
    sequence
}

/// Sends the same request until it is answered 200. Only a dying or a busy server may fail it.
async fn insist(request: impl Fn() -> RequestBuilder) {
    loop {
        if let Ok(answer) = request().send().await {
            match answer.status().as_u16() {
                200 => return,
                429 | 503 => {}
                _ => panic!("{} {:?}", answer.status(), answer.text().await),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn everything_is_there_once(devpulse: &DevPulse, n: u64, acknowledged: u64) {
    assert!(acknowledged >= KILLS, "too little load to prove anything");
    let service = format!("load-{n}");
    let kept = devpulse.all(&format!("/api/v1/deployments?service={service}")).await;
    let mut ids: Vec<&str> = kept.iter().map(|deployment| deployment["id"].as_str().unwrap()).collect();
    let mut wanted: Vec<String> = (0..acknowledged).map(|sequence| format!("{service}-{sequence}")).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
    counts(devpulse, &service, acknowledged * REQUESTS_PER_BATCH, 0).await;
}

/// The objective counts these requests, no more and no fewer. What was acknowledged is evaluated a
/// moment later.
async fn counts(devpulse: &DevPulse, service: &str, total: u64, bad: u64) {
    until(&format!("{total} requests of {service}, {bad} of them bad"), Duration::from_secs(10), async || {
        let slo = devpulse.get(&format!("/api/v1/slos/{service}")).await;
        let counted = (slo["total"].as_u64().unwrap(), slo["bad"].as_u64().unwrap());
        assert!(
            counted <= (total, bad),
            "{counted:?} of ({total}, {bad}) requests of {service}: something counts twice"
        );
        (counted == (total, bad)).then_some(())
    })
    .await;
}

async fn rolled_back_once(devpulse: &DevPulse, target: &Target, n: u64) {
    let service = format!("shop-{n}");
    let rollback = until(&format!("the rollback of {service}"), Duration::from_mins(1), async || {
        let rollbacks = devpulse.all(&format!("/api/v1/rollbacks?service={service}")).await;
        assert!(rollbacks.len() <= 1, "{rollbacks:#?}");
        rollbacks.into_iter().next().filter(|rollback| rollback["state"] == "done")
    })
    .await;
    assert_eq!((&rollback["from_version"], &rollback["to_version"]), (&json!("2"), &json!("1")), "{rollback:#}");
    let effects = target.effects(&service);
    assert_eq!(effects.len(), 1, "{service} was rolled back more than once: {effects:?}");
    let kept = devpulse.all(&format!("/api/v1/deployments?service={service}")).await;
    let recorded = kept.iter().filter(|deployment| deployment["kind"] == "rollback").count();
    assert_eq!((recorded, kept.len()), (1, 3), "{kept:#?}");
    counts(devpulse, &service, 2_100, 62).await;
}
