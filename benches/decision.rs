//! How long from the deciding event to the rollback call: the event is sent to DevPulse over HTTP,
//! the call arrives at a webhook, both on loopback. `make bench`, or `cargo bench --bench decision`.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a bench may stop at the first surprise, and uses a part of the tests' support"
)]

mod support;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use support::devpulse::DevPulse;
use support::wait;
use support::webhook::{SECRET, Target};

const WARM_UP: usize = 10;
const RUNS: usize = 100;
const GOAL: Duration = Duration::from_millis(100);

fn main() {
    support::run(async {
        println!("{:<12}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "worst");
        for (name, database) in support::back_ends().await {
            let latencies = measure(&database.url).await;
            let at = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100) - 1];
            let shown = [50, 90, 99, 100].map(|percent| format!("{:>7.1} ms", at(percent).as_secs_f64() * 1e3));
            let verdict =
                if at(99) < GOAL { "the goal (p99 < 100 ms) is met" } else { "MISSES the goal (p99 < 100 ms)" };
            println!("{name:<12}{}   over {} runs; {verdict}", shown.concat(), latencies.len());
        }
    });
}

/// From sending the deciding event to the call's arrival, sorted.
async fn measure(url: &str) -> Vec<Duration> {
    let target = Target::start();
    let devpulse = DevPulse::start(url, &configuration(&target)).await;
    let healthy: Vec<Value> = (0..WARM_UP + RUNS).flat_map(healthy_history).collect();
    devpulse.post_events(&healthy.into()).await;
    let mut latencies = Vec::new();
    for n in 0..WARM_UP + RUNS {
        let service = format!("shop-{n}");
        let bad = deployment(n, "2", 0);
        devpulse.post_events(&bad).await;
        let deciding = performance(n, "2", 0, 50, 30);
        let sent = Instant::now();
        devpulse.post_events(&deciding).await;
        let arrived = wait::until("the rollback call", Duration::from_secs(20), async || {
            target.effects(&service).first().map(|(_, at)| *at)
        })
        .await;
        latencies.push(arrived - sent);
    }
    let mut counted = latencies.split_off(WARM_UP);
    counted.sort_unstable();
    counted
}

fn configuration(target: &Target) -> String {
    let url = target.url();
    let (mut services, mut slos, mut policies) = (String::new(), String::new(), String::new());
    for n in 0..WARM_UP + RUNS {
        writeln!(services, "  - {{name: shop-{n}}}").unwrap();
        writeln!(
            slos,
            "  - {{name: shop-{n}, service: shop-{n}, environment: production, objective: 0.999, window: 30d, \
             indicator: {{availability: {{}}}}}}"
        )
        .unwrap();
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

fn healthy_history(n: usize) -> [Value; 2] {
    [deployment(n, "1", 120), performance(n, "1", 30, 2_000, 2)]
}

fn deployment(n: usize, version: &str, minutes: i64) -> Value {
    json!({"type": "deployment", "id": format!("shop-{n}-{version}"), "source": "ci", "time": minutes_ago(minutes),
        "service": format!("shop-{n}"), "environment": "production", "version": version, "outcome": "succeeded"})
}

fn performance(n: usize, version: &str, minutes: i64, requests: u64, errors: u64) -> Value {
    json!({"type": "performance", "time": minutes_ago(minutes), "service": format!("shop-{n}"),
        "environment": "production", "version": version, "requests": requests, "errors": errors})
}
