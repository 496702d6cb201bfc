//! Durable events per second, acknowledged after fsync, against a handler that does nothing:
//! single events, NDJSON batches of 1,000, and such batches whose events have ids and so are each
//! claimed once; and how many events a core parses and adds up. `make bench`, or `cargo bench --bench throughput`.

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

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use devpulse::config::environments::EnvironmentNames;
use devpulse::ingest::native::{self, Context};
use devpulse::time::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use support::devpulse::DevPulse;
use support::load::{self, Measured};
use support::process::Process;
use support::{ports, wait};

const TIME: Duration = Duration::from_secs(5);
const BATCH: usize = 1_000;
const NDJSON: &str = "application/x-ndjson";
/// Services × versions that the events are spread over.
const SERVICES: usize = 20;
const VERSIONS: usize = 5;
/// The variable that makes this program the server that does nothing.
const NO_OP: &str = "DEVPULSE_BENCH_NO_OP";

/// One way of sending events.
struct Shape {
    name: &'static str,
    content_type: &'static str,
    events: usize,
    connections: usize,
    /// Whether events have ids.
    keyed: bool,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "single events", content_type: "application/json", events: 1, connections: 64, keyed: false },
    Shape { name: "batches of 1,000", content_type: NDJSON, events: BATCH, connections: 16, keyed: false },
    Shape { name: "… with ids", content_type: NDJSON, events: BATCH, connections: 16, keyed: true },
];

fn main() {
    if let Ok(port) = std::env::var(NO_OP) {
        support::run(do_nothing(port.parse().unwrap()));
    } else {
        support::run(compare());
    }
}

async fn compare() {
    println!("{:<18}{:<12}{:>14}{:>16}{:>10}{:>10}", "", "", "requests/s", "events/s", "÷ no-op", "refused");
    parse_on_one_core();
    let no_op = NoOp::start().await;
    let mut base = Vec::new();
    for shape in &SHAPES {
        let measured = measure(no_op.address, shape).await;
        report(shape, "no-op", measured, measured.per_second());
        base.push(measured.per_second());
    }
    for (name, database) in support::back_ends().await {
        let devpulse = DevPulse::start(&database.url, &configuration()).await;
        let mut events = 0;
        for (shape, base) in SHAPES.iter().zip(&base) {
            let measured = measure(devpulse.address().parse().unwrap(), shape).await;
            report(shape, name, measured, *base);
            events += measured.acknowledged * shape.events as u64;
        }
        let counted = counted(&devpulse, events).await;
        println!("{:<18}{name:<12}{counted} of {events} acknowledged events counted", "");
    }
}

/// What DevPulse does with a batch before anything is stored.
fn parse_on_one_core() {
    let bodies: Vec<String> = (0..50).map(|n| String::from_utf8(events(&SHAPES[1], n)).unwrap()).collect();
    let context = Context {
        received_at: Timestamp::from(chrono::Utc::now()),
        max_future: Duration::from_secs(60),
        max_items: BATCH,
        environments: EnvironmentNames::new(&[]),
    };
    let (began, mut read) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        for body in &bodies {
            read += native::parse(body, true, &context).unwrap().items.len();
        }
    }
    let rate = read as f64 / began.elapsed().as_secs_f64();
    println!("{:<18}{:<12}{:>14}{rate:>16.0}", "parse and add up", "one core", "");
}

fn report(shape: &Shape, server: &str, measured: Measured, base: f64) {
    let rate = measured.per_second();
    let (events, ratio) = (rate * shape.events as f64, rate / base);
    println!("{:<18}{server:<12}{rate:>14.0}{events:>16.0}{ratio:>10.2}{:>10}", shape.name, measured.refused);
}

async fn measure(server: SocketAddr, shape: &Shape) -> Measured {
    let requests = Arc::new((0..50).map(|n| body(shape, n)).collect::<Vec<_>>());
    load::run(server, shape.connections, TIME, &requests).await
}

fn body(shape: &Shape, n: usize) -> Vec<u8> {
    load::request(shape.content_type, &events(shape, n))
}

fn events(shape: &Shape, n: usize) -> Vec<u8> {
    let line = |i: usize| {
        let mut event = event(n * shape.events + i);
        if shape.keyed {
            let unique = std::str::from_utf8(load::UNIQUE).unwrap();
            event["source"] = json!("bench");
            event["id"] = json!(format!("{unique}-{i}"));
        }
        event.to_string()
    };
    (0..shape.events).map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

fn event(i: usize) -> Value {
    json!({"type": "request", "time": chrono::Utc::now().to_rfc3339(), "service": format!("service-{}", i % SERVICES),
        "environment": "production", "version": format!("1.{}.0", i / SERVICES % VERSIONS), "route": "/pay",
        "status": if i.is_multiple_of(200) { 503 } else { 200 }, "duration_ms": 5.0 + (i % 97) as f64 / 7.0})
}

fn configuration() -> String {
    let each = |line: fn(usize) -> String| (0..SERVICES).map(line).collect::<String>();
    let services = each(|n| format!("  - {{name: service-{n}}}\n"));
    let slos = each(|n| {
        format!(
            "  - {{name: service-{n}, service: service-{n}, environment: production, objective: 0.99, window: 30d, \
             indicator: {{availability: {{}}}}}}\n"
        )
    });
    format!("services:\n{services}slos:\n{slos}")
}

/// What the objectives have counted, once it is all there.
async fn counted(devpulse: &DevPulse, events: u64) -> u64 {
    wait::until("every acknowledged event to be counted", Duration::from_secs(30), async || {
        let slos = devpulse.all("/api/v1/slos").await;
        let total = slos.iter().map(|slo| slo["total"].as_u64().unwrap()).sum::<u64>();
        (total >= events).then_some(total)
    })
    .await
}

/// A process of its own, as DevPulse is one.
struct NoOp {
    _process: Process,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl NoOp {
    async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        let mut command = Command::new(std::env::current_exe().unwrap());
        let process = Process::start("no-op", command.env(NO_OP, port.to_string()), folder.path().join("no-op.log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait::until("the no-op server", Duration::from_secs(10), async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Self { _process: process, _folder: folder, address }
    }
}

/// Reads the body, answers 200.
async fn do_nothing(port: u16) {
    let handler = |body: web::Bytes| async move { HttpResponse::Ok().body(body.len().to_string()) };
    let limit = web::PayloadConfig::new(16 << 20);
    let factory = move || App::new().app_data(limit.clone()).route("/api/v1/events", web::post().to(handler));
    HttpServer::new(factory).bind(("127.0.0.1", port)).unwrap().run().await.unwrap();
}
